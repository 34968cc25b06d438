//! Whether a definition may be stored, in upstream's words.

mod defaults;
mod regular;
mod schema;
mod structural;

use std::collections::HashSet;

use kinit_api::object::Object;
use kinit_api::validate::field::{Error, Errors, Path};
use kinit_api::validate::{text, webhook_client};
use kinit_cel::rules::check_schema;
use serde_json::Value;

use crate::approval::{self, Word};
use crate::definition::has_condition;

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
        if !new.name().is_empty() {
            errors.push(Error::invalid(&Path::new("metadata.name"), new.name(), text));
        }
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
    approval(old, new, &mut errors);
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
        errors.push(Error::invalid(&path, Value::Null, "must have at least one stored version"));
        return;
    }
    // Each stored version is found once, as upstream does.
    let mut left: HashSet<&str> = stored.iter().filter_map(Value::as_str).collect();
    for version in list(spec, "versions") {
        let name = str_of(version, "name");
        if !left.remove(name) && version["storage"] == true {
            let text = format!("must have the storage version {name}");
            errors.push(Error::invalid(&path, Value::Array(stored.clone()), text));
        }
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

/// Groups of Kubernetes' own need somebody's word that they may be used; what has been said before may stay.
fn approval(old: Option<&Object>, new: &Object, errors: &mut Errors) {
    let Some((said, message)) = approval::of(new) else { return };
    if old.is_some_and(|old| approval::word(old) == said) {
        return;
    }
    let path = Path::new("metadata.annotations").key(approval::APPROVED);
    match said {
        Word::Missing => errors.push(Error::required(&path, &message)),
        Word::Invalid => {
            errors.push(Error::invalid(&path, new.str(&["metadata", "annotations", approval::APPROVED]), message));
        }
        Word::Bypassed | Word::Approved => {}
    }
}

/// What each version can say for itself, and under which name it is said once for all that say the same.
const SHARED: &[(&str, &str)] = &[
    ("subresources", "subresources"),
    ("schema", "validation"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// A spec in the form that is validated, in which upstream's paths are: what all versions say alike is said once.
fn shared(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let versions = list(&spec, "versions").to_vec();
    let Some(first) = versions.first() else { return spec };
    let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    for (own, all) in SHARED {
        let alike = |version: &Value| version[*own] == first[*own] || empty(&version[*own]) && empty(&first[*own]);
        if !versions.iter().all(alike) {
            continue;
        }
        if !empty(&first[*own]) {
            spec[*all] = first[*own].clone();
        }
        for version in spec["versions"].as_array_mut().into_iter().flatten() {
            version.as_object_mut().map(|version| version.remove(*own));
        }
    }
    spec
}

fn spec(written: &Value, path: &Path, errors: &mut Errors) {
    let spec = &shared(written);
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
    if !spec["validation"]["openAPIV3Schema"].is_object() {
        for (at, version) in versions.iter().enumerate() {
            if !version["schema"]["openAPIV3Schema"].is_object() {
                errors.push(Error::required(&here.index(at).child("schema.openAPIV3Schema"), ""));
            }
        }
    }
    let mut seen = HashSet::new();
    for (at, own) in versions.iter().enumerate() {
        let (name, here) = (str_of(own, "name"), here.index(at));
        seen.insert(name);
        let complaints = label(name);
        if !complaints.is_empty() {
            errors.push(Error::invalid(&here.child("name"), name, complaints.join(",")));
        }
        deprecation(own, &here, errors);
        let subresources = if spec["subresources"].is_null() { &own["subresources"] } else { &spec["subresources"] };
        let has_status = subresources["status"].is_object();
        schema(&own["schema"]["openAPIV3Schema"], has_status, &here.child("schema.openAPIV3Schema"), errors);
        let unschemed = "may only be set when `version.schema.openAPIV3Schema` is not included";
        said(own, &own["schema"]["openAPIV3Schema"], unschemed, &here, errors);
    }
    let shown = || spec["versions"].clone();
    if seen.len() != versions.len() {
        errors.push(Error::invalid(&here, shown(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        errors.push(Error::invalid(&here, shown(), "must have exactly one version marked as storage version"));
    }
    if let Some(first) = versions.first() {
        let complaints = label(str_of(first, "name"));
        if !str_of(first, "name").is_empty() && !complaints.is_empty() {
            errors.push(Error::invalid(&path.child("version"), str_of(first, "name"), complaints.join(",")));
        }
    }
    names(&spec["names"], &path.child("names"), errors);
    let all = std::iter::once(&spec["subresources"]).chain(versions.iter().map(|version| &version["subresources"]));
    let has_status = all.into_iter().any(|subresources| subresources["status"].is_object());
    let validation = &spec["validation"]["openAPIV3Schema"];
    schema(validation, has_status, &path.child("validation.openAPIV3Schema"), errors);
    said(spec, validation, "may only be set when validations.schema is included", path, errors);
    conversion(&spec["conversion"], &path.child("conversion"), errors);
}

/// What is said of subresources, columns and selectable fields, by one version or for all.
fn said(of: &Value, schema: &Value, unschemed: &str, path: &Path, errors: &mut Errors) {
    subresources(&of["subresources"], &path.child("subresources"), errors);
    for (at, own) in list(of, "additionalPrinterColumns").iter().enumerate() {
        column(own, &path.child("additionalPrinterColumns").index(at), errors);
    }
    let fields = list(of, "selectableFields");
    let here = path.child("selectableFields");
    if !fields.is_empty() && !schema.is_object() {
        // Versions that share a schema have none of their own here, which upstream says the other way round.
        errors.push(Error::invalid(&here, "", unschemed));
        return;
    }
    selectable(fields, schema, &here, errors);
}

fn names(names: &Value, path: &Path, errors: &mut Errors) {
    for field in ["plural", "singular", "kind", "listKind"] {
        if str_of(names, field).is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
    }
    spelled(names, path, errors);
}

/// What is wrong with the status of a definition that somebody writes.
pub fn status(new: &Object) -> Errors {
    let mut errors = Errors::new();
    if let Some(names) = new.get(&["status", "acceptedNames"]) {
        spelled(names, &Path::new("status.acceptedNames"), &mut errors);
    }
    errors
}

/// Whether the names that are there can be names.
fn spelled(names: &Value, path: &Path, errors: &mut Errors) {
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

fn deprecation(version: &Value, path: &Path, errors: &mut Errors) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    let mut refuse = |text: &str| errors.push(Error::invalid(&path.child("deprecationWarning"), warning, text));
    if version["deprecated"] != true {
        refuse("can only be set for deprecated versions");
        return;
    }
    if warning.len() > 256 {
        refuse("must be <= 256 characters long");
    }
    if warning.is_empty() {
        refuse("must not be an empty string");
    }
    let printable = |letter: char| letter == ' ' || !letter.is_control() && !letter.is_whitespace();
    if let Some((at, _)) = warning.char_indices().find(|(_, letter)| !printable(*letter)) {
        let text = "must only contain printable UTF-8 characters; non-printable character found at index";
        refuse(&format!("{text} {at}"));
    }
}

/// What a schema may say at its root where the status is written by itself: what is said of the status must not be lost.
const AT_ROOT: &[&str] = &[
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

fn schema(schema: &Value, has_status: bool, path: &Path, errors: &mut Errors) {
    let Some(fields) = schema.as_object() else { return };
    let mut found = Errors::new();
    if has_status {
        let set = |value: &Value| {
            let empty =
                value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(|map| map.is_empty());
            !value.is_null() && *value != false && *value != "" && !empty
        };
        let refused = |(name, value): (&String, &Value)| {
            !AT_ROOT.contains(&name.as_str()) && (set(value) || name == "default" && !value.is_null())
        };
        if schema["type"] != "object" && !str_of(schema, "type").is_empty() {
            let text =
                "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            found.push(Error::invalid(&path.child("type"), str_of(schema, "type"), text));
        } else if fields.iter().any(refused) {
            let names = "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations";
            let text = format!(
                "only [{names}] fields are allowed at the root of the schema if the status subresource is enabled"
            );
            found.push(Error::invalid(path, schema.clone(), text).of_type("apiextensions/v1", "JSONSchemaProps"));
        }
    }
    if schema["nullable"] == true {
        found.push(Error::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let mut unsound = Errors::new();
    // What a schema cannot be made of is told below; nothing is known of the rest.
    if !schema::is_foreign(schema) {
        structural::check(schema, structural::Level::Root, path, &mut unsound);
        structural::complete(schema, path, &mut unsound);
        unsound.sort_by_key(ToString::to_string);
        if unsound.is_empty() {
            defaults::check(schema, true, path, &mut unsound);
        }
    }
    let is_sound = unsound.is_empty();
    found.extend(unsound);
    let before = found.len();
    schema::check(schema, path, &mut found);
    // The types of what rules speak of are known only where the schema is sound.
    if is_sound && found.len() == before {
        found.extend(check_schema(schema, path));
    }
    if found.is_empty() && schema::has_dialect(schema) {
        found.push(Error::invalid(path, "", "OpenAPIV3Schema 'schema' is not supported"));
    }
    errors.extend(found);
}

fn subresources(subresources: &Value, path: &Path, errors: &mut Errors) {
    let scale = &subresources["scale"];
    if !scale.is_object() {
        return;
    }
    let rows: [(&str, &[&str], &str); 3] = [
        ("specReplicasPath", &[".spec."], "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."], "should be a json path under .status"),
        ("labelSelectorPath", &[".spec.", ".status."], "should be a json path under either .spec or .status"),
    ];
    for (field, under, text) in rows {
        let (value, here) = (str_of(scale, field), path.child(&format!("scale.{field}")));
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
    let mut seen = HashSet::new();
    for (at, field) in fields.iter().enumerate() {
        let here = path.index(at).child("jsonPath");
        let own = str_of(field, "jsonPath");
        if own.is_empty() {
            errors.push(Error::required(&here, ""));
            continue;
        }
        let found = match selected(own, schema) {
            Ok(found) => found,
            Err(why) => {
                errors.push(Error::invalid(&here, own, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if own.split('.').nth(1) == Some("metadata") {
            errors.push(Error::invalid(&here, own, "must not point to fields in metadata"));
        }
        if !matches!(str_of(found, "type"), "string" | "boolean" | "integer") {
            let text = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(Error::invalid(&here, own, text));
        }
        if !seen.insert(own) {
            errors.push(Error::duplicate(&here, own));
        }
    }
    if seen.len() > MOST_SELECTABLE {
        errors.push(Error::too_many(path, seen.len(), MOST_SELECTABLE));
    }
}

/// The schema of the field that a path without brackets leads to.
fn selected<'s>(path: &str, schema: &'s Value) -> Result<&'s Value, String> {
    let mut schema = schema;
    let mut rest = path;
    while !rest.is_empty() {
        if rest.starts_with('[') {
            return Err("array notation is not allowed".to_owned());
        }
        let Some(after) = rest.strip_prefix('.') else {
            let end = rest.find(['.', '[', ']']).unwrap_or(rest.len()).max(1);
            return Err(format!("expected [ or . but got: {}", &rest[..end]));
        };
        let end = after.find(['.', '[', ']']).unwrap_or(after.len());
        let (name, tail) = after.split_at(end);
        let below = match schema["properties"].as_object() {
            Some(properties) => properties.get(name),
            None => Some(&schema["additionalProperties"]).filter(|values| values.is_object()),
        };
        schema = below.ok_or_else(|| "does not refer to a valid field".to_owned())?;
        rest = tail;
    }
    Ok(schema)
}

fn conversion(conversion: &Value, path: &Path, errors: &mut Errors) {
    if !conversion.is_object() {
        return;
    }
    one_of(conversion, "strategy", &["None", "Webhook"], path, errors);
    let webhook = &conversion["webhook"];
    let config = &webhook["clientConfig"];
    let versions = list(webhook, "conversionReviewVersions");
    let (of_client, of_versions) = (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    if conversion["strategy"] != "Webhook" {
        let text = "should not be set when strategy is not set to Webhook";
        for (is_set, here) in [(config.is_object(), of_client), (!versions.is_empty(), of_versions)] {
            if is_set {
                errors.push(Error::forbidden(&here, text));
            }
        }
        return;
    }
    if config.is_object() {
        webhook_client(config, &of_client, errors);
    } else {
        errors.push(Error::required(&of_client, "required when strategy is set to Webhook"));
    }
    if versions.is_empty() {
        errors.push(Error::required(&of_versions, ""));
        return;
    }
    for (at, version) in versions.iter().enumerate() {
        let (name, here) = (version.as_str().unwrap_or_default(), of_versions.index(at));
        if versions[..at].contains(version) {
            errors.push(Error::invalid(&here, name, "duplicate version"));
            continue;
        }
        errors.extend(label(name).into_iter().map(|text| Error::invalid(&here, name, text)));
    }
    if !versions.iter().any(|version| matches!(version.as_str(), Some("v1" | "v1beta1"))) {
        let text = "must include at least one of v1, v1beta1";
        errors.push(Error::invalid(&of_versions, Value::Array(versions.to_vec()), text));
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
pub(crate) fn label(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if text.len() > 63 {
        complaints.push("must be no more than 63 characters".to_owned());
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
