//! The groups networking.k8s.io and policy.

use serde_json::{Map, Value, json};

use super::rules::{Rule, apply as table, int, object, text, visit};

const DISRUPTION_BUDGET: &[Rule] = &[
    object("", "status"),
    int("status", "disruptionsAllowed", 0),
    int("status", "currentHealthy", 0),
    int("status", "desiredHealthy", 0),
    int("status", "expectedPods", 0),
];

pub(super) fn apply(kind: &str, map: &mut Map<String, Value>) {
    match kind {
        "NetworkPolicy" => network_policy(map),
        "IngressClass" => table(map, &[text("spec.parameters", "scope", "Cluster")]),
        "Ingress" => table(map, &[object("", "status"), object("status", "loadBalancer")]),
        "ServiceCIDR" => table(map, &[object("", "status")]),
        _ => {}
    }
}

pub(super) fn policy(kind: &str, map: &mut Map<String, Value>) {
    if kind == "PodDisruptionBudget" {
        table(map, DISRUPTION_BUDGET);
    }
}

/// A policy is about what comes in, and about what goes out if it has rules for that.
fn network_policy(map: &mut Map<String, Value>) {
    table(map, &[object("spec", "podSelector")]);
    table(map, &[text("spec.ingress[].ports[]", "protocol", "TCP"), text("spec.egress[].ports[]", "protocol", "TCP")]);
    visit(map, "spec", &mut |spec| {
        if super::list(spec, "policyTypes").is_empty() {
            let out = !super::list(spec, "egress").is_empty();
            spec.insert("policyTypes".into(), if out { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
        }
    });
}
