//! Nodes that went silent: their conditions become unknown, they are tainted, and pods that do not tolerate it are
//! deleted in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::context::{Actor, Context};
use crate::pods;

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
    let heard: Mutex<HashMap<String, (String, Instant)>> = Mutex::default();
    loop {
        for node in caches.nodes.list() {
            let name = node.metadata.name.clone().unwrap_or_default();
            let lease = caches.leases.get(&format!("{LEASES}/{name}"));
            let beat =
                format!("{:?} {:?}", lease.and_then(|lease| lease.spec.as_ref()?.renew_time.clone()), heartbeat(&node));
            let silent = {
                let mut heard = heard.lock();
                let entry = heard.entry(name.clone()).or_insert_with(|| (beat.clone(), Instant::now()));
                if entry.0 != beat {
                    *entry = (beat, Instant::now());
                }
                entry.1.elapsed() > context.options.node_monitor_grace_period
            };
            if let Err(error) = treat(&actor, &node, &name, silent).await {
                tracing::debug!(node = name, %error, "cannot update the node");
            }
            if silent || ready_status(&node) != "True" {
                mark_pods(&context, &actor, &name).await;
            }
        }
        evict(&context, &actor).await;
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}

fn heartbeat(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|one| one.type_ == "Ready")?.last_heartbeat_time.as_ref().map(|time| time.0)
}

fn ready_status(node: &Node) -> &str {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().find(|one| one.type_ == "Ready").map_or("Unknown", |one| one.status.as_str())
}

/// The taints that a node is to have by its condition: key and effect.
fn wanted(node: &Node, ready: &str, unschedulable: bool) -> Vec<(&'static str, &'static str)> {
    let mut all = match ready {
        "True" => Vec::new(),
        "False" => vec![(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
        _ => vec![(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")],
    };
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
fn corrected(node: &Node, ready: &str) -> Option<Vec<Taint>> {
    let spec = node.spec.clone().unwrap_or_default();
    let present = spec.taints.unwrap_or_default();
    let wanted = wanted(node, ready, spec.unschedulable.unwrap_or(false));
    let ours = |taint: &Taint| {
        [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str())
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

async fn treat(actor: &Actor, node: &Node, name: &str, silent: bool) -> Result<(), kube::Error> {
    let api: Api<Node> = Api::all(actor.client());
    let mut ready = ready_status(node);
    if silent {
        ready = "Unknown";
        let unknown = unknown(node, &Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        if !unknown.is_empty() {
            tracing::warn!(node = name, "the node is silent");
            let patch = json!({"status": {"conditions": unknown}});
            api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        }
    }
    if let Some(taints) = corrected(node, ready) {
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
        assert_eq!(names(corrected(&node, "True").unwrap()), ["mine:NoSchedule"]);
        let wanted =
            ["mine:NoSchedule", "node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"];
        assert_eq!(names(corrected(&node, "False").unwrap()), wanted);
        let full: Node =
            serde_json::from_value(json!({"status": {"conditions": [{"type": "DiskPressure", "status": "True"},
            {"type": "MemoryPressure", "status": "False"}]}}))
            .unwrap();
        assert_eq!(names(corrected(&full, "True").unwrap()), ["node.kubernetes.io/disk-pressure:NoSchedule"]);
    }
}
