//! The schemas of types.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Dialect, Words, names, values};
use crate::{Element, Field, ListType, Scalar, Shape, Type};

/// The values that have a definition of their own though they are no types of the table.
const SCALARS: &[(Scalar, &str)] = &[
    (Scalar::Quantity, "io.k8s.apimachinery.pkg.api.resource.Quantity"),
    (Scalar::IntOrString, "io.k8s.apimachinery.pkg.util.intstr.IntOrString"),
    (Scalar::Time, "io.k8s.apimachinery.pkg.apis.meta.v1.Time"),
    (Scalar::MicroTime, "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"),
    (Scalar::Duration, "io.k8s.apimachinery.pkg.apis.meta.v1.Duration"),
    (Scalar::Raw, "io.k8s.apimachinery.pkg.runtime.RawExtension"),
    (Scalar::FieldsV1, "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1"),
    (Scalar::Json, "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"),
    (Scalar::PropsOrBool, "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"),
    (Scalar::PropsOrArray, "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"),
    (Scalar::PropsOrStrings, "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"),
];

fn scalar_definition(scalar: Scalar) -> Option<&'static str> {
    SCALARS.iter().find(|(own, _)| *own == scalar).map(|(_, name)| *name)
}

type Schema<'a> = Box<dyn Fn() -> Value + 'a>;

/// The definitions of the types in `wanted` and of all that they refer to, by name. Each is built when called.
pub fn closure<'a>(
    wanted: BTreeSet<(&'static str, &'static str)>,
    words: &'a dyn Words,
    dialect: Dialect,
) -> BTreeMap<String, Schema<'a>> {
    let mut all: BTreeMap<String, Schema<'_>> = BTreeMap::new();
    let patch = names::definition("meta/v1", "Patch");
    all.insert(
        patch,
        Box::new(|| json!({"type": "object", "description": "A patch of the type that its media type says."})),
    );
    let mut open: Vec<&'static Type> =
        wanted.iter().filter_map(|(package, name)| crate::named(package, name)).collect();
    while let Some(found) = open.pop() {
        let name = names::definition(found.package, found.name);
        if all.contains_key(&name) {
            continue;
        }
        for field in found.json_fields() {
            match field.element {
                Element::Message(reference) => open.push(reference.get()),
                Element::Scalar(scalar) => {
                    if let Some(name) = scalar_definition(scalar) {
                        all.insert(name.into(), Box::new(move || of_scalar(scalar, name, words, dialect)));
                    }
                }
            }
        }
        let definition = name.clone();
        all.insert(name, Box::new(move || of_type(found, &definition, words, dialect)));
    }
    all
}

fn of_scalar(scalar: Scalar, name: &str, words: &dyn Words, dialect: Dialect) -> Value {
    let v3 = dialect == Dialect::V3;
    let mut schema = match scalar {
        Scalar::Quantity if v3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Scalar::IntOrString if v3 => {
            json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
        }
        Scalar::IntOrString => json!({"type": "string", "format": "int-or-string"}),
        Scalar::Time | Scalar::MicroTime => json!({"type": "string", "format": "date-time"}),
        Scalar::Quantity | Scalar::Duration => json!({"type": "string"}),
        Scalar::Raw | Scalar::FieldsV1 => json!({"type": "object"}),
        _ => json!({}),
    };
    describe(&mut schema, words.of_type(name));
    schema
}

fn of_type(found: &Type, name: &str, words: &dyn Words, dialect: Dialect) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    if found.kind {
        for field in ["apiVersion", "kind"] {
            let mut schema = json!({"type": "string"});
            describe(&mut schema, words.of_field(name, field));
            properties.insert(field.into(), schema);
        }
    }
    for field in found.json_fields() {
        let mut schema = of_field(field, dialect);
        if found.kind && field.name == "items" {
            // A list's items are no list that anyone applies to.
            drop(schema.as_object_mut().and_then(|schema| schema.remove("x-kubernetes-list-type")));
        }
        if let Some(values) = values::of(name, field.name) {
            let place = match field.shape {
                Shape::One => &mut schema,
                Shape::List => &mut schema["items"],
                Shape::Map => &mut schema["additionalProperties"],
            };
            place["enum"] = json!(values);
        }
        describe(&mut schema, words.of_field(name, field.name));
        properties.insert(field.name.into(), alone(schema, dialect));
        if field.required {
            required.push(field.name);
        }
    }
    let mut schema = json!({"type": "object"});
    if !properties.is_empty() {
        schema["properties"] = properties.into();
    }
    describe(&mut schema, words.of_type(name));
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if found.atomic {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    if found.kind {
        let kinds: Vec<Value> = crate::kinds()
            .filter(|(_, _, own)| std::ptr::eq(*own, found))
            .map(|(group, version, _)| {
                let group = if group == "meta.k8s.io" { "" } else { group };
                json!({"group": group, "version": version, "kind": found.name})
            })
            .collect();
        schema["x-kubernetes-group-version-kind"] = kinds.into();
    }
    schema
}

fn describe(schema: &mut Value, text: Option<&str>) {
    if let Some(text) = text {
        schema["description"] = text.into();
    }
}

fn of_field(field: &Field, dialect: Dialect) -> Value {
    let element = of_element(field, dialect);
    let mut schema = match field.shape {
        Shape::One => element,
        Shape::List => json!({"type": "array", "items": element}),
        Shape::Map => json!({"type": "object", "additionalProperties": element}),
    };
    let mut strategies = Vec::new();
    if field.merge {
        strategies.push("merge");
    }
    if field.retain_keys {
        strategies.push("retainKeys");
    }
    if field.replace {
        strategies.push("replace");
    }
    if !strategies.is_empty() {
        schema["x-kubernetes-patch-strategy"] = strategies.join(",").into();
    }
    if !field.merge_key.is_empty() {
        schema["x-kubernetes-patch-merge-key"] = field.merge_key.into();
    }
    match field.list {
        ListType::Atomic if field.shape == Shape::List => schema["x-kubernetes-list-type"] = "atomic".into(),
        ListType::Atomic => {}
        ListType::Set => schema["x-kubernetes-list-type"] = "set".into(),
        ListType::Map(keys) => {
            schema["x-kubernetes-list-type"] = "map".into();
            schema["x-kubernetes-list-map-keys"] = json!(keys);
        }
    }
    if field.atomic || field.granular {
        schema["x-kubernetes-map-type"] = if field.atomic { "atomic" } else { "granular" }.into();
    }
    if let Some(default) = field.default {
        schema["default"] = match field.element {
            Element::Scalar(Scalar::String) => default.into(),
            _ => serde_json::from_str(default).unwrap_or_else(|_| default.into()),
        };
    } else if let Some(zero) = zero(field).filter(|_| dialect == Dialect::V3) {
        schema["default"] = zero;
    }
    schema
}

/// What Go encodes for a field that is never left out; version 3 calls it the default.
fn zero(field: &Field) -> Option<Value> {
    if field.pointer || field.shape != Shape::One {
        return None;
    }
    match field.element {
        Element::Message(_) => Some(json!({})),
        Element::Scalar(_) if field.omit_empty => None,
        Element::Scalar(Scalar::Bool) => Some(false.into()),
        Element::Scalar(Scalar::I32 | Scalar::I64 | Scalar::F64) => Some(0.into()),
        Element::Scalar(Scalar::String) => Some("".into()),
        Element::Scalar(_) => None,
    }
}

/// In OpenAPI 3.0 nothing may stand beside a reference, so one with anything beside it is wrapped.
fn alone(mut schema: Value, dialect: Dialect) -> Value {
    let Some(map) = schema.as_object_mut().filter(|map| dialect == Dialect::V3 && map.len() > 1) else { return schema };
    if let Some(reference) = map.remove("$ref") {
        map.insert("allOf".into(), json!([{ "$ref": reference }]));
    }
    schema
}

/// The schema of the value itself, or of the elements of a list or a map.
fn of_element(field: &Field, dialect: Dialect) -> Value {
    let refer = |name: &str| json!({"$ref": dialect.reference(name)});
    let scalar = match field.element {
        Element::Message(reference) => {
            let found = reference.get();
            return refer(&names::definition(found.package, found.name));
        }
        Element::Scalar(scalar) => scalar,
    };
    match scalar {
        Scalar::Bool => json!({"type": "boolean"}),
        Scalar::I32 | Scalar::U8 => json!({"type": "integer", "format": "int32"}),
        Scalar::I64 | Scalar::U64 => json!({"type": "integer", "format": "int64"}),
        Scalar::F64 => json!({"type": "number", "format": "double"}),
        Scalar::String => json!({"type": "string"}),
        Scalar::Bytes => json!({"type": "string", "format": "byte"}),
        Scalar::Strings => json!({"type": "array", "items": {"type": "string"}}),
        other => scalar_definition(other).map_or_else(|| json!({}), refer),
    }
}
