//! Addresses in what describes networks. What our own controllers write is not looked at.

use serde_json::Value;

use super::addresses;
use crate::object::Object;

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn managed_by(object: &Object, label: &str, controllers: &[&str]) -> bool {
    object.get(&["metadata", "labels", label]).and_then(Value::as_str).is_some_and(|name| controllers.contains(&name))
}

/// An Endpoints.
pub fn endpoints(object: &Object, all: &mut Vec<String>) {
    if managed_by(object, "endpoints.kubernetes.io/managed-by", &["endpoint-controller"]) {
        return;
    }
    let subsets = object.get(&["subsets"]).and_then(Value::as_array).into_iter().flatten();
    for (at, subset) in subsets.enumerate() {
        for field in ["addresses", "notReadyAddresses"] {
            for (index, one) in list(subset, field).iter().enumerate() {
                addresses::address(&format!("subsets[{at}].{field}[{index}].ip"), text(one, "ip"), all);
            }
        }
    }
}

/// An EndpointSlice.
pub fn slice(old: Option<&Object>, object: &Object, all: &mut Vec<String>) {
    if old.is_none() && object.str(&["addressType"]) == "FQDN" {
        all.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    let controllers = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
    if managed_by(object, "endpointslice.kubernetes.io/managed-by", &controllers) {
        return;
    }
    let endpoints = object.get(&["endpoints"]).and_then(Value::as_array).into_iter().flatten();
    for (at, endpoint) in endpoints.enumerate() {
        for (index, one) in list(endpoint, "addresses").iter().enumerate() {
            let path = format!("endpoints[{at}].addresses[{index}]");
            addresses::address(&path, one.as_str().unwrap_or_default(), all);
        }
    }
}

/// A NetworkPolicy's spec.
pub fn policy(spec: &Value, all: &mut Vec<String>) {
    for (way, peers) in [("ingress", "from"), ("egress", "to")] {
        for (at, rule) in list(spec, way).iter().enumerate() {
            for (index, peer) in list(rule, peers).iter().enumerate() {
                let (block, path) = (&peer["ipBlock"], format!("spec.{way}[{at}].{peers}[{index}].ipBlock"));
                addresses::range(&format!("{path}.cidr"), text(block, "cidr"), all);
                for (which, except) in list(block, "except").iter().enumerate() {
                    addresses::range(&format!("{path}.except[{which}]"), except.as_str().unwrap_or_default(), all);
                }
            }
        }
    }
}
