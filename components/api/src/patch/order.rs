//! The order of lists that a strategic merge patch merges, and how its errors show values.

use serde_json::{Map, Value};

use super::strategic::{PATCH, PatchError};

/// An element's merge key.
pub fn key<'v>(item: &'v Value, key: &'static str) -> Result<&'v Value, PatchError> {
    item.get(key).ok_or_else(|| PatchError::NoMergeKey { element: go_text(item), key })
}

/// Whether the elements of both lists are objects; `None` where there are no elements.
pub fn of_objects(target: &[Value], patch: &[Value]) -> Result<Option<bool>, PatchError> {
    let mut all = target.iter().chain(patch);
    let Some(first) = all.next() else { return Ok(None) };
    if first.is_array() {
        return Err(PatchError::ListOfLists);
    }
    if all.any(|item| std::mem::discriminant(item) != std::mem::discriminant(first)) {
        let lists = [target, patch].map(|list| go_text(&Value::Array(list.to_vec())));
        return Err(PatchError::MixedList(format!("[{}]", lists.join(" "))));
    }
    Ok(Some(first.is_object()))
}

/// Refuses an order that the patch's own elements contradict, or do not stand in.
pub fn check(patch: &[Value], order: &[Value], merge_key: &'static str) -> Result<(), PatchError> {
    if order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in patch.iter().filter(|item| item.get(PATCH).is_none()) {
        let same = |other: &Value| match merge_key {
            "" => other == item,
            name => other.get(name).is_some() && other.get(name) == item.get(name),
        };
        if !merge_key.is_empty() {
            key(item, merge_key)?;
        }
        if !rest.any(same) {
            let [patch, order] = [patch, order].map(|list| go_text(&Value::Array(list.to_vec())));
            return Err(PatchError::Order { patch, order });
        }
    }
    Ok(())
}

/// `items` in order: those that `wanted` names come as it says; the others keep the places that they had in `before`
/// relative to them.
pub fn sorted(items: Vec<Value>, wanted: &[Value], before: &[Value], key: &str) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| {
        list.iter().position(|other| if key.is_empty() { other == item } else { other.get(key) == item.get(key) })
    };
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(wanted, item).is_some());
    named.sort_by_key(|item| place(wanted, item));
    others.sort_by_key(|item| place(before, item));
    let mut all = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in named {
        let limit = place(before, &item);
        while let Some(other) = others.next_if(|other| limit.is_some() && place(before, other) < limit) {
            all.push(other);
        }
        all.push(item);
    }
    all.extend(others);
    all
}

/// The name of the Go type that a value is decoded into.
pub fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go prints it.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => go_map(map),
        other => other.to_string(),
    }
}

pub fn go_map(map: &Map<String, Value>) -> String {
    let mut fields: Vec<_> = map.iter().collect();
    fields.sort_by_key(|(key, _)| *key);
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
    format!("map[{}]", fields.join(" "))
}
