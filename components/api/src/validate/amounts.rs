//! Amounts of resources: what they may be called, and what they may be.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, containers::quantity, list, str_of, text};
use crate::quantity::Quantity;

const OF_CONTAINERS: &[&str] = &["cpu", "ephemeral-storage", "memory"];
/// What a quota may be about, by itself; what it counts by the name of a resource has `count/` in front.
const OF_QUOTAS: &[&str] = &[
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
/// What there is a whole number of.
const WHOLE: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

pub(super) fn huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

pub(super) fn native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub(super) fn extended(name: &str) -> bool {
    !native(name) && !name.starts_with("requests.") && text::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether more of it may be promised than there is.
pub(super) fn overcommits(name: &str) -> bool {
    native(name) && !huge_pages(name)
}

fn for_quota(name: &str) -> bool {
    OF_QUOTAS.contains(&name) || huge_pages(name) || name.starts_with("requests.hugepages-")
}

/// The name of any resource.
pub(super) fn name(name: &str, path: &Path, errors: &mut Errors) {
    let wrong = text::qualified_name(name);
    if !wrong.is_empty() {
        complain(wrong, name, path, errors);
    } else if !name.contains('/') && !for_quota(name) && name != "storage" {
        errors.push(Error::invalid(path, name, "must be a standard resource type or fully qualified"));
    }
}

/// The name of a resource that a container has.
pub(super) fn name_of_container(name: &str, path: &Path, errors: &mut Errors) {
    self::name(name, path, errors);
    if !name.contains('/') {
        if !OF_CONTAINERS.contains(&name) && !huge_pages(name) {
            errors.push(Error::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !native(name) && !extended(name) {
        errors.push(Error::invalid(path, name, "doesn't follow extended resource name standard"));
    }
}

/// The name of a resource that a Pod has as a whole.
fn name_of_pod(name: &str, path: &Path, errors: &mut Errors) {
    let before = errors.len();
    self::name(name, path, errors);
    if errors.len() == before && !matches!(name, "cpu" | "memory") && !huge_pages(name) {
        errors.push(Error::not_supported(path, name, &["cpu", "memory"]));
    }
}

/// The name of what a quota limits.
pub(super) fn name_of_quota(name: &str, path: &Path, errors: &mut Errors) {
    self::name(name, path, errors);
    if !name.contains('/') && !for_quota(name) {
        errors.push(Error::invalid(path, name, "must be a standard resource for quota"));
    }
}

/// An amount, as it is written.
pub(super) fn amount(name: &str, value: &Value, path: &Path, errors: &mut Errors) {
    let Some(amount) = quantity(value) else {
        errors.push(Error::invalid(path, value.clone(), crate::quantity::ParseError::Format));
        return;
    };
    if amount < Quantity::ZERO {
        errors.push(Error::invalid(path, amount.to_string(), "must be greater than or equal to 0"));
    }
    if (WHOLE.contains(&name) || extended(name)) && amount != Quantity::new(amount.value(), amount.format()) {
        errors.push(Error::invalid(path, amount.to_string(), "must be an integer"));
    }
}

fn pages_divide(name: &str, amount: Quantity) -> bool {
    let size = name.strip_prefix("hugepages-").and_then(|size| size.parse::<Quantity>().ok());
    size.is_some_and(|size| size.value() > 0 && amount.value() % size.value() == 0)
}

/// A container's requests and limits; `claims` are the names of the Pod's claims.
pub(super) fn of_container(resources: &Value, claims: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    requirements(resources, name_of_container, path, errors);
    self::claims(resources, claims, &path.child("claims"), errors);
}

fn requirements(resources: &Value, rule: fn(&str, &Path, &mut Errors), path: &Path, errors: &mut Errors) {
    let (of_limits, of_requests) = (path.child("limits"), path.child("requests"));
    let mut seen: Vec<&str> = Vec::new();
    let each = |name: &str, value: &Value, path: &Path, errors: &mut Errors| {
        rule(name, path, errors);
        amount(name, value, path, errors);
        if let Some(amount) = quantity(value).filter(|amount| huge_pages(name) && !pages_divide(name, *amount)) {
            let text = format!("{amount} is not positive integer multiple of {name}");
            errors.push(Error::invalid(path, amount.to_string(), text));
        }
    };
    for (name, value) in resources["limits"].as_object().into_iter().flatten() {
        each(name, value, &of_limits.key(name), errors);
        seen.push(name);
    }
    for (name, value) in resources["requests"].as_object().into_iter().flatten() {
        each(name, value, &of_requests.key(name), errors);
        seen.push(name);
        let limit = resources["limits"].get(name);
        match (quantity(value), limit.map(quantity)) {
            (Some(wanted), Some(Some(most))) => {
                let wrong = if overcommits(name) {
                    (wanted > most).then_some("less than or equal to")
                } else {
                    (wanted != most).then_some("equal to")
                };
                if let Some(relation) = wrong {
                    let text = format!("must be {relation} {name} limit of {most}");
                    errors.push(Error::invalid(&of_requests, wanted.to_string(), text));
                }
            }
            (_, None) if !overcommits(name) => {
                errors.push(Error::required(&of_limits, "Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
    }
    if seen.iter().any(|name| huge_pages(name)) && !seen.iter().any(|name| matches!(*name, "cpu" | "memory")) {
        errors.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
}

fn claims(resources: &Value, known: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (at, claim) in list(resources, "claims").iter().enumerate() {
        let path = path.index(at);
        let (name, request) = (str_of(claim, "name"), str_of(claim, "request"));
        if name.is_empty() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
        if names.contains(name) {
            errors.push(Error::duplicate(&path, name));
        } else {
            if !request.is_empty() {
                complain(text::dns_label(request), request, &path.child("request"), errors);
            }
            let of_this = format!("{name}/");
            if names.contains(&key) {
                errors.push(Error::duplicate(&path, key.as_str()));
            } else if request.is_empty() && names.iter().any(|other: &String| other.starts_with(&of_this)) {
                errors.push(Error::duplicate(&path, name));
            }
            names.insert(key);
        }
        if !known.contains(name) {
            let all: Vec<&str> = known.iter().copied().collect();
            let which = if all.is_empty() { " which is empty".to_owned() } else { format!(": {}", all.join(", ")) };
            let text = format!("must be one of the names in pod.spec.resourceClaims{which}");
            errors.push(Error::not_found_detailed(&path, name, &text));
        }
    }
}

/// What a Pod has as a whole, which must be enough for its containers.
pub(super) fn of_pod(spec: &Value, known: &BTreeSet<&str>, of_spec: &Path, errors: &mut Errors) {
    let resources = &spec["resources"];
    if !resources.is_object() {
        return;
    }
    let path = of_spec.child("resources");
    if str_of(&spec["os"], "name") == "windows" {
        errors.push(Error::forbidden(&path, "may not be set for a windows pod"));
        return;
    }
    if resources["claims"].is_array() {
        let text = "claims may not be set for Resources at pod-level";
        errors.push(Error::forbidden(&path.child("claims"), text));
    }
    requirements(resources, name_of_pod, &path, errors);
    self::claims(resources, known, &path.child("claims"), errors);
    let sums = crate::defaults::totals_of_containers(spec, "requests");
    for (name, total) in sums {
        let own = resources["requests"].get(&name).and_then(quantity);
        if let Some(own) = own.filter(|own| total > *own) {
            let text = format!("must be greater than or equal to aggregate container requests of {total}");
            errors.push(Error::invalid(&path.child("requests").key(&name), own.to_string(), text));
        }
    }
    for (at, container) in list(spec, "containers").iter().enumerate() {
        for (name, limit) in container["resources"]["limits"].as_object().into_iter().flatten() {
            let most = resources["limits"].get(name).and_then(quantity);
            if let (Some(limit), Some(most)) = (quantity(limit), most)
                && limit > most
            {
                let path = path.child("containers").index(at).key(name).child("limits");
                let text = format!("must be less than or equal to pod limits of {most}");
                errors.push(Error::invalid(&path, limit.to_string(), text));
            }
        }
    }
}
