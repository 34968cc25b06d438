//! Plugins that are off unless an administrator switches them on.

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Context, Operation};
use crate::authz::rbac::Ask;

const CONTAINERS: &[&str] = &["initContainers", "containers", "ephemeralContainers"];

/// AlwaysPullImages: who may run an image is found out by pulling it.
pub fn pull_always(_: &Context<'_>, attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    if !attributes.is("pods") || !matches!(attributes.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    for field in CONTAINERS {
        for container in pod.get_mut(&["spec", field]).and_then(Value::as_array_mut).into_iter().flatten() {
            container["imagePullPolicy"] = "Always".into();
        }
    }
    for volume in pod.get_mut(&["spec", "volumes"]).and_then(Value::as_array_mut).into_iter().flatten() {
        if volume["image"].is_object() {
            volume["image"]["pullPolicy"] = "Always".into();
        }
    }
    Ok(())
}

/// AlwaysDeny: nothing is written.
pub fn deny(_: &Context<'_>, attributes: &Attributes<'_>, _: &Object) -> Result<(), Status> {
    Err(attributes.forbidden("admission control is denying all modifications"))
}

/// LimitPodHardAntiAffinityTopology: Pods may keep others off their node, but not off more than that.
pub fn limit_anti_affinity(_: &Context<'_>, attributes: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    const NODE: &str = "kubernetes.io/hostname";
    if !attributes.is("pods") || !matches!(attributes.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let path = ["spec", "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = pod.get(&path).and_then(Value::as_array).into_iter().flatten();
    let mut keys = terms.map(|term| term["topologyKey"].as_str().unwrap_or_default());
    match keys.find(|key| *key != NODE) {
        Some(key) => Err(attributes.forbidden(format!(
            "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {NODE} is allowed"
        ))),
        None => Ok(()),
    }
}

/// ExtendedResourceToleration: nodes that are tainted for their devices take the Pods that ask for them.
pub fn tolerate_devices(_: &Context<'_>, attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    if !attributes.is("pods") || !matches!(attributes.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let mut names = std::collections::BTreeSet::new();
    for field in ["containers", "initContainers"] {
        for container in pod.get(&["spec", field]).and_then(Value::as_array).into_iter().flatten() {
            let requests = container["resources"]["requests"].as_object().into_iter().flatten();
            let device = |name: &String| name.contains('/') && !name.contains("kubernetes.io/");
            names.extend(requests.map(|(name, _)| name.clone()).filter(device));
        }
    }
    let mut all = pod.get(&["spec", "tolerations"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let before = all.len();
    for name in names {
        let one = json!({"key": name, "operator": "Exists", "effect": "NoSchedule"});
        if !all.contains(&one) {
            all.push(one);
        }
    }
    if all.len() != before {
        pod.set(&["spec", "tolerations"], all);
    }
    Ok(())
}

/// The labels of a selector such as `a=b,c=d`; the error is upstream's.
fn pairs(selector: &str) -> Result<Vec<(&str, &str)>, String> {
    let terms = selector.split(',').map(str::trim).filter(|term| !term.is_empty());
    let read = terms.map(|term| match term.split_once('=') {
        Some((key, value)) if !value.contains('=') => Ok((key.trim(), value.trim())),
        _ => Err(format!("invalid selector: [{}]", term.replace('=', " "))),
    });
    read.collect()
}

/// PodNodeSelector: an annotation of the namespace keeps its Pods to nodes.
pub fn select_nodes(context: &Context<'_>, attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
    if !attributes.is("pods") || attributes.operation != Operation::Create {
        return Ok(());
    }
    let found = context.cache.find("", "namespaces", "", &attributes.request.namespace);
    let Some(namespace) = found.and_then(|entry| entry.object()) else { return Ok(()) };
    let text = namespace.str(&["metadata", "annotations", ANNOTATION]);
    for (key, value) in pairs(text).map_err(Status::failed)? {
        let own = pod.get(&["spec", "nodeSelector", key]).and_then(Value::as_str);
        if own.is_some_and(|own| own != value) {
            let why = "pod node label selector conflicts with its namespace node label selector";
            return Err(attributes.forbidden(why));
        }
        pod.set(&["spec", "nodeSelector", key], value);
    }
    Ok(())
}

/// DenyServiceExternalIPs: no Service takes addresses that nobody gave it.
pub fn deny_external(_: &Context<'_>, attributes: &Attributes<'_>, service: &Object) -> Result<(), Status> {
    if !attributes.is("services") || attributes.operation == Operation::Delete {
        return Ok(());
    }
    let list =
        |object: &Object| object.get(&["spec", "externalIPs"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let before = attributes.old.map(list).unwrap_or_default();
    if list(service).iter().all(|address| before.contains(address)) {
        return Ok(());
    }
    Err(attributes.forbidden("Use of external IPs is denied by admission control"))
}

/// OwnerReferencesPermissionEnforcement: who gives an object an owner may have it deleted, so it takes that right.
pub fn owners(context: &Context<'_>, attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    if !matches!(attributes.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let request = attributes.request;
    let list = |object: &Object| -> Vec<Value> {
        object.get(&["metadata", "ownerReferences"]).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let (after, before) = (list(object), attributes.old.map(list).unwrap_or_default());
    if after == before {
        return Ok(());
    }
    let may = |verb: &str, group: &str, resource: &str, subresource: &str, name: &str| {
        let ask = Ask::Resource { verb, group, resource, subresource, name, namespace: &request.namespace };
        context.authorizer.allows(&request.user, &ask, "")
    };
    let spec = &request.spec;
    if attributes.old.is_some() && !may("delete", spec.group(), spec.resource(), "", attributes.name) {
        return Err(attributes.forbidden("cannot set an ownerRef on a resource you can't delete: "));
    }
    for owner in after.iter().filter(|owner| owner["blockOwnerDeletion"] == true && !before.contains(owner)) {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
        let registry = context.cache.registry();
        let kind = |spec: &&crate::registry::Spec| spec.group() == group && spec.kind() == text("kind");
        let found = registry.rows().iter().find(kind).map(|spec| spec.resource().to_owned());
        if !found.is_some_and(|resource| may("update", group, &resource, "finalizers", text("name"))) {
            let why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , ";
            return Err(attributes.forbidden(why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespaces_selector_is_of_labels() {
        assert_eq!(pairs("a=b, c = d,").unwrap(), [("a", "b"), ("c", "d")]);
        assert_eq!(pairs("").unwrap(), []);
        assert_eq!(pairs("a in b").unwrap_err(), "invalid selector: [a in b]");
        assert_eq!(pairs("a=b=c").unwrap_err(), "invalid selector: [a b c]");
    }
}
