//! What a kubelet's identity must not be good for, where names alone did not tell; and how new nodes begin.

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Context, Operation};

const MIRROR: &str = "kubernetes.io/config.mirror";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Labels of Kubernetes' own that a kubelet sets on its node.
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

/// A new node takes no Pods until the node lifecycle controller has seen it ready.
pub fn taint(_: &Context<'_>, attributes: &Attributes<'_>, node: &mut Object) -> Result<(), Status> {
    if !attributes.is("nodes") || attributes.operation != Operation::Create {
        return Ok(());
    }
    let mut taints = node.get(&["spec", "taints"]).and_then(Value::as_array).cloned().unwrap_or_default();
    if !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule") {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        node.set(&["spec", "taints"], taints);
    }
    Ok(())
}

/// NodeRestriction.
pub fn restrict(context: &Context<'_>, attributes: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    let Some(node) = attributes.request.user.node() else { return Ok(()) };
    let spec = &attributes.request.spec;
    let refused = match (spec.group(), spec.resource(), attributes.request.subresource.as_str()) {
        ("", "pods", "") => pod(context, attributes, node, object),
        ("", "pods", "status") => pod_status(attributes, node, object),
        ("", "pods", "eviction") => {
            let pod = context.cache.find("", "pods", &attributes.request.namespace, attributes.name);
            let own = pod.and_then(|entry| entry.object()).is_some_and(|pod| pod.str(&["spec", "nodeName"]) == node);
            (!own).then(|| format!("node {node} can only evict pods with spec.nodeName set to itself"))
        }
        ("", "pods", other) => {
            Some(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
        }
        ("", "nodes", _) => own_node(attributes, node, object),
        ("", "serviceaccounts", "token") => token(context, attributes, node, object),
        ("coordination.k8s.io", "leases", _) => (attributes.own_name(object) != node)
            .then(|| "can only access node lease with the same name as the requesting node".to_owned()),
        ("storage.k8s.io", "csinodes", _) => (attributes.own_name(object) != node)
            .then(|| "can only access CSINode with the same name as the requesting node".to_owned()),
        ("resource.k8s.io", "resourceslices", _) => {
            let owner = attributes.old.unwrap_or(object).str(&["spec", "nodeName"]);
            (owner != node).then(|| "can only write ResourceSlice objects of the own node".to_owned())
        }
        ("certificates.k8s.io", "certificatesigningrequests", "") => request(attributes, node, object),
        _ => None,
    };
    refused.map_or(Ok(()), |why| Err(attributes.forbidden(why)))
}

fn pod(context: &Context<'_>, attributes: &Attributes<'_>, node: &str, pod: &Object) -> Option<String> {
    match attributes.operation {
        Operation::Delete => (pod.str(&["spec", "nodeName"]) != node)
            .then(|| format!("node {node:?} can only delete pods with spec.nodeName set to itself")),
        operation @ (Operation::Update | Operation::Connect) => Some(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            operation.as_str()
        )),
        Operation::Create => {
            if pod.get(&["metadata", "annotations", MIRROR]).is_none() {
                return Some(format!(
                    "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
                ));
            }
            if pod.str(&["spec", "nodeName"]) != node {
                return Some(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
            }
            let owners = pod.get(&["metadata", "ownerReferences"]).and_then(Value::as_array);
            let Some([owner]) = owners.map(Vec::as_slice) else {
                return Some(format!("node {node:?} can only create pods with an owner reference set to itself"));
            };
            let stored = context.cache.find("", "nodes", "", node).and_then(|entry| entry.object());
            let own = owner["apiVersion"] == "v1"
                && owner["kind"] == "Node"
                && owner["name"] == node
                && owner["controller"] == true
                && owner["blockOwnerDeletion"] != true
                && stored.is_some_and(|stored| owner["uid"] == stored.uid());
            (!own)
                .then(|| format!("node {node:?} can only create pods with a controller owner reference set to itself"))
        }
    }
}

fn pod_status(attributes: &Attributes<'_>, node: &str, new: &Object) -> Option<String> {
    let old = attributes.old?;
    if old.str(&["spec", "nodeName"]) != node {
        return Some(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    (old.labels() != new.labels()).then(|| format!("node {node:?} cannot update labels through pod status"))
}

fn own_node(attributes: &Attributes<'_>, node: &str, new: &Object) -> Option<String> {
    if attributes.own_name(new) != node {
        return Some(format!("node {node:?} is not allowed to modify node {:?}", attributes.name));
    }
    if attributes.operation == Operation::Delete {
        return None;
    }
    let before = attributes.old.map(Object::labels).unwrap_or_default();
    let after = new.labels();
    let changed = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value))
        .chain(before.iter().filter(|(key, _)| !after.contains_key(*key)))
        .map(|(key, _)| key.as_str());
    let mut forbidden: Vec<&str> = changed.filter(|key| !may_label(key)).collect();
    forbidden.sort_unstable();
    forbidden.dedup();
    let Some(old) = attributes.old else {
        return (!forbidden.is_empty())
            .then(|| format!("node {node:?} is not allowed to set the following labels: {}", forbidden.join(", ")));
    };
    let differs = |path: &[&str]| old.get(path) != new.get(path);
    if differs(&["spec", "taints"]) {
        return Some(format!("node {node:?} is not allowed to modify taints"));
    }
    if differs(&["metadata", "ownerReferences"]) {
        return Some(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    (!forbidden.is_empty()).then(|| format!("is not allowed to modify labels: {}", forbidden.join(", ")))
}

/// Whether a kubelet may set the label: any but Kubernetes' own, and of those the ones that are a kubelet's.
fn may_label(key: &str) -> bool {
    let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
    let within = |domain: &str| namespace == domain || namespace.ends_with(&format!(".{domain}"));
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    let kubelets = within("kubelet.kubernetes.io") || within("node.kubernetes.io") || OWN_LABELS.contains(&key);
    kubelets || !(within("kubernetes.io") || within("k8s.io"))
}

fn token(context: &Context<'_>, attributes: &Attributes<'_>, node: &str, request: &Object) -> Option<String> {
    let bound = |field| request.str(&["spec", "boundObjectRef", field]);
    if bound("kind") != "Pod" || bound("apiVersion") != "v1" || bound("name").is_empty() {
        return Some("node requested token not bound to a pod".to_owned());
    }
    if bound("uid").is_empty() {
        return Some("node requested token with a pod binding without a uid".to_owned());
    }
    let pod = context.cache.find("", "pods", &attributes.request.namespace, bound("name"))?.object()?;
    if pod.str(&["spec", "nodeName"]) != node {
        return Some("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    super::audiences::refused(context, attributes, &pod, request)
}

/// A kubelet asks for certificates of its own name only.
fn request(attributes: &Attributes<'_>, node: &str, object: &Object) -> Option<String> {
    let signer = object.str(&["spec", "signerName"]);
    if attributes.operation != Operation::Create
        || !matches!(signer, "kubernetes.io/kubelet-serving" | "kubernetes.io/kube-apiserver-client-kubelet")
    {
        return None;
    }
    let name = super::certificates::requested_name(object);
    (name.as_deref() != Some(&format!("system:node:{node}")))
        .then(|| format!("can only create a node CSR with CN=system:node:{node}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelets_set_their_own_labels_and_users_labels() {
        for (key, allowed) in [
            ("kubernetes.io/hostname", true),
            ("node.kubernetes.io/instance-type", true),
            ("kubelet.kubernetes.io/x", true),
            ("example.org/rack", true),
            ("plain", true),
            ("node-restriction.kubernetes.io/x", false),
            ("a.node-restriction.kubernetes.io/x", false),
            ("node-role.kubernetes.io/control-plane", false),
            ("k8s.io/x", false),
        ] {
            assert_eq!(may_label(key), allowed, "{key}");
        }
    }
}
