//! Which of several pods are missed least. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::pods;

/// Annotation with what a pod's deletion costs.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Which pods go: those without a node, those that do not run, those that are not ready, those that cost less, those that
/// share a node with others, those that are ready for a shorter time, those that restart more often, the younger ones.
pub fn to_delete(mut active: Vec<Arc<Pod>>, count: usize) -> Vec<Arc<Pod>> {
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let mut crowds: HashMap<String, usize> = HashMap::new();
    for pod in &active {
        *crowds.entry(node(pod)).or_default() += 1;
    }
    active.sort_by_cached_key(|pod| {
        let node = node(pod);
        let phase = match pods::phase(pod) {
            "Pending" => 0,
            "Running" => 2,
            _ => 1,
        };
        let annotations = pod.metadata.annotations.as_ref();
        let cost: i32 = annotations.and_then(|all| all.get(COST)?.parse().ok()).unwrap_or(0);
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let restarts = statuses.map(|one| one.restart_count).max().unwrap_or(0);
        let age = pod.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second());
        let crowd = crowds.get(&node).copied().unwrap_or(0);
        let ready = pods::ready_since(pod);
        let standing = (!node.is_empty(), phase, ready.is_some(), cost, Reverse(crowd));
        (standing, Reverse(ready), Reverse(restarts), Reverse(age))
    });
    active.truncate(count);
    active
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, phase: &str, ready: bool, created: &str, cost: &str) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        let metadata = json!({"name": name, "creationTimestamp": created, "annotations": {COST: cost}});
        let status = json!({"phase": phase, "conditions": [{"type": "Ready", "status": status}]});
        let tree = json!({"metadata": metadata, "spec": {"nodeName": node, "containers": []}, "status": status});
        Arc::new(serde_json::from_value(tree).unwrap())
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let (old, new) = ("2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z");
        let all = vec![
            pod("dear", "n", "Running", true, new, "10"),
            pod("old", "n", "Running", true, old, ""),
            pod("young", "n", "Running", true, new, ""),
            pod("alone", "m", "Running", true, new, ""),
            pod("unready", "n", "Running", false, old, "99"),
            pod("pending", "n", "Pending", false, old, "99"),
            pod("cheap", "m", "Running", true, old, "-1"),
        ];
        let order: Vec<String> = to_delete(all, 6).iter().filter_map(|pod| pod.metadata.name.clone()).collect();
        assert_eq!(order, ["pending", "unready", "cheap", "young", "old", "alone"]);
    }
}
