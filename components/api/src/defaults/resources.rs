//! Resource lists: maps from a resource's name to a quantity.

use serde_json::{Map, Value};

use super::rules::visit;
use crate::quantity::Quantity;

/// Reads a quantity, which JSON may have as a string or as a number. `None` is left for validation to refuse.
pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Writes the lists of `fields` at `path` in canonical form, rounded up to thousandths.
pub(super) fn canonical_lists(map: &mut Map<String, Value>, path: &str, fields: &[&str]) {
    visit(map, path, &mut |map| {
        for field in fields {
            let Some(list) = map.get_mut(*field).and_then(Value::as_object_mut) else { continue };
            for value in list.values_mut() {
                if let Some(read) = quantity(value) {
                    *value = read.round_up_to_milli().to_string().into();
                }
            }
        }
    });
}

/// Copies into the list `to` those entries of the list `from` that it lacks, making it where there is something to copy.
pub(super) fn fill(map: &mut Map<String, Value>, from: &str, to: &str) {
    let Some(source) = map.get(from).and_then(Value::as_object).cloned() else { return };
    let target = map.entry(to).or_insert_with(|| Value::Object(Map::new()));
    if let Some(target) = target.as_object_mut() {
        for (name, value) in source {
            target.entry(name).or_insert(value);
        }
        if target.is_empty() {
            map.remove(to);
        }
    }
}
