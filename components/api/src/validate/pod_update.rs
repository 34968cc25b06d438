//! What may change about a Pod: next to nothing.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{list, same};
use crate::object::Object;

pub(super) const CHANGEABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                          `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` \
                          (allow it to be set to 1 if it was previously negative)";

/// What a change of a Pod's spec may not do.
pub(super) fn changed(old: &Object, new: &Object) -> Errors {
    let (Some(before), Some(after)) = (old.get(&["spec"]), new.get(&["spec"])) else { return Errors::new() };
    let mut errors = Errors::new();
    let path = Path::new("spec");
    for containers in ["containers", "initContainers"] {
        if list(before, containers).len() != list(after, containers).len() {
            let text = "pod updates may not add or remove containers";
            errors.push(Error::forbidden(&path.child(containers), text));
            return errors;
        }
        for (at, container) in list(after, containers).iter().enumerate() {
            let image = container["image"].as_str().unwrap_or_default();
            if image.trim() != image {
                let text = "must not have leading or trailing whitespace";
                errors.push(Error::invalid(&path.child(containers).index(at).child("image"), image, text));
            }
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
    for gate in list(after, "schedulingGates").iter().filter(|gate| !gates.contains(gate)) {
        let text = format!("only deletion is allowed, but found new scheduling gate '{}'", super::str_of(gate, "name"));
        errors.push(Error::forbidden(&path.child("schedulingGates"), text));
    }
    if !same(Some(&unchangeable(before, before)), Some(&unchangeable(after, before))) {
        let gated = !gates.is_empty();
        if !gated || !same(Some(&placed(before)), Some(&placed(after))) {
            let text = format!("pod updates may not change fields other than {CHANGEABLE}");
            errors.push(Error::forbidden(&path, text));
        }
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
    spec
}

/// A spec without what a Pod that waits behind a gate may still narrow: where it goes.
fn placed(spec: &Value) -> Value {
    let mut spec = unchangeable(spec, &Value::Null);
    spec["nodeSelector"] = Value::Null;
    if spec["affinity"].is_object() {
        spec["affinity"]["nodeAffinity"] = Value::Null;
    }
    spec
}
