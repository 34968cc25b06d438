//! Services, and the groups discovery.k8s.io and networking.k8s.io.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Column;
use super::cells::{Row, made, name, since_creation, string, string_or, wide};
use super::human::{joined, labels, list, number, or, selector_or_none, shortened, text};

pub(super) const SERVICE: &[Column] = &[
    name(),
    string("Type", "/spec/type"),
    string_or("Cluster-IP", "/spec/clusterIPs/0", "<none>"),
    made("External-IP", external_ip),
    made("Port(s)", ports),
    since_creation(),
    wide(made("Selector", |row| labels(row.object.pointer("/spec/selector")).into())),
];

const ENDPOINT_SLICE: &[Column] = &[
    name(),
    string("AddressType", "/addressType"),
    made("Ports", slice_ports),
    made("Endpoints", slice_endpoints),
    since_creation(),
];

const INGRESS: &[Column] = &[
    name(),
    string_or("Class", "/spec/ingressClassName", "<none>"),
    made("Hosts", hosts),
    made("Address", |row| load_balancer(row.object).into()),
    made("Ports", |row| if list(row.object, "/spec/tls").is_empty() { "80" } else { "80, 443" }.into()),
    since_creation(),
];

const INGRESS_CLASS: &[Column] = &[
    Column {
        format: "name",
        ..made("Name", |row| marked_default(row.object, &["ingressclass.kubernetes.io/is-default-class"]))
    },
    string("Controller", "/spec/controller"),
    made("Parameters", parameters),
    since_creation(),
];

const NETWORK_POLICY: &[Column] =
    &[name(), made("Pod-Selector", |row| selector_or_none(row.object.pointer("/spec/podSelector"))), since_creation()];

const SERVICE_CIDR: &[Column] =
    &[name(), made("CIDRs", |row| joined(row.object, "/spec/cidrs", ",").into()), since_creation()];

const IP_ADDRESS: &[Column] = &[name(), made("ParentRef", parent)];

pub(super) fn columns(kind: &str) -> Option<&'static [Column]> {
    Some(match kind {
        "EndpointSlice" => ENDPOINT_SLICE,
        "Ingress" => INGRESS,
        "IngressClass" => INGRESS_CLASS,
        "NetworkPolicy" => NETWORK_POLICY,
        "ServiceCIDR" => SERVICE_CIDR,
        "IPAddress" => IP_ADDRESS,
        _ => return None,
    })
}

/// The name of an object, with a note where one of the annotations makes it the default of its kind.
pub(super) fn marked_default(object: &Value, annotations: &[&str]) -> Value {
    let set = |annotation: &&str| object["metadata"]["annotations"][*annotation] == "true";
    let name = text(object, "/metadata/name");
    if annotations.iter().any(set) { format!("{name} (default)").into() } else { name.into() }
}

/// The addresses that a load balancer has, in order.
fn load_balancer(object: &Value) -> String {
    let address = |ingress: &Value| or(text(ingress, "/ip"), text(ingress, "/hostname")).to_owned();
    let addresses: BTreeSet<String> = list(object, "/status/loadBalancer/ingress").iter().map(address).collect();
    let addresses: Vec<String> = addresses.into_iter().filter(|address| !address.is_empty()).collect();
    addresses.join(",")
}

fn external_ip(row: Row<'_>) -> Value {
    let own = joined(row.object, "/spec/externalIPs", ",");
    match text(row.object, "/spec/type") {
        "ClusterIP" | "NodePort" => or(&own, "<none>").into(),
        "LoadBalancer" => match (load_balancer(row.object).as_str(), own.as_str()) {
            ("", "") => "<pending>".into(),
            (given, "") => given.into(),
            ("", own) => own.into(),
            (given, own) => format!("{given},{own}").into(),
        },
        "ExternalName" => text(row.object, "/spec/externalName").into(),
        _ => "<unknown>".into(),
    }
}

fn ports(row: Row<'_>) -> Value {
    let port = |port: &Value| {
        let (own, protocol) = (number(port, "/port"), text(port, "/protocol"));
        match number(port, "/nodePort") {
            0 => format!("{own}/{protocol}"),
            node => format!("{own}:{node}/{protocol}"),
        }
    };
    let ports: Vec<String> = list(row.object, "/spec/ports").iter().map(port).collect();
    or(&ports.join(","), "<none>").into()
}

fn slice_ports(row: Row<'_>) -> Value {
    let port = |port: &Value| match (port["port"].as_i64(), port["name"].as_str()) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    };
    let ports: Vec<String> = list(row.object, "/ports").iter().map(port).collect();
    or(&shortened(&ports, 3, ""), "<unset>").into()
}

fn slice_endpoints(row: Row<'_>) -> Value {
    let endpoints = list(row.object, "/endpoints").iter();
    let addresses = endpoints.flat_map(|endpoint| list(endpoint, "/addresses")).filter_map(Value::as_str);
    let addresses: Vec<String> = addresses.map(str::to_owned).collect();
    or(&shortened(&addresses, 3, ""), "<unset>").into()
}

/// The hosts of the first three rules that have one. What is beyond is counted in rules.
fn hosts(row: Row<'_>) -> Value {
    let rules = list(row.object, "/spec/rules");
    let named: Vec<&str> = rules.iter().map(|rule| text(rule, "/host")).filter(|host| !host.is_empty()).collect();
    let full = rules.iter().scan(0, |seen, rule| {
        let before = *seen;
        *seen += usize::from(!text(rule, "/host").is_empty());
        Some(before)
    });
    let more = full.into_iter().any(|before| before == 3);
    match named.len() {
        0 => "*".into(),
        _ if more => format!("{} + {} more...", named[..3].join(","), rules.len() - 3).into(),
        _ => named.join(",").into(),
    }
}

fn parameters(row: Row<'_>) -> Value {
    let Some(reference) = row.object.pointer("/spec/parameters").filter(|reference| reference.is_object()) else {
        return "<none>".into();
    };
    let (kind, name) = (text(reference, "/kind"), text(reference, "/name"));
    match reference["apiGroup"].as_str() {
        Some(group) => format!("{kind}.{group}/{name}").into(),
        None => format!("{kind}/{name}").into(),
    }
}

fn parent(row: Row<'_>) -> Value {
    let Some(parent) = row.object.pointer("/spec/parentRef").filter(|parent| parent.is_object()) else {
        return "<none>".into();
    };
    let mut reference = text(parent, "/resource").to_owned();
    for (separator, field) in [(".", "/group"), ("/", "/namespace"), ("/", "/name")] {
        let part = text(parent, field);
        if !part.is_empty() || field == "/name" {
            reference = format!("{reference}{separator}{part}");
        }
    }
    reference.into()
}
