//! A version's schema as OpenAPI documents tell it to clients.

use serde_json::{Map, Value, json};

use crate::definition::{Definition, Version};

/// Which OpenAPI a document is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn metadata(self, kind: &str, description: &str) -> Value {
        let place = if self == Self::V2 { "definitions" } else { "components/schemas" };
        let reference = json!({"$ref": format!("#/{place}/io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")});
        match self {
            Self::V2 => with(reference, "description", description),
            // A reference stands alone in version 3.
            Self::V3 => json!({"allOf": [reference], "description": description}),
        }
    }
}

/// The name of a kind's definition: `com.example.v1.Foo`.
pub fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let reversed: Vec<&str> = group.rsplit('.').collect();
    format!("{}.{version}.{kind}", reversed.join("."))
}

/// The schemas of a version's objects and of their lists, by their definitions' names.
pub fn schemas(definition: &Definition, version: &Version, dialect: Dialect) -> Vec<(String, Value)> {
    let names = &definition.names;
    let own = definition_name(&definition.group, &version.name, &names.kind);
    let list = definition_name(&definition.group, &version.name, &names.list_kind);
    let kind = |kind: &str| json!([{"group": definition.group, "version": version.name, "kind": kind}]);
    let place = if dialect == Dialect::V2 { "definitions" } else { "components/schemas" };
    let mut of_list = json!({
        "type": "object",
        "description": format!("{} is a list of {}", names.list_kind, names.kind),
        "required": ["items"],
        "properties": {
            "items": {
                "type": "array",
                "description": format!("The {}.", names.plural),
                "items": {"$ref": format!("#/{place}/{own}")},
            },
            "metadata": dialect.metadata("ListMeta", "Standard metadata of lists."),
        },
        "x-kubernetes-group-version-kind": kind(&names.list_kind),
    });
    type_meta(&mut of_list);
    let mut of_object = object(definition, version, dialect);
    of_object["x-kubernetes-group-version-kind"] = kind(&names.kind);
    if !version.selectable.is_empty() {
        let fields: Vec<Value> = version.selectable.iter().map(|field| json!({"fieldPath": field})).collect();
        of_object["x-kubernetes-selectable-fields"] = fields.clone().into();
        of_list["x-kubernetes-selectable-fields"] = fields.into();
    }
    vec![(own, of_object), (list, of_list)]
}

fn object(definition: &Definition, version: &Version, dialect: Dialect) -> Value {
    let Some(schema) = version.schema.as_deref() else { return json!({"type": "object"}) };
    // Clients that check fields would refuse all others if there were any here.
    if dialect == Dialect::V2 && (schema.preserve || definition.preserve_unknown) {
        return json!({"type": "object"});
    }
    let mut value = version.written.0.as_ref().clone();
    below(&mut value, dialect);
    if let Some(map) = value.as_object_mut() {
        map.entry("type").or_insert_with(|| "object".into());
        let properties = map.entry("properties").or_insert_with(|| json!({}));
        properties["metadata"] = dialect.metadata("ObjectMeta", "Standard object's metadata.");
    }
    type_meta(&mut value);
    value
}

fn with(mut value: Value, name: &str, text: &str) -> Value {
    value[name] = text.into();
    value
}

/// What every object has. Upstream's conformance suite looks for the first words here, and for those of `metadata`, in what
/// `kubectl explain` says.
fn type_meta(value: &mut Value) {
    let text = |what: &str| json!({"type": "string", "description": what});
    value["properties"]["apiVersion"] =
        text("APIVersion defines the group and version that this form of the object belongs to.");
    value["properties"]["kind"] = text("What the object is.");
}

/// Brings a schema and all below it into a dialect.
fn below(value: &mut Value, dialect: Dialect) {
    let Some(map) = value.as_object_mut() else { return };
    let flag = |map: &Map<String, Value>, name: &str| map.get(name) == Some(&Value::Bool(true));
    if dialect == Dialect::V2 {
        older(map);
    } else if flag(map, "x-kubernetes-int-or-string") && !map.contains_key("anyOf") && !map.contains_key("allOf") {
        map.insert("anyOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|value| below(value, dialect));
    }
    for name in ["items", "additionalProperties"] {
        if let Some(value) = map.get_mut(name).filter(|value| value.is_object()) {
            below(value, dialect);
        }
    }
    let free = dialect == Dialect::V2 && flag(map, "x-kubernetes-preserve-unknown-fields");
    if flag(map, "x-kubernetes-embedded-resource") && !free {
        map.entry("properties").or_insert_with(|| json!({}))["metadata"] =
            dialect.metadata("ObjectMeta", "Standard object's metadata.");
        let required = map.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut() {
            for name in ["kind", "apiVersion"] {
                if !required.iter().any(|own| own == name) {
                    required.push(name.into());
                }
            }
        }
        type_meta(value);
    }
}

/// Takes out what version 2 does not have, and what its clients cannot cope with.
fn older(map: &mut Map<String, Value>) {
    for name in ["allOf", "oneOf", "anyOf", "not", "default"] {
        map.remove(name);
    }
    let is = |map: &Map<String, Value>, name: &str| map.get(name) == Some(&Value::Bool(true));
    let nullable_below: Vec<String> = map
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, own)| own["nullable"] == true)
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !nullable_below.iter().any(|own| name == own));
        if required.is_empty() {
            map.remove("required");
        }
    }
    if map.get("additionalProperties").is_some_and(|own| own["nullable"] == true) {
        map.remove("required");
    }
    if is(map, "nullable") {
        for name in ["type", "nullable", "items", "properties"] {
            map.remove(name);
        }
    }
    if is(map, "x-kubernetes-preserve-unknown-fields") {
        map.remove("items");
        map.remove("properties");
        if map.get("type") == Some(&"object".into()) {
            map.remove("type");
        }
    }
    if map.get("type") == Some(&"array".into()) && !map.contains_key("items") {
        map.remove("type");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinit_api::object::Object;

    fn published(schema: Value, dialect: Dialect) -> Value {
        let names = json!({"plural": "foos", "kind": "Foo", "listKind": "FooList"});
        let object = json!({
            "metadata": {"name": "foos.example.com"},
            "spec": {"group": "example.com", "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]},
            "status": {"acceptedNames": names},
        });
        let definition = Definition::read(&Object::from_value(object).unwrap());
        let schemas = schemas(&definition, &definition.versions[0], dialect);
        assert_eq!(schemas[1].0, "com.example.v1.FooList");
        assert_eq!(schemas[0].0, "com.example.v1.Foo");
        schemas[0].1.clone()
    }

    #[test]
    fn version_2_leaves_out_what_its_clients_take_wrong() {
        let schema = json!({"type": "object", "properties": {
            "s": {"type": "string", "default": "x"}, "a": {"type": "string", "nullable": true}, "b": {"anyOf": [{"type": "integer"}], "x-kubernetes-int-or-string": true},
            "c": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"x": {"type": "string"}}},
            "d": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}}});
        let old = published(schema.clone(), Dialect::V2);
        let fields = &old["properties"];
        assert_eq!(fields["a"], json!({}));
        assert_eq!(fields["b"], json!({"x-kubernetes-int-or-string": true}));
        assert_eq!(fields["c"], json!({"x-kubernetes-preserve-unknown-fields": true}));
        assert_eq!(fields["d"]["required"], json!(["kind", "apiVersion"]));
        assert!(fields["metadata"]["$ref"].as_str().unwrap().starts_with("#/definitions/"));
        let new = published(schema, Dialect::V3);
        assert_eq!(new["properties"]["a"]["nullable"], true);
        assert_eq!(
            (&fields["s"], &new["properties"]["s"]),
            (&json!({"type": "string"}), &json!({"type": "string", "default": "x"}))
        );
        assert_eq!(new["properties"]["metadata"].get("default"), None);
        let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let kind = json!([{"group": "example.com", "version": "v1", "kind": "Foo"}]);
        let expected = json!({"type": "object", "x-kubernetes-group-version-kind": kind});
        assert_eq!(published(free, Dialect::V2), expected);
    }
}
