//! Nodes that went silent: their conditions become unknown, they are tainted, and pods that do not tolerate it are
//! deleted in time, as fast as [`zones`] lets.

mod zones;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint, Toleration};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::context::{Actor, Context};
use crate::pods;
use zones::{Limits, Zones};

const PERIOD: Duration = Duration::from_secs(1);
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that keep new pods away, with their taints.
const PRESSURES: &[(&str, &str)] = &[
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];
const LEASES: &str = "kube-node-lease";

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("node-controller").await;
    let caches = &context.caches;
    caches.nodes.synced().await;
    caches.leases.synced().await;
    caches.pods.synced().await;
    // When a node was last heard of, by this clock: those of the nodes are not compared with it.
    let mut heard: HashMap<String, (String, Instant)> = HashMap::new();
    let options = &context.options;
    let mut zones = Zones::new(Limits {
        rate: options.node_eviction_rate,
        secondary: options.secondary_node_eviction_rate,
        large: options.large_cluster_size_threshold,
        threshold: options.unhealthy_zone_threshold,
    });
    loop {
        let now = Instant::now();
        let nodes = caches.nodes.list();
        heard.retain(|name, _| nodes.iter().any(|node| node.metadata.name.as_ref() == Some(name)));
        let mut standing = Vec::with_capacity(nodes.len());
        for node in &nodes {
            let name = node.metadata.name.clone().unwrap_or_default();
            let lease = caches.leases.get(&format!("{LEASES}/{name}"));
            let beat =
                format!("{:?} {:?}", lease.and_then(|lease| lease.spec.as_ref()?.renew_time.clone()), heartbeat(node));
            let entry = heard.entry(name).or_insert_with(|| (beat.clone(), now));
            if entry.0 != beat {
                *entry = (beat, now);
            }
            let has_begun = ready_condition(node).is_some();
            let grace = if has_begun { options.node_monitor_grace_period } else { options.node_startup_grace_period };
            let silent = now.duration_since(entry.1) > grace;
            standing.push((node, silent, if silent { "Unknown" } else { ready_status(node) }));
        }
        let judged = standing.iter().filter(|(node, ..)| !zones::is_left_out(node));
        if zones.look(judged.map(|(node, _, ready)| (zones::zone_of(node), *ready == "True"))) {
            tracing::info!("some nodes are ready again: all have as long as a silent one to be heard of");
            heard.values_mut().for_each(|(_, since)| *since = now);
        }
        for (node, silent, ready) in standing {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            if let Err(error) = treat(&actor, node, silent, ready, &mut zones).await {
                tracing::debug!(node = name, %error, "cannot update the node");
            }
            if ready != "True" {
                mark_pods(&context, &actor, name).await;
            }
        }
        evict(&context, &actor).await;
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}

fn ready_condition(node: &Node) -> Option<&NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|one| one.type_ == "Ready")
}

fn heartbeat(node: &Node) -> Option<Timestamp> {
    ready_condition(node)?.last_heartbeat_time.as_ref().map(|time| time.0)
}

/// What the node says of itself; nothing before its kubelet has spoken.
fn ready_status(node: &Node) -> &str {
    ready_condition(node).map_or("", |one| one.status.as_str())
}

/// The taints that a node is to have by its condition: key and effect. Whether its pods are to leave is `emptied`.
fn wanted(node: &Node, ready: &str, emptied: bool, unschedulable: bool) -> Vec<(&'static str, &'static str)> {
    let taint = match ready {
        "True" | "" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    let mut all: Vec<_> = taint.map(|taint| (taint, "NoSchedule")).into_iter().collect();
    all.extend(taint.filter(|_| emptied).map(|taint| (taint, "NoExecute")));
    if unschedulable {
        all.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let bad = conditions.filter(|one| one.status == "True");
    let taints = bad.filter_map(|one| PRESSURES.iter().find(|(kind, _)| *kind == one.type_));
    all.extend(taints.map(|(_, taint)| (*taint, "NoSchedule")));
    all
}

/// The node's taints as they should be; `None` when they are.
fn corrected(node: &Node, ready: &str, emptied: bool) -> Option<Vec<Taint>> {
    let spec = node.spec.clone().unwrap_or_default();
    let present = spec.taints.unwrap_or_default();
    let wanted = wanted(node, ready, emptied, spec.unschedulable.unwrap_or(false));
    // With what a node was born stays until it has spoken, or is silent for too long.
    let ours = |taint: &Taint| {
        (!ready.is_empty() && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()))
            || taint.key == UNSCHEDULABLE
            || PRESSURES.iter().any(|(_, key)| *key == taint.key)
    };
    let mut taints: Vec<Taint> = present
        .iter()
        .filter(|taint| !ours(taint) || wanted.contains(&(taint.key.as_str(), taint.effect.as_str())))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            let now = Timestamp::now();
            let added = Timestamp::from_second(now.as_second()).unwrap_or(now);
            taints.push(Taint {
                key: key.into(),
                effect: effect.into(),
                value: None,
                time_added: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(added)),
            });
        }
    }
    (taints != present).then_some(taints)
}

/// The conditions of a silent node that do not say yet that nothing is known of it.
fn unknown(node: &Node, now: &str) -> Vec<Value> {
    let told = node.status.iter().flat_map(|status| status.conditions.iter().flatten()).collect::<Vec<_>>();
    let made = node.metadata.creation_timestamp.as_ref();
    let of_kind = |kind: &&str| match told.iter().find(|one| one.type_ == *kind) {
        Some(condition) if condition.status == "Unknown" => None,
        Some(_) => Some(json!({"type": kind, "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.", "lastTransitionTime": now})),
        None => Some(json!({"type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
            "message": "Kubelet never posted node status.", "lastHeartbeatTime": made, "lastTransitionTime": now})),
    };
    ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"].iter().filter_map(of_kind).collect()
}

/// Whether a node that is not ready loses its pods: it does so already, or it is its turn.
fn is_emptied(node: &Node, ready: &str, zones: &mut Zones) -> bool {
    if matches!(ready, "True" | "") || zones.stopped() {
        return false;
    }
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let strong = taints.filter(|taint| taint.effect == "NoExecute").map(|taint| taint.key.as_str());
    strong.clone().any(|key| key == NOT_READY || key == UNREACHABLE)
        || zones.permits(&zones::zone_of(node), Instant::now())
}

async fn treat(actor: &Actor, node: &Node, silent: bool, ready: &str, zones: &mut Zones) -> Result<(), kube::Error> {
    let api: Api<Node> = Api::all(actor.client());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    if silent {
        let unknown = unknown(node, &Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        if !unknown.is_empty() {
            tracing::warn!(node = name, "the node is silent");
            let patch = json!({"status": {"conditions": unknown}});
            api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        }
    }
    let emptied = is_emptied(node, ready, zones);
    if let Some(taints) = corrected(node, ready, emptied) {
        // The version makes sure that nobody else's taint is lost.
        let patch =
            json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    Ok(())
}

/// Says of the pods of a node that is not ready that they are not either: services then lead elsewhere. Their kubelet
/// says otherwise when it is back.
async fn mark_pods(context: &Context, actor: &Actor, node: &str) {
    for pod in context.caches.pods.list() {
        let here = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
        if !here || !pods::is_ready(&pod) {
            continue;
        }
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": now});
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        let api: Api<Pod> = Api::namespaced(actor.client(), pod.metadata.namespace.as_deref().unwrap_or_default());
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if let Err(error) = api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            tracing::debug!(pod = name, %error, "cannot mark the pod");
        }
    }
}

/// Deletes pods from nodes with taints that they do not tolerate, or no longer.
async fn evict(context: &Context, actor: &Actor) {
    let tainted: HashMap<String, Vec<Taint>> = context
        .caches
        .nodes
        .list()
        .iter()
        .filter_map(|node| {
            let taints = node.spec.as_ref()?.taints.clone()?;
            let strong: Vec<Taint> = taints.into_iter().filter(|taint| taint.effect == "NoExecute").collect();
            (!strong.is_empty()).then(|| (node.metadata.name.clone().unwrap_or_default(), strong))
        })
        .collect();
    if tainted.is_empty() {
        return;
    }
    for pod in context.caches.pods.list() {
        let Some(spec) = &pod.spec else { continue };
        let Some(taints) = spec.node_name.as_ref().and_then(|node| tainted.get(node)) else { continue };
        let mirror =
            pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("kubernetes.io/config.mirror"));
        if mirror || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let now = Timestamp::now().as_second();
        if taints.iter().any(|taint| is_over(taint, spec.tolerations.as_deref().unwrap_or_default(), now)) {
            let (namespace, name) =
                (pod.metadata.namespace.clone().unwrap_or_default(), pod.metadata.name.clone().unwrap_or_default());
            tracing::info!(pod = format!("{namespace}/{name}"), "deletes a pod from a node that is gone or not ready");
            let api: Api<Pod> = Api::namespaced(actor.client(), &namespace);
            if let Err(error) = api.delete(&name, &DeleteParams::default()).await {
                tracing::debug!(%error, "cannot delete the pod");
            }
        }
    }
}

/// Whether a pod with these tolerations has to leave a node with this taint at `now`, in seconds.
fn is_over(taint: &Taint, tolerations: &[Toleration], now: i64) -> bool {
    let matching: Vec<&Toleration> = tolerations.iter().filter(|one| tolerates(one, taint)).collect();
    if matching.is_empty() {
        return true;
    }
    let shortest = matching.iter().filter_map(|one| one.toleration_seconds).min();
    let since = taint.time_added.as_ref().map_or(now, |time| time.0.as_second());
    shortest.is_some_and(|seconds| now - since >= seconds)
}

/// Whether a toleration fits a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    (effect.is_empty() || effect == taint.effect)
        && ((key.is_empty() && exists) || key == taint.key)
        && (exists || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn taint(seconds: i64) -> Taint {
        let at = Timestamp::from_second(seconds).unwrap();
        serde_json::from_value(json!({"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": at.to_string()})).unwrap()
    }

    #[test]
    fn nothing_is_known_of_a_silent_node() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n", "creationTimestamp": "2027-01-01T00:00:00Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "PIDPressure", "status": "Unknown"}]},
        }))
        .unwrap();
        let told = |one: &Value| (one["type"].clone(), one["reason"].clone(), one["lastHeartbeatTime"].clone());
        let never = |kind: &str| (json!(kind), json!("NodeStatusNeverUpdated"), json!("2027-01-01T00:00:00Z"));
        assert_eq!(
            unknown(&node, "2027-01-01T00:01:00Z").iter().map(told).collect::<Vec<_>>(),
            [(json!("Ready"), json!("NodeStatusUnknown"), Value::Null), never("MemoryPressure"), never("DiskPressure")]
        );
    }

    #[test]
    fn pods_leave_when_their_toleration_is_over() {
        let tolerate = |seconds: Option<i64>| -> Vec<Toleration> {
            vec![
                serde_json::from_value(json!({"key": UNREACHABLE, "operator": "Exists", "tolerationSeconds": seconds}))
                    .unwrap(),
            ]
        };
        for (tolerations, now, over) in [
            (vec![], 100, true),
            (tolerate(None), 10_000, false),
            (tolerate(Some(300)), 399, false),
            (tolerate(Some(300)), 400, true),
        ] {
            assert_eq!(is_over(&taint(100), &tolerations, now), over, "{tolerations:?} at {now}");
        }
    }

    #[test]
    fn taints_follow_the_condition_and_those_of_others_stay() {
        let node: Node = serde_json::from_value(json!({"spec": {"taints": [
            {"key": "mine", "effect": "NoSchedule"}, {"key": NOT_READY, "effect": "NoSchedule"}]}}))
        .unwrap();
        let names =
            |taints: Vec<Taint>| taints.iter().map(|one| format!("{}:{}", one.key, one.effect)).collect::<Vec<_>>();
        assert_eq!(names(corrected(&node, "True", false).unwrap()), ["mine:NoSchedule"]);
        assert!(corrected(&node, "False", false).is_none(), "it is not this node's turn");
        assert!(corrected(&node, "", false).is_none(), "it has not spoken yet");
        let wanted =
            ["mine:NoSchedule", "node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"];
        assert_eq!(names(corrected(&node, "False", true).unwrap()), wanted);
        let full: Node =
            serde_json::from_value(json!({"status": {"conditions": [{"type": "DiskPressure", "status": "True"},
            {"type": "MemoryPressure", "status": "False"}]}}))
            .unwrap();
        assert_eq!(names(corrected(&full, "True", false).unwrap()), ["node.kubernetes.io/disk-pressure:NoSchedule"]);
    }
}
