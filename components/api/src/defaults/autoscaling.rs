//! The group autoscaling.

use serde_json::{Map, Value, json};

use super::rules::{apply as table, int, visit};

pub(super) fn apply(version: &str, kind: &str, map: &mut Map<String, Value>) {
    if kind != "HorizontalPodAutoscaler" {
        return;
    }
    table(map, &[int("spec", "minReplicas", 1)]);
    if version == "v1" {
        return;
    }
    visit(map, "spec", &mut |spec| {
        if super::list(spec, "metrics").is_empty() {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            spec.insert("metrics".into(), json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
        }
        visit(spec, "behavior", &mut |behavior| {
            scaling_rules(behavior, "scaleUp", &up());
            scaling_rules(behavior, "scaleDown", &down());
        });
    });
}

fn up() -> Value {
    json!({
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ],
    })
}

/// Without a window: the controller's own setting stands in for it.
fn down() -> Value {
    json!({"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]})
}

fn scaling_rules(behavior: &mut Map<String, Value>, direction: &str, defaults: &Value) {
    let rules = behavior.entry(direction).or_insert_with(|| json!({}));
    if let (Some(rules), Some(defaults)) = (rules.as_object_mut(), defaults.as_object()) {
        for (field, value) in defaults {
            rules.entry(field.clone()).or_insert_with(|| value.clone());
        }
    }
}
