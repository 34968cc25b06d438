//! The core group.

use serde_json::{Map, Value};

use super::resources::{canonical_lists, fill};
use super::rules::{Rule, apply as table, bool, int, object, text, visit};
use super::{pod, volumes};

const SERVICE: &[Rule] = &[
    text("spec", "sessionAffinity", "None"),
    text("spec", "type", "ClusterIP"),
    text("spec.ports[]", "protocol", "TCP"),
];

const CLAIM: &[Rule] = &[text("spec", "volumeMode", "Filesystem"), text("status", "phase", "Pending")];

const VOLUME: &[Rule] = &[
    text("spec", "persistentVolumeReclaimPolicy", "Retain"),
    text("spec", "volumeMode", "Filesystem"),
    text("status", "phase", "Pending"),
];

pub(super) fn apply(kind: &str, map: &mut Map<String, Value>) {
    match kind {
        "Pod" => pod::pod(map),
        "PodTemplate" => pod::template(map, "template"),
        "ReplicationController" => replication_controller(map),
        "Service" => service(map),
        "Secret" => table(map, &[text("", "type", "Opaque")]),
        "Namespace" => namespace(map),
        "Node" => node(map),
        "Endpoints" => table(map, &[text("subsets[].ports[]", "protocol", "TCP")]),
        "PersistentVolume" => {
            table(map, VOLUME);
            visit(map, "spec", &mut volumes::persistent);
        }
        "PersistentVolumeClaim" => claim(map),
        "LimitRange" => visit(map, "spec.limits[]", &mut limit),
        "ResourceQuota" => {
            canonical_lists(map, "spec", &["hard"]);
            canonical_lists(map, "status", &["hard", "used"]);
        }
        _ => {}
    }
}

/// A claim, or a StatefulSet's template of one.
pub(super) fn claim(map: &mut Map<String, Value>) {
    table(map, CLAIM);
    canonical_lists(map, "spec.resources", &["limits", "requests"]);
    canonical_lists(map, "status", &["capacity", "allocatedResources"]);
}

fn replication_controller(map: &mut Map<String, Value>) {
    table(map, &[int("spec", "replicas", 1)]);
    let labels = map.get("spec").and_then(|spec| spec.pointer("/template/metadata/labels")).cloned();
    if let Some(labels) = labels {
        for (parent, field) in [("spec", "selector"), ("metadata", "labels")] {
            visit(map, parent, &mut |map| {
                if map.get(field).and_then(Value::as_object).is_none_or(Map::is_empty) {
                    map.insert(field.into(), labels.clone());
                }
            });
        }
    }
    pod::template(map, "spec.template");
}

fn service(map: &mut Map<String, Value>) {
    table(map, SERVICE);
    let mut load_balancer = false;
    visit(map, "spec", &mut |spec| {
        match super::text(spec, "sessionAffinity") {
            "None" => {
                spec.remove("sessionAffinityConfig");
            }
            "ClientIP" => {
                let timeout = spec.get("sessionAffinityConfig").map(|config| &config["clientIP"]["timeoutSeconds"]);
                if timeout.is_none_or(Value::is_null) {
                    let config = serde_json::json!({"clientIP": {"timeoutSeconds": 10800}});
                    spec.insert("sessionAffinityConfig".into(), config);
                }
            }
            _ => {}
        }
        visit(spec, "ports[]", &mut target_port);
        let kind = super::text(spec, "type").to_owned();
        load_balancer = kind == "LoadBalancer";
        let external = match kind.as_str() {
            "LoadBalancer" | "NodePort" => true,
            "ClusterIP" => !super::list(spec, "externalIPs").is_empty(),
            _ => false,
        };
        if external {
            table(spec, &[text("", "externalTrafficPolicy", "Cluster")]);
        }
        if matches!(kind.as_str(), "LoadBalancer" | "NodePort" | "ClusterIP") {
            table(spec, &[text("", "internalTrafficPolicy", "Cluster")]);
        }
        if load_balancer {
            table(spec, &[bool("", "allocateLoadBalancerNodePorts", true)]);
        }
    });
    if load_balancer {
        visit(map, "status.loadBalancer.ingress[]", &mut |ingress| {
            if !super::text(ingress, "ip").is_empty() {
                table(ingress, &[text("", "ipMode", "VIP")]);
            }
        });
    }
}

/// A port goes to the port of the same number unless it says otherwise.
fn target_port(port: &mut Map<String, Value>) {
    let unset = match port.get("targetPort") {
        None => true,
        Some(Value::String(name)) => name.is_empty(),
        Some(number) => number.as_i64() == Some(0),
    };
    if let Some(number) = port.get("port").filter(|_| unset).cloned() {
        port.insert("targetPort".into(), number);
    }
}

/// Every namespace carries its name as a label, so that selectors can name it.
fn namespace(map: &mut Map<String, Value>) {
    table(map, &[text("status", "phase", "Active")]);
    visit(map, "metadata", &mut |metadata| {
        let name = super::text(metadata, "name").to_owned();
        if !name.is_empty() {
            table(metadata, &[object("", "labels")]);
            visit(metadata, "labels", &mut |labels| {
                labels.insert("kubernetes.io/metadata.name".into(), name.clone().into());
            });
        }
    });
}

fn node(map: &mut Map<String, Value>) {
    // The range of old is the first of those of now; where they disagree, it is the only one.
    visit(map, "spec", &mut |spec| {
        let first = super::list(spec, "podCIDRs").first().cloned();
        match super::text(spec, "podCIDR").to_owned() {
            range if range.is_empty() => {
                if let Some(first) = first {
                    spec.insert("podCIDR".into(), first);
                }
            }
            range if first.as_ref().is_none_or(|first| *first != *range) => {
                spec.insert("podCIDRs".into(), vec![range].into());
            }
            _ => {}
        }
    });
    visit(map, "status", &mut |status| {
        if !status.contains_key("allocatable") {
            fill(status, "capacity", "allocatable");
        }
    });
    canonical_lists(map, "status", &["capacity", "allocatable"]);
}

/// One item of a LimitRange. Containers' limits and requests follow from each other.
fn limit(item: &mut Map<String, Value>) {
    if super::text(item, "type") == "Container" {
        fill(item, "max", "default");
        fill(item, "default", "defaultRequest");
        fill(item, "min", "defaultRequest");
    }
    canonical_lists(item, "", &["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"]);
}
