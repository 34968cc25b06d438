//! The groups networking.k8s.io and discovery.k8s.io.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::containers::number_of_port;
use super::field::{Error, Errors, Path};
use super::{complain, immutable, list, metadata, one_of, str_of, text};
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
        "IPAddress" => immutable(old, new, &["spec", "parentRef"], &mut errors),
        _ => {}
    }
    errors
}

/// What an address belongs to.
fn parent(reference: &Value, path: &Path, errors: &mut Errors) {
    if reference.is_null() {
        errors.push(Error::required(path, ""));
        return;
    }
    for field in ["resource", "name"] {
        if str_of(reference, field).is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
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
            let plain = host.strip_prefix("*.").unwrap_or(host);
            complain(text::dns_subdomain(plain), host, &path.child("host"), errors);
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
    let class = str_of(spec, "ingressClassName");
    if !class.is_empty() {
        complain(text::dns_subdomain(class), class, &path.child("ingressClassName"), errors);
    }
}

fn http_path(entry: &Value, path: &Path, errors: &mut Errors) {
    let text = str_of(entry, "path");
    let of_path = path.child("path");
    let kind = str_of(entry, "pathType");
    if kind.is_empty() {
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
        (false, true) => {}
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
    for (at, kind) in list(spec, "policyTypes").iter().filter_map(Value::as_str).enumerate() {
        if !POLICY_TYPES.contains(&kind) {
            errors.push(Error::not_supported(&path.child("policyTypes").index(at), kind, POLICY_TYPES));
        }
    }
}

fn policy_port(port: &Value, path: &Path, errors: &mut Errors) {
    one_of(port, "protocol", &["TCP", "UDP", "SCTP"], path, errors);
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
    let wrong = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    match (str_of(block, "cidr"), range(str_of(block, "cidr"))) {
        ("", _) => errors.push(Error::required(&path.child("cidr"), "")),
        (cidr, None) => errors.push(Error::invalid(&path.child("cidr"), cidr, wrong)),
        (_, Some(whole)) => {
            for (at, except) in list(block, "except").iter().filter_map(Value::as_str).enumerate() {
                let path = path.child("except").index(at);
                match range(except) {
                    None => errors.push(Error::invalid(&path, except, wrong)),
                    Some(part) if !is_part(whole, part) => {
                        errors.push(Error::invalid(&path, except, "must be a strict subset of `cidr`"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// An address range: the address as a number, how many bits all addresses of its family have, and how many are fixed.
fn range(cidr: &str) -> Option<(u128, u32, u32)> {
    let (address, length) = cidr.split_once('/')?;
    let (address, bits) = match address.parse().ok()? {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let length: u32 = length.parse().ok()?;
    (length <= bits).then_some((address, bits, length))
}

fn is_part((whole, bits, length): (u128, u32, u32), (part, of_bits, of_length): (u128, u32, u32)) -> bool {
    let network = |address: u128| address.checked_shr(bits - length).unwrap_or(0);
    bits == of_bits && length < of_length && network(whole) == network(part)
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
            match (kind, address.parse::<IpAddr>()) {
                ("IPv4", Ok(IpAddr::V6(_))) => errors.push(Error::invalid(&path, address, "must be an IPv4 address")),
                ("IPv6", Ok(IpAddr::V4(_))) => errors.push(Error::invalid(&path, address, "must be an IPv6 address")),
                ("IPv4" | "IPv6", Err(_)) => {
                    let text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                    errors.push(Error::invalid(&path.index(at), address, text));
                }
                _ => {}
            }
        }
    }
}
