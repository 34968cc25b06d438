//! Kinds of the cluster as a whole: nodes, volumes, classes, leases, certificate signing requests.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, containers, immutable, list, one_of, same, str_of, text};
use crate::object::Object;
use crate::quantity::Quantity;

/// The highest priority that is not the system's.
const HIGHEST_PRIORITY: i64 = 1_000_000_000;
const SYSTEM_PRIORITIES: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

pub(super) fn whole(group: &str, kind: &str, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = object.get(&["spec"]).unwrap_or(&Value::Null);
    match (group, kind) {
        ("", "Node") => taints(spec, &Path::new("metadata.taints"), &mut errors),
        ("", "PersistentVolume") => volume(spec, &path, &mut errors),
        ("scheduling.k8s.io", "PriorityClass") => priority_class(object, &mut errors),
        ("storage.k8s.io", "StorageClass") => storage_class(object, &mut errors),
        ("node.k8s.io", "RuntimeClass") => match object.str(&["handler"]) {
            "" => errors.push(Error::required(&Path::new("handler"), "")),
            handler => complain(text::dns_label(handler), handler, &Path::new("handler"), &mut errors),
        },
        ("coordination.k8s.io", "Lease") => {
            for (field, least, text) in [
                ("leaseDurationSeconds", 1, "must be greater than 0"),
                ("leaseTransitions", 0, "must be greater than or equal to 0"),
            ] {
                if let Some(number) = spec[field].as_i64().filter(|number| *number < least) {
                    errors.push(Error::invalid(&path.child(field), number, text));
                }
            }
        }
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            if list(spec, "usages").is_empty() {
                errors.push(Error::required(&path.child("usages"), ""));
            }
            if str_of(spec, "signerName").is_empty() {
                errors.push(Error::required(&path.child("signerName"), ""));
            }
            if spec["expirationSeconds"].as_i64().is_some_and(|seconds| seconds < 600) {
                let text = "may not specify a duration less than 600 seconds (10 minutes)";
                errors.push(Error::invalid(&path.child("expirationSeconds"), spec["expirationSeconds"].clone(), text));
            }
        }
        _ => {}
    }
    errors
}

pub(super) fn changed(group: &str, kind: &str, old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    match (group, kind) {
        ("", "Node") => {
            for (field, name) in [("podCIDRs", "podCIDR"), ("providerID", "providerID")] {
                let before = old.get(&["spec", field]);
                if !same(before, None) && !same(before, new.get(&["spec", field])) {
                    let text = format!("node updates may not change {name} except from \"\" to valid");
                    errors.push(Error::forbidden(&Path::new("spec").child(field), text));
                }
            }
        }
        ("scheduling.k8s.io", "PriorityClass") => {
            if !same(old.get(&["value"]), new.get(&["value"])) {
                errors.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
            }
            immutable(old, new, &["preemptionPolicy"], &mut errors);
        }
        ("storage.k8s.io", "StorageClass") => {
            for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                immutable(old, new, &[field], &mut errors);
            }
        }
        ("node.k8s.io", "RuntimeClass") => immutable(old, new, &["handler"], &mut errors),
        ("certificates.k8s.io", "CertificateSigningRequest") => immutable(old, new, &["spec"], &mut errors),
        _ => {}
    }
    errors
}

fn taints(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (at, taint) in list(spec, "taints").iter().enumerate() {
        let path = path.index(at);
        let (key, value, effect) = (str_of(taint, "key"), str_of(taint, "value"), str_of(taint, "effect"));
        complain(text::qualified_name(key), key, &path.child("key"), errors);
        let complaints = text::label_value(value);
        if !complaints.is_empty() {
            errors.push(Error::invalid(&path.child("value"), value, complaints.join(";")));
        }
        one_of(taint, "effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"], &path, errors);
        if !seen.insert((key, effect)) {
            errors.push(Error::duplicate(&path, taint.clone()));
        }
    }
}

fn volume(spec: &Value, path: &Path, errors: &mut Errors) {
    if list(spec, "accessModes").is_empty() {
        errors.push(Error::required(&path.child("accessModes"), ""));
    }
    let of_capacity = path.child("capacity");
    match spec["capacity"].as_object() {
        None => errors.push(Error::required(&of_capacity, "")),
        Some(capacity) if capacity.len() != 1 || !capacity.contains_key("storage") => {
            errors.push(Error::not_supported(&of_capacity, spec["capacity"].clone(), &["storage"]));
        }
        Some(capacity) => {
            let size = &capacity["storage"];
            if containers::quantity(size).is_none_or(|size| size <= Quantity::ZERO) {
                errors.push(Error::invalid(&of_capacity.key("storage"), size.clone(), "must be greater than zero"));
            }
        }
    }
    let no_sources = [
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    let fields = spec.as_object().into_iter().flatten();
    let sources: Vec<&String> = fields
        .filter(|(field, value)| !value.is_null() && !no_sources.contains(&field.as_str()))
        .map(|(field, _)| field)
        .collect();
    if sources.is_empty() {
        errors.push(Error::required(path, "must specify a volume type"));
    }
    for source in sources.iter().skip(1) {
        errors.push(Error::forbidden(&path.child(source), "may not specify more than 1 volume type"));
    }
    one_of(spec, "persistentVolumeReclaimPolicy", &["Delete", "Recycle", "Retain"], path, errors);
    one_of(spec, "volumeMode", &["Block", "Filesystem"], path, errors);
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
}

fn storage_class(class: &Object, errors: &mut Errors) {
    let path = Path::new("provisioner");
    match class.str(&["provisioner"]) {
        "" => errors.push(Error::required(&path, "")),
        name => complain(text::qualified_name(&name.to_lowercase()), name, &path, errors),
    }
    let policy = class.str(&["reclaimPolicy"]);
    if !matches!(policy, "" | "Delete" | "Retain") {
        errors.push(Error::not_supported(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]));
    }
    let mode = class.str(&["volumeBindingMode"]);
    if !matches!(mode, "Immediate" | "WaitForFirstConsumer") {
        let supported = &["Immediate", "WaitForFirstConsumer"];
        errors.push(Error::not_supported(&Path::new("volumeBindingMode"), mode, supported));
    }
}
