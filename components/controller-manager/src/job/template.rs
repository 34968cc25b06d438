//! The pods of a Job as they are made. Pure.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::failure::{self, Verdict};
use crate::pods;

/// The finalizer of pods that their Job has not counted yet.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// What is left of a name's 63 characters for the prefix of a generated one.
const PREFIX: usize = 58;

/// Whether the pods of a Job have indexes.
pub fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Whether a pod is still to be counted.
pub fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|one| one == TRACKING)
}

fn number(pod: &Pod, annotation: &str) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(annotation)?.parse().ok().filter(|number| *number >= 0)
}

/// The completion index of a pod.
pub fn index_of(pod: &Pod) -> Option<i32> {
    number(pod, INDEX)
}

/// Failures of an index before this pod, those that count.
pub fn failures_before(pod: &Pod) -> i32 {
    number(pod, FAILURES).unwrap_or(0)
}

/// Failures of an index before this pod, those that were ignored as well.
pub fn all_failures_before(pod: &Pod) -> i32 {
    failures_before(pod) + number(pod, IGNORED).unwrap_or(0)
}

/// A pod without an index.
pub fn plain(job: &Job) -> Pod {
    let spec = job.spec.clone().unwrap_or_default();
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let mut pod = pods::from_template(&spec.template, namespace, name, pods::owner(job));
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|one| one == TRACKING) {
        finalizers.push(TRACKING.to_owned());
    }
    pod
}

/// The pod of an index; it carries on the failures of the one that it replaces.
pub fn indexed(job: &Job, index: i32, replaced: Option<&Pod>) -> Pod {
    let mut pod = plain(job);
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let suffix = format!("-{index}-");
    let kept: String = name.chars().take(PREFIX - suffix.len()).collect();
    pod.metadata.generate_name = Some(kept + &suffix);
    pod.metadata.labels.get_or_insert_default().insert(INDEX.into(), index.to_string());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.into(), index.to_string());
    let empty = JobSpec::default();
    let spec = job.spec.as_ref().unwrap_or(&empty);
    if spec.backoff_limit_per_index.is_some() {
        let counts = replaced.is_some_and(|pod| failure::judge(spec, pod) != Verdict::Ignore);
        let before = replaced.map_or((0, 0), |pod| (failures_before(pod), all_failures_before(pod)));
        let (failures, all) = (before.0 + i32::from(counts), before.1 + i32::from(replaced.is_some()));
        annotations.insert(FAILURES.into(), failures.to_string());
        if all > failures {
            annotations.insert(IGNORED.into(), (all - failures).to_string());
        }
    }
    if let Some(spec) = &mut pod.spec {
        spec.hostname = Some(format!("{name}-{index}"));
        spec.init_containers.iter_mut().flatten().chain(&mut spec.containers).for_each(tell_index);
    }
    pod
}

fn tell_index(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|one| one.name == VARIABLE) {
        return;
    }
    let field_path = format!("metadata.labels['{INDEX}']");
    let field_ref = Some(ObjectFieldSelector { field_path, api_version: None });
    let value_from = Some(EnvVarSource { field_ref, ..Default::default() });
    variables.push(EnvVar { name: VARIABLE.into(), value: None, value_from });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_indexed_pod_knows_its_index_and_its_failures() {
        let job: Job =
            serde_json::from_value(json!({"metadata": {"name": "j".repeat(60), "namespace": "a", "uid": "u"},
            "spec": {"backoffLimitPerIndex": 1, "template": {"spec": {"containers": [
                {"name": "c"}, {"name": "d", "env": [{"name": VARIABLE, "value": "own"}]}]}}}}))
            .unwrap();
        let first = indexed(&job, 12, None);
        assert_eq!(first.metadata.generate_name.as_deref().map(str::len), Some(PREFIX));
        assert!(first.metadata.generate_name.as_deref().unwrap().ends_with("j-12-"));
        assert_eq!((index_of(&first), failures_before(&first), is_tracked(&first)), (Some(12), 0, true));
        let second = indexed(&job, 12, Some(&first));
        assert_eq!((failures_before(&second), all_failures_before(&second)), (1, 1));
        let containers = &second.spec.as_ref().unwrap().containers;
        assert!(containers[0].env.as_ref().unwrap()[0].value_from.is_some());
        assert_eq!(containers[1].env.as_ref().unwrap().len(), 1);
        assert_eq!(index_of(&plain(&job)), None);
    }
}
