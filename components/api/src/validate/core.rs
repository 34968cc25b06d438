//! Nodes, namespaces, endpoints.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{address, amounts, complain, list, one_of, probes, str_of, text};
use crate::object::Object;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// A node.
pub(super) fn node(node: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = node.get(&["spec"]).unwrap_or(&Value::Null);
    taints(spec, &Path::new("metadata.taints"), &mut errors);
    errors.extend(node_status(node));
    swap(node, &mut errors);
    let path = Path::new("spec.podCIDRs");
    let ranges: Vec<&str> = list(spec, "podCIDRs").iter().filter_map(Value::as_str).collect();
    for (at, range) in ranges.iter().enumerate() {
        address::range(range, &[], &path.index(at), &mut errors);
    }
    if ranges.len() > 1 {
        let families: BTreeSet<bool> = ranges.iter().map(|range| range.contains(':')).collect();
        if families.len() != ranges.len() {
            let text = "may specify no more than one CIDR for each IP family";
            errors.push(Error::invalid(&path, spec["podCIDRs"].clone(), text));
        }
    }
    errors
}

/// What a kubelet says of its node.
pub(super) fn node_status(node: &Object) -> Errors {
    let mut errors = Errors::new();
    for field in ["capacity", "allocatable"] {
        let list = node.get(&["status", field]).and_then(Value::as_object);
        for (name, value) in list.into_iter().flatten() {
            let path = Path::new("status").child(field).child(name);
            amounts::amount(name, value, &path, &mut errors);
        }
    }
    declared_features(node, &mut errors);
    errors
}

/// How much a node swaps to, which is asked about when the node itself is written.
fn swap(node: &Object, errors: &mut Errors) {
    let capacity = node.get(&["status", "nodeInfo", "swap", "capacity"]).and_then(Value::as_i64);
    if let Some(capacity) = capacity.filter(|capacity| *capacity <= 0) {
        errors.push(Error::invalid(
            &Path::new("metadata.nodeSwapStatus.capacity"),
            capacity,
            "must be greater than zero",
        ));
    }
}

/// The features that a node has, sorted, and named by words that each begin with a letter.
fn declared_features(node: &Object, errors: &mut Errors) {
    const LONGEST: usize = 253;
    let path = Path::new("status.declaredFeatures");
    let status = node.get(&["status"]).unwrap_or(&Value::Null);
    let all: Vec<&str> = list(status, "declaredFeatures").iter().filter_map(Value::as_str).collect();
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_alphabetic())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    for (at, name) in all.iter().enumerate() {
        if name.len() > LONGEST {
            let text = format!("invalid feature name {name:?}: must be no more than {LONGEST} characters");
            errors.push(Error::invalid(&path.index(at), *name, text));
        } else if !name.starts_with(|first: char| first.is_ascii_uppercase()) || !name.split('/').all(is_word) {
            let text = format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments \
                 separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters \
                 and slashes"
            );
            errors.push(Error::invalid(&path.index(at), *name, text));
        }
        match all.get(at + 1) {
            Some(next) if next == name => errors.push(Error::duplicate(&path.index(at + 1), *next)),
            Some(next) if next < name => {
                errors.push(Error::invalid(&path.index(at + 1), *next, "list must be sorted alphabetically"));
            }
            _ => {}
        }
    }
}

/// What may not change of a node, and what its status cannot have twice.
pub(super) fn node_changed(old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status.addresses");
    let addresses = list(new.get(&["status"]).unwrap_or(&Value::Null), "addresses");
    for (at, address) in addresses.iter().enumerate() {
        if addresses[..at].contains(address) {
            errors.push(Error::duplicate(&path.index(at), address.clone()));
        }
    }
    let (path, nothing) = (Path::new("spec"), Value::Null);
    let (before, after) = (old.get(&["spec"]).unwrap_or(&nothing), new.get(&["spec"]).unwrap_or(&nothing));
    let (own, ranges) = (list(before, "podCIDRs"), list(after, "podCIDRs"));
    let moved = if own.is_empty() || own.len() == ranges.len() {
        own.iter().zip(ranges).filter(|(before, after)| before != after).count()
    } else {
        1
    };
    for _ in 0..moved {
        let text = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(Error::forbidden(&path.child("podCIDRs"), text));
    }
    let provider = str_of(before, "providerID");
    if !provider.is_empty() && provider != str_of(after, "providerID") {
        let text = "node updates may not change providerID except from \"\" to valid";
        errors.push(Error::forbidden(&path.child("providerID"), text));
    }
    if str_of(before, "externalID") != str_of(after, "externalID") {
        errors.push(Error::forbidden(&path.child("externalID"), "may not be updated"));
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
        one_of(taint, "effect", EFFECTS, &path, errors);
        if !seen.insert((key, effect)) {
            let text = "taints must be unique by key and effect pair";
            errors.push(Error::duplicate_detailed(&path, taint.clone(), text).of_type("core/v1", "Taint"));
        }
    }
}

/// The finalizers that hold a namespace.
pub(super) fn namespace(namespace: &Object, indexed: bool) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec.finalizers");
    let spec = namespace.get(&["spec"]).unwrap_or(&Value::Null);
    for (at, finalizer) in list(spec, "finalizers").iter().filter_map(Value::as_str).enumerate() {
        let path = if indexed { path.index(at) } else { path.clone() };
        complain(text::qualified_name(finalizer), finalizer, &path, &mut errors);
        if !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion") {
            let text = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(&path, finalizer, text));
        }
    }
    errors
}

/// A namespace's phase says whether it is being deleted.
pub(super) fn namespace_status(namespace: &Object) -> Errors {
    let phase = namespace.str(&["status", "phase"]);
    let (wanted, text) = if namespace.is_being_deleted() {
        ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty")
    } else {
        ("Active", "may only be 'Active' if `deletionTimestamp` is empty")
    };
    if phase == wanted { Errors::new() } else { vec![Error::invalid(&Path::new("status.Phase"), phase, text)] }
}

/// The endpoints of a Service.
pub(super) fn endpoints(endpoints: &Object) -> Errors {
    let mut errors = Errors::new();
    let all = endpoints.get(&["subsets"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (at, subset) in all.iter().enumerate() {
        let path = Path::new("subsets").index(at);
        let kinds = ["addresses", "notReadyAddresses"];
        if kinds.iter().all(|kind| list(subset, kind).is_empty()) {
            errors.push(Error::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for kind in kinds {
            for (at, address) in list(subset, kind).iter().enumerate() {
                endpoint(address, &path.child(kind).index(at), &mut errors);
            }
        }
        let ports = list(subset, "ports");
        for (at, port) in ports.iter().enumerate() {
            let path = path.child("ports").index(at);
            match str_of(port, "name") {
                "" if ports.len() > 1 => errors.push(Error::required(&path.child("name"), "")),
                "" => {}
                name => complain(text::dns_label(name), name, &path.child("name"), &mut errors),
            }
            probes::port(&port["port"], &path.child("port"), &mut errors);
            one_of(port, "protocol", PROTOCOLS, &path, &mut errors);
            if let Some(protocol) = port["appProtocol"].as_str() {
                complain(text::qualified_name(protocol), protocol, &path.child("appProtocol"), &mut errors);
            }
        }
    }
    errors
}

fn endpoint(address: &Value, path: &Path, errors: &mut Errors) {
    let of_ip = path.child("ip");
    address::check(&address["ip"], &of_ip, errors);
    let rules: [(&str, text::Rule); 2] = [("hostname", text::dns_label), ("nodeName", text::dns_subdomain)];
    for (field, rule) in rules {
        let name = str_of(address, field);
        if !name.is_empty() {
            complain(rule(name), name, &path.child(field), errors);
        }
    }
    address::endpoint(str_of(address, "ip"), &of_ip, errors);
}
