//! What a definition's schema may say, beside being structural.

use kinit_api::validate::field::{Error, Errors, Path};
use serde_json::Value;

use super::{list, str_of};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const UNSUPPORTED: &[&str] = &["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];

/// Checks a place and all below it.
pub fn check(schema: &Value, path: &Path, errors: &mut Errors) {
    if schema["uniqueItems"] == true {
        let text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(Error::forbidden(&path.child("uniqueItems"), text));
    }
    if schema["additionalProperties"] == false {
        errors
            .push(Error::forbidden(&path.child("additionalProperties"), "additionalProperties cannot be set to false"));
    }
    if schema["properties"].as_object().is_some_and(|map| !map.is_empty()) && !schema["additionalProperties"].is_null()
    {
        let text = "additionalProperties and properties are mutual exclusive";
        errors.push(Error::forbidden(&path.child("additionalProperties"), text));
    }
    let kind = str_of(schema, "type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("type"), kind, TYPES));
    }
    for name in UNSUPPORTED {
        if !schema[*name].is_null() {
            errors.push(Error::forbidden(&path.child(name), format!("{name} is not supported")));
        }
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let text = "must be true or undefined";
        errors.push(Error::invalid(&path.child("x-kubernetes-preserve-unknown-fields"), false, text));
    }
    shaped(schema, kind, "object", "x-kubernetes-map-type", &["atomic", "granular"], path, errors);
    shaped(schema, kind, "array", "x-kubernetes-list-type", &["atomic", "set", "map"], path, errors);
    lists(schema, path, errors);
    rules(schema, path, errors);
    for (name, own) in schema["properties"].as_object().into_iter().flatten() {
        check(own, &path.child("properties").key(name), errors);
    }
    for name in ["items", "additionalProperties", "not"] {
        if schema[name].is_object() {
            check(&schema[name], &path.child(name), errors);
        }
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        for (at, own) in list(schema, name).iter().enumerate() {
            check(own, &path.child(name).index(at), errors);
        }
    }
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
    const TYPE: &str = "x-kubernetes-list-type";
    const KEYS: &str = "x-kubernetes-list-map-keys";
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
    if matches!(kind, "set" | "map") && items["nullable"] == true {
        let text = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(Error::forbidden(&of_items.child("nullable"), text));
    }
    if kind != "map" {
        return;
    }
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
        let (own, here) = (&items["properties"][name], of_items.child("properties").key(name));
        let shown = Value::Array(keys.to_vec());
        if keys[..at].contains(key) {
            errors.push(Error::invalid(&path.child(KEYS), shown.clone(), "must not contain duplicate entries"));
        }
        if !own.is_object() {
            errors.push(Error::invalid(&path.child(KEYS), shown, "entries must all be names of item properties"));
            continue;
        }
        if matches!(str_of(own, "type"), "array" | "object") {
            let text = format!("must be a scalar type if parent array's {TYPE} is map");
            errors.push(Error::invalid(&here.child("type"), "object", text));
        }
        if !list(items, "required").contains(key) && own["default"].is_null() {
            let text = format!("this property is in {KEYS}, so it must have a default or be a required property");
            errors.push(Error::required(&here.child("default"), &text));
        }
        if own["nullable"] == true {
            let text = format!("this property is in {KEYS}, so it cannot be nullable");
            errors.push(Error::forbidden(&here.child("nullable"), text));
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
