//! DaemonSets: one pod on each node that it fits on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Toleration};
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::context::{Actor, Context};
use crate::nodelifecycle::tolerates;
use crate::pods::{self, Expectations};
use crate::write;

const GENERATION: &str = "pod-template-generation";
const HASH: &str = "controller-revision-hash";
/// Taints that pods of a daemon tolerate, as nodes need them most when something is wrong.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("daemon-set-controller").await;
    let caches = &context.caches;
    let (sets, nodes, all) = (caches.daemon_sets.clone(), caches.nodes.clone(), caches.pods.clone());
    sets.synced().await;
    nodes.synced().await;
    all.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    sets.handle(move |_, set| keys.add(key_of(set.as_ref())));
    pods::watch_owned(&all, "DaemonSet", &queue);
    let (keys, known) = (queue.clone(), sets.clone());
    let shapes: parking_lot::Mutex<HashMap<String, Value>> = Default::default();
    nodes.handle(move |_, node| {
        // Heartbeats of nodes are of no interest here, only where pods may go.
        let spec = node.spec.clone().unwrap_or_default();
        let shape = json!([node.metadata.labels, spec.taints, spec.unschedulable, node.metadata.uid]);
        let changed = shapes.lock().insert(key_of(node.as_ref()), shape.clone()) != Some(shape);
        if changed {
            for set in known.list() {
                keys.add(key_of(set.as_ref()));
            }
        }
    });
    let expectations = Arc::new(Expectations::default());
    work("daemonset", queue, 2, context.shutdown.clone(), move |key: String| {
        let (sets, nodes, all, actor, expectations) =
            (sets.clone(), nodes.clone(), all.clone(), actor.clone(), expectations.clone());
        async move {
            let Some(set) = sets.get(&key).filter(|set| set.metadata.deletion_timestamp.is_none()) else {
                expectations.forget(&key);
                return Ok(None);
            };
            let namespace = set.metadata.namespace.clone().unwrap_or_default();
            let uid = set.metadata.uid.as_deref();
            let own: Vec<Arc<Pod>> =
                all.list_in(&namespace).into_iter().filter(|pod| pods::is_controlled_by(&pod.metadata, uid)).collect();
            reconcile(&actor, &key, &set, &nodes.list(), own, &expectations).await?;
            Ok::<_, kube::Error>(None)
        }
    })
    .await;
}

fn hash(spec: &DaemonSetSpec) -> String {
    let text = serde_json::to_string(&spec.template).unwrap_or_default();
    hex::encode(&Sha256::digest(text)[..5])
}

/// The node that a pod is on, or is meant for.
fn node_of(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = &spec.node_name {
        return Some(node.clone());
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.first()?.match_fields.as_ref()?;
    fields.iter().find(|one| one.key == "metadata.name")?.values.as_ref()?.first().cloned()
}

fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut all = spec.tolerations.clone().unwrap_or_default();
    let network = ("node.kubernetes.io/network-unavailable", "NoSchedule");
    let more = spec.host_network.unwrap_or(false).then_some(network);
    for (key, effect) in TOLERATED.iter().copied().chain(more) {
        all.push(Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Default::default()
        });
    }
    all
}

/// Whether a pod of the set belongs on a node.
fn fits(spec: &PodSpec, node: &Node) -> bool {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    if spec.node_name.as_deref().is_some_and(|wanted| wanted != name) {
        return false;
    }
    let labels = node.metadata.labels.clone().unwrap_or_default();
    if !spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value)) {
        return false;
    }
    let tolerations = tolerations(spec);
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    taints
        .iter()
        .filter(|taint| taint.effect != "PreferNoSchedule")
        // A node that is not ready is just what a daemon may be there to make ready.
        .filter(|taint| taint.key != "node.kubernetes.io/not-ready" && taint.key != "node.kubernetes.io/unreachable")
        .all(|taint| tolerations.iter().any(|one| tolerates(one, taint)))
}

fn new_pod(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let spec = set.spec.clone().unwrap_or_default();
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    let name = set.metadata.name.clone().unwrap_or_default();
    let mut pod = pods::from_template(&spec.template, &namespace, &name, pods::owner(set));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH.into(), hash.to_owned());
    labels.insert(GENERATION.into(), set.metadata.generation.unwrap_or(1).to_string());
    let spec = pod.spec.get_or_insert_default();
    let mut tolerations = tolerations(spec);
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        tolerations.push(Toleration { key: Some(key.into()), operator: Some("Exists".into()), ..Default::default() });
    }
    spec.tolerations = Some(tolerations);
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]});
    let affinity =
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}});
    let mut merged = serde_json::to_value(spec.affinity.clone().unwrap_or_default()).unwrap_or_default();
    merged["nodeAffinity"] = affinity["nodeAffinity"].clone();
    spec.affinity = serde_json::from_value(merged).ok();
    pod
}

async fn reconcile(
    actor: &Actor,
    key: &str,
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    own: Vec<Arc<Pod>>,
    expectations: &Expectations,
) -> Result<(), kube::Error> {
    let spec = set.spec.clone().unwrap_or_default();
    let template = spec.template.spec.clone().unwrap_or_default();
    let hash = hash(&spec);
    let wanted: HashSet<String> =
        nodes.iter().filter(|node| fits(&template, node)).filter_map(|node| node.metadata.name.clone()).collect();
    let mut by_node: HashMap<String, Vec<Arc<Pod>>> = HashMap::new();
    for pod in &own {
        by_node.entry(node_of(pod).unwrap_or_default()).or_default().push(pod.clone());
    }
    let is_new = |pod: &Pod| pod.metadata.labels.as_ref().and_then(|labels| labels.get(HASH)) == Some(&hash);
    if expectations.met(key, &own) {
        let (mut missing, mut extra) = (Vec::new(), Vec::new());
        for node in &wanted {
            let there = by_node.get(node).cloned().unwrap_or_default();
            let (ended, alive): (Vec<_>, Vec<_>) =
                there.into_iter().partition(|pod| matches!(pods::phase(pod), "Failed" | "Succeeded"));
            extra.extend(ended.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()));
            match alive.as_slice() {
                [] => missing.push(new_pod(set, node, &hash)),
                [_, more @ ..] => {
                    extra.extend(more.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).cloned())
                }
            }
        }
        for (node, there) in &by_node {
            if !wanted.contains(node) {
                extra.extend(there.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).cloned());
            }
        }
        // One old pod at a time is replaced, and only while all others are ready.
        let unready = own.iter().any(|pod| !pods::is_ready(pod));
        let rolls = spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete");
        if rolls && missing.is_empty() {
            let old: Vec<_> =
                own.iter().filter(|pod| !is_new(pod) && pod.metadata.deletion_timestamp.is_none()).cloned().collect();
            let broken = old.iter().filter(|pod| !pods::is_ready(pod)).cloned();
            extra.extend(broken);
            if !unready {
                extra.extend(old.into_iter().take(1));
            }
        }
        pods::create_expected(actor, expectations, key, &own, missing).await?;
        pods::delete(actor, &extra).await?;
    }
    report(actor, set, &wanted, &by_node, is_new).await
}

async fn report(
    actor: &Actor,
    set: &DaemonSet,
    wanted: &HashSet<String>,
    by_node: &HashMap<String, Vec<Arc<Pod>>>,
    is_new: impl Fn(&Pod) -> bool,
) -> Result<(), kube::Error> {
    let on = |node: &String, test: &dyn Fn(&Pod) -> bool| {
        by_node.get(node).is_some_and(|all| all.iter().any(|pod| test(pod)))
    };
    let count = |test: &dyn Fn(&Pod) -> bool| wanted.iter().filter(|node| on(node, test)).count() as i32;
    let ready = count(&|pod| pods::is_ready(pod));
    let status = DaemonSetStatus {
        desired_number_scheduled: wanted.len() as i32,
        current_number_scheduled: count(&|_| true),
        number_misscheduled: by_node.keys().filter(|node| !wanted.contains(*node)).count() as i32,
        number_ready: ready,
        number_available: Some(ready),
        number_unavailable: Some(wanted.len() as i32 - ready),
        updated_number_scheduled: Some(count(&is_new)),
        observed_generation: set.metadata.generation,
        ..Default::default()
    };
    let numbers = |status: &DaemonSetStatus| {
        let or = |value: Option<i32>| value.unwrap_or(0);
        (
            [
                status.desired_number_scheduled,
                status.current_number_scheduled,
                status.number_misscheduled,
                status.number_ready,
            ],
            [or(status.number_available), or(status.number_unavailable), or(status.updated_number_scheduled)],
            status.observed_generation.unwrap_or(0),
        )
    };
    if set.status.as_ref().map(numbers) == Some(numbers(&status)) {
        return Ok(());
    }
    let api: Api<DaemonSet> = Api::namespaced(actor.client(), set.metadata.namespace.as_deref().unwrap_or_default());
    let patch = json!({"status": status});
    write::status(&api, set, &patch).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_go_where_they_fit() {
        let spec = |value: Value| -> PodSpec { serde_json::from_value(value).unwrap() };
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"a": "1"}}, "spec": {"taints": [
            {"key": "cp", "effect": "NoSchedule"}, {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}}))
            .unwrap();
        let tolerant = json!({"containers": [], "tolerations": [{"operator": "Exists"}]});
        assert!(fits(&spec(tolerant), &node));
        assert!(!fits(&spec(json!({"containers": []})), &node));
        assert!(!fits(
            &spec(json!({"containers": [], "nodeSelector": {"a": "2"}, "tolerations": [{"operator": "Exists"}]})),
            &node
        ));
    }

    #[test]
    fn a_pod_is_meant_for_its_node() {
        let set: DaemonSet = serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "x", "uid": "u"},
            "spec": {"selector": {}, "template": {"spec": {"containers": []}}}}))
        .unwrap();
        assert_eq!(node_of(&new_pod(&set, "n1", "h")).as_deref(), Some("n1"));
    }
}
