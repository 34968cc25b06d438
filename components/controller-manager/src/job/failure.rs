//! Which pods count as failed, and what a Job's failure policy makes of them. Pure.

use k8s_openapi::api::batch::v1::{JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::pods;

/// What a failed pod means to its Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It counts towards the limits.
    Count,
    /// It does not.
    Ignore,
    /// Its index is not tried again.
    FailIndex,
    /// The Job fails, and why.
    FailJob(String),
}

/// Whether a pod is replaced only when it has ended, and not as soon as it is being deleted.
pub fn replaces_only_ended(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// Whether a pod failed. One that is being deleted did, unless it is to be seen how it ends.
pub fn is_failed(spec: &JobSpec, pod: &Pod) -> bool {
    match pods::phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => !replaces_only_ended(spec) && pod.metadata.deletion_timestamp.is_some(),
    }
}

/// What the first rule that matches a failed pod says; a pod that none matches counts.
pub fn judge(spec: &JobSpec, pod: &Pod) -> Verdict {
    let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (at, rule) in rules.enumerate() {
        let Some(cause) = cause(rule, pod) else { continue };
        match rule.action.as_str() {
            "Ignore" => return Verdict::Ignore,
            "FailIndex" => return Verdict::FailIndex,
            "Count" => return Verdict::Count,
            "FailJob" => return Verdict::FailJob(format!("{cause} matching FailJob rule at index {at}")),
            _ => {}
        }
    }
    Verdict::Count
}

fn cause(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    if let Some(wanted) = &rule.on_exit_codes {
        let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let (container, code) = all.filter_map(exit_code).find(|(name, code)| matches(wanted, name, *code))?;
        return Some(format!("Container {container} for pod {namespace}/{name} failed with exit code {code}"));
    }
    let patterns = rule.on_pod_conditions.as_ref()?;
    let found = status.conditions.iter().flatten().find(|condition| {
        patterns
            .iter()
            .any(|one| one.type_ == condition.type_ && one.status.as_deref().unwrap_or("True") == condition.status)
    })?;
    Some(format!("Pod {namespace}/{name} has condition {}", found.type_))
}

fn exit_code(container: &ContainerStatus) -> Option<(&str, i32)> {
    Some((&container.name, container.state.as_ref()?.terminated.as_ref()?.exit_code))
}

fn matches(wanted: &PodFailurePolicyOnExitCodesRequirement, container: &str, code: i32) -> bool {
    let named = wanted.container_name.as_deref().is_none_or(|name| name == container);
    let listed = wanted.values.contains(&code);
    named && code != 0 && if wanted.operator == "NotIn" { !listed } else { listed }
}

/// Whether containers that are restarted in their pods have used up the limit.
pub fn restarts_exceed(spec: &JobSpec, pods: &[std::sync::Arc<Pod>], limit: i32) -> bool {
    if spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let running = pods.iter().filter(|pod| matches!(pods::phase(pod), "Running" | "Pending"));
    let restarts: i32 = running
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|status| status.container_statuses.iter().chain(&status.init_container_statuses).flatten())
        .map(|container| container.restart_count)
        .sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let spec: JobSpec = serde_json::from_value(json!({"template": {}, "podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [7]}},
            {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [9]}},
            {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [9]}},
        ]}}))
        .unwrap();
        let failed = "Container main for pod a/p failed with exit code 42 matching FailJob rule at index 1";
        for (container, code, disrupted, wanted) in [
            ("main", 42, "False", Verdict::FailJob(failed.into())),
            ("main", 42, "True", Verdict::Ignore),
            ("side", 42, "False", Verdict::Count),
            ("main", 7, "False", Verdict::FailIndex),
            ("main", 9, "False", Verdict::Ignore),
            ("main", 0, "False", Verdict::Count),
        ] {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "a"}, "status": {
                "phase": "Failed",
                "conditions": [{"type": "DisruptionTarget", "status": disrupted}],
                "containerStatuses": [{"name": container, "image": "", "imageID": "", "ready": false,
                    "restartCount": 0, "state": {"terminated": {"exitCode": code}}}]}}))
            .unwrap();
            assert_eq!(judge(&spec, &pod), wanted, "{container} {code} {disrupted}");
        }
    }

    #[test]
    fn a_deleted_pod_failed_unless_its_end_is_awaited() {
        let pod = |phase: &str, deleted: bool| -> Pod {
            let at = deleted.then_some("2027-01-01T00:00:00Z");
            serde_json::from_value(json!({"metadata": {"deletionTimestamp": at}, "status": {"phase": phase}})).unwrap()
        };
        let spec = |policy: &str| -> JobSpec {
            serde_json::from_value(json!({"template": {}, "podReplacementPolicy": policy})).unwrap()
        };
        for (policy, phase, deleted, wanted) in [
            ("TerminatingOrFailed", "Running", true, true),
            ("TerminatingOrFailed", "Running", false, false),
            ("TerminatingOrFailed", "Succeeded", true, false),
            ("Failed", "Running", true, false),
            ("Failed", "Failed", true, true),
        ] {
            assert_eq!(is_failed(&spec(policy), &pod(phase, deleted)), wanted, "{policy} {phase} {deleted}");
        }
    }
}
