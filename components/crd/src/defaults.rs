//! Filling in what a schema says a field holds where its writer left it out.

use serde_json::{Map, Value};

use crate::prune::META;
use crate::schema::{Additional, Schema};

/// Sets the defaults of an object, and takes out the nulls of fields that have none and may not be null.
pub fn apply(object: &mut Map<String, Value>, schema: &Schema) {
    fields(object, schema, true);
}

fn value(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => fields(map, schema, schema.embedded),
        Value::Array(list) => {
            let Some(items) = schema.items.as_deref() else { return };
            for item in list {
                if item.is_null()
                    && !items.nullable
                    && let Some(default) = &items.default
                {
                    *item = default.clone();
                }
                self::value(item, items);
            }
        }
        _ => {}
    }
}

fn fields(map: &mut Map<String, Value>, schema: &Schema, is_resource: bool) {
    for (name, own) in &schema.properties {
        let Some(default) = &own.default else { continue };
        let unset = match map.get(name) {
            None => true,
            Some(value) => value.is_null() && !own.nullable,
        };
        if unset {
            map.insert(name.clone(), default.clone());
        }
    }
    map.retain(|name, below| {
        let own = match (schema.properties.get(name), &schema.additional) {
            (Some(own), _) => own,
            (None, Some(Additional::Of(own))) => own.as_ref(),
            _ => return true,
        };
        if below.is_null() && !own.nullable {
            match &own.default {
                Some(default) => *below = default.clone(),
                None => return is_resource && META.contains(&name.as_str()),
            }
        }
        value(below, own);
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_fields_and_forbidden_nulls_get_defaults() {
        let schema = Schema::read(&json!({"properties": {
            "a": {"type": "string", "default": "A"},
            "b": {"type": "string", "default": "B", "nullable": true},
            "c": {"type": "string"},
            "o": {"type": "object", "default": {}, "properties": {"x": {"type": "integer", "default": 7}}},
            "l": {"type": "array", "items": {"type": "object", "properties": {"y": {"type": "integer", "default": 1}}}},
            "m": {"type": "object", "additionalProperties": {"type": "string", "default": "M"}}}}));
        let mut object = json!({"a": null, "b": null, "c": null, "l": [{}, {"y": 2}], "m": {"k": null}});
        apply(object.as_object_mut().unwrap(), &schema);
        let expected = json!({"a": "A", "b": null, "o": {"x": 7}, "l": [{"y": 1}, {"y": 2}], "m": {"k": "M"}});
        assert_eq!(object, expected);
    }
}
