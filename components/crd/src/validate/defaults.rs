//! Whether the defaults of a schema are what the schema itself would take.

use kinit_api::validate::field::{Error, Errors, Path};
use kinit_cel::rules::Validator;
use serde_json::Value;

use crate::object::check_embedded;
use crate::schema::Schema;
use crate::{check, prune};

/// Checks the defaults of a place and of all below it; `is_resource` says that the place is a whole object.
pub fn check(schema: &Value, is_resource: bool, path: &Path, errors: &mut Errors) {
    let is_resource = is_resource || schema["x-kubernetes-embedded-resource"] == true;
    if !schema["default"].is_null() {
        one(schema, is_resource, &path.child("default"), errors);
    }
    for (name, own) in schema["properties"].as_object().into_iter().flatten() {
        // What every object has is filled in by the server, and its types are not the schema's.
        if !(is_resource && prune::META.contains(&name.as_str())) {
            check(own, false, &path.child("properties").key(name), errors);
        }
    }
    for name in ["items", "additionalProperties"] {
        if schema[name].is_object() {
            check(&schema[name], false, &path.child(name), errors);
        }
    }
}

fn one(raw: &Value, is_resource: bool, path: &Path, errors: &mut Errors) {
    let (schema, value) = (Schema::read(raw), &raw["default"]);
    if prune::lacks(value, &schema, is_resource) {
        errors.push(Error::invalid(path, value.clone(), "must not have unknown fields"));
    }
    let whole = Schema { embedded: is_resource, ..schema.clone() };
    let mut wrong = Errors::new();
    check_embedded(value, &whole, path, &mut wrong);
    if !wrong.is_empty() {
        errors.extend(wrong);
        return;
    }
    let wrong = check::check(value, None, &schema, "");
    if !wrong.is_empty() {
        errors.extend(wrong.into_iter().map(|error| error.under(path)));
        return;
    }
    let Some(rules) = Validator::new(raw, false) else { return };
    let mut wrong = rules.validate(path, value, Some(value), &mut Vec::new());
    if wrong.is_empty() {
        // Some rules look at what was before only where there was something.
        wrong = rules.validate(path, value, None, &mut Vec::new());
    }
    errors.extend(wrong);
}
