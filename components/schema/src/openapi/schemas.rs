//! The schemas of types.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Dialect, Wanted, Words, names, values};
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

/// A patch, which is no type of the table: its media type says what it is.
pub const PATCH: (&str, &str) = ("meta/v1", "Patch");

/// Upstream's groups and their versions, as far as its server knows them, served or not. Documents of version 2 name each
/// of them beside the types in [`EVERYWHERE`].
const KNOWN: &str = "/v1 admission.k8s.io/v1,v1beta1 admissionregistration.k8s.io/v1,v1alpha1,v1beta1 \
    apiextensions.k8s.io/v1,v1beta1 apiregistration.k8s.io/v1,v1beta1 apps/v1,v1beta1,v1beta2 \
    authentication.k8s.io/v1,v1alpha1,v1beta1 authorization.k8s.io/v1,v1beta1 autoscaling/v1,v2 batch/v1,v1beta1 \
    certificates.k8s.io/v1,v1alpha1,v1beta1 coordination.k8s.io/v1,v1alpha2,v1beta1 discovery.k8s.io/v1,v1beta1 \
    events.k8s.io/v1,v1beta1 extensions/v1beta1 flowcontrol.apiserver.k8s.io/v1,v1beta1,v1beta2,v1beta3 \
    imagepolicy.k8s.io/v1alpha1 internal.apiserver.k8s.io/v1alpha1 networking.k8s.io/v1,v1beta1 \
    node.k8s.io/v1,v1alpha1,v1beta1 policy/v1,v1beta1 rbac.authorization.k8s.io/v1,v1alpha1,v1beta1 \
    resource.k8s.io/v1,v1alpha3,v1beta1,v1beta2 scheduling.k8s.io/v1,v1alpha2,v1beta1 storage.k8s.io/v1,v1alpha1,v1beta1 \
    storagemigration.k8s.io/v1beta1";
/// Types that documents say to be of every group and version.
const EVERYWHERE: &[&str] = &["DeleteOptions", "WatchEvent"];

/// The groups and versions that a type of [`EVERYWHERE`] is said to be of, in a document of one group and version or of all.
fn everywhere(of: Option<(&str, &str)>) -> Vec<(&'static str, &'static str)> {
    let groups = KNOWN.split(' ').filter_map(|row| row.split_once('/'));
    let all = groups.flat_map(|(group, versions)| versions.split(',').map(move |version| (group, version)));
    all.filter(|it| of.is_none_or(|of| *it == of || *it == ("", "v1"))).collect()
}

type Schema<'a> = Box<dyn Fn() -> Value + 'a>;

/// The definitions of the types in `wanted` and of all that they refer to, by name. Each is built when called. `of` is the
/// group and version that the document is of, if it is of one.
pub fn closure<'a>(
    wanted: &Wanted,
    of: Option<(&'a str, &'a str)>,
    words: &'a dyn Words,
    dialect: Dialect,
) -> BTreeMap<String, Schema<'a>> {
    let mut all: BTreeMap<String, Schema<'_>> = BTreeMap::new();
    if wanted.contains(&PATCH) {
        let name = names::definition(PATCH.0, PATCH.1);
        let patch = move |name: &str| {
            let mut schema = json!({"type": "object"});
            describe(&mut schema, words.of_type(name));
            schema
        };
        all.insert(name.clone(), Box::new(move || patch(&name)));
    }
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
        all.insert(name, Box::new(move || of_type(found, &definition, of, words, dialect)));
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

fn of_type(found: &Type, name: &str, of: Option<(&str, &str)>, words: &dyn Words, dialect: Dialect) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    if found.kind {
        for field in ["apiVersion", "kind"] {
            let mut schema = json!({"type": "string"});
            // They are the same for all, and one has the words.
            let words =
                words.of_field(name, field).or_else(|| words.of_field(&names::definition("meta/v1", "Status"), field));
            describe(&mut schema, words);
            properties.insert(field.into(), schema);
        }
    }
    for field in found.json_fields() {
        let mut schema = of_field(field, dialect);
        if found.kind && field.name == "items" {
            // A list's items are no list that anyone applies to.
            drop(schema.as_object_mut().and_then(|schema| schema.remove("x-kubernetes-list-type")));
        }
        let mut told = words.of_field(name, field.name).map(Cow::Borrowed);
        if let Some(values) = values::of(name, field.name) {
            let place = match field.shape {
                Shape::One => &mut schema,
                Shape::List => &mut schema["items"],
                Shape::Map => &mut schema["additionalProperties"],
            };
            place["enum"] = values.names().into();
            if let Some(text) = told.as_mut().filter(|_| field.shape == Shape::One) {
                *text = values.after(text).into();
            }
        }
        describe(&mut schema, told.as_deref());
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
    if let Some((discriminator, fields)) = found.union.and_then(|union| union.split_once(':')) {
        let fields: Map<String, Value> =
            fields.split(',').map(|field| (field.to_owned(), names::capitalized(field).into())).collect();
        let mut union = json!({"fields-to-discriminateBy": fields});
        if !discriminator.is_empty() {
            union["discriminator"] = discriminator.into();
        }
        schema["x-kubernetes-unions"] = json!([union]);
    }
    if found.package == "meta/v1" && EVERYWHERE.contains(&found.name) {
        let kinds = everywhere(of).into_iter();
        let kinds = kinds.map(|(group, version)| json!({"group": group, "version": version, "kind": found.name}));
        schema["x-kubernetes-group-version-kind"] = kinds.collect::<Vec<_>>().into();
    } else if found.kind {
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
    if field.atomic && field.element == Element::Scalar(Scalar::Bytes) {
        schema["x-kubernetes-list-type"] = "atomic".into();
    } else if field.atomic || field.granular {
        schema["x-kubernetes-map-type"] = if field.atomic { "atomic" } else { "granular" }.into();
    }
    if dialect == Dialect::V2 {
        return schema;
    }
    if let Some(default) = field.default {
        schema["default"] = match field.element {
            Element::Scalar(Scalar::String) => default.into(),
            _ => serde_json::from_str(default).unwrap_or_else(|_| default.into()),
        };
    } else if let Some(zero) = zero(field) {
        schema["default"] = zero;
    }
    schema
}

/// What Go encodes for a field that is never left out, which documents call the default.
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
