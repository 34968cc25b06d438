//! The groups networking.k8s.io and discovery.k8s.io.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::containers::number_of_port;
use super::field::{Error, Errors, Path};
use super::{address, complain, immutable, list, metadata, one_of, str_of, text};
use crate::object::Object;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
const POLICY_TYPES: &[&str] = &["Ingress", "Egress"];
const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
/// The most endpoints of a slice, addresses of an endpoint, ports of a slice.
const MOST_ENDPOINTS: usize = 1000;
const MOST_ADDRESSES: usize = 100;

pub(super) fn whole(kind: &str, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = object.get(&["spec"]).unwrap_or(&Value::Null);
    match kind {
        "Ingress" => ingress(spec, &path, &mut errors),
        "NetworkPolicy" => network_policy(spec, &path, &mut errors),
        "EndpointSlice" => endpoint_slice(object, &mut errors),
        "IngressClass" => class(spec, &path, &mut errors),
        "ServiceCIDR" => service_ranges(spec, &path.child("cidrs"), &mut errors),
        "IPAddress" => parent(&spec["parentRef"], &path.child("parentRef"), &mut errors),
        _ => {}
    }
    errors
}

pub(super) fn changed(kind: &str, old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    match kind {
        "EndpointSlice" => immutable(old, new, &["addressType"], &mut errors),
        "IngressClass" => immutable(old, new, &["spec", "controller"], &mut errors),
        "ServiceCIDR" => ranges_changed(old, new, &mut errors),
        "IPAddress" => immutable(old, new, &["spec", "parentRef"], &mut errors),
        _ => {}
    }
    errors
}

/// A range stays what it is, beside one that may come to it once, of the other family.
fn ranges_changed(old: &Object, new: &Object, errors: &mut Errors) {
    let of = |object: &Object| object.get(&["spec", "cidrs"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let (before, after) = (of(old), of(new));
    let path = Path::new("spec.cidrs");
    if before.len() != after.len() && (before.len(), after.len()) != (1, 2) {
        let value = if after.is_empty() { Value::Null } else { after.into() };
        errors.push(Error::invalid(&path, value, super::IMMUTABLE));
        return;
    }
    for (at, range) in after.iter().take(before.len()).enumerate().filter(|(at, range)| before[*at] != **range) {
        errors.push(Error::invalid(&path.index(at), range.clone(), super::IMMUTABLE));
    }
    if before.len() != after.len() {
        service_ranges(new.get(&["spec"]).unwrap_or(&Value::Null), &path, errors);
    }
}

/// What an address belongs to.
fn parent(reference: &Value, path: &Path, errors: &mut Errors) {
    if reference.is_null() {
        errors.push(Error::required(path, ""));
        return;
    }
    let group = str_of(reference, "group");
    if !group.is_empty() {
        complain(text::dns_subdomain(group), group, &path.child("group"), errors);
    }
    for field in ["resource", "name", "namespace"] {
        match str_of(reference, field) {
            "" if field == "namespace" => {}
            "" => errors.push(Error::required(&path.child(field), "")),
            name => complain(text::path_segment(name), name, &path.child(field), errors),
        }
    }
}

/// An object of a kind that is not known here.
fn typed(reference: &Value, path: &Path, errors: &mut Errors) {
    if let Some(group) = reference["apiGroup"].as_str() {
        complain(text::dns_subdomain(group), group, &path.child("apiGroup"), errors);
    }
    for field in ["kind", "name"] {
        match str_of(reference, field) {
            "" => errors.push(Error::required(&path.child(field), "")),
            name => complain(text::path_segment(name), name, &path.child(field), errors),
        }
    }
}

fn class(spec: &Value, path: &Path, errors: &mut Errors) {
    let controller = str_of(spec, "controller");
    if controller.len() > 250 {
        errors.push(Error::too_long(&path.child("controller"), 250));
    }
    super::jobs::domain_path(controller, &path.child("controller"), errors);
    let (parameters, path) = (&spec["parameters"], path.child("parameters"));
    if !parameters.is_object() {
        return;
    }
    typed(parameters, &path, errors);
    let of_namespace = path.child("namespace");
    match (str_of(parameters, "scope"), parameters["namespace"].as_str()) {
        ("", _) if parameters["scope"].is_null() => errors.push(Error::required(&path.child("scope"), "")),
        ("Namespace", None) => {
            errors.push(Error::required(&of_namespace, "`parameters.scope` is set to 'Namespace'"));
        }
        ("Namespace", Some(name)) => complain(text::dns_label(name), name, &of_namespace, errors),
        ("Cluster", Some(_)) => {
            errors.push(Error::forbidden(&of_namespace, "`parameters.scope` is set to 'Cluster'"));
        }
        ("Cluster", None) => {}
        (other, _) => errors.push(Error::not_supported(&path.child("scope"), other, &["Cluster", "Namespace"])),
    }
}

/// The ranges that Services' addresses are of.
fn service_ranges(spec: &Value, path: &Path, errors: &mut Errors) {
    let ranges: Vec<&str> = list(spec, "cidrs").iter().filter_map(Value::as_str).collect();
    if ranges.is_empty() {
        errors.push(Error::required(path, "at least one CIDR required"));
        return;
    }
    if ranges.len() > 2 {
        errors.push(Error::invalid(path, spec.clone(), "may only hold up to 2 values"));
        return;
    }
    for (at, range) in ranges.iter().enumerate() {
        let before = errors.len();
        address::range(range, &[], &path.index(at), errors);
        let canonical = address::Range::parse(range).map(address::Range::canonical);
        if let Some(canonical) = canonical.filter(|canonical| errors.len() == before && canonical != range) {
            errors.push(Error::invalid(&path.index(at), *range, format!("must be in canonical form ({canonical:?})")));
        }
    }
    if let [first, second] = ranges[..]
        && first.contains(':') == second.contains(':')
    {
        let text = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(Error::invalid(path, spec["cidrs"].clone(), text));
    }
}

/// What a new Ingress cannot say twice.
pub(super) fn created(ingress: &Object) -> Errors {
    const CLASS: &str = "kubernetes.io/ingress.class";
    let old = ingress.get(&["metadata", "annotations", CLASS]).and_then(Value::as_str);
    let new = ingress.get(&["spec", "ingressClassName"]).and_then(Value::as_str);
    match (old, new) {
        (Some(old), Some(new)) if old != new => {
            let text = "must match `ingressClassName` when both are specified";
            vec![Error::invalid(&Path::new("annotations").child(CLASS), old, text)]
        }
        _ => Errors::new(),
    }
}

fn ingress(spec: &Value, path: &Path, errors: &mut Errors) {
    let rules = list(spec, "rules");
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        let text = "either `defaultBackend` or `rules` must be specified";
        errors.push(Error::invalid(path, Value::Null, text));
    }
    if !spec["defaultBackend"].is_null() {
        backend(&spec["defaultBackend"], &path.child("defaultBackend"), errors);
    }
    for (at, rule) in rules.iter().enumerate() {
        let path = path.child("rules").index(at);
        let host = str_of(rule, "host");
        if host.parse::<IpAddr>().is_ok() {
            errors.push(Error::invalid(&path.child("host"), host, "must be a DNS name, not an IP address"));
        }
        if !host.is_empty() {
            self::host(host, &path.child("host"), errors);
        }
        if !rule["http"].is_object() {
            continue;
        }
        let paths = list(&rule["http"], "paths");
        let path = path.child("http").child("paths");
        if paths.is_empty() {
            errors.push(Error::required(&path, ""));
        }
        for (at, entry) in paths.iter().enumerate() {
            http_path(entry, &path.index(at), errors);
        }
    }
    for (at, entry) in list(spec, "tls").iter().enumerate() {
        let path = path.child("tls").index(at);
        for (at, name) in list(entry, "hosts").iter().filter_map(Value::as_str).enumerate() {
            host(name, &path.child("hosts").index(at), errors);
        }
        let secret = str_of(entry, "secretName");
        if !secret.is_empty() {
            complain(text::dns_subdomain(secret), secret, &path.child("secretName"), errors);
        }
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        complain(text::dns_subdomain(class), class, &path.child("ingressClassName"), errors);
    }
}

/// A host's name, or with a star all names below it.
fn host(name: &str, path: &Path, errors: &mut Errors) {
    let rule = if name.contains('*') { text::wildcard } else { text::dns_subdomain };
    complain(rule(name), name, path, errors);
}

fn http_path(entry: &Value, path: &Path, errors: &mut Errors) {
    let text = str_of(entry, "path");
    let of_path = path.child("path");
    let kind = str_of(entry, "pathType");
    if entry["pathType"].is_null() {
        errors.push(Error::required(&path.child("pathType"), "pathType must be specified"));
        return;
    }
    if !PATH_TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("pathType"), kind, PATH_TYPES));
    } else if !text.starts_with('/') && (kind != "ImplementationSpecific" || !text.is_empty()) {
        errors.push(Error::invalid(&of_path, text, "must be an absolute path"));
    }
    if kind != "ImplementationSpecific" {
        for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| text.contains(part)) {
            errors.push(Error::invalid(&of_path, text, format!("must not contain '{part}'")));
        }
        for end in ["/..", "/."].into_iter().filter(|end| text.ends_with(end)) {
            errors.push(Error::invalid(&of_path, text, format!("cannot end with '{end}'")));
        }
    }
    backend(&entry["backend"], &path.child("backend"), errors);
}

fn backend(backend: &Value, path: &Path, errors: &mut Errors) {
    let service = &backend["service"];
    match (service.is_object(), backend["resource"].is_object()) {
        (true, true) => errors.push(Error::invalid(path, "", "cannot set both resource and service backends")),
        (false, false) => errors.push(Error::invalid(path, "", "resource or service backend is required")),
        (false, true) => typed(&backend["resource"], &path.child("resource"), errors),
        (true, false) => {
            let of_service = path.child("service");
            match str_of(service, "name") {
                "" => errors.push(Error::required(&of_service.child("name"), "")),
                name => complain(text::dns_label(name), name, &of_service.child("name"), errors),
            }
            let port = &service["port"];
            let of_port = of_service.child("port");
            match (str_of(port, "name"), port["number"].as_i64().unwrap_or_default()) {
                ("", 0) => errors.push(Error::required(path, "port name or number is required")),
                ("", number) => number_of_port(number, &of_port.child("number"), errors),
                (name, 0) => complain(text::port_name(name), name, &of_port.child("name"), errors),
                _ => errors.push(Error::invalid(path, "", "cannot set both port name & port number")),
            }
        }
    }
}

fn network_policy(spec: &Value, path: &Path, errors: &mut Errors) {
    metadata::selector(&spec["podSelector"], &path.child("podSelector"), errors);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (at, rule) in list(spec, direction).iter().enumerate() {
            let path = path.child(direction).index(at);
            for (at, port) in list(rule, "ports").iter().enumerate() {
                policy_port(port, &path.child("ports").index(at), errors);
            }
            for (at, peer) in list(rule, peers).iter().enumerate() {
                self::peer(peer, &path.child(peers).index(at), errors);
            }
        }
    }
    if list(spec, "policyTypes").len() > 2 {
        let text = "may not specify more than two policyTypes";
        errors.push(Error::invalid(&path.child("policyTypes"), spec["policyTypes"].clone(), text));
        return;
    }
    for (at, kind) in list(spec, "policyTypes").iter().filter_map(Value::as_str).enumerate() {
        if !POLICY_TYPES.contains(&kind) {
            errors.push(Error::not_supported(&path.child("policyTypes").index(at), kind, POLICY_TYPES));
        }
    }
}

fn policy_port(port: &Value, path: &Path, errors: &mut Errors) {
    // One that is left out is the default's, and an empty one is none.
    let protocol = port["protocol"].as_str().filter(|protocol| !matches!(*protocol, "TCP" | "UDP" | "SCTP"));
    errors.extend(protocol.map(|other| Error::not_supported(&path.child("protocol"), other, &["TCP", "UDP", "SCTP"])));
    let end = port["endPort"].as_i64();
    let of_end = path.child("endPort");
    match (&port["port"], end) {
        (Value::Number(first), end) => {
            let first = first.as_i64().unwrap_or_default();
            number_of_port(first, &path.child("port"), errors);
            if let Some(end) = end {
                if end < first {
                    errors.push(Error::invalid(&of_end, first, "must be greater than or equal to `port`"));
                }
                number_of_port(end, &of_end, errors);
            }
        }
        (Value::String(name), end) => {
            if let Some(end) = end {
                errors.push(Error::invalid(&of_end, end, "may not be specified when `port` is non-numeric"));
            }
            complain(text::port_name(name), name, &path.child("port"), errors);
        }
        (_, Some(end)) => {
            errors.push(Error::invalid(&of_end, end, "may not be specified when `port` is not specified"))
        }
        _ => {}
    }
}

fn peer(peer: &Value, path: &Path, errors: &mut Errors) {
    let selectors = ["podSelector", "namespaceSelector"];
    for field in selectors.into_iter().filter(|field| peer[*field].is_object()) {
        metadata::selector(&peer[field], &path.child(field), errors);
    }
    let selects = selectors.iter().any(|field| peer[*field].is_object());
    let block = &peer["ipBlock"];
    match (selects, block.is_object()) {
        (false, false) => errors.push(Error::required(path, "must specify a peer")),
        (true, true) => errors.push(Error::forbidden(path, "may not specify both ipBlock and another peer")),
        _ => {}
    }
    if !block.is_object() {
        return;
    }
    let path = path.child("ipBlock");
    let cidr = str_of(block, "cidr");
    if cidr.is_empty() {
        errors.push(Error::required(&path.child("cidr"), ""));
        return;
    }
    address::range(cidr, &[], &path.child("cidr"), errors);
    let Some(whole) = address::Range::parse(cidr) else { return };
    for (at, except) in list(block, "except").iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("except").index(at);
        address::range(except, &[], &path, errors);
        if address::Range::parse(except).is_some_and(|part| !whole.contains(part)) {
            errors.push(Error::invalid(&path, except, "must be a strict subset of `cidr`"));
        }
    }
}

fn endpoint_slice(slice: &Object, errors: &mut Errors) {
    let slice = &Value::Object(slice.map().clone());
    let kind = str_of(slice, "addressType");
    one_of(slice, "addressType", ADDRESS_TYPES, &Path::default(), errors);
    let mut names = BTreeSet::new();
    for (at, port) in list(slice, "ports").iter().enumerate() {
        let path = Path::new("ports").index(at);
        let name = str_of(port, "name");
        if !name.is_empty() {
            complain(text::dns_label(name), name, &path.child("name"), errors);
        }
        if !names.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        one_of(port, "protocol", PROTOCOLS, &path, errors);
        if let Some(protocol) = port["appProtocol"].as_str() {
            complain(text::qualified_name(protocol), protocol, &path.child("appProtocol"), errors);
        }
    }
    let endpoints = list(slice, "endpoints");
    if endpoints.len() > MOST_ENDPOINTS {
        errors.push(Error::too_many(&Path::new("endpoints"), endpoints.len(), MOST_ENDPOINTS));
        return;
    }
    for (at, endpoint) in endpoints.iter().enumerate() {
        let path = Path::new("endpoints").index(at).child("addresses");
        let addresses = list(endpoint, "addresses");
        if addresses.is_empty() {
            errors.push(Error::required(&path, "must contain at least 1 address"));
        }
        if addresses.len() > MOST_ADDRESSES {
            errors.push(Error::too_many(&path, addresses.len(), MOST_ADDRESSES));
        }
        for (at, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
            self::address_of(kind, address, &path, at, errors);
        }
        details(endpoint, &Path::new("endpoints").index(at), errors);
    }
}

/// An address of the slice's family.
fn address_of(kind: &str, address: &str, path: &Path, at: usize, errors: &mut Errors) {
    let of_this = path.index(at);
    match kind {
        "IPv4" | "IPv6" => {
            let canonical = if kind == "IPv6" { text::ip_address(address) } else { text::Complaints::new() };
            if let Some(why) = address::problem(address) {
                errors.push(Error::invalid(&of_this, address, why));
            } else if !canonical.is_empty() {
                complain(canonical, address, &of_this, errors);
            } else {
                if address.contains(':') != (kind == "IPv6") {
                    errors.push(Error::invalid(path, address, format!("must be an {kind} address")));
                }
                address::endpoint(address, &of_this, errors);
            }
        }
        "FQDN" => {
            let name = address.strip_suffix('.').unwrap_or(address);
            let wrong = text::dns_subdomain(name);
            if address.is_empty() {
                errors.push(Error::required(&of_this, ""));
            } else if !wrong.is_empty() {
                errors.push(Error::invalid(&of_this, name, wrong.join(",")));
            } else if !name.contains('.') {
                let text = "should be a domain with at least two segments separated by dots";
                errors.push(Error::invalid(&of_this, name, text));
            }
        }
        _ => {}
    }
}

/// What is said of an endpoint beside its addresses.
fn details(endpoint: &Value, path: &Path, errors: &mut Errors) {
    let rules: [(&str, text::Rule); 2] = [("nodeName", text::dns_subdomain), ("hostname", text::dns_label)];
    for (field, rule) in rules {
        if let Some(name) = endpoint[field].as_str() {
            complain(rule(name), name, &path.child(field), errors);
        }
    }
    let hints: [(&str, text::Rule); 2] = [("forZones", text::label_value), ("forNodes", text::dns_subdomain)];
    for (field, rule) in hints {
        let (all, path) = (list(&endpoint["hints"], field), path.child("hints").child(field));
        if all.len() > 8 {
            errors.push(Error::too_many(&path, all.len(), 8));
            return;
        }
        let names: Vec<&str> = all.iter().map(|hint| str_of(hint, "name")).collect();
        for (at, name) in names.iter().enumerate() {
            let path = path.index(at).child("name");
            if names[..at].contains(name) {
                errors.push(Error::duplicate(&path, *name));
            }
            complain(rule(name), name, &path, errors);
        }
    }
}
