//! Fields of features that are off: upstream drops them without a word, unless they were there before.

use kinit_api::object::Object;
use serde_json::{Map, Value};

use crate::registry::ResourceSpec;

/// Takes such fields out of a new state.
pub fn drop_disabled(spec: &ResourceSpec, old: Option<&Object>, new: &mut Object) {
    let had = |path: &[&str]| old.is_some_and(|old| old.get(path).is_some());
    match (spec.group(), spec.resource()) {
        ("coordination.k8s.io", "leases") => {
            for field in ["strategy", "preferredHolder"].into_iter().filter(|field| !had(&["spec", field])) {
                new.remove(&["spec", field]);
            }
        }
        ("", "persistentvolumeclaims") => {
            // One in another namespace is no source at all.
            let elsewhere = |claim: &Object| !claim.str(&["spec", "dataSourceRef", "namespace"]).is_empty();
            if elsewhere(new) && !old.is_some_and(elsewhere) {
                new.remove(&["spec", "dataSourceRef"]);
            }
        }
        ("apps", "statefulsets") => {
            let path = ["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"];
            if !had(&path) {
                new.remove(&path);
            }
        }
        ("resource.k8s.io", "resourceslices") => of_devices(old, new),
        _ => {}
    }
    let path: &[&str] = match (spec.group(), spec.resource()) {
        ("", "pods") => &["spec"],
        ("", "podtemplates") => &["template", "spec"],
        ("batch", "cronjobs") => &["spec", "jobTemplate", "spec", "template", "spec"],
        ("apps", _) | ("batch", "jobs") | ("", "replicationcontrollers") => &["spec", "template", "spec"],
        _ => return,
    };
    let before = old.and_then(|old| old.get(path)).cloned().unwrap_or(Value::Null);
    let Some(pods) = new.get_mut(path).and_then(Value::as_object_mut) else { return };
    if !stops_by_signal(&before) {
        drop_signals(pods);
    }
    for source in ["clusterTrustBundle", "podCertificate"] {
        if !projects(&before, source) {
            drop_projections(pods, source);
        }
    }
}

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

fn stops_by_signal(pods: &Value) -> bool {
    let lists = CONTAINERS.iter().filter_map(|field| pods.get(field)?.as_array());
    lists.flatten().any(|container| !container["lifecycle"]["stopSignal"].is_null())
}

/// Takes the signals out of a Pod's containers.
fn drop_signals(pods: &mut Map<String, Value>) {
    for field in CONTAINERS {
        for container in pods.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) else { continue };
            if lifecycle.remove("stopSignal").is_some() && lifecycle.is_empty() {
                container.remove("lifecycle");
            }
        }
    }
}

fn projects(pods: &Value, source: &str) -> bool {
    let sources = |volume: &Value| volume["projected"]["sources"].as_array().cloned().unwrap_or_default();
    let volumes = pods["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    volumes.iter().flat_map(sources).any(|one| one[source].is_object())
}

/// Takes a kind of source out of projected volumes; what had no other stays as one without.
fn drop_projections(pods: &mut Map<String, Value>, source: &str) {
    for volume in pods.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let sources = volume.pointer_mut("/projected/sources").and_then(Value::as_array_mut);
        for one in sources.into_iter().flatten().filter_map(Value::as_object_mut) {
            one.remove(source);
        }
    }
}

/// Takes lists out of the attributes of devices, and what they give of their node's own resources.
fn of_devices(old: Option<&Object>, new: &mut Object) {
    const LISTS: [&str; 4] = ["ints", "bools", "strings", "versions"];
    const MAPPINGS: &str = "nodeAllocatableResourceMappings";
    let devices =
        |slice: &Object| slice.get(&["spec", "devices"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let before = old.map(devices).unwrap_or_default();
    let attributes = |device: &Value| device["attributes"].as_object().cloned().unwrap_or_default();
    let lists = before.iter().flat_map(attributes).any(|(_, value)| LISTS.iter().any(|field| value[*field].is_array()));
    let mapped = before.iter().any(|device| device[MAPPINGS].is_object());
    let Some(devices) = new.get_mut(&["spec", "devices"]).and_then(Value::as_array_mut) else { return };
    for device in devices.iter_mut().filter_map(Value::as_object_mut) {
        if !mapped {
            device.remove(MAPPINGS);
        }
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut).filter(|_| !lists);
        for attribute in attributes.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
            LISTS.iter().for_each(|field| drop(attribute.remove(*field)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::find;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn fields_of_features_that_are_off_are_dropped_unless_they_were_there() {
        let cases = [
            (
                ("coordination.k8s.io", "v1", "leases"),
                json!({"spec": {"holderIdentity": "a", "strategy": "s", "preferredHolder": "b"}}),
                json!({"spec": {"holderIdentity": "a"}}),
            ),
            (
                ("", "v1", "pods"),
                json!({"spec": {"containers": [{"name": "c", "lifecycle": {"stopSignal": "SIGTERM"}}]}}),
                json!({"spec": {"containers": [{"name": "c"}]}}),
            ),
            (
                ("batch", "v1", "cronjobs"),
                json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "c",
                    "lifecycle": {"stopSignal": "SIGTERM", "preStop": {}}}]}}}}}}),
                json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"name": "c",
                    "lifecycle": {"preStop": {}}}]}}}}}}),
            ),
            (
                ("", "v1", "podtemplates"),
                json!({"template": {"spec": {"volumes": [{"name": "v", "projected": {"sources": [
                    {"clusterTrustBundle": {"name": "b", "path": "p"}}, {"podCertificate": {"keyType": "ED25519"}}]}}]}}}),
                json!({"template": {"spec": {"volumes": [{"name": "v", "projected": {"sources": [{}, {}]}}]}}}),
            ),
            (
                ("", "v1", "persistentvolumeclaims"),
                json!({"spec": {"volumeName": "v", "dataSourceRef": {"kind": "K", "name": "a", "namespace": "n"}}}),
                json!({"spec": {"volumeName": "v"}}),
            ),
            (
                ("apps", "v1", "statefulsets"),
                json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1, "maxUnavailable": 1}}}}),
                json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}}),
            ),
            (
                ("resource.k8s.io", "v1", "resourceslices"),
                json!({"spec": {"devices": [{"name": "d", "nodeAllocatableResourceMappings": {"cpu": {}},
                    "attributes": {"a": {"int": 1, "ints": [1]}}}]}}),
                json!({"spec": {"devices": [{"name": "d", "attributes": {"a": {"int": 1}}}]}}),
            ),
        ];
        for ((group, version, resource), sent, left) in cases {
            let spec = find(group, version, resource).unwrap().1;
            let (mut new, mut again) = (object(sent.clone()), object(sent.clone()));
            drop_disabled(spec, None, &mut new);
            assert_eq!(new.into_value(), left, "{resource}");
            drop_disabled(spec, Some(&object(sent.clone())), &mut again);
            assert_eq!(again.into_value(), sent, "{resource}");
        }
    }
}
