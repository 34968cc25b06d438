//! Pods and nodes for tests.

use crate::node::NodeFacts;
use crate::pod::PodInfo;

/// A pod that asks for nothing.
pub fn pod(name: &str) -> PodInfo {
    from(
        serde_json::json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")}, "spec": {"containers": []}}),
    )
}

/// A pod with this spec; containers may be left out.
pub fn pod_with(name: &str, mut spec: serde_json::Value) -> PodInfo {
    if spec.get("containers").is_none() {
        spec["containers"] = serde_json::json!([]);
    }
    from(serde_json::json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "labels": {"app": "x"}},
        "spec": spec
    }))
}

fn from(value: serde_json::Value) -> PodInfo {
    PodInfo::of(serde_json::from_value(value).expect("a pod"))
}

/// A node with four cores, 8Gi and ten pods, and these fields besides.
pub fn node(name: &str, spec: serde_json::Value, labels: &[(&str, &str)]) -> NodeFacts {
    let mut labels: serde_json::Map<String, serde_json::Value> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    labels.insert("kubernetes.io/hostname".into(), name.into());
    let value = serde_json::json!({
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}
    });
    NodeFacts::of(serde_json::from_value(value).expect("a node"))
}
