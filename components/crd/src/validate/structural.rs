//! Whether a schema is structural: every field that it reasons about is also specified, with a type.

use kinit_api::validate::field::{Error, Errors, Path};
use regex::Regex;
use serde_json::{Value, json};

use super::{list, regular, str_of};

/// Where in a schema a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Root,
    Item,
    Field,
}

/// Checks a place and all below it.
pub fn check(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let kind = str_of(schema, "type");
    let flag = |name: &str| schema[name] == true;
    let (embedded, free) = (flag("x-kubernetes-embedded-resource"), flag("x-kubernetes-preserve-unknown-fields"));
    let int_or_string = flag("x-kubernetes-int-or-string");
    let of_type = path.child("type");
    if kind == "array" && !schema["items"].is_object() {
        errors.push(Error::required(&path.child("items"), "must be specified"));
    }
    if schema["items"].is_object() {
        check(&schema["items"], Level::Item, &path.child("items"), errors);
    }
    for (name, own) in schema["properties"].as_object().into_iter().flatten() {
        check(own, Level::Field, &path.child("properties").key(name), errors);
    }
    let additional = &schema["additionalProperties"];
    if !additional.is_null() {
        let here = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(Error::forbidden(&here, "must not be used at the root"));
        }
        if embedded {
            errors.push(Error::forbidden(&here, "must not be used if x-kubernetes-embedded-resource is set"));
        }
        if additional.is_object() {
            check(additional, Level::Field, &here, errors);
        }
    }
    if int_or_string {
        for (is, name) in [(free, "x-kubernetes-preserve-unknown-fields"), (embedded, "x-kubernetes-embedded-resource")]
        {
            if is {
                errors.push(Error::invalid(
                    &path.child(name),
                    true,
                    "must be false if x-kubernetes-int-or-string is true",
                ));
            }
        }
    }
    junctors(schema, level, path, errors);
    if embedded && kind != "object" {
        let text = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if kind.is_empty() {
            Error::required(&of_type, text)
        } else {
            Error::invalid(&of_type, kind, text)
        });
    } else if kind.is_empty() && !int_or_string && !free {
        let text = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(Error::required(&of_type, text));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(Error::invalid(&of_type, kind, "must be object at the root"));
    }
    if level == Level::Root || embedded {
        metadata(&schema["properties"], level, &path.child("properties"), errors);
    }
    if embedded && !free && schema["properties"].as_object().is_none_or(serde_json::Map::is_empty) {
        let text =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(Error::required(&path.child("properties"), text));
    }
}

/// Of metadata, only names can be restricted.
fn metadata(properties: &Value, level: Level, path: &Path, errors: &mut Errors) {
    for name in ["kind", "apiVersion"] {
        if properties[name].is_object() && properties[name]["type"] != "string" {
            let here = path.key(name).child("type");
            errors.push(Error::invalid(&here, str_of(&properties[name], "type"), "must be string"));
        }
    }
    let Some(metadata) = properties["metadata"].as_object() else { return };
    let here = path.key("metadata");
    if metadata.get("type") != Some(&"object".into()) {
        let kind = metadata.get("type").and_then(Value::as_str).unwrap_or_default();
        errors.push(Error::invalid(&here.child("type"), kind, "must be object"));
    }
    let names = metadata.get("properties").and_then(Value::as_object);
    let only_names = names.into_iter().flatten().all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
    let only_known = metadata.keys().all(|key| matches!(key.as_str(), "type" | "properties" | "default"));
    if level == Level::Root && !(only_names && only_known) {
        let text = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(Error::forbidden(&here, text));
    }
}

/// The schemas of which all, some, one or none must fit.
fn junctors(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    for name in ["anyOf", "allOf", "oneOf"] {
        // The two ways of writing that a value is a number or a string.
        if name == "anyOf" && schema["anyOf"] == either {
            continue;
        }
        for (at, nested) in list(schema, name).iter().enumerate() {
            let here = path.child(name).index(at);
            if name == "allOf" && at == 0 && nested["anyOf"] == either {
                let mut rest = nested.clone();
                rest.as_object_mut().map(|rest| rest.remove("anyOf"));
                below(&rest, level, &here, errors);
            } else {
                below(nested, level, &here, errors);
            }
        }
    }
    if schema["not"].is_object() {
        below(&schema["not"], level, &path.child("not"), errors);
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && let Err(error) = Regex::new(pattern)
    {
        let text = format!("must be a valid regular expression, but isn't: {}", regular::error(pattern, &error));
        errors.push(Error::invalid(&path.child("pattern"), pattern, text));
    }
}

/// A schema within a junctor: it may bound what is specified around it, and nothing else.
fn below(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    for name in ["type", "title", "description"] {
        if !str_of(schema, name).is_empty() {
            errors.push(Error::forbidden(&path.child(name), "must be empty to be structural"));
        }
    }
    for name in ["additionalProperties", "default", "x-kubernetes-list-type", "x-kubernetes-map-type"] {
        if !schema[name].is_null() {
            errors.push(Error::forbidden(&path.child(name), "must be undefined to be structural"));
        }
    }
    let flags = [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ];
    for name in flags {
        if schema[name] == true {
            errors.push(Error::forbidden(&path.child(name), "must be false to be structural"));
        }
    }
    for name in ["x-kubernetes-list-map-keys", "x-kubernetes-validations"] {
        if !list(schema, name).is_empty() {
            errors.push(Error::forbidden(&path.child(name), "must be empty to be structural"));
        }
    }
    for (name, own) in schema["properties"].as_object().into_iter().flatten() {
        let here = path.child("properties").key(name);
        if name == "metadata" {
            errors.push(Error::forbidden(&here, "must not be specified in a nested context"));
        }
        below(own, Level::Field, &here, errors);
    }
    if schema["items"].is_object() {
        below(&schema["items"], level, &path.child("items"), errors);
    }
    let mut bounded = schema.clone();
    if let Some(map) = bounded.as_object_mut() {
        map.retain(|name, _| matches!(name.as_str(), "anyOf" | "allOf" | "oneOf" | "not" | "pattern"));
    }
    junctors(&bounded, level, path, errors);
}

/// Checks that what the junctors of a root bound is also specified; upstream does not look at those further down.
pub fn complete(schema: &Value, path: &Path, errors: &mut Errors) {
    bounded(schema, schema, path, path, errors);
}

/// `specified` is what stands at `at` for what `bounds`, at `path`, speaks of.
fn bounded(bounds: &Value, specified: &Value, at: &Path, path: &Path, errors: &mut Errors) {
    let mut nested = |bounds: &Value, path: &Path| within(bounds, specified, at, path, errors);
    if bounds["not"].is_object() {
        nested(&bounds["not"], &path.child("not"));
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, own) in list(bounds, name).iter().enumerate() {
            nested(own, &path.child(name).index(index));
        }
    }
}

fn within(bounds: &Value, specified: &Value, at: &Path, path: &Path, errors: &mut Errors) {
    if !specified.is_object() {
        errors.push(Error::required(at, &format!("because it is defined in {path}")));
        return;
    }
    bounded(bounds, specified, at, path, errors);
    if bounds["items"].is_object() {
        within(&bounds["items"], &specified["items"], &at.child("items"), &path.child("items"), errors);
    }
    for (name, own) in bounds["properties"].as_object().into_iter().flatten() {
        let of = |path: &Path| path.child("properties").key(name);
        within(own, &specified["properties"][name], &of(at), &of(path), errors);
    }
}
