//! The ReplicaSets of a Deployment: one per template, with what is written on them. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::api::ObjectMeta;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::plan::{Goal, Size};
use crate::pods;

const HASH: &str = "pod-template-hash";
/// Annotation with the number of a set's template in the Deployment's history.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation with how many pods were wanted when a set was scaled last.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// Annotation with how many pods there might be then.
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotation with the numbers that a set's template had before, the last one last.
pub const EARLIER: &str = "deployment.kubernetes.io/revision-history";
/// Characters that such a history may have; beyond, the oldest numbers go.
const EARLIER_LENGTH: usize = 2000;
/// Annotations that are the Deployment's own.
const OWN: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    DESIRED,
    MAX,
    EARLIER,
    "deprecated.deployment.rollback.to",
];
/// Sets without pods that are kept if the Deployment does not say.
const HISTORY: i32 = 10;
/// Names that are tried for a set, if others' are in the way.
pub const NAMES: u32 = 8;

/// The number of a set's template.
pub fn revision(set: &ReplicaSet) -> i64 {
    set.metadata.annotations.as_ref().and_then(|all| all.get(REVISION)?.parse().ok()).unwrap_or(0)
}

/// The numbers that a set's template has had, once it gets another than the one it has.
pub fn earlier(set: &ReplicaSet) -> Option<String> {
    let annotations = set.metadata.annotations.as_ref()?;
    let own = annotations.get(REVISION)?;
    let history = annotations.get(EARLIER).map(String::as_str).unwrap_or_default();
    let mut numbers: Vec<&str> = history.split(',').filter(|number| !number.is_empty()).chain([own.as_str()]).collect();
    while numbers.len() > 1 && numbers.iter().map(|number| number.len() + 1).sum::<usize>() > EARLIER_LENGTH + 1 {
        numbers.remove(0);
    }
    Some(numbers.join(","))
}

/// The set of a template, whatever its hash label says; the oldest, if there are several. They are in the order of their age.
pub fn find_new(own: &[Arc<ReplicaSet>], template: &PodTemplateSpec) -> Option<usize> {
    let wanted = plain(template);
    own.iter()
        .position(|set| set.spec.as_ref().and_then(|spec| spec.template.as_ref()).map(plain).as_ref() == Some(&wanted))
}

fn plain(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    value
}

/// Ten letters that stand for a template, without those that could make words.
fn hash(template: &PodTemplateSpec, attempt: u32) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let salt = if attempt == 0 { String::new() } else { attempt.to_string() };
    let digest = Sha256::digest(plain(template).to_string() + &salt);
    digest.iter().take(10).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

/// Annotations that a set has from its Deployment.
pub fn inherited(deployment: &Deployment) -> BTreeMap<String, String> {
    let mut annotations = deployment.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN.contains(&key.as_str()));
    annotations
}

/// The set of the Deployment's template, which is to have so many pods at first.
pub fn new(deployment: &Deployment, goal: Goal, replicas: i32, revision: i64, attempt: u32) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let hash = hash(&spec.template, attempt);
    let mut template = spec.template.clone();
    let with = |labels: &mut Option<BTreeMap<String, String>>| {
        labels.get_or_insert_default().insert(HASH.into(), hash.clone());
    };
    with(&mut template.metadata.get_or_insert_default().labels);
    let mut selector = spec.selector.clone();
    with(&mut selector.match_labels);
    let mut annotations = inherited(deployment);
    annotations.insert(REVISION.into(), revision.to_string());
    annotations.insert(DESIRED.into(), goal.wanted.to_string());
    annotations.insert(MAX.into(), (goal.wanted + goal.surge).to_string());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default())),
            namespace: deployment.metadata.namespace.clone(),
            labels: template.metadata.as_ref().and_then(|metadata| metadata.labels.clone()),
            annotations: Some(annotations),
            owner_references: Some(vec![pods::owner(deployment)]),
            ..Default::default()
        },
        spec: Some(ReplicaSetSpec {
            // The plan gives it its size, so that old pods are counted.
            replicas: Some(replicas),
            selector,
            min_ready_seconds: spec.min_ready_seconds,
            template: Some(template),
        }),
        status: None,
    }
}

/// The oldest of old sets, beyond the history that is kept; those that have pods, or do not say so yet, stay.
pub fn surplus(old: &[&Arc<ReplicaSet>], limit: Option<i32>) -> Vec<Arc<ReplicaSet>> {
    let mut old: Vec<&Arc<ReplicaSet>> =
        old.iter().copied().filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
    old.sort_by_key(|set| revision(set));
    let count = old.len().saturating_sub(limit.unwrap_or(HISTORY).max(0) as usize);
    let idle = |set: &&Arc<ReplicaSet>| {
        let (size, seen) = (Size::of(set), set.status.as_ref().and_then(|status| status.observed_generation));
        size.wanted == 0 && size.present == 0 && seen >= set.metadata.generation
    };
    old.into_iter().take(count).filter(idle).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment() -> Deployment {
        serde_json::from_value(json!({"metadata": {"name": "d", "annotations": {REVISION: "3", "own": "1"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}}}}))
        .unwrap()
    }

    #[test]
    fn a_set_is_found_by_its_template() {
        let deployment = deployment();
        let goal = super::super::plan::goal(deployment.spec.as_ref().unwrap());
        let made = new(&deployment, goal, 3, 4, 0);
        let annotations = made.metadata.annotations.clone().unwrap();
        assert_eq!((annotations[REVISION].as_str(), annotations["own"].as_str()), ("4", "1"));
        assert_eq!((annotations[DESIRED].as_str(), annotations[MAX].as_str()), ("2", "3"));
        assert_ne!(made.metadata.name, new(&deployment, goal, 3, 4, 1).metadata.name);
        let spec = deployment.spec.unwrap();
        let own = [Arc::new(ReplicaSet::default()), Arc::new(made)];
        assert_eq!(find_new(&own, &spec.template), Some(1));
        assert_eq!(find_new(&own, &PodTemplateSpec { spec: Some(Default::default()), ..spec.template }), None);
    }

    #[test]
    fn a_set_that_comes_back_keeps_the_numbers_it_had() {
        let set = |annotations: Value| -> ReplicaSet {
            serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap()
        };
        assert_eq!(earlier(&set(json!({}))), None);
        assert_eq!(earlier(&set(json!({REVISION: "1"}))).as_deref(), Some("1"));
        assert_eq!(earlier(&set(json!({REVISION: "3", EARLIER: "1"}))).as_deref(), Some("1,3"));
        let long = earlier(&set(json!({REVISION: "9999", EARLIER: vec!["1234"; 400].join(",")}))).unwrap();
        assert!(long.len() == 1999 && long.ends_with(",9999"), "{}", long.len());
    }

    #[test]
    fn the_oldest_idle_sets_go() {
        let set = |revision: i64, replicas: i32, seen: i64| -> Arc<ReplicaSet> {
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": revision.to_string(), "generation": 2,
                    "annotations": {REVISION: revision.to_string()}}, "spec": {"replicas": replicas, "selector": {}},
                    "status": {"replicas": replicas, "observedGeneration": seen}}))
                .unwrap(),
            )
        };
        let all = [set(4, 0, 2), set(1, 1, 2), set(2, 0, 1), set(3, 0, 2)];
        let all: Vec<&Arc<ReplicaSet>> = all.iter().collect();
        let gone = |limit: i32| -> Vec<i64> { surplus(&all, Some(limit)).iter().map(|set| revision(set)).collect() };
        assert_eq!((gone(0), gone(1), gone(2), gone(9)), (vec![3, 4], vec![3], vec![], vec![]));
    }
}
