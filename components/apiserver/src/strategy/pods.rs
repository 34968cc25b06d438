//! What a new Pod gets beside its defaults: its class, what its gates say of it, and selectors that follow its labels.

use kinit_api::object::Object;
use kinit_api::quantity::Quantity;
use kinit_api::warnings::pods::{APP_ARMOR, app_armor, old_app_armor};
use serde_json::{Map, Value, json};

use crate::fields::Warnings;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Prepares a new Pod, which has no status yet.
pub fn prepare(pod: &mut Object) {
    pod.set(&["status", "phase"], "Pending");
    pod.set(&["status", "qosClass"], qos_class(pod));
    let gates = pod.get(&["spec", "schedulingGates"]).and_then(Value::as_array);
    if gates.is_some_and(|gates| !gates.is_empty()) {
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "lastProbeTime": null,
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastTransitionTime": crate::handlers::now(),
        });
        pod.set(&["status", "conditions"], json!([condition]));
    }
    let labels = pod.get(&["metadata", "labels"]).and_then(Value::as_object).cloned().unwrap_or_default();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = pod.get_mut(&["spec", "affinity", kind]) else { continue };
        for term in affinity.get_mut(REQUIRED).and_then(Value::as_array_mut).into_iter().flatten() {
            follow(term, &labels);
        }
        for term in affinity.get_mut(PREFERRED).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(term) = term.get_mut("podAffinityTerm") {
                follow(term, &labels);
            }
        }
    }
    let constraints = pod.get_mut(&["spec", "topologySpreadConstraints"]).and_then(Value::as_array_mut);
    for constraint in constraints.into_iter().flatten() {
        follow(constraint, &labels);
    }
}

/// Gives the containers of a new Pod the AppArmor profiles that annotations name, and tells what of it has a field now. What
/// annotates a container that has a profile already is looked at when the Pod is checked.
pub fn confine(pod: &mut Object, warnings: &Warnings) {
    if pod.str(&["spec", "os", "name"]) == "windows" {
        return;
    }
    let annotations = pod.get(&["metadata", "annotations"]).and_then(Value::as_object).cloned().unwrap_or_default();
    if !annotations.keys().any(|key| key.starts_with(APP_ARMOR)) {
        return;
    }
    let of_pod = pod.get(&["spec", "securityContext", "appArmorProfile"]).cloned();
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        let Some(containers) = pod.get_mut(&["spec", field]).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let key = format!("{APP_ARMOR}{}", container["name"].as_str().unwrap_or_default());
            let has_profile = !container["securityContext"]["appArmorProfile"].is_null();
            let Some(annotation) = annotations.get(&key).and_then(Value::as_str).filter(|_| !has_profile) else {
                continue;
            };
            let profile = app_armor(annotation);
            if profile.is_some() && profile == of_pod {
                continue;
            }
            if let Some(profile) = profile {
                if container["securityContext"].is_null() {
                    container["securityContext"] = json!({});
                }
                container["securityContext"]["appArmorProfile"] = profile;
            }
            warnings.add(old_app_armor(&key, "metadata.annotations"));
        }
    }
}

/// Adds to a selector what the keys beside it stand for: the Pod's own labels. One that selects nothing stays so.
fn follow(term: &mut Value, labels: &Map<String, Value>) {
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys: Vec<String> =
            term[field].as_array().into_iter().flatten().filter_map(|key| Some(key.as_str()?.to_owned())).collect();
        let Some(selector) = term.get_mut("labelSelector").and_then(Value::as_object_mut) else { return };
        for key in keys {
            let Some(value) = labels.get(&key) else { continue };
            let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
            if let Some(expressions) = expressions.as_array_mut() {
                expressions.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
}

/// How a Pod fares when its node runs short: upstream's three classes.
pub fn qos_class(pod: &Object) -> &'static str {
    let mut guaranteed = true;
    let mut any = false;
    let of_pod = pod.get(&["spec", "resources"]).filter(|own| own["requests"].is_object() || own["limits"].is_object());
    let containers = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|field| pod.get(&["spec", field]).and_then(Value::as_array).into_iter().flatten())
        .map(|container| &container["resources"]);
    // What the Pod says as a whole stands for its containers.
    let all: Vec<&Value> = of_pod.map_or_else(|| containers.collect(), |own| vec![own]);
    for resources in all {
        let amount = |kind: &str, name: &str| {
            let text = resources[kind][name].as_str().unwrap_or_default();
            text.parse::<Quantity>().ok().filter(|quantity| !quantity.is_zero())
        };
        for name in ["cpu", "memory"] {
            let (request, limit) = (amount("requests", name), amount("limits", name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn annotations_for_app_armor_become_fields() {
        let made = |annotation: &str, of_pod: Value, own: Value| {
            let key = format!("{APP_ARMOR}c");
            let mut pod = object(json!({"metadata": {"annotations": {key: annotation}}, "spec": {
                "securityContext": {"appArmorProfile": of_pod},
                "containers": [{"name": "c", "securityContext": {"appArmorProfile": own}}],
            }}));
            let warnings = Warnings::default();
            confine(&mut pod, &warnings);
            let mut headers = http::HeaderMap::new();
            warnings.write(&mut headers);
            let container = pod.get(&["spec", "containers"]).unwrap()[0].clone();
            (container["securityContext"]["appArmorProfile"].clone(), headers.len())
        };
        let profile = |kind: &str| json!({"type": kind});
        let local = json!({"type": "Localhost", "localhostProfile": "p"});
        for (annotation, of_pod, own, wanted, warned) in [
            ("runtime/default", Value::Null, Value::Null, profile("RuntimeDefault"), 1),
            ("localhost/p", Value::Null, Value::Null, local, 1),
            ("unconfined", profile("RuntimeDefault"), Value::Null, profile("Unconfined"), 1),
            ("runtime/default", profile("RuntimeDefault"), Value::Null, Value::Null, 0),
            ("runtime/default", Value::Null, profile("Unconfined"), profile("Unconfined"), 0),
            ("odd", Value::Null, Value::Null, Value::Null, 1),
        ] {
            assert_eq!(made(annotation, of_pod, own), (wanted, warned), "{annotation}");
        }
    }

    #[test]
    fn classes_follow_requests_and_limits() {
        let class = |resources: Value| qos_class(&object(json!({"spec": {"containers": [{"resources": resources}]}})));
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(class(json!({"requests": both, "limits": {"cpu": "1000m", "memory": "1Gi"}})), "Guaranteed");
        assert_eq!(class(json!({"requests": {"cpu": "500m"}, "limits": both})), "Burstable");
        let whole =
            json!({"spec": {"resources": {"requests": both, "limits": both}, "containers": [{"resources": {}}]}});
        assert_eq!(qos_class(&object(whole)), "Guaranteed");
    }

    #[test]
    fn selectors_follow_the_labels_that_their_keys_name() {
        let mut pod = object(json!({
            "metadata": {"labels": {"a": "1"}},
            "spec": {
                "schedulingGates": [{"name": "g"}],
                "affinity": {"podAffinity": {REQUIRED: [
                    {"labelSelector": {}, "matchLabelKeys": ["a", "b"]}, {"mismatchLabelKeys": ["a"]},
                ]}},
                "topologySpreadConstraints": [{"labelSelector": {"matchLabels": {"x": "y"}}, "matchLabelKeys": ["a"]}],
            },
        }));
        prepare(&mut pod);
        let terms = pod.get(&["spec", "affinity", "podAffinity", REQUIRED]).unwrap();
        let expression = json!([{"key": "a", "operator": "In", "values": ["1"]}]);
        assert_eq!(terms[0]["labelSelector"]["matchExpressions"], expression);
        assert!(terms[1].get("labelSelector").is_none());
        let constraints = pod.get(&["spec", "topologySpreadConstraints"]).unwrap();
        assert_eq!(constraints[0]["labelSelector"]["matchExpressions"], expression);
        assert_eq!(pod.get(&["status", "conditions"]).unwrap()[0]["reason"], "SchedulingGated");
    }
}
