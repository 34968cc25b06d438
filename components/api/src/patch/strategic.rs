//! Strategic merge patches: which lists merge, and by which key, says the schema; directives say what to delete, replace
//! and order.

use kinit_schema::{Shape, Type};
use serde_json::{Map, Value};

use super::order;

/// What is wrong with a patch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    #[error("invalid patch format of {0}")]
    Format(&'static str),
    #[error("expected a {0}, but received a {1}")]
    Type(&'static str, &'static str),
    #[error("map: {element} does not contain declared merge key: {key}")]
    NoMergeKey { element: String, key: &'static str },
    #[error("unknown patch type: {directive} in map: {map}")]
    Directive { directive: String, map: String },
    #[error("merging lists cannot yet be specified in the patch")]
    MergeOfList,
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("list element types are not identical: {0}")]
    MixedList(String),
    #[error("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")]
    Order { patch: String, order: String },
}

pub(super) const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

/// A directive's field, `$setElementOrder/containers`, without its directive.
fn about<'k>(key: &'k str, directive: &'static str) -> Option<&'k str> {
    key.strip_prefix(directive)?.strip_prefix('/')
}

fn is_directive(key: &str) -> bool {
    key == RETAIN_KEYS || about(key, DELETE_FROM).is_some() || about(key, ELEMENT_ORDER).is_some()
}

/// How one list merges.
#[derive(Clone, Copy)]
struct Rule {
    merge: bool,
    key: &'static str,
    /// What the elements are, where they are messages.
    element: Option<&'static Type>,
}

fn rule(schema: Option<&'static Type>, field: &str) -> Rule {
    match schema.and_then(|schema| schema.field(field)) {
        Some(field) => Rule {
            merge: field.merge && field.shape == Shape::List,
            key: field.merge_key,
            element: field.message().filter(|_| field.shape == Shape::List),
        },
        None => Rule { merge: false, key: "", element: None },
    }
}

/// What an object below `field` is: a field's own message, or nothing for maps and free-form values.
fn below(schema: Option<&'static Type>, field: &str) -> Option<&'static Type> {
    schema?.field(field).filter(|field| field.shape == Shape::One)?.message()
}

/// Whether an object is patched as a whole.
fn replaces(schema: Option<&'static Type>, field: &str) -> bool {
    schema.and_then(|schema| schema.field(field)).is_some_and(|field| field.replace)
}

/// Applies `patch` to `target`, an object of the type `schema`.
pub fn strategic(target: &mut Value, patch: &Value, schema: &'static Type) -> Result<(), PatchError> {
    let Some(fields) = patch.as_object() else {
        return Err(PatchError::Type("map[string]interface {}", order::go_type(patch)));
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    target.as_object_mut().map_or(Ok(()), |map| merge_objects(map, fields, Some(schema)))?;
    whole_numbers(target);
    Ok(())
}

/// Writes numbers without a fraction as integers: where a tree is merged, `2.0` is one.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        Value::Number(number) => {
            // Larger ones are no longer exact.
            let whole =
                number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 2f64.powi(53));
            if let Some(float) = whole {
                *value = (float as i64).into();
            }
        }
        _ => {}
    }
}

fn merge_objects(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    schema: Option<&'static Type>,
) -> Result<(), PatchError> {
    match patch.get(PATCH) {
        None => {}
        Some(directive) if directive == "replace" => {
            *target = patch.iter().filter(|(key, _)| *key != PATCH).filter_map(kept).collect();
            return Ok(());
        }
        Some(directive) if directive == "delete" => {
            target.clear();
            return Ok(());
        }
        Some(directive) => return Err(unknown(directive, patch)),
    }
    retain_keys(target, patch)?;
    for (key, value) in patch.iter().filter(|(key, _)| !is_directive(key)) {
        let ordered = patch.contains_key(&format!("{ELEMENT_ORDER}/{key}"));
        match (target.get_mut(key), value) {
            (_, Value::Null) => drop(target.remove(key)),
            (Some(Value::Object(inner)), Value::Object(fields)) if !replaces(schema, key) => {
                merge_objects(inner, fields, below(schema, key))?
            }
            // A list with an order of its own is merged where that order is known, below.
            (Some(Value::Array(_)), Value::Array(_)) if ordered => {}
            (Some(Value::Array(list)), Value::Array(items)) => merge_lists(list, items, None, rule(schema, key))?,
            _ => match without_directives(value) {
                Some(value) => drop(target.insert(key.clone(), value)),
                None => drop(target.remove(key)),
            },
        }
    }
    for (key, value) in patch {
        if let Some(field) = about(key, ELEMENT_ORDER) {
            let order = value.as_array().ok_or(PatchError::Format("setElementOrder list"))?;
            put_in_order(target, patch.get(field), field, order, rule(schema, field))?;
        }
    }
    for (key, value) in patch {
        if let Some(field) = about(key, DELETE_FROM) {
            let gone = value.as_array().ok_or(PatchError::Format("primitive list"))?;
            if let Some(Value::Array(list)) = target.get_mut(field) {
                list.retain(|item| !gone.contains(item));
            }
        }
    }
    Ok(())
}

fn unknown(directive: &Value, patch: &Map<String, Value>) -> PatchError {
    PatchError::Directive { directive: order::go_text(directive), map: order::go_map(patch) }
}

fn retain_keys(target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), PatchError> {
    let Some(kept) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let kept = kept.as_array().ok_or(PatchError::Format("retainKeys"))?;
    let is_kept = |key: &String| kept.iter().any(|name| name == key);
    if patch.iter().any(|(key, value)| !value.is_null() && !is_directive(key) && !is_kept(key)) {
        return Err(PatchError::Format("retainKeys"));
    }
    target.retain(|key, _| is_kept(key));
    Ok(())
}

fn put_in_order(
    target: &mut Map<String, Value>,
    patch: Option<&Value>,
    field: &str,
    wanted: &[Value],
    rule: Rule,
) -> Result<(), PatchError> {
    let items = match patch {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items.as_slice(),
        Some(other) => return Err(PatchError::Type("[]interface {}", order::go_type(other))),
    };
    order::check(items, wanted, rule.key)?;
    match target.get_mut(field) {
        Some(Value::Array(list)) => merge_lists(list, items, Some(wanted), rule),
        _ => Ok(()),
    }
}

/// Merges `patch` into `target`. The patch's elements come in the order of `wanted`, or else their own; the others keep
/// their places among them.
fn merge_lists(
    target: &mut Vec<Value>,
    patch: &[Value],
    wanted: Option<&[Value]>,
    rule: Rule,
) -> Result<(), PatchError> {
    if !rule.merge {
        if wanted.is_none() || !patch.is_empty() {
            *target = patch.iter().filter_map(without_directives).collect();
        }
        return Ok(());
    }
    let Some(objects) = order::of_objects(target, patch)? else { return Ok(()) };
    if !objects {
        let before = target.clone();
        for item in patch {
            if !target.contains(item) {
                target.push(item.clone());
            }
        }
        *target = order::sorted(std::mem::take(target), wanted.unwrap_or(patch), &before, "");
        return Ok(());
    }
    let mut merged = Vec::new();
    let mut replace = false;
    for item in patch {
        let Some(fields) = item.as_object() else { continue };
        match fields.get(PATCH) {
            None => merged.push(item),
            Some(directive) if directive == "delete" => {
                let value = order::key(item, rule.key)?;
                target.retain(|other| other.get(rule.key) != Some(value));
            }
            Some(directive) if directive == "replace" => replace = true,
            Some(directive) if directive == "merge" => return Err(PatchError::MergeOfList),
            Some(directive) => return Err(unknown(directive, fields)),
        }
    }
    if replace {
        *target = merged.into_iter().filter_map(without_directives).collect();
        return Ok(());
    }
    let before = target.clone();
    for item in &merged {
        let value = order::key(item, rule.key)?;
        let found = target.iter_mut().find(|other| other.get(rule.key) == Some(value));
        match (found.and_then(Value::as_object_mut), item.as_object()) {
            (Some(found), Some(fields)) => merge_objects(found, fields, rule.element)?,
            _ => target.extend(without_directives(item)),
        }
    }
    let own: Vec<Value>;
    let wanted = match wanted {
        Some(wanted) => wanted,
        None => {
            own = merged.into_iter().cloned().collect();
            &own
        }
    };
    *target = order::sorted(std::mem::take(target), wanted, &before, rule.key);
    Ok(())
}

fn kept((key, value): (&String, &Value)) -> Option<(String, Value)> {
    if value.is_null() || is_directive(key) {
        return None;
    }
    Some((key.clone(), without_directives(value)?))
}

/// A patch's value as it stands where there is nothing to merge it into: nulls and directives are gone, and `None` is a
/// value that was but a directive.
fn without_directives(value: &Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => Some(Value::Object(map.iter().filter_map(kept).collect())),
        Value::Array(list) => Some(Value::Array(list.iter().filter_map(without_directives).collect())),
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests;
