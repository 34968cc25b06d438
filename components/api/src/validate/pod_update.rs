//! What may change about a Pod: next to nothing.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{list, same};
use crate::difference;
use crate::object::Object;

pub(super) const CHANGEABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                          `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` \
                          (allow it to be set to 1 if it was previously negative)";

/// What a change of a Pod's spec may not do.
pub(super) fn changed(old: &Object, new: &Object) -> Errors {
    let (Some(before), Some(after)) = (old.get(&["spec"]), new.get(&["spec"])) else { return Errors::new() };
    let mut errors = annotations(old, new);
    let path = Path::new("spec");
    for containers in ["containers", "initContainers"] {
        if list(before, containers).len() != list(after, containers).len() {
            let text = "pod updates may not add or remove containers";
            errors.push(Error::forbidden(&path.child(containers), text));
            return errors;
        }
        for (at, container) in list(after, containers).iter().enumerate() {
            let path = path.child(containers).index(at);
            if super::str_of(container, "image").is_empty() {
                errors.push(Error::required(&path.child("image"), ""));
            }
            super::containers::trimmed_image(container, &path, &mut errors);
        }
    }
    deadline(before, after, &path, &mut errors);
    let kept = list(before, "tolerations").iter().all(|toleration| tolerates(after, toleration));
    if !kept {
        errors.push(Error::forbidden(
            &path.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
    let gates = list(before, "schedulingGates");
    for (at, gate) in list(after, "schedulingGates").iter().enumerate().filter(|(_, gate)| !gates.contains(gate)) {
        let text = format!("only deletion is allowed, but found new scheduling gate '{}'", super::str_of(gate, "name"));
        errors.push(Error::forbidden(&path.child("schedulingGates").index(at).child("name"), text));
    }
    if !gates.is_empty() {
        narrowed(before, after, &path, &mut errors);
    }
    let after = unchangeable(after, before);
    if !same(Some(before), Some(&after)) {
        let changes = difference::of("core/v1", "PodSpec", before, &after);
        let text = format!("pod updates may not change fields other than {CHANGEABLE}\n{changes}");
        errors.push(Error::forbidden(&path, text));
    }
    errors
}

/// Annotations that a Pod is made with or never has.
pub(super) fn annotations(old: &Object, new: &Object) -> Errors {
    let path = Path::new("metadata.annotations");
    let mut errors = Errors::new();
    let of = |pod: &Object| {
        let all = pod.get(&["metadata", "annotations"]).and_then(Value::as_object).cloned();
        all.unwrap_or_default()
            .into_iter()
            .filter_map(|(key, value)| {
                let name = if key == super::pod::MIRROR {
                    "mirror pod annotation"
                } else if key.starts_with("container.apparmor.security.beta.kubernetes.io/") {
                    "AppArmor annotations"
                } else {
                    return None;
                };
                Some((key, value, name))
            })
            .collect::<Vec<_>>()
    };
    let (before, after) = (of(old), of(new));
    for (key, _, name) in before.iter().filter(|entry| !after.contains(entry)) {
        errors.push(Error::forbidden(&path.key(key), format!("may not remove or update {name}")));
    }
    for (key, _, name) in after.iter().filter(|(key, ..)| !before.iter().any(|(own, ..)| own == key)) {
        errors.push(Error::forbidden(&path.key(key), format!("may not add {name}")));
    }
    errors
}

fn deadline(before: &Value, after: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("activeDeadlineSeconds");
    match (before["activeDeadlineSeconds"].as_i64(), after["activeDeadlineSeconds"].as_i64()) {
        (Some(_), None) => {
            errors.push(Error::invalid(&path, Value::Null, "must not update from a positive integer to nil value"));
        }
        (Some(before), Some(after)) if before < after => {
            errors.push(Error::invalid(&path, after, "must be less than or equal to previous value"));
        }
        _ => {}
    }
}

/// Whether the toleration is still there, but for its seconds.
fn tolerates(spec: &Value, toleration: &Value) -> bool {
    let fields = ["key", "operator", "value", "effect"];
    list(spec, "tolerations").iter().any(|own| fields.iter().all(|field| same(own.get(field), toleration.get(field))))
}

/// A spec with the fields that may change as `base` has them.
fn unchangeable(spec: &Value, base: &Value) -> Value {
    let mut spec = spec.clone();
    for containers in ["containers", "initContainers"] {
        let images: Vec<Value> = list(base, containers).iter().map(|container| container["image"].clone()).collect();
        let own = spec[containers].as_array_mut();
        for (container, image) in own.into_iter().flatten().zip(images) {
            container["image"] = image;
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        spec[field] = base[field].clone();
    }
    let was_negative = base["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0);
    if was_negative && spec["terminationGracePeriodSeconds"] == 1 {
        spec["terminationGracePeriodSeconds"] = base["terminationGracePeriodSeconds"].clone();
    }
    // A Pod that waits behind a gate may still narrow where it goes.
    if !list(base, "schedulingGates").is_empty() {
        spec["nodeSelector"] = base["nodeSelector"].clone();
        let (new, old) = (&spec["affinity"], &base["affinity"]);
        let alone = ["podAffinity", "podAntiAffinity"].iter().all(|field| new[field].is_null());
        if !same(new.get("nodeAffinity"), old.get("nodeAffinity")) {
            if old.is_null() && alone {
                spec["affinity"] = Value::Null;
            } else {
                let node = old["nodeAffinity"].clone();
                spec["affinity"]["nodeAffinity"] = node;
            }
        }
    }
    spec
}

/// Where a Pod that waits behind a gate goes may only become less.
fn narrowed(before: &Value, after: &Value, path: &Path, errors: &mut Errors) {
    let kept = before["nodeSelector"].as_object().into_iter().flatten();
    if kept.into_iter().any(|(key, value)| after["nodeSelector"].get(key) != Some(value)) {
        let text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(Error::invalid(&path.child("nodeSelector"), after["nodeSelector"].clone(), text));
    }
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = |spec: &'_ Value| list(&spec["affinity"]["nodeAffinity"][required], "nodeSelectorTerms").to_vec();
    let (old, new) = (terms(before), terms(after));
    let path = path.child("affinity.nodeAffinity").child(required).child("nodeSelectorTerms");
    if !old.is_empty() && old.len() != new.len() {
        let text = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(Error::invalid(&path, new, text));
        return;
    }
    for (at, (old, new)) in old.iter().zip(&new).enumerate() {
        let fields = ["matchExpressions", "matchFields"];
        let nothing = fields.iter().all(|field| list(old, field).is_empty());
        let grows = |field: &str| list(new, field).starts_with(list(old, field));
        let fits = if nothing { same(Some(old), Some(new)) } else { fields.iter().all(|field| grows(field)) };
        if !fits {
            let text = "only additions are allowed (no mutations or deletions)";
            errors.push(Error::invalid(&path.index(at), new.clone(), text));
        }
    }
}
