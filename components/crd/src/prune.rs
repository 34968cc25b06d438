//! Taking out of an object what its schema has no field for.

use serde_json::{Map, Value};

use crate::schema::{Additional, Schema};

/// Fields that every object has, whether its schema names them or not.
pub const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops the fields that a schema does not have, and returns their paths, sorted.
pub fn prune(object: &mut Map<String, Value>, schema: &Schema) -> Vec<String> {
    let mut unknown = Vec::new();
    fields(object, Some(schema), true, schema.preserve, "", &mut unknown);
    unknown.sort();
    unknown
}

/// Whether a schema lacks some of a value's fields.
pub fn lacks(value: &Value, schema: &Schema, is_resource: bool) -> bool {
    let (mut copy, mut unknown) = (value.clone(), Vec::new());
    match &mut copy {
        Value::Object(map) => fields(map, Some(schema), is_resource, schema.preserve, "", &mut unknown),
        other => self::value(other, Some(schema), "", &mut unknown),
    }
    !unknown.is_empty()
}

fn value(value: &mut Value, schema: Option<&Schema>, path: &str, unknown: &mut Vec<String>) {
    let keeps = schema.is_some_and(|schema| schema.preserve);
    match value {
        Value::Object(map) => {
            let embedded = schema.is_some_and(|schema| schema.embedded);
            fields(map, schema, embedded, keeps, path, unknown);
        }
        Value::Array(list) => {
            for (index, item) in list.iter_mut().enumerate() {
                let items = schema.and_then(|schema| schema.items.as_deref());
                if items.is_some() || !keeps {
                    self::value(item, items, &format!("{path}[{index}]"), unknown);
                }
            }
        }
        _ => {}
    }
}

fn fields(
    map: &mut Map<String, Value>,
    schema: Option<&Schema>,
    is_resource: bool,
    keeps: bool,
    path: &str,
    unknown: &mut Vec<String>,
) {
    map.retain(|name, below| {
        if is_resource && META.contains(&name.as_str()) {
            return true;
        }
        let here = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let Some(schema) = schema else {
            unknown.push(here);
            return false;
        };
        let own = match (schema.properties.get(name), &schema.additional) {
            (Some(own), _) => Some(own),
            (None, Some(Additional::Of(own))) => Some(own.as_ref()),
            (None, Some(Additional::Any(_))) => None,
            (None, None) => {
                if !keeps {
                    unknown.push(here);
                }
                return keeps;
            }
        };
        value(below, own, &here, unknown);
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_schema_lacks_goes() {
        let schema = Schema::read(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "a": {"type": "string"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                    "strict": {"type": "object", "properties": {"x": {"type": "integer"}}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {"type": "string"}}}},
                "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {}}}}}}));
        let mut object = json!({
            "apiVersion": "a/v1", "kind": "A", "metadata": {"name": "a"}, "other": 1,
            "spec": {
                "a": "1", "b": 2, "list": [{"x": 1, "y": 2}], "free": {"any": {"thing": 1}, "strict": {"x": 1, "y": 2}},
                "map": {"k": {"x": "1", "y": 2}}, "pod": {"kind": "Pod", "metadata": {"name": "p"}, "spec": {}},
            },
        });
        let unknown = prune(object.as_object_mut().unwrap(), &schema);
        assert_eq!(
            unknown,
            ["other", "spec.b", "spec.free.strict.y", "spec.list[0].y", "spec.map.k.y", "spec.pod.spec"]
        );
        let spec = json!({"a": "1", "list": [{"x": 1}], "free": {"any": {"thing": 1}, "strict": {"x": 1}},
            "map": {"k": {"x": "1"}}, "pod": {"kind": "Pod", "metadata": {"name": "p"}}});
        assert_eq!(object["spec"], spec);
    }
}
