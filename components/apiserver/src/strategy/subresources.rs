//! What writes of subresources carry over from the object that is there.

use kinit_api::object::Object;
use serde_json::{Value, json};

/// Conditions of each of these types are as they were, where as many are sent as there are. Validation refuses the rest.
pub fn keep_conditions(old: &Object, new: &mut Object, types: &[&str]) {
    let before = old.get(CONDITIONS).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let Some(after) = new.get_mut(CONDITIONS).and_then(Value::as_array_mut) else { return };
    for kind in types {
        let is_kept = |condition: &&Value| condition["type"] == *kind;
        if before.iter().filter(is_kept).count() == after.iter().filter(|condition| is_kept(condition)).count() {
            let sent = after.iter_mut().filter(|condition| condition["type"] == *kind);
            sent.zip(before.iter().filter(is_kept)).for_each(|(sent, kept)| *sent = kept.clone());
        }
    }
}

/// A condition that does not say when it was written is of `now`, and one that does not say since when it is as it is, has
/// been so since it was told before.
pub fn date_conditions(old: &Object, new: &mut Object, now: &str) {
    let before = old.get(CONDITIONS).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let conditions = new.get_mut(CONDITIONS).and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = now.into();
        }
        if condition["lastTransitionTime"].is_null() {
            let is_same = |other: &&Value| {
                ["type", "status"].iter().all(|field| other[*field] == condition[*field])
                    && !other["lastTransitionTime"].is_null()
            };
            let since = before.iter().find(is_same).map(|other| other["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = since.unwrap_or_else(|| now.into());
        }
    }
}

const CONDITIONS: &[&str] = &["status", "conditions"];

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
    fn decisions_stay_and_conditions_are_dated() {
        let old = object(json!({"status": {"conditions": [
            {"type": "Approved", "status": "True", "reason": "r", "lastUpdateTime": "1", "lastTransitionTime": "1"},
            {"type": "Other", "status": "True", "lastUpdateTime": "1", "lastTransitionTime": "1"},
        ]}}));
        let mut new = object(json!({"status": {"conditions": [
            {"type": "Other", "status": "True"},
            {"type": "Approved", "status": "True", "reason": "mine"},
            {"type": "Denied", "status": "True", "lastUpdateTime": "2"},
        ]}}));
        keep_conditions(&old, &mut new, &["Approved", "Denied"]);
        date_conditions(&old, &mut new, "3");
        let expected = json!([
            {"type": "Other", "status": "True", "lastUpdateTime": "3", "lastTransitionTime": "1"},
            {"type": "Approved", "status": "True", "reason": "r", "lastUpdateTime": "1", "lastTransitionTime": "1"},
            {"type": "Denied", "status": "True", "lastUpdateTime": "2", "lastTransitionTime": "3"},
        ]);
        assert_eq!(new.get(CONDITIONS), Some(&expected), "a Denied that has come is left for validation");
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
