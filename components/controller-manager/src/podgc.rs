//! Pods that nobody ends any more: those of nodes that are gone, those that were deleted before they had a node, and
//! ended ones when there are too many.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::time::Instant;

use crate::context::{Actor, Context};
use crate::pods;

const PERIOD: Duration = Duration::from_secs(20);
/// A node has to be missing this long: caches may see pods before their nodes.
const QUARANTINE: Duration = Duration::from_secs(40);

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("pod-garbage-collector").await;
    let caches = &context.caches;
    caches.pods.synced().await;
    caches.nodes.synced().await;
    let most = context.options.terminated_pod_gc_threshold;
    let most = if most > 0 { usize::try_from(most).unwrap_or(usize::MAX) } else { usize::MAX };
    let mut missing: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = context.shutdown.cancelled() => return,
        }
        let nodes: HashSet<String> = caches.nodes.list().iter().filter_map(|node| node.metadata.name.clone()).collect();
        let all = caches.pods.list();
        let now = Instant::now();
        let unknown: HashSet<&str> =
            all.iter().filter_map(|pod| node_of(pod)).filter(|name| !nodes.contains(*name)).collect();
        missing.retain(|name, _| unknown.contains(name.as_str()));
        for name in unknown {
            missing.entry(name.to_owned()).or_insert(now);
        }
        let gone: HashSet<&str> =
            missing.iter().filter(|(_, since)| now - **since >= QUARANTINE).map(|(name, _)| name.as_str()).collect();
        for (pod, why) in find(&all, &gone, most) {
            if let Err(error) = end(&actor, pod, why).await {
                tracing::debug!(pod = pod.metadata.name, %error, "a pod was not removed");
            }
        }
    }
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    NodeGone,
    NeverPlaced,
    Ended,
}

/// The pods to be removed. Pure.
fn find<'a>(all: &'a [Arc<Pod>], gone: &HashSet<&str>, most_ended: usize) -> Vec<(&'a Arc<Pod>, Why)> {
    let mut found = Vec::new();
    let mut ended = Vec::new();
    for pod in all {
        match node_of(pod) {
            Some(node) if gone.contains(node) => found.push((pod, Why::NodeGone)),
            None if pod.metadata.deletion_timestamp.is_some() => found.push((pod, Why::NeverPlaced)),
            _ if matches!(pods::phase(pod), "Succeeded" | "Failed") => ended.push(pod),
            _ => {}
        }
    }
    ended.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    ended.truncate(ended.len().saturating_sub(most_ended));
    found.extend(ended.into_iter().map(|pod| (pod, Why::Ended)));
    found
}

async fn end(actor: &Actor, pod: &Pod, why: Why) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(actor.client(), pod.metadata.namespace.as_deref().unwrap_or_default());
    if why != Why::Ended && !matches!(pods::phase(pod), "Succeeded" | "Failed") {
        // Nobody else will say how it ended.
        let mut status = json!({"phase": "Failed"});
        if why == Why::NodeGone {
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            status["conditions"] = json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists", "lastTransitionTime": now}]);
        }
        // Its role lets it patch, and not update.
        let patch = Patch::Strategic(json!({"metadata": {"uid": pod.metadata.uid}, "status": status}));
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match api.patch_status(name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            other => {
                other?;
            }
        }
    }
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
        ..Default::default()
    };
    tracing::info!(pod = pod.metadata.name, ?why, "removes a pod");
    match api.delete(pod.metadata.name.as_deref().unwrap_or_default(), &params).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pods_without_a_keeper_are_found() {
        let pod = |name: &str, node: Option<&str>, phase: &str, deleted: bool| -> Arc<Pod> {
            let deleted = deleted.then_some("2027-01-01T00:00:00Z");
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": name, "deletionTimestamp": deleted,
                "creationTimestamp": format!("2027-01-0{}T00:00:00Z", name.len())},
                "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase}}))
                .unwrap(),
            )
        };
        let all = [
            pod("a", Some("here"), "Running", false),
            pod("b", Some("gone"), "Running", false),
            pod("c", None, "Pending", true),
            pod("d", None, "Pending", false),
            pod("eeeee", Some("here"), "Failed", false),
            pod("fff", Some("here"), "Succeeded", false),
        ];
        let found = find(&all, &HashSet::from(["gone"]), 1);
        let names: Vec<_> =
            found.iter().map(|(pod, why)| (pod.metadata.name.as_deref().unwrap_or_default(), *why)).collect();
        assert_eq!(names, [("b", Why::NodeGone), ("c", Why::NeverPlaced), ("fff", Why::Ended)]);
    }
}
