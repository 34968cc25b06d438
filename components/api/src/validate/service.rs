//! Services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, containers, list, metadata, one_of, str_of, text};
use crate::object::Object;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITIES: &[&str] = &["ClientIP", "None"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const POLICIES: &[&str] = &["Cluster", "Local"];
/// The longest affinity, a day.
const LONGEST_AFFINITY: i64 = 86400;

pub(super) fn whole(service: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let Some(spec) = service.get(&["spec"]) else { return errors };
    let kind = str_of(spec, "type");
    let headless = str_of(spec, "clusterIP") == "None";
    if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        errors.push(Error::required(&path.child("ports"), ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            errors.push(Error::invalid(
                &path.child("clusterIPs").index(0),
                "None",
                format!("may not be set to 'None' for {kind} services"),
            ));
        }
        "ExternalName" => external(spec, &path, &mut errors),
        _ => {}
    }
    ports(spec, &path, &mut errors);
    metadata::labels(spec.get("selector"), &path.child("selector"), &mut errors);
    one_of(spec, "sessionAffinity", AFFINITIES, &path, &mut errors);
    affinity(spec, &path, &mut errors);
    addresses(spec, &path, &mut errors);
    one_of(spec, "type", TYPES, &path, &mut errors);
    policies(spec, &path, &mut errors);
    errors
}

fn external(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["clusterIPs", "ipFamilies"] {
        if !list(spec, field).is_empty() {
            errors.push(Error::forbidden(&path.child(field), "may not be set for ExternalName services"));
        }
    }
    let name = str_of(spec, "externalName");
    match name.strip_suffix('.').unwrap_or(name) {
        "" => errors.push(Error::required(&path.child("externalName"), "")),
        trimmed => complain(text::dns_subdomain(trimmed), name, &path.child("externalName"), errors),
    }
}

fn ports(spec: &Value, path: &Path, errors: &mut Errors) {
    let ports = list(spec, "ports");
    let path = path.child("ports");
    let (mut names, mut pairs, mut node_ports) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (at, port) in ports.iter().enumerate() {
        let path = path.index(at);
        match str_of(port, "name") {
            "" if ports.len() > 1 => errors.push(Error::required(&path.child("name"), "")),
            "" => {}
            name => {
                complain(text::dns_label(name), name, &path.child("name"), errors);
                if !names.insert(name) {
                    errors.push(Error::duplicate(&path.child("name"), name));
                }
            }
        }
        let number = port["port"].as_i64().unwrap_or_default();
        containers::number_of_port(number, &path.child("port"), errors);
        one_of(port, "protocol", PROTOCOLS, &path, errors);
        match &port["targetPort"] {
            Value::String(name) => complain(text::port_name(name), name, &path.child("targetPort"), errors),
            Value::Null => {}
            target => {
                containers::number_of_port(target.as_i64().unwrap_or_default(), &path.child("targetPort"), errors)
            }
        }
        let protocol = str_of(port, "protocol");
        if !pairs.insert((protocol, number)) {
            let pair = serde_json::json!({"protocol": protocol, "port": number});
            errors.push(Error::duplicate(&path, pair));
        }
        let node_port = port["nodePort"].as_i64().unwrap_or_default();
        if node_port != 0 {
            if str_of(spec, "type") == "ClusterIP" {
                let text = "may not be used when `type` is 'ClusterIP'";
                errors.push(Error::forbidden(&path.child("nodePort"), text));
            } else if !node_ports.insert((protocol, node_port)) {
                errors.push(Error::duplicate(&path.child("nodePort"), node_port));
            }
        }
    }
}

fn affinity(spec: &Value, path: &Path, errors: &mut Errors) {
    let seconds = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    let path = path.child("sessionAffinityConfig");
    match str_of(spec, "sessionAffinity") {
        "None" if !spec["sessionAffinityConfig"].is_null() => {
            errors.push(Error::forbidden(&path, "must not be set when session affinity is None"));
        }
        "ClientIP" if !seconds.as_i64().is_some_and(|seconds| (1..=LONGEST_AFFINITY).contains(&seconds)) => {
            let text = format!("must be greater than 0 and less than {LONGEST_AFFINITY}");
            errors.push(Error::invalid(&path.child("clientIP").child("timeoutSeconds"), seconds.clone(), text));
        }
        _ => {}
    }
}

fn addresses(spec: &Value, path: &Path, errors: &mut Errors) {
    let wrong = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    let is_address = |value: &Value| value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok());
    for (at, address) in list(spec, "externalIPs").iter().enumerate() {
        if !is_address(address) {
            errors.push(Error::invalid(&path.child("externalIPs").index(at), address.clone(), wrong));
        }
    }
    if str_of(spec, "type") == "ExternalName" {
        return;
    }
    let cluster = list(spec, "clusterIPs");
    let path = path.child("clusterIPs");
    for (at, address) in cluster.iter().enumerate() {
        let none = at == 0 && address == "None";
        if none && cluster.len() > 1 {
            errors.push(Error::invalid(&path, cluster.to_vec(), "'None' must be the first and only value"));
        } else if !none && !is_address(address) {
            errors.push(Error::invalid(&path.index(at), address.clone(), wrong));
        }
    }
}

fn policies(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["internalTrafficPolicy", "externalTrafficPolicy"] {
        let policy = str_of(spec, field);
        if !policy.is_empty() && !POLICIES.contains(&policy) {
            errors.push(Error::not_supported(&path.child(field), policy, POLICIES));
        }
    }
    let outside = matches!(str_of(spec, "type"), "LoadBalancer" | "NodePort") || !list(spec, "externalIPs").is_empty();
    if !outside && !str_of(spec, "externalTrafficPolicy").is_empty() {
        let text = "may only be set for externally-accessible services";
        errors.push(Error::invalid(&path.child("externalTrafficPolicy"), str_of(spec, "externalTrafficPolicy"), text));
    }
}

/// A Service keeps its addresses, unless it starts or stops being a name alone.
pub(super) fn changed(old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    let named = |service: &Object| service.str(&["spec", "type"]) == "ExternalName";
    if named(old) || named(new) {
        return errors;
    }
    // Either field may be the one that a client has set.
    let first = |service: &Object, field: &str| match service.get(&["spec", field]) {
        Some(Value::Array(list)) => list.first().cloned(),
        Some(Value::String(address)) if !address.is_empty() => Some(address.as_str().into()),
        _ => None,
    };
    let changed = ["clusterIP", "clusterIPs"].into_iter().any(|field| match (first(old, field), first(new, field)) {
        (Some(before), Some(after)) => before != after,
        _ => false,
    });
    if changed {
        let value = new.get(&["spec", "clusterIPs"]).cloned().unwrap_or(Value::Null);
        errors.push(Error::invalid(&Path::new("spec.clusterIPs").index(0), value, "may not change once set"));
    }
    errors
}
