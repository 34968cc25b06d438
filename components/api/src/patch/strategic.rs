//! Strategic merge patches: lists of objects merge by a key, and directives say what to delete or replace.

use serde_json::{Map, Value};

/// What is wrong with a patch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatchError(String);

/// Lists that merge by key, by the name of their field: the first of these keys that an element has identifies it. The
/// facts are the `patchMergeKey` tags of the API's types; `ports` has two because containers' and Services' differ.
const MERGE_KEYS: &[(&str, &[&str])] = &[
    ("addresses", &["type"]),
    ("conditions", &["type"]),
    ("containers", &["name"]),
    ("drivers", &["name"]),
    ("env", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("matchConditions", &["name"]),
    ("ownerReferences", &["uid"]),
    ("podIPs", &["ip"]),
    ("hostIPs", &["ip"]),
    ("ports", &["containerPort", "port"]),
    ("resourceClaims", &["name"]),
    ("schedulingGates", &["name"]),
    ("secrets", &["name"]),
    ("topologySpreadConstraints", &["topologyKey"]),
    ("volumeDevices", &["devicePath"]),
    ("volumeMounts", &["mountPath"]),
    ("volumes", &["name"]),
    ("webhooks", &["name"]),
];

/// Lists of plain values that merge as sets.
const MERGED_SETS: &[&str] = &["finalizers", "podCIDRs"];

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// Applies `patch` to `target`.
pub fn strategic(target: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let (Some(fields), true) = (patch.as_object(), target.is_object()) else {
        *target = without_directives(patch);
        return Ok(());
    };
    let Some(map) = target.as_object_mut() else { return Ok(()) };
    merge_objects(map, fields)
}

fn merge_objects(target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), PatchError> {
    match patch.get(PATCH).and_then(Value::as_str) {
        Some("replace") => {
            *target = patch.clone();
            target.remove(PATCH);
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(PatchError(format!("unknown patch type: {other}"))),
    }
    if let Some(kept) = patch.get(RETAIN_KEYS).and_then(Value::as_array) {
        target.retain(|key, _| kept.iter().any(|name| name == key));
    }
    for (key, value) in patch {
        if key == PATCH || key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) {
            continue;
        }
        if let Some(field) = key.strip_prefix(DELETE_FROM) {
            if let (Some(Value::Array(list)), Some(gone)) = (target.get_mut(field), value.as_array()) {
                list.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if value.is_null() {
            target.remove(key);
            continue;
        }
        match (target.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(fields)) => merge_objects(inner, fields)?,
            (Some(Value::Array(list)), Value::Array(items)) => merge_lists(key, list, items)?,
            _ => {
                target.insert(key.clone(), without_directives(value));
            }
        }
    }
    for (key, order) in patch {
        if let (Some(field), Some(order)) = (key.strip_prefix(ELEMENT_ORDER), order.as_array())
            && let Some(Value::Array(list)) = target.get_mut(field)
        {
            sort_by(field, list, order);
        }
    }
    Ok(())
}

fn merge_lists(field: &str, target: &mut Vec<Value>, patch: &[Value]) -> Result<(), PatchError> {
    if MERGED_SETS.contains(&field) {
        for item in patch {
            if !target.contains(item) {
                target.push(item.clone());
            }
        }
        return Ok(());
    }
    let replaces = patch.iter().any(|item| item.get(PATCH).is_some_and(|directive| directive == "replace"));
    let Some(keys) = merge_keys(field).filter(|_| !replaces) else {
        *target = patch.iter().filter(|item| item.get(PATCH).is_none()).map(without_directives).collect();
        return Ok(());
    };
    for item in patch {
        let Some(fields) = item.as_object() else {
            return Err(PatchError(format!("{field}: an element to merge is not an object")));
        };
        let Some(key) = keys.iter().find(|key| fields.contains_key(**key)) else {
            return Err(PatchError(format!("map: {item} does not contain declared merge key: {}", keys[0])));
        };
        let same = |other: &Value| other.get(key) == fields.get(*key);
        if fields.get(PATCH).is_some_and(|directive| directive == "delete") {
            target.retain(|other| !same(other));
        } else if let Some(Value::Object(found)) = target.iter_mut().find(|other| same(other)) {
            merge_objects(found, fields)?;
        } else {
            target.push(without_directives(item));
        }
    }
    Ok(())
}

fn merge_keys(field: &str) -> Option<&'static [&'static str]> {
    MERGE_KEYS.iter().find(|(name, _)| *name == field).map(|(_, keys)| *keys)
}

/// Puts the elements that `order` names into its order; the others keep their places at the end.
fn sort_by(field: &str, list: &mut [Value], order: &[Value]) {
    let keys = merge_keys(field).unwrap_or(&[]);
    let place = |item: &Value| {
        let same = |named: &Value| match keys.iter().find(|key| named.get(**key).is_some()) {
            Some(key) => named.get(*key) == item.get(*key),
            None => named == item,
        };
        order.iter().position(same).unwrap_or(order.len())
    };
    list.sort_by_cached_key(place);
}

fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
                .map(|(key, value)| (key.clone(), without_directives(value)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(
            list.iter()
                .filter(|item| item.get(PATCH).is_none_or(|directive| directive != "delete"))
                .map(without_directives)
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_merge_by_key_and_directives_hold() {
        let cases = [
            (
                "a container is changed by its name",
                json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}),
                json!({"containers": [{"name": "b", "image": "2"}]}),
                json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}),
            ),
            (
                "an element is deleted",
                json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}),
                json!({"env": [{"name": "A", "$patch": "delete"}]}),
                json!({"env": [{"name": "B", "value": "2"}]}),
            ),
            (
                "a list without a merge key is replaced",
                json!({"tolerations": [{"key": "a"}]}),
                json!({"tolerations": [{"key": "b"}]}),
                json!({"tolerations": [{"key": "b"}]}),
            ),
            (
                "retained keys only",
                json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
                json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
                json!({"strategy": {"type": "Recreate"}}),
            ),
            (
                "a set loses a member",
                json!({"finalizers": ["a", "b"]}),
                json!({"$deleteFromPrimitiveList/finalizers": ["a"]}),
                json!({"finalizers": ["b"]}),
            ),
            (
                "the order is the patch's",
                json!({"containers": [{"name": "a"}, {"name": "b"}]}),
                json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
                json!({"containers": [{"name": "b"}, {"name": "a"}]}),
            ),
        ];
        for (name, mut target, patch, expected) in cases {
            strategic(&mut target, &patch).unwrap();
            assert_eq!(target, expected, "{name}");
        }
        let mut target = json!({"containers": [{"name": "a"}]});
        assert!(strategic(&mut target, &json!({"containers": [{"image": "x"}]})).is_err());
    }
}
