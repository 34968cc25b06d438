//! The groups autoscaling and policy.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, metadata, str_of, text};
use crate::object::Object;

pub(super) fn whole(kind: &str, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = object.get(&["spec"]).unwrap_or(&Value::Null);
    match kind {
        "HorizontalPodAutoscaler" => autoscaler(spec, &path, &mut errors),
        "PodDisruptionBudget" => budget(spec, &path, &mut errors),
        _ => {}
    }
    errors
}

fn autoscaler(spec: &Value, path: &Path, errors: &mut Errors) {
    let least = spec["minReplicas"].as_i64();
    let most = spec["maxReplicas"].as_i64().unwrap_or_default();
    if let Some(least) = least.filter(|least| *least < 1) {
        errors.push(Error::invalid(&path.child("minReplicas"), least, "must be greater than or equal to 1"));
    }
    let of_most = path.child("maxReplicas");
    match most {
        0 => errors.push(Error::required(&of_most, "must be set and greater than 0")),
        ..0 => errors.push(Error::invalid(&of_most, most, "must be greater than or equal to 1")),
        _ => {}
    }
    if least.is_some_and(|least| most < least) {
        errors.push(Error::invalid(&of_most, most, "must be greater than or equal to `minReplicas`"));
    }
    let target = path.child("scaleTargetRef");
    for field in ["kind", "name"] {
        match str_of(&spec["scaleTargetRef"], field) {
            "" => errors.push(Error::required(&target.child(field), "")),
            text => complain(text::path_segment(text), text, &target.child(field), errors),
        }
    }
}

fn budget(spec: &Value, path: &Path, errors: &mut Errors) {
    let fields = ["minAvailable", "maxUnavailable"];
    if fields.iter().all(|field| !spec[*field].is_null()) {
        errors.push(Error::invalid(path, spec.clone(), "minAvailable and maxUnavailable cannot be both set"));
    }
    for field in fields {
        int_or_percent(&spec[field], &path.child(field), errors);
    }
    if spec["selector"].is_object() {
        metadata::selector(&spec["selector"], &path.child("selector"), errors);
    }
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    let policy = str_of(spec, "unhealthyPodEvictionPolicy");
    if !policy.is_empty() && !policies.contains(&policy) {
        errors.push(Error::not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &policies));
    }
}

/// A number that is not negative, or a percentage up to all.
fn int_or_percent(value: &Value, path: &Path, errors: &mut Errors) {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            errors.push(Error::invalid(path, value.clone(), "must be greater than or equal to 0"));
        }
        Value::String(text) => match text.strip_suffix('%').and_then(|number| number.parse::<u32>().ok()) {
            None => {
                let text = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                            '93%', regex used for validation is '[0-9]+%')";
                errors.push(Error::invalid(path, value.clone(), text));
            }
            Some(101..) => errors.push(Error::invalid(path, value.clone(), "must not be greater than 100%")),
            Some(_) => {}
        },
        _ => {}
    }
}
