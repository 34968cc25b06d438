//! Kinds of the cluster as a whole: classes of Pods, leases, certificate signing requests.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{amounts, certificates, complain, immutable, list, metadata, placement, same, str_of, text};
use crate::object::Object;

/// The highest priority that is not the system's.
const HIGHEST_PRIORITY: i64 = 1_000_000_000;
const SYSTEM_PRIORITIES: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub(super) fn whole(group: &str, kind: &str, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = object.get(&["spec"]).unwrap_or(&Value::Null);
    match (group, kind) {
        ("scheduling.k8s.io", "PriorityClass") => priority_class(object, &mut errors),
        ("node.k8s.io", "RuntimeClass") => runtime_class(object, &mut errors),
        ("coordination.k8s.io", "Lease") => {
            for (field, least, text) in [
                ("leaseDurationSeconds", 1, "must be greater than 0"),
                ("leaseTransitions", 0, "must be greater than or equal to 0"),
            ] {
                if let Some(number) = spec[field].as_i64().filter(|number| *number < least) {
                    errors.push(Error::invalid(&path.child(field), number, text));
                }
            }
            lease(spec, &path, &mut errors);
        }
        ("certificates.k8s.io", "CertificateSigningRequest") => certificates::request(spec, &path, &mut errors),
        _ => {}
    }
    errors
}

pub(super) fn changed(group: &str, kind: &str, old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    match (group, kind) {
        ("scheduling.k8s.io", "PriorityClass") => {
            if !same(old.get(&["value"]), new.get(&["value"])) {
                errors.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
            }
            immutable(old, new, &["preemptionPolicy"], &mut errors);
        }
        ("node.k8s.io", "RuntimeClass") => immutable(old, new, &["handler"], &mut errors),
        ("certificates.k8s.io", "CertificateSigningRequest") => immutable(old, new, &["spec"], &mut errors),
        _ => {}
    }
    errors
}

fn priority_class(class: &Object, errors: &mut Errors) {
    let (name, value) = (class.name(), class.get(&["value"]).and_then(Value::as_i64).unwrap_or_default());
    if name.starts_with("system-") {
        if !SYSTEM_PRIORITIES.contains(&(name, value)) {
            let text = "priority class names with 'system-' prefix are reserved for system use only. error: ";
            let text = format!("{text}{name} is not a known system priority class");
            errors.push(Error::forbidden(&Path::new("metadata.name"), text));
        }
    } else if value > HIGHEST_PRIORITY {
        let text = format!("maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}");
        errors.push(Error::forbidden(&Path::new("value"), text));
    }
    preemption(class, errors);
}

/// What a class may say of preemption.
fn preemption(class: &Object, errors: &mut Errors) {
    const POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];
    let path = Path::new("preemptionPolicy");
    match class.get(&["preemptionPolicy"]).and_then(Value::as_str) {
        Some("") => errors.push(Error::required(&path, "")),
        Some(policy) if !POLICIES.contains(&policy) => errors.push(Error::not_supported(&path, policy, POLICIES)),
        _ => {}
    }
}

fn runtime_class(class: &Object, errors: &mut Errors) {
    match class.str(&["handler"]) {
        "" => errors.push(Error::required(&Path::new("handler"), "")),
        handler => complain(text::dns_label(handler), handler, &Path::new("handler"), errors),
    }
    let fixed = class.get(&["overhead", "podFixed"]).and_then(Value::as_object);
    for (name, value) in fixed.into_iter().flatten() {
        let path = Path::new("overhead.limits").key(name);
        amounts::name_of_container(name, &path, errors);
        amounts::amount(name, value, &path, errors);
    }
    let Some(scheduling) = class.get(&["scheduling"]) else { return };
    let path = Path::new("scheduling");
    metadata::labels(scheduling.get("nodeSelector"), &path.child("nodeSelector"), errors);
    let path = path.child("tolerations");
    placement::tolerations(scheduling, &path, errors);
    let all = list(scheduling, "tolerations");
    let fields = ["key", "operator", "value", "effect"];
    for (at, one) in all.iter().enumerate() {
        let alike = |other: &Value| fields.iter().all(|field| same(one.get(field), other.get(field)));
        if all[..at].iter().any(alike) {
            errors.push(Error::duplicate(&path.index(at), one.clone()));
        }
    }
}

/// How the holder of a lease is chosen.
fn lease(spec: &Value, path: &Path, errors: &mut Errors) {
    let strategy = str_of(spec, "strategy");
    if let Some(name) = spec["strategy"].as_str() {
        let path = path.child("strategy.strategy");
        if name.contains('/') {
            complain(text::qualified_name(name), name, &path, errors);
        } else if name != "OldestEmulationVersion" {
            errors.push(Error::not_supported(&path, name, &["OldestEmulationVersion"]));
        }
    }
    if !str_of(spec, "preferredHolder").is_empty() && strategy.is_empty() {
        let text = "may only be specified if `strategy` is defined";
        errors.push(Error::forbidden(&path.child("preferredHolder"), text));
    }
}
