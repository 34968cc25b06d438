//! Services.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{address, complain, containers, list, metadata, one_of, str_of, text};
use crate::object::Object;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITIES: &[&str] = &["ClientIP", "None"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const POLICIES: &[&str] = &["Cluster", "Local"];
/// The longest affinity, a day.
const LONGEST_AFFINITY: i64 = 86400;

pub(super) fn whole(service: &Object) -> Errors {
    let mut errors = Errors::new();
    topology(service, &mut errors);
    let path = Path::new("spec");
    let Some(spec) = service.get(&["spec"]) else { return errors };
    let kind = str_of(spec, "type");
    let headless = str_of(spec, "clusterIP") == "None";
    let without_address = matches!(list(spec, "clusterIPs"), [only] if *only == "None");
    if list(spec, "ports").is_empty() && !without_address && kind != "ExternalName" {
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
    if kind == "ExternalName" && spec["ipFamilyPolicy"].is_string() {
        let text = "may not be set for ExternalName services";
        errors.push(Error::forbidden(&path.child("ipFamilyPolicy"), text));
    }
    ports(spec, &path, &mut errors);
    metadata::labels(spec.get("selector"), &path.child("selector"), &mut errors);
    one_of(spec, "sessionAffinity", AFFINITIES, &path, &mut errors);
    affinity(spec, &path, &mut errors);
    addresses(spec, &path, &mut errors);
    one_of(spec, "type", TYPES, &path, &mut errors);
    balancer(spec, &path, &mut errors);
    policies(spec, &path, &mut errors);
    errors
}

/// The older annotation about topology says the same as the newer one.
fn topology(service: &Object, errors: &mut Errors) {
    const OLDER: &str = "service.kubernetes.io/topology-aware-hints";
    const NEWER: &str = "service.kubernetes.io/topology-mode";
    let of = |name: &str| service.get(&["metadata", "annotations", name]).and_then(Value::as_str);
    if let (Some(older), Some(newer)) = (of(OLDER), of(NEWER))
        && older != newer
    {
        let text = format!("must match annotations[{OLDER}] when both are specified");
        errors.push(Error::invalid(&Path::new("metadata.annotations").key(NEWER), newer, text));
    }
}

/// What only a Service with a load balancer has.
fn balancer(spec: &Value, path: &Path, errors: &mut Errors) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let balanced = str_of(spec, "type") == "LoadBalancer";
    let ranges = list(spec, "loadBalancerSourceRanges");
    let of_ranges = path.child("LoadBalancerSourceRanges");
    if !ranges.is_empty() && !balanced {
        errors.push(Error::forbidden(&of_ranges, ONLY));
    }
    for (at, range) in ranges.iter().filter_map(Value::as_str).enumerate() {
        address::range(range.trim(), &[], &of_ranges.index(at), errors);
    }
    if !spec["allocateLoadBalancerNodePorts"].is_null() && !balanced {
        errors.push(Error::forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY));
    }
    match spec["loadBalancerClass"].as_str() {
        Some(class) if balanced => {
            complain(text::qualified_name(class), class, &path.child("loadBalancerClass"), errors);
        }
        Some(_) => errors.push(Error::forbidden(&path.child("loadBalancerClass"), ONLY)),
        None => {}
    }
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
        if let Some(protocol) = port["appProtocol"].as_str() {
            complain(text::qualified_name(protocol), protocol, &path.child("appProtocol"), errors);
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
    for (at, external) in list(spec, "externalIPs").iter().enumerate() {
        let (path, before) = (path.child("externalIPs").index(at), errors.len());
        address::check(external, &path, errors);
        if errors.len() == before {
            address::endpoint(external.as_str().unwrap_or_default(), &path, errors);
        }
    }
    if str_of(spec, "type") == "ExternalName" {
        return;
    }
    agree(spec, path, errors);
    families(spec, path, errors);
    let all = list(spec, "clusterIPs");
    let cluster: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
    let path_of = path.child("clusterIPs");
    let before = errors.len();
    for (at, address) in cluster.iter().enumerate() {
        if at == 0 && *address == "None" {
            if cluster.len() > 1 {
                errors.push(Error::invalid(&path_of, all.to_vec(), "'None' must be the first and only value"));
            }
        } else {
            address::check(&all[at], &path_of.index(at), errors);
        }
    }
    let sound = errors.len() == before;
    if cluster.len() > 2 {
        errors.push(Error::invalid(&path_of, all.to_vec(), "may only hold up to 2 values"));
    }
    if !sound {
        return;
    }
    let six = cluster.iter().filter(|address| address.contains(':')).count();
    if cluster.len() > 1 && !(cluster.len() == 2 && six == 1) {
        let text = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid(&path_of, all.to_vec(), text));
    }
    for (at, (address, family)) in cluster.iter().zip(list(spec, "ipFamilies")).enumerate() {
        let family = family.as_str().unwrap_or_default();
        let is_six = address.contains(':');
        if *address != "None" && (family == "IPv4" && is_six || family == "IPv6" && !is_six) {
            let text = format!("expected an {family} value as indicated by `ipFamilies[{at}]`");
            errors.push(Error::invalid(&path_of.index(at), *address, text));
        }
    }
}

/// The two forms of a Service's first address agree. Who gives one of them alone has had the other filled in before.
fn agree(spec: &Value, path: &Path, errors: &mut Errors) {
    let (first, all) = (str_of(spec, "clusterIP"), list(spec, "clusterIPs"));
    let text = match (first, all.first().and_then(Value::as_str)) {
        ("", Some(_)) => "must be empty when `clusterIP` is not specified",
        (first, Some(other)) if first != other => "first value must match `clusterIP`",
        _ => return,
    };
    errors.push(Error::invalid(&path.child("clusterIPs"), all.to_vec(), text));
}

/// The families of a Service's addresses.
fn families(spec: &Value, path: &Path, errors: &mut Errors) {
    const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    let families: Vec<&str> = list(spec, "ipFamilies").iter().filter_map(Value::as_str).collect();
    for (at, family) in families.iter().enumerate() {
        let path = path.child("ipFamilies").index(at);
        if !matches!(*family, "IPv4" | "IPv6") {
            errors.push(Error::not_supported(&path, *family, &["IPv4", "IPv6"]));
        }
        if families[..at].contains(family) {
            errors.push(Error::duplicate(&path, *family));
        }
    }
    if let Some(policy) = spec["ipFamilyPolicy"].as_str().filter(|policy| !POLICIES.contains(policy)) {
        errors.push(Error::not_supported(&path.child("ipFamilyPolicy"), policy, POLICIES));
    }
}

fn policies(spec: &Value, path: &Path, errors: &mut Errors) {
    let outside = match str_of(spec, "type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !list(spec, "externalIPs").is_empty(),
        _ => false,
    };
    let (policy, of_policy) = (str_of(spec, "externalTrafficPolicy"), path.child("externalTrafficPolicy"));
    if !outside && !policy.is_empty() {
        let text = "may only be set for externally-accessible services";
        errors.push(Error::invalid(&of_policy, policy, text));
    } else if outside && policy.is_empty() {
        errors.push(Error::required(&of_policy, ""));
    } else if outside && !POLICIES.contains(&policy) {
        errors.push(Error::not_supported(&of_policy, policy, POLICIES));
    }
    let inside = spec["internalTrafficPolicy"].as_str();
    if let Some(policy) = inside.filter(|policy| !POLICIES.contains(policy)) {
        errors.push(Error::not_supported(&path.child("internalTrafficPolicy"), policy, POLICIES));
    }
    let checked = str_of(spec, "type") == "LoadBalancer" && str_of(spec, "externalTrafficPolicy") == "Local";
    if let Some(port) = spec["healthCheckNodePort"].as_i64().filter(|port| *port != 0 && !checked) {
        let text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(Error::invalid(&path.child("healthCheckNodePort"), port, text));
    }
    const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(way) = spec["trafficDistribution"].as_str().filter(|way| !DISTRIBUTIONS.contains(way)) {
        errors.push(Error::not_supported(&path.child("trafficDistribution"), way, DISTRIBUTIONS));
    }
}

/// Where a load balancer says that it is.
pub(super) fn status(service: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status.loadBalancer.ingress");
    let status = service.get(&["status", "loadBalancer"]).unwrap_or(&Value::Null);
    let places = list(status, "ingress");
    if service.str(&["spec", "type"]) != "LoadBalancer" && !places.is_empty() {
        errors.push(Error::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'"));
        return errors;
    }
    for (at, place) in places.iter().enumerate() {
        let path = path.index(at);
        let (ip, of_mode) = (str_of(place, "ip"), path.child("ipMode"));
        if !ip.is_empty() {
            address::check(&place["ip"], &path.child("ip"), &mut errors);
        }
        match (place["ipMode"].as_str(), ip.is_empty()) {
            (None, false) => errors.push(Error::required(&of_mode, "must be specified when `ip` is set")),
            (Some(_), true) => {
                errors.push(Error::forbidden(&of_mode, "may not be specified when `ip` is not set"));
            }
            (Some(mode), false) if !matches!(mode, "VIP" | "Proxy") => {
                errors.push(Error::not_supported(&of_mode, mode, &["Proxy", "VIP"]));
            }
            _ => {}
        }
        host_name(place, &path, &mut errors);
    }
    errors
}

/// The name of a place, which is no address.
pub(super) fn host_name(place: &Value, path: &Path, errors: &mut Errors) {
    let (name, path) = (str_of(place, "hostname"), path.child("hostname"));
    if !name.is_empty() {
        complain(text::dns_subdomain(name), name, &path, errors);
        if name.parse::<std::net::IpAddr>().is_ok() {
            errors.push(Error::invalid(&path, name, "must be a DNS name, not an IP address"));
        }
    }
}
