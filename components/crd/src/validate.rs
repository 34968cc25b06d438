//! Whether a definition may be stored, in upstream's words.

mod defaults;
mod schema;
mod structural;

use std::collections::HashSet;

use kinit_api::object::Object;
use kinit_api::validate::field::{Error, Errors, Path};
use kinit_api::validate::text;
use kinit_cel::rules::check_schema;
use serde_json::Value;

use crate::definition::has_condition;
use crate::schema::Schema;

const DATATYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const FORMATS: &[&str] = &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const MOST_SELECTABLE: usize = 8;

/// What is wrong with a definition, beside its metadata's own rules; `old` is the one that it is to take the place of.
pub fn definition(old: Option<&Object>, new: &Object) -> Errors {
    let mut errors = Errors::new();
    let nothing = Value::Null;
    let spec = new.get(&["spec"]).unwrap_or(&nothing);
    let name = format!("{}.{}", str_of(&spec["names"], "plural"), str_of(spec, "group"));
    if old.is_none() && new.name() != name {
        let text = r#"must be spec.names.plural+"."+spec.group"#;
        errors.push(Error::invalid(&Path::new("metadata.name"), new.name(), text));
    }
    let path = Path::new("spec");
    self::spec(spec, &path, &mut errors);
    if let Some(old) = old {
        let before = old.get(&["spec"]).unwrap_or(&nothing);
        let mut fixed = vec!["group", "names.plural"];
        if has_condition(old, "Established") {
            fixed.extend(["scope", "names.kind"]);
        }
        for field in fixed {
            let pointer = format!("/{}", field.replace('.', "/"));
            if before.pointer(&pointer) != spec.pointer(&pointer) {
                let value = spec.pointer(&pointer).cloned().unwrap_or_default();
                errors.push(Error::invalid(&path.child(field), value, "field is immutable"));
            }
        }
    }
    stored_versions(new, spec, &mut errors);
    if spec["preserveUnknownFields"] == true
        && old.is_none_or(|old| old.get(&["spec", "preserveUnknownFields"]) != Some(&Value::Bool(true)))
    {
        let text =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(Error::invalid(&path.child("preserveUnknownFields"), true, text));
    }
    errors
}

fn stored_versions(object: &Object, spec: &Value, errors: &mut Errors) {
    let path = Path::new("status.storedVersions");
    let stored = object.get(&["status", "storedVersions"]).and_then(Value::as_array).cloned().unwrap_or_default();
    if stored.is_empty() {
        errors.push(Error::invalid(&path, Value::Array(stored), "must have at least one stored version"));
        return;
    }
    for version in list(spec, "versions").iter().filter(|it| it["storage"] == true && !stored.contains(&it["name"])) {
        let text = format!("must have the storage version {}", str_of(version, "name"));
        errors.push(Error::invalid(&path, Value::Array(stored.clone()), text));
    }
    for (at, name) in stored.iter().enumerate() {
        if !list(spec, "versions").iter().any(|version| version["name"] == *name) {
            let name = name.as_str().unwrap_or_default();
            let text = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(Error::invalid(&path.index(at), name, text));
        }
    }
}

fn spec(spec: &Value, path: &Path, errors: &mut Errors) {
    let group = str_of(spec, "group");
    let here = path.child("group");
    let complaints = text::dns_subdomain(group);
    if group.is_empty() {
        errors.push(Error::required(&here, ""));
    } else if !complaints.is_empty() {
        errors.push(Error::invalid(&here, group, complaints.join(",")));
    } else if !group.contains('.') {
        errors.push(Error::invalid(&here, group, "should be a domain with at least one dot"));
    }
    one_of(spec, "scope", &["Cluster", "Namespaced"], path, errors);
    let versions = list(spec, "versions");
    let here = path.child("versions");
    for (at, version) in versions.iter().enumerate() {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            errors.push(Error::required(&here.index(at).child("schema.openAPIV3Schema"), ""));
        }
    }
    let mut seen = HashSet::new();
    for (at, own) in versions.iter().enumerate() {
        let name = str_of(own, "name");
        seen.insert(name);
        let complaints = label(name);
        if !complaints.is_empty() {
            errors.push(Error::invalid(&here.index(at).child("name"), name, complaints.join(",")));
        }
        version(own, &here.index(at), errors);
    }
    if seen.len() != versions.len() {
        errors.push(Error::invalid(&here, Value::Array(versions.to_vec()), "must contain unique version names"));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let text = "must have exactly one version marked as storage version";
        errors.push(Error::invalid(&here, Value::Array(versions.to_vec()), text));
    }
    names(&spec["names"], &path.child("names"), errors);
    conversion(&spec["conversion"], &path.child("conversion"), errors);
}

fn names(names: &Value, path: &Path, errors: &mut Errors) {
    for field in ["plural", "singular", "kind", "listKind"] {
        if str_of(names, field).is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
    }
    for field in ["plural", "singular", "kind", "listKind"] {
        let name = str_of(names, field);
        let mixed = field.to_lowercase().ends_with("kind");
        let complaints = label(&if mixed { name.to_lowercase() } else { name.to_owned() });
        if !name.is_empty() && !complaints.is_empty() {
            let before = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            errors.push(Error::invalid(&path.child(field), name, format!("{before}{}", complaints.join(","))));
        }
    }
    for field in ["shortNames", "categories"] {
        for (at, name) in list(names, field).iter().filter_map(Value::as_str).enumerate() {
            let complaints = label(name);
            if !complaints.is_empty() {
                errors.push(Error::invalid(&path.child(field).index(at), name, complaints.join(",")));
            }
        }
    }
    if !str_of(names, "kind").is_empty() && names["kind"] == names["listKind"] {
        let text = "kind and listKind may not be the same";
        errors.push(Error::invalid(&path.child("listKind"), str_of(names, "listKind"), text));
    }
}

fn version(version: &Value, path: &Path, errors: &mut Errors) {
    if let Some(warning) = version["deprecationWarning"].as_str() {
        let mut refuse = |text: &str| errors.push(Error::invalid(&path.child("deprecationWarning"), warning, text));
        if version["deprecated"] != true {
            refuse("can only be set for deprecated versions");
        } else if warning.is_empty() {
            refuse("must not be an empty string");
        } else if warning.len() > 256 {
            refuse("must be <= 256 characters long");
        }
    }
    let schema = &version["schema"]["openAPIV3Schema"];
    if schema.is_object() {
        let here = path.child("schema.openAPIV3Schema");
        if schema["nullable"] == true {
            errors.push(Error::forbidden(&here.child("nullable"), "nullable cannot be true at the root"));
        }
        let mut found = Errors::new();
        structural::check(schema, structural::Level::Root, &here, &mut found);
        found.sort_by_key(|error| format!("{error:?}"));
        schema::check(schema, &here, &mut found);
        // The types of what rules speak of are known only where the schema is sound.
        if found.is_empty() {
            found = check_schema(schema, &here);
        }
        if found.is_empty() {
            defaults::check(schema, true, &here, &mut found);
        }
        errors.extend(found);
    }
    let scale = &version["subresources"]["scale"];
    if scale.is_object() {
        let here = path.child("subresources");
        let rows: [(&str, &[&str], &str); 3] = [
            ("specReplicasPath", &[".spec."], "should be a json path under .spec"),
            ("statusReplicasPath", &[".status."], "should be a json path under .status"),
            ("labelSelectorPath", &[".spec.", ".status."], "should be a json path under either .spec or .status"),
        ];
        for (field, under, text) in rows {
            let (value, here) = (str_of(scale, field), here.child(&format!("scale.{field}")));
            if value.is_empty() {
                if field != "labelSelectorPath" {
                    errors.push(Error::required(&here, ""));
                }
            } else if !value.starts_with('.') {
                errors.push(Error::invalid(&here, value, "must be a simple json path starting with ."));
            } else if !under.iter().any(|under| value.starts_with(under)) {
                errors.push(Error::invalid(&here, value, text));
            }
        }
    }
    for (at, own) in list(version, "additionalPrinterColumns").iter().enumerate() {
        column(own, &path.child("additionalPrinterColumns").index(at), errors);
    }
    selectable(list(version, "selectableFields"), schema, &path.child("selectableFields"), errors);
}

fn column(column: &Value, path: &Path, errors: &mut Errors) {
    if str_of(column, "name").is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    let among = |all: &[&str]| format!("must be one of {}", all.join(","));
    match str_of(column, "type") {
        "" => errors.push(Error::required(&path.child("type"), &among(DATATYPES))),
        kind if DATATYPES.contains(&kind) => {}
        kind => errors.push(Error::invalid(&path.child("type"), kind, among(DATATYPES))),
    }
    let format = str_of(column, "format");
    if !format.is_empty() && !FORMATS.contains(&format) {
        errors.push(Error::invalid(&path.child("format"), format, among(FORMATS)));
    }
    match str_of(column, "jsonPath") {
        "" => errors.push(Error::required(&path.child("JSONPath"), "")),
        own if own.starts_with('.') => {}
        own => errors.push(Error::invalid(&path.child("JSONPath"), own, "must be a simple json path starting with .")),
    }
}

fn selectable(fields: &[Value], schema: &Value, path: &Path, errors: &mut Errors) {
    let schema = Schema::read(schema);
    let mut seen = HashSet::new();
    for (at, field) in fields.iter().enumerate() {
        let here = path.index(at).child("jsonPath");
        let own = str_of(field, "jsonPath");
        if own.is_empty() {
            errors.push(Error::required(&here, ""));
            continue;
        }
        let steps: Vec<&str> = own.trim_start_matches('.').split('.').collect();
        let found = steps.iter().try_fold(&schema, |schema, step| schema.properties.get(*step));
        if steps[0] == "metadata" {
            errors.push(Error::invalid(&here, own, "must not point to fields in metadata"));
            continue;
        }
        match found {
            None => {
                errors.push(Error::invalid(&here, own, "is an invalid path: does not refer to a valid field"));
                continue;
            }
            Some(found) if matches!(found.kind.as_str(), "string" | "boolean" | "integer") => {}
            Some(_) => {
                let text = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
                errors.push(Error::invalid(&here, own, text));
            }
        }
        if !seen.insert(own) {
            errors.push(Error::duplicate(&here, own));
        }
    }
    if seen.len() > MOST_SELECTABLE {
        errors.push(Error::too_many(path, seen.len(), MOST_SELECTABLE));
    }
}

fn conversion(conversion: &Value, path: &Path, errors: &mut Errors) {
    if !conversion.is_object() {
        return;
    }
    one_of(conversion, "strategy", &["None", "Webhook"], path, errors);
    let webhook = &conversion["webhook"];
    let config = &webhook["clientConfig"];
    let here = path.child("webhookClientConfig");
    if conversion["strategy"] != "Webhook" {
        if config.is_object() {
            errors.push(Error::forbidden(&here, "should not be set when strategy is not set to Webhook"));
        }
        return;
    }
    if !config.is_object() {
        errors.push(Error::required(&here, "required when strategy is set to Webhook"));
    } else if config["url"].is_string() == config["service"].is_object() {
        errors.push(Error::required(&here, "exactly one of url or service is required"));
    }
    let versions = list(webhook, "conversionReviewVersions");
    let here = path.child("conversionReviewVersions");
    if versions.is_empty() {
        errors.push(Error::required(&here, ""));
    } else if !versions.iter().any(|version| matches!(version.as_str(), Some("v1" | "v1beta1"))) {
        let text = "must include at least one of v1, v1beta1";
        errors.push(Error::invalid(&here, Value::Array(versions.to_vec()), text));
    }
}

fn one_of(value: &Value, field: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    match str_of(value, field) {
        "" => errors.push(Error::required(&path.child(field), "")),
        text if supported.contains(&text) => {}
        text => errors.push(Error::not_supported(&path.child(field), text, supported)),
    }
}

/// What is wrong with a label that begins with a letter.
fn label(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if text.len() > 63 {
        complaints.push("must be no more than 63 bytes".to_owned());
    }
    let inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if !text.starts_with(|letter: char| letter.is_ascii_lowercase()) || !text.chars().all(inner) || text.ends_with('-')
    {
        complaints.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')".to_owned(),
        );
    }
    complaints
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn str_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests;
