//! The group resource.k8s.io.

use serde_json::{Map, Value};

use super::rules::{apply as table, int_or_zero, text, visit};

pub(super) fn apply(kind: &str, map: &mut Map<String, Value>) {
    match kind {
        "ResourceClaim" => {
            requests(map, "spec.devices.requests[]");
            let results = "status.allocation.devices.results[].tolerations[]";
            table(map, &[text(results, "operator", "Equal")]);
        }
        "ResourceClaimTemplate" => {
            requests(map, "spec.spec.devices.requests[]");
        }
        "ResourceSlice" => {
            table(map, &[text("spec.devices[].nodeAllocatableResourceMappings{}", "allocationMultiplier", "1")]);
        }
        _ => {}
    }
}

fn requests(map: &mut Map<String, Value>, path: &str) {
    for alternative in ["exactly", "firstAvailable[]"] {
        visit(map, &format!("{path}.{alternative}"), &mut |request| {
            table(request, &[text("", "allocationMode", "ExactCount"), text("tolerations[]", "operator", "Equal")]);
            if super::text(request, "allocationMode") == "ExactCount" {
                table(request, &[int_or_zero("", "count", 1)]);
            }
        });
    }
}
