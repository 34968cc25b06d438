//! What another server's document of OpenAPI version 2 says of one group and version; pure.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

const DEFINITIONS: &str = "#/definitions/";
const PARAMETERS: &str = "#/parameters/";

/// The part of a document that is about one group and version.
#[derive(Debug, Default, PartialEq)]
pub struct Swagger {
    pub paths: BTreeMap<String, Value>,
    /// What the paths lead to.
    pub schemas: BTreeMap<String, Value>,
    /// A number that another part hardly has.
    pub fingerprint: u64,
}

impl Swagger {
    /// Takes the paths below `prefix` out of a document, and what they lead to.
    pub fn of(mut document: Value, prefix: &str) -> Self {
        let mut swagger = Self::default();
        if let Some(paths) = document["paths"].as_object_mut() {
            let below =
                |path: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            paths.retain(|path, _| below(path));
            swagger.paths = std::mem::take(paths).into_iter().collect();
        }
        let shared = document["parameters"].take();
        swagger.paths.values_mut().for_each(|item| whole(item, &shared));
        let mut open: Vec<String> = Vec::new();
        swagger.paths.values().for_each(|item| references(item, &mut open));
        while let Some(name) = open.pop() {
            if swagger.schemas.contains_key(&name) {
                continue;
            }
            if let Some(schema) = document["definitions"].get_mut(&name).map(Value::take) {
                references(&schema, &mut open);
                swagger.schemas.insert(name, schema);
            }
        }
        let mut hasher = DefaultHasher::new();
        for (name, value) in swagger.paths.iter().chain(&swagger.schemas) {
            (name, value.to_string()).hash(&mut hasher);
        }
        swagger.fingerprint = hasher.finish();
        swagger
    }
}

/// Puts what is shared in place of references to it, in a path and in its operations.
fn whole(item: &mut Value, shared: &Value) {
    for (name, value) in item.as_object_mut().into_iter().flatten() {
        let list = if name == "parameters" { Some(value) } else { value.get_mut("parameters") };
        for one in list.and_then(Value::as_array_mut).into_iter().flatten() {
            let name = one.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(PARAMETERS));
            if let Some(own) = name.and_then(|name| shared.get(name)) {
                *one = own.clone();
            }
        }
    }
}

/// The names of the definitions that a value leads to.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(DEFINITIONS))
            {
                found.push(name.to_owned());
            }
            map.values().for_each(|inner| references(inner, found));
        }
        Value::Array(list) => list.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_group_and_version_is_taken_with_what_it_leads_to() {
        let to = |name: &str| json!({"$ref": format!("{DEFINITIONS}{name}")});
        let document = json!({
            "paths": {"/apis/g/v1/": {"get": to("List")}, "/apis/g/v1/toys": {"get": to("Toy"), "parameters": [{"$ref": "#/parameters/pretty-1"}]}, "/apis/g/v1beta1/toys": {},
                "/version/": {"get": to("Version")}},
            "definitions": {"List": {}, "Toy": {"properties": {"toys": {"items": to("Toy")}, "meta": to("Meta")}}, "Meta": {},
                "Version": {}},
            "parameters": {"pretty-1": {"in": "query", "name": "pretty"}},
        });
        let taken = Swagger::of(document.clone(), "/apis/g/v1");
        assert_eq!(taken.paths.keys().collect::<Vec<_>>(), ["/apis/g/v1/", "/apis/g/v1/toys"]);
        assert_eq!(taken.schemas.keys().collect::<Vec<_>>(), ["List", "Meta", "Toy"]);
        assert_eq!(taken.paths["/apis/g/v1/toys"]["parameters"][0]["name"], "pretty");
        assert_eq!(Swagger::of(document, "/apis/g/v1"), taken);
        assert_eq!(Swagger::of(Value::Null, "/apis/g/v1").paths.len(), 0);
    }
}
