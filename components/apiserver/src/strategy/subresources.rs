//! What writes of subresources carry over from the object that is there.

use kinit_api::object::Object;
use serde_json::{Value, json};

/// Conditions of these types are as they were.
pub fn keep_conditions(old: &Object, new: &mut Object, types: &[&str]) {
    let list =
        |object: &Object| object.get(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let is_kept = |condition: &Value| condition["type"].as_str().is_some_and(|own| types.contains(&own));
    let kept = list(old).into_iter().filter(is_kept);
    let others: Vec<Value> = list(new).into_iter().filter(|condition| !is_kept(condition)).collect();
    let all: Vec<Value> = kept.chain(others).collect();
    if !all.is_empty() || new.get(&["status", "conditions"]).is_some() {
        new.set(&["status", "conditions"], all);
    }
}

/// A resize changes resources, of the Pod and of its containers, and how containers take to it. Where containers come, go or
/// move, the Pod is left for validation to refuse.
pub fn resize(old: &Object, new: &mut Object) {
    let mut resized = old.clone();
    let listed = |object: &Object, field: &str| {
        object.get(&["spec", field]).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    for field in ["containers", "initContainers"] {
        let wanted = listed(new, field);
        let before = listed(old, field);
        let alike = wanted.len() == before.len() && wanted.iter().zip(&before).all(|(a, b)| a["name"] == b["name"]);
        if !alike {
            return;
        }
        let containers = resized.get_mut(&["spec", field]).and_then(Value::as_array_mut);
        for (container, wanted) in containers.into_iter().flatten().zip(wanted) {
            let Some(container) = container.as_object_mut() else { continue };
            for part in ["resources", "resizePolicy"] {
                match wanted.get(part) {
                    Some(value) => drop(container.insert(part.to_owned(), value.clone())),
                    None => drop(container.remove(part)),
                }
            }
        }
    }
    super::copy(new, &mut resized, &["spec", "resources"]);
    super::copy(new, &mut resized, &["metadata", "managedFields"]);
    *new = resized;
}

/// A Pod's status keeps its class, and of which generation it has been, where the writer does not know of them.
pub fn pod_status(old: &Object, new: &mut Object) {
    if new.str(&["status", "qosClass"]).is_empty() {
        super::copy(old, new, &["status", "qosClass"]);
    }
    if new.get(&["status", "observedGeneration"]).is_none() && old.get(&["status", "observedGeneration"]).is_some() {
        super::copy(old, new, &["status", "observedGeneration"]);
    }
    let mut before = old.get(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let conditions = new.get_mut(&["status", "conditions"]).and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        let Some(at) = before.iter().position(|other| other["type"] == condition["type"]) else { continue };
        let other = before.remove(at);
        if condition["observedGeneration"].is_null() && !other["observedGeneration"].is_null() {
            condition["observedGeneration"] = other["observedGeneration"].clone();
        }
    }
}

/// When a volume's phase has changed is noted by the server, unless the writer does.
pub fn phase(old: &Object, new: &mut Object, now: &str) {
    let (of_phase, of_time) = (["status", "phase"], ["status", "lastPhaseTransitionTime"]);
    if old.str(&of_phase) == new.str(&of_phase) {
        if new.get(&of_time).is_none() {
            super::copy(old, new, &of_time);
        }
    } else if new.get(&of_time).is_none() || new.get(&of_time) == old.get(&of_time) {
        new.set(&of_time, json!(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn a_resize_is_about_resources() {
        let old = object(json!({"spec": {"nodeName": "n", "containers": [{"name": "a", "image": "i"}]}}));
        let mut new =
            object(json!({"spec": {"containers": [{"name": "a", "image": "j", "resources": {"limits": {}}}]}}));
        resize(&old, &mut new);
        let expected =
            json!({"nodeName": "n", "containers": [{"name": "a", "image": "i", "resources": {"limits": {}}}]});
        assert_eq!(new.get(&["spec"]), Some(&expected));
        let mut more = object(json!({"spec": {"containers": []}}));
        resize(&old, &mut more);
        assert_eq!(more.get(&["spec", "containers"]), Some(&json!([])), "left for validation");
    }

    #[test]
    fn a_status_keeps_what_its_writer_does_not_know() {
        let old = object(json!({"status": {"qosClass": "Burstable", "observedGeneration": 2, "conditions": [
            {"type": "Ready", "observedGeneration": 2},
        ]}}));
        let mut new = object(json!({"status": {"conditions": [{"type": "Ready"}, {"type": "Ready"}]}}));
        pod_status(&old, &mut new);
        let expected = json!({"qosClass": "Burstable", "observedGeneration": 2, "conditions": [
            {"type": "Ready", "observedGeneration": 2}, {"type": "Ready"},
        ]});
        assert_eq!(new.get(&["status"]), Some(&expected));
        let before = object(json!({"status": {"phase": "Bound", "lastPhaseTransitionTime": "t"}}));
        let mut after = object(json!({"status": {"phase": "Released"}}));
        phase(&before, &mut after, "u");
        assert_eq!(after.str(&["status", "lastPhaseTransitionTime"]), "u");
    }
}
