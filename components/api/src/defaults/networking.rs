//! The group networking.k8s.io.

use serde_json::{Map, Value, json};

use super::rules::{apply as table, text, visit};

pub(super) fn apply(kind: &str, map: &mut Map<String, Value>) {
    match kind {
        "NetworkPolicy" => network_policy(map),
        "IngressClass" => table(map, &[text("spec.parameters", "scope", "Cluster")]),
        _ => {}
    }
}

/// A policy is about what comes in, and about what goes out if it has rules for that.
fn network_policy(map: &mut Map<String, Value>) {
    table(map, &[text("spec.ingress[].ports[]", "protocol", "TCP"), text("spec.egress[].ports[]", "protocol", "TCP")]);
    visit(map, "spec", &mut |spec| {
        if super::list(spec, "policyTypes").is_empty() {
            let out = !super::list(spec, "egress").is_empty();
            spec.insert("policyTypes".into(), if out { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
        }
    });
}
