//! What a Service loses when its type changes: what only the old type had, unless the client changed that too, for then
//! validation has to say that the new type does not have it. Pure.

use kinit_api::object::Object;
use serde_json::Value;

fn kind(service: &Object) -> &str {
    service.str(&["spec", "type"])
}

pub(super) fn has_cluster_ip(service: &Object) -> bool {
    kind(service) != "ExternalName"
}

pub(super) fn has_node_ports(service: &Object) -> bool {
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => {
            service.get(&["spec", "allocateLoadBalancerNodePorts"]).and_then(Value::as_bool).unwrap_or(true)
        }
        _ => false,
    }
}

pub(super) fn has_health_port(service: &Object) -> bool {
    kind(service) == "LoadBalancer" && service.str(&["spec", "externalTrafficPolicy"]) == "Local"
}

fn is_reached_from_outside(service: &Object) -> bool {
    let external = service.get(&["spec", "externalIPs"]).and_then(Value::as_array);
    matches!(kind(service), "LoadBalancer" | "NodePort")
        || kind(service) == "ClusterIP" && external.is_some_and(|list| !list.is_empty())
}

fn is_balanced(service: &Object) -> bool {
    kind(service) == "LoadBalancer"
}

/// Whether a Service has something.
type Has = fn(&Object) -> bool;

/// Fields of the spec, and whether a Service has them.
const FIELDS: &[(&str, Has)] = &[
    ("clusterIP", has_cluster_ip),
    ("clusterIPs", has_cluster_ip),
    ("ipFamilies", has_cluster_ip),
    ("ipFamilyPolicy", has_cluster_ip),
    ("healthCheckNodePort", has_health_port),
    ("allocateLoadBalancerNodePorts", is_balanced),
    ("loadBalancerClass", is_balanced),
    ("externalTrafficPolicy", is_reached_from_outside),
];

/// Drops from `new` what its type does not have and `old`'s had.
pub fn drop_type_dependent(old: &Object, new: &mut Object) {
    let gone: Vec<&str> = FIELDS.iter().filter(|(_, has)| has(old) && !has(new)).map(|(field, _)| *field).collect();
    for field in gone {
        let path = ["spec", field];
        if new.get(&path) == old.get(&path) {
            new.remove(&path);
        }
    }
    let numbers = |service: &Object| -> Vec<Value> {
        let ports = service.get(&["spec", "ports"]).and_then(Value::as_array);
        ports.into_iter().flatten().map(|port| port["nodePort"].clone()).collect()
    };
    if has_node_ports(old) && !has_node_ports(new) && numbers(old) == numbers(new) {
        for port in new.get_mut(&["spec", "ports"]).and_then(Value::as_array_mut).into_iter().flatten() {
            port.as_object_mut().and_then(|port| port.remove("nodePort"));
        }
    }
    if !is_balanced(new) {
        new.remove(&["status", "loadBalancer", "ingress"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(spec: Value) -> Object {
        Object::from_value(json!({ "spec": spec })).unwrap()
    }

    #[test]
    fn a_new_type_takes_what_only_the_old_one_had() {
        let had = json!({"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Cluster", "ports": [{"port": 80, "nodePort": 30000}]});
        let old = service(had.clone());
        let changed = |changes: Value| {
            let mut wanted = had.clone();
            json_patch::merge(&mut wanted, &changes);
            let mut new = service(wanted);
            drop_type_dependent(&old, &mut new);
            new.into_value()["spec"].take()
        };
        let external = changed(json!({"type": "ExternalName"}));
        assert_eq!(external, json!({"type": "ExternalName", "ports": [{"port": 80}]}));
        let inside = changed(json!({"type": "ClusterIP"}));
        assert_eq!((&inside["clusterIP"], &inside["ports"]), (&json!("10.0.0.1"), &json!([{"port": 80}])));
        assert!(inside.get("externalTrafficPolicy").is_none());
        let both = changed(
            json!({"type": "ExternalName", "clusterIP": "10.0.0.2", "ports": [{"port": 80, "nodePort": 31000}]}),
        );
        assert_eq!((&both["clusterIP"], &both["ports"][0]["nodePort"]), (&json!("10.0.0.2"), &json!(31000)));
        assert_eq!(changed(json!({})), had);
    }
}
