//! What a definition's schema may say, beside being structural.

use kinit_api::validate::field::{Error, Errors, Path};
use serde_json::Value;

use super::{list, str_of};
use crate::prune;

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const TYPE: &str = "x-kubernetes-list-type";
const KEYS: &str = "x-kubernetes-list-map-keys";
const UNSUPPORTED: &[&str] = &["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];

/// Whether some place of a schema says what no schema of a definition can be made of.
pub fn is_foreign(schema: &Value) -> bool {
    some(schema, &|place| {
        UNSUPPORTED.iter().any(|name| !place[*name].is_null()) || place["items"].is_array() || place["type"] == "null"
    }) || has_dialect(schema)
}

/// Whether some place says of which dialect it is.
pub fn has_dialect(schema: &Value) -> bool {
    some(schema, &|place| !str_of(place, "$schema").is_empty())
}

fn some(schema: &Value, is: &dyn Fn(&Value) -> bool) -> bool {
    let parts = ["items", "additionalProperties", "not"].into_iter().map(|name| &schema[name]);
    let named = schema["properties"].as_object().into_iter().flat_map(serde_json::Map::values);
    let junctors = ["allOf", "oneOf", "anyOf"].into_iter().flat_map(|name| list(schema, name));
    is(schema) || parts.chain(named).chain(junctors).any(|below| below.is_object() && some(below, is))
}

/// What holds where one is in a schema.
#[derive(Clone, Default)]
struct Around {
    /// Why there may be no default, where there may be none.
    no_default: Option<String>,
    /// Whether this is part of the metadata, the version or the kind of an object.
    in_meta: bool,
}

/// Checks a whole schema.
pub fn check(schema: &Value, path: &Path, errors: &mut Errors) {
    place(schema, true, &Around::default(), path, errors);
}

/// Checks a place and all below it.
fn place(schema: &Value, is_root: bool, around: &Around, path: &Path, errors: &mut Errors) {
    let kind = str_of(schema, "type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, TYPES));
    }
    if let Some(why) = around.no_default.as_deref().filter(|_| !schema["default"].is_null()) {
        errors.push(Error::forbidden(&path.child("default"), format!("must not be set {why}")));
    }
    for name in UNSUPPORTED {
        if !schema[*name].is_null() {
            errors.push(Error::forbidden(&path.child(name), format!("{name} is not supported")));
        }
    }
    if kind == "null" {
        let text = "type cannot be set to null, use nullable as an alternative";
        errors.push(Error::forbidden(&path.child("type"), text));
    }
    if schema["items"].is_array() {
        errors.push(Error::forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    let embedded = schema["x-kubernetes-embedded-resource"] == true;
    if around.in_meta && embedded {
        let text = "must not be used inside of resource meta";
        errors.push(Error::forbidden(&path.child("x-kubernetes-embedded-resource"), text));
    }
    if schema["uniqueItems"] == true {
        let text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(Error::forbidden(&path.child("uniqueItems"), text));
    }
    let additional = &schema["additionalProperties"];
    let properties = schema["properties"].as_object().filter(|map| !map.is_empty());
    if properties.is_some() && !additional.is_null() && *additional != true {
        let text = "additionalProperties and properties are mutual exclusive";
        errors.push(Error::forbidden(&path.child("additionalProperties"), text));
    }
    if additional.is_object() {
        let mut around = around.clone();
        if around.in_meta {
            around.no_default = Some("inside additionalProperties applying to object metadata".to_owned());
        }
        place(additional, false, &around, &path.child("additionalProperties"), errors);
    }
    for (name, own) in properties.into_iter().flatten() {
        let mut around = around.clone();
        if (is_root || embedded) && prune::META.contains(&name.as_str()) {
            around.in_meta = true;
            if is_root {
                around.no_default = Some(format!("in top-level {name}"));
            }
        }
        place(own, false, &around, &path.child("properties").key(name), errors);
    }
    if schema["not"].is_object() {
        place(&schema["not"], false, around, &path.child("not"), errors);
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        for (at, own) in list(schema, name).iter().enumerate() {
            place(own, false, around, &path.child(name).index(at), errors);
        }
    }
    if schema["items"].is_object() {
        place(&schema["items"], false, around, &path.child("items"), errors);
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let text = "must be true or undefined";
        errors.push(Error::invalid(&path.child("x-kubernetes-preserve-unknown-fields"), false, text));
    }
    shaped(schema, kind, "object", "x-kubernetes-map-type", &["atomic", "granular"], path, errors);
    shaped(schema, kind, "array", "x-kubernetes-list-type", &["atomic", "set", "map"], path, errors);
    lists(schema, path, errors);
    rules(schema, path, errors);
}

/// An extension that only values of one type have.
fn shaped(schema: &Value, kind: &str, wanted: &str, name: &str, all: &[&str], path: &Path, errors: &mut Errors) {
    let Some(own) = schema[name].as_str() else { return };
    if kind != wanted {
        let (here, text) = (path.child("type"), format!("must be {wanted} if {name} is specified"));
        errors.push(if kind.is_empty() { Error::required(&here, &text) } else { Error::invalid(&here, kind, text) });
    }
    if !all.contains(&own) {
        errors.push(Error::not_supported(&path.child(name), own, all));
    }
}

fn lists(schema: &Value, path: &Path, errors: &mut Errors) {
    let (items, keys) = (&schema["items"], list(schema, KEYS));
    let of_items = path.child("items");
    match schema[TYPE].as_str() {
        None if !keys.is_empty() => {
            errors.push(Error::required(&path.child(TYPE), &format!("must be map if {KEYS} is non-empty")));
        }
        Some(kind @ ("set" | "atomic")) if !keys.is_empty() => {
            errors.push(Error::invalid(&path.child(TYPE), kind, format!("must be map if {KEYS} is non-empty")));
        }
        _ => {}
    }
    let kind = str_of(schema, TYPE);
    if kind == "set" {
        let own = (str_of(items, "type"), str_of(items, TYPE), str_of(items, "x-kubernetes-map-type"));
        let text = "must be atomic as item of a list with x-kubernetes-list-type=set";
        match own {
            ("array", "set" | "map", _) => errors.push(Error::invalid(&of_items.child(TYPE), own.1, text)),
            ("object", _, map) if map != "atomic" => {
                errors.push(Error::invalid(&of_items.child("x-kubernetes-map-type"), Value::Null, text));
            }
            _ => {}
        }
    }
    if kind == "map" {
        keyed(items, keys, path, errors);
    }
    if matches!(kind, "set" | "map") && items["nullable"] == true {
        let text = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(Error::forbidden(&of_items.child("nullable"), text));
    }
    if kind == "map" && items["type"] == "object" {
        for name in keys.iter().filter_map(Value::as_str) {
            let (own, here) = (&items["properties"][name], of_items.child("properties").key(name));
            if !own.is_object() {
                continue;
            }
            if !list(items, "required").contains(&name.into()) && own["default"].is_null() {
                let text = format!("this property is in {KEYS}, so it must have a default or be a required property");
                errors.push(Error::required(&here.child("default"), &text));
            }
            if own["nullable"] == true {
                let text = format!("this property is in {KEYS}, so it cannot be nullable");
                errors.push(Error::forbidden(&here.child("nullable"), text));
            }
        }
    }
}

/// The keys that tell the elements of a list apart.
fn keyed(items: &Value, keys: &[Value], path: &Path, errors: &mut Errors) {
    let of_items = path.child("items");
    if keys.is_empty() {
        errors.push(Error::required(&path.child(KEYS), &format!("must not be empty if {TYPE} is map")));
    }
    if !items.is_object() {
        errors.push(Error::required(&of_items, &format!("must have a schema if {TYPE} is map")));
        return;
    }
    if items["type"] != "object" {
        let text = format!("must be object if parent array's {TYPE} is map");
        errors.push(Error::invalid(&of_items.child("type"), str_of(items, "type"), text));
        return;
    }
    for (at, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        let shown = || Value::Array(keys.to_vec());
        match &items["properties"][name] {
            own if !own.is_object() => {
                let text = "entries must all be names of item properties";
                errors.push(Error::invalid(&path.child(KEYS), shown(), text));
            }
            own if matches!(str_of(own, "type"), "array" | "object") => {
                let here = of_items.child("properties").key(name).child("type");
                let text = format!("must be a scalar type if parent array's {TYPE} is map");
                errors.push(Error::invalid(&here, "object", text));
            }
            _ => {}
        }
        if keys[..at].contains(key) {
            errors.push(Error::invalid(&path.child(KEYS), shown(), "must not contain duplicate entries"));
        }
    }
}

/// What rules must have before their expressions are looked at.
fn rules(schema: &Value, path: &Path, errors: &mut Errors) {
    const REASONS: &[&str] = &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    for (at, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        let here = path.child("x-kubernetes-validations").index(at);
        let (expression, message) = (str_of(rule, "rule").trim(), str_of(rule, "message"));
        if expression.is_empty() {
            errors.push(Error::required(&here.child("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.push(Error::invalid(&here.child("message"), message, "must be non-empty if specified"));
        } else if message.trim().contains(['\n', '\r']) {
            errors.push(Error::invalid(&here.child("message"), message, "must not contain line breaks"));
        } else if expression.contains(['\n', '\r']) && message.trim().is_empty() {
            errors.push(Error::required(
                &here.child("message"),
                "message must be specified if rule contains line breaks",
            ));
        }
        if let Some(reason) = rule["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
            errors.push(Error::not_supported(&here.child("reason"), reason, REASONS));
        }
    }
}
