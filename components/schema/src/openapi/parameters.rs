//! The query and path parameters of operations.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Dialect, Words, names};
use crate::{Element, Scalar};

/// What the words for parameters that are no field of any type stand under.
const PATH: &str = "path";

/// The options, as types of the table, whose fields a verb's operation takes in its query, and the fields that it does not.
fn options(verb: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match verb {
        "list" => (&["ListOptions"], &[]),
        "read" => (&["GetOptions"], &[]),
        "create" => (&["CreateOptions"], &[]),
        "update" => (&["UpdateOptions"], &[]),
        "patch" => (&["PatchOptions"], &[]),
        "delete" => (&["DeleteOptions"], &[]),
        "deletecollection" => (&["ListOptions", "DeleteOptions"], &["watch", "allowWatchBookmarks"]),
        _ => (&[], &[]),
    }
}

/// The parameters of a verb's operation.
pub fn of_verb(verb: &str, words: &dyn Words, dialect: Dialect) -> Vec<Value> {
    let (types, without) = options(verb);
    let fields = types.iter().flat_map(|name| of_type("meta/v1", name, words, dialect));
    fields.filter(|one| !without.iter().any(|name| one["name"] == *name)).collect()
}

/// The fields of a type that are plain values, or lists of them, as parameters of a query.
pub fn of_type(package: &str, name: &str, words: &dyn Words, dialect: Dialect) -> Vec<Value> {
    let definition = names::definition(package, name);
    let fields = crate::named(package, name).map(|found| found.json_fields()).unwrap_or_default();
    let of_field = |field: &crate::Field| {
        let kind = match field.element {
            Element::Scalar(Scalar::String) => "string",
            Element::Scalar(Scalar::Bool) => "boolean",
            Element::Scalar(Scalar::I32 | Scalar::I64) => "integer",
            _ => return None,
        };
        Some(parameter(field.name, kind, "query", words.of_field(&definition, field.name), dialect))
    };
    fields.into_iter().filter_map(of_field).collect()
}

/// The parameters that all operations of a path share. `rest` says that the path ends with another path.
pub fn of_path(namespaced: bool, named: Option<&str>, rest: bool, words: &dyn Words, dialect: Dialect) -> Vec<Value> {
    let path = |name: &str, text: Option<&str>| parameter(name, "string", "path", text, dialect);
    let mut all = Vec::new();
    if let Some(kind) = named {
        all.push(path("name", Some(&format!("name of the {kind}"))));
    }
    if namespaced {
        all.push(path("namespace", words.of_field(PATH, "namespace")));
    }
    if rest {
        all.push(path("path", words.of_field(PATH, "path")));
    }
    all
}

/// The parameter that every operation on objects has.
pub fn pretty(words: &dyn Words, dialect: Dialect) -> Value {
    parameter("pretty", "string", "query", words.of_field(PATH, "pretty"), dialect)
}

fn parameter(name: &str, kind: &str, place: &str, description: Option<&str>, dialect: Dialect) -> Value {
    let mut value = json!({"name": name, "in": place});
    if let Some(description) = description {
        value["description"] = description.into();
    }
    if place == "path" {
        value["required"] = true.into();
    }
    match dialect {
        Dialect::V3 => value["schema"] = json!({"type": kind, "uniqueItems": true}),
        Dialect::V2 => {
            value["type"] = kind.into();
            value["uniqueItems"] = true.into();
        }
    }
    value
}

/// The parameters that a document of version 2 has once for all of its operations, by the names under which these refer to
/// them.
#[derive(Default)]
pub struct Shared(pub BTreeMap<String, Value>);

impl Shared {
    /// Takes the parameters out of a path's item, as far as they are of no single kind, and leaves references.
    pub fn take(&mut self, item: &mut Value) {
        let Some(item) = item.as_object_mut() else { return };
        for (name, value) in item {
            let list = if name == "parameters" { Some(value) } else { value.get_mut("parameters") };
            for one in list.and_then(Value::as_array_mut).into_iter().flatten() {
                if Self::takes(one) {
                    let name = shared_name(one);
                    let reference = json!({"$ref": format!("#/parameters/{name}")});
                    self.0.insert(name, std::mem::replace(one, reference));
                }
            }
        }
    }

    /// Not those that name a kind, nor the two in which clients look for what a server can do.
    fn takes(one: &Value) -> bool {
        let own =
            || one["schema"]["$ref"].as_str().is_some_and(|it| !it.starts_with("#/definitions/io.k8s.apimachinery"));
        match one["in"].as_str() {
            Some("query") => !matches!(one["name"].as_str(), Some("name" | "fieldValidation" | "dryRun")),
            Some("path") => one["name"] != "name",
            Some("body") => !own(),
            Some(_) => true,
            None => false,
        }
    }
}

/// A parameter's name and the beginning of the FNV-1 hash of its JSON, with the fields and letters as upstream writes them.
fn shared_name(one: &Value) -> String {
    use base64::Engine;
    let keys = ["uniqueItems", "type", "description", "name", "in", "required", "schema"];
    let parts: Vec<String> = keys
        .iter()
        .filter_map(|key| one.get(*key).map(|value| format!("{key:?}:{}", go(&value.to_string()))))
        .collect();
    let text = format!("{{{}}}", parts.join(","));
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| hash.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(byte));
    let hash = base64::engine::general_purpose::URL_SAFE.encode(&hash.to_be_bytes()[..6]);
    format!("{}-{hash}", one["name"].as_str().unwrap_or("param"))
}

/// JSON as Go writes it, safe within HTML.
fn go(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

fn sort(parameters: &mut [Value]) {
    parameters.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
}

/// Puts the parameters that all operations of a path have beside them, with `own`, by name.
pub fn share(item: &mut Map<String, Value>, own: Vec<Value>) {
    let empty = Vec::new();
    let lists: Vec<&Vec<Value>> =
        item.values().map(|operation| operation["parameters"].as_array().unwrap_or(&empty)).collect();
    let is_shared = |one: &Value| one["in"] != "body" && lists.iter().all(|list| list.contains(one));
    let shared: Vec<Value> =
        lists.iter().take(1).flat_map(|list| list.iter()).filter(|one| is_shared(one)).cloned().collect();
    for operation in item.values_mut().filter_map(Value::as_object_mut) {
        let Some(list) = operation.get_mut("parameters").and_then(Value::as_array_mut) else { continue };
        list.retain(|one| !shared.contains(one));
        sort(list);
        if list.is_empty() {
            operation.remove("parameters");
        }
    }
    let mut all = [shared, own].concat();
    sort(&mut all);
    item.insert("parameters".into(), all.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_shared_under_upstream_s_names() {
        let path = json!({"name": "path", "in": "path", "required": true, "type": "string", "uniqueItems": true,
            "description": "path to the resource"});
        let ports = json!({"name": "ports", "in": "query", "type": "integer", "uniqueItems": true,
            "description": "Ports & <more>."});
        let of_kind = json!({"name": "name", "in": "path", "required": true, "type": "string", "uniqueItems": true,
            "description": "name of the Pod"});
        let body = |name: &str| {
            let schema = json!({"$ref": format!("#/definitions/{name}")});
            json!({"name": "body", "in": "body", "required": true, "schema": schema})
        };
        let (patch, pod) = (body("io.k8s.apimachinery.pkg.apis.meta.v1.Patch"), body("io.k8s.api.core.v1.Pod"));
        let mut item = json!({"get": {"parameters": [ports, patch, pod]}, "parameters": [of_kind, path]});
        let mut shared = Shared::default();
        shared.take(&mut item);
        let names: Vec<&str> = shared.0.keys().map(String::as_str).collect();
        assert_eq!(names, ["body-78PwaGsr", "path-z6Ciiujn", "ports-DfJxzoY7"]);
        assert_eq!(item["get"]["parameters"][0], json!({"$ref": "#/parameters/ports-DfJxzoY7"}));
        assert_eq!((&item["get"]["parameters"][2], &item["parameters"][0]), (&pod, &of_kind));
        assert_eq!(shared.0["path-z6Ciiujn"], path);
    }
}
