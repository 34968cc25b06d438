//! Questions about rights: what they ask is plain, and they are nothing that is stored.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, list, metadata, same, str_of, text};
use crate::object::Object;

/// What is wrong with a question.
pub(super) fn whole(kind: &str, review: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = review.get(&["spec"]).unwrap_or(&Value::Null);
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_object() && other.is_object() {
        let text = "cannot be specified in combination with resourceAttributes";
        errors.push(Error::invalid(&path.child("nonResourceAttributes"), other.clone(), text));
    }
    if resource.is_null() && other.is_null() {
        let text = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(Error::invalid(&path.child("resourceAttributes"), Value::Null, text));
    }
    if kind != "SelfSubjectAccessReview" && str_of(spec, "user").is_empty() && list(spec, "groups").is_empty() {
        errors.push(Error::invalid(&path.child("user"), "", "at least one of user or group must be specified"));
    }
    for (field, of_labels) in [("fieldSelector", false), ("labelSelector", true)] {
        selector(&resource[field], of_labels, &path.child("resourceAttributes").child(field), &mut errors);
    }
    let local = kind == "LocalSubjectAccessReview";
    metadata(review, local, &mut errors);
    if local {
        let namespace = str_of(resource, "namespace");
        if resource.is_object() && namespace != review.namespace() {
            let path = path.child("resourceAttributes.namespace");
            errors.push(Error::invalid(&path, namespace, "must match metadata.namespace"));
        }
        if other.is_object() {
            let text = "disallowed on this kind of request";
            errors.push(Error::invalid(&path.child("nonResourceAttributes"), other.clone(), text));
        }
    }
    errors
}

fn metadata(review: &Object, local: bool, errors: &mut Errors) {
    let mut own = review.get(&["metadata"]).cloned().unwrap_or(Value::Null);
    if let Some(own) = own.as_object_mut() {
        own.retain(|field, value| {
            let counts = !matches!(field.as_str(), "managedFields" | "creationTimestamp");
            counts && !(local && field == "namespace") && !same(Some(value), None) && value != ""
        });
    }
    if !same(Some(&own), None) {
        let text = if local { "must be empty except for namespace" } else { "must be empty" };
        let shown = review.get(&["metadata"]).cloned().unwrap_or(Value::Null);
        errors.push(Error::invalid(&Path::new("metadata"), shown, text));
    }
}

fn selector(selector: &Value, of_labels: bool, path: &Path, errors: &mut Errors) {
    if !selector.is_object() {
        return;
    }
    let (raw, terms) = (str_of(selector, "rawSelector"), list(selector, "requirements"));
    if !raw.is_empty() && !terms.is_empty() {
        let text = "may not specified at the same time as requirements";
        errors.push(Error::invalid(&path.child("rawSelector"), raw, text));
    }
    if raw.is_empty() && terms.is_empty() {
        let text = format!("when {path} is specified, requirements or rawSelector is required");
        errors.push(Error::required(&path.child("requirements"), &text));
    }
    for (at, term) in terms.iter().enumerate() {
        let path = path.child("requirements").index(at);
        let (key, values) = (str_of(term, "key"), list(term, "values"));
        if !of_labels && key.is_empty() {
            errors.push(Error::required(&path.child("key"), "must be specified"));
        }
        // Another server may know operators that this one does not.
        metadata::operator(term, &path, errors);
        if of_labels {
            complain(text::qualified_name(key), key, &path.child("key"), errors);
            for (at, value) in values.iter().filter_map(Value::as_str).enumerate() {
                complain(text::label_value(value), value, &path.child("values").index(at), errors);
            }
        }
    }
}
