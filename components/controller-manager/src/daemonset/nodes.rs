//! Which nodes a daemon's pods belong on, and the pod for a node. Pure.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, Pod, PodSpec, Toleration};
use serde_json::json;

use crate::nodelifecycle::tolerates;
use crate::pods;

/// Label with the hash of the template that a pod was made from.
pub const HASH: &str = "controller-revision-hash";
const GENERATION: &str = "pod-template-generation";
/// Taints that pods of a daemon tolerate, as nodes need them most when something is wrong.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// What a node is to a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It has a pod.
    Run,
    /// A pod that is there may stay.
    Keep,
    /// It has none.
    Leave,
}

/// The node that a pod is on, or is meant for.
pub fn node_of(pod: &Pod) -> Option<String> {
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

fn holds(one: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = || one.values.iter().flatten();
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = || Some((number(value?)?, number(values().next()?)?));
    match one.operator.as_str() {
        "In" => value.is_some_and(|value| values().any(|wanted| wanted == value)),
        "NotIn" => value.is_none_or(|value| !values().any(|wanted| wanted == value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared().is_some_and(|(value, least)| value > least),
        "Lt" => compared().is_some_and(|(value, most)| value < most),
        _ => false,
    }
}

/// Whether a pod's selector and required affinity allow a node.
fn selects(spec: &PodSpec, node: &Node) -> bool {
    let name = node.metadata.name.as_deref();
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    if !spec.node_selector.iter().flatten().all(|(key, value)| label(key) == Some(value)) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|required| {
        required.node_selector_terms.iter().any(|term| {
            let (labels, fields) = (term.match_expressions.iter().flatten(), term.match_fields.iter().flatten());
            let empty = labels.clone().count() + fields.clone().count() == 0;
            let by_field = |one: &NodeSelectorRequirement| one.key == "metadata.name" && holds(one, name);
            !empty && labels.clone().all(|one| holds(one, label(&one.key))) && fields.clone().all(by_field)
        })
    })
}

/// What a node is to the pods of a set.
pub fn place(spec: &PodSpec, node: &Node) -> Place {
    let elsewhere = spec.node_name.as_deref().is_some_and(|wanted| Some(wanted) != node.metadata.name.as_deref());
    if elsewhere || !selects(spec, node) {
        return Place::Leave;
    }
    let tolerations = tolerations(spec);
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let effects: Vec<&str> = taints
        .iter()
        // A node that is not ready is just what a daemon may be there to make ready.
        .filter(|taint| taint.key != "node.kubernetes.io/not-ready" && taint.key != "node.kubernetes.io/unreachable")
        .filter(|taint| !tolerations.iter().any(|one| tolerates(one, taint)))
        .map(|taint| taint.effect.as_str())
        .collect();
    match () {
        () if effects.contains(&"NoExecute") => Place::Leave,
        () if effects.contains(&"NoSchedule") => Place::Keep,
        () => Place::Run,
    }
}

/// The pod for a node.
pub fn new_pod(set: &DaemonSet, node: &str, hash: &str) -> Pod {
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
    // The node is decided already, so that what was required of it need not be looked at again.
    let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]);
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        serde_json::from_value(json!({"nodeSelectorTerms": terms})).ok();
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn pods_go_where_selectors_and_taints_let_them() {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"disk": "ssd", "cpus": "8"}},
            "spec": {"taints": []}}))
            .unwrap();
        let tainted = |key: &str, effect: &str| {
            let mut node = node.clone();
            let taints = serde_json::from_value(json!([{"key": key, "effect": effect}])).unwrap();
            node.spec.get_or_insert_default().taints = Some(taints);
            node
        };
        let spec = |more: Value| -> PodSpec {
            let mut spec = json!({"containers": []});
            json_patch::merge(&mut spec, &more);
            serde_json::from_value(spec).unwrap()
        };
        let needs = |key: &str, operator: &str, value: &str| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": key, "operator": operator, "values": [value]}]}]}}}})
        };
        let plain = spec(json!({}));
        for (spec, node, wanted) in [
            (&plain, &node, Place::Run),
            (&spec(json!({"nodeSelector": {"disk": "hdd"}})), &node, Place::Leave),
            (&spec(json!({"nodeName": "other"})), &node, Place::Leave),
            (&spec(needs("disk", "In", "ssd")), &node, Place::Run),
            (&spec(needs("disk", "NotIn", "ssd")), &node, Place::Leave),
            (&spec(needs("cpus", "Gt", "4")), &node, Place::Run),
            (&spec(needs("cpus", "Lt", "4")), &node, Place::Leave),
            (&plain, &tainted("own", "NoSchedule"), Place::Keep),
            (&plain, &tainted("own", "NoExecute"), Place::Leave),
            (&plain, &tainted("own", "PreferNoSchedule"), Place::Run),
            (&plain, &tainted("node.kubernetes.io/unschedulable", "NoSchedule"), Place::Run),
            (&plain, &tainted("node.kubernetes.io/not-ready", "NoExecute"), Place::Run),
        ] {
            assert_eq!(place(spec, node), wanted, "{spec:?} {node:?}");
        }
    }

    #[test]
    fn a_pod_is_bound_to_its_node_by_affinity() {
        let set: DaemonSet = serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "a"},
            "spec": {"selector": {}, "template": {"spec": {"containers": []}}}}))
        .unwrap();
        let pod = new_pod(&set, "n", "h");
        assert_eq!((node_of(&pod).as_deref(), pod.metadata.labels.unwrap()[HASH].as_str()), (Some("n"), "h"));
    }
}
