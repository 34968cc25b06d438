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
    let may = |verb: &str, group: &str, resource: &str, subresource: &str, name: &str, namespace: &str| {
        let ask = Ask::Resource { verb, group, resource, subresource, name, namespace };
        context.authorizer.allows(&request.user, &ask, "")
    };
    let spec = &request.spec;
    let may_delete =
        || may("delete", spec.group(), spec.resource(), &request.subresource, attributes.name, &request.namespace);
    // Upstream tells the reason and the error of the decision, which are none.
    if attributes.old.is_some() && !may_delete() {
        return Err(attributes.forbidden("cannot set an ownerRef on a resource you can't delete: , <nil>"));
    }
    let blocking = newly_blocking(&after, &before);
    if blocking.is_empty() || may("update", "*", "*", "finalizers", "*", "") {
        return Ok(());
    }
    let registry = context.cache.registry();
    for owner in blocking {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let (group, bare) = version.split_once('/').unwrap_or(("", version));
        let Some((_, owner)) = registry.find_kind(group, bare, kind) else {
            return Err(attributes.forbidden(format!(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {version} Kind \
                 {kind}: no matches for kind {kind:?} in version {version:?}"
            )));
        };
        let namespace = if owner.namespaced() { request.namespace.as_str() } else { "" };
        if !may("update", group, owner.resource(), "finalizers", text("name"), namespace) {
            let why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>";
            return Err(attributes.forbidden(why));
        }
    }
    Ok(())
}

/// The owners that keep the object from being left behind, and did not before.
fn newly_blocking<'a>(after: &'a [Value], before: &[Value]) -> Vec<&'a Value> {
    let blocks = |owner: &Value| owner["blockOwnerDeletion"] == true;
    let did = |owner: &Value| before.iter().any(|old| old["uid"] == owner["uid"] && blocks(old));
    after.iter().filter(|owner| blocks(owner) && !did(owner)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_blocks_anew_where_it_did_not_before() {
        let owner = |uid: &str, blocks: Value| json!({"uid": uid, "name": "o", "blockOwnerDeletion": blocks});
        let before = [owner("a", true.into()), owner("b", false.into())];
        for (after, wanted) in [
            (vec![owner("a", true.into())], 0),
            (vec![owner("b", true.into()), owner("c", true.into())], 2),
            (vec![owner("b", false.into()), owner("c", Value::Null)], 0),
        ] {
            assert_eq!(newly_blocking(&after, &before).len(), wanted, "{after:?}");
        }
    }
}
