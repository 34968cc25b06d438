//! OpenAPI documents, versions 2 and 3, made from the table: a path for each resource, a schema for each type.
//!
//! Documents are large, so they are written piece by piece into one buffer: only a path or a schema at a time is a tree.

mod names;
mod parameters;
mod paths;
mod schemas;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub use names::definition as definition_name;

/// A resource or a subresource, and what can be done with it.
#[derive(Clone, Debug)]
pub struct Resource<'a> {
    pub group: &'a str,
    pub version: &'a str,
    /// The plural in paths.
    pub plural: &'a str,
    /// Empty for the resource itself.
    pub subresource: &'a str,
    /// Group, version and kind of what goes over the wire.
    pub kind: (&'a str, &'a str, &'a str),
    /// The kind that the resource's objects are of; for a subresource its parent's.
    pub parent: &'a str,
    pub namespaced: bool,
    /// The definitions of a kind that is not of the table, and of its lists; they are given beside.
    pub custom: Option<(&'a str, &'a str)>,
    /// As in discovery: `get`, `list`, `create` and so on.
    pub verbs: &'a [&'a str],
}

/// What a document has of kinds that are not of the table.
#[derive(Debug, Default)]
pub struct Custom {
    /// Schemas, by their definitions' names. What the table has under the same name goes before.
    pub schemas: BTreeMap<String, Value>,
    /// Paths besides those of the resources.
    pub paths: BTreeMap<String, Value>,
}

/// Descriptions of types and fields.
pub trait Words {
    /// What a type is, by its definition's name (`io.k8s.api.core.v1.Pod`).
    fn of_type(&self, definition: &str) -> Option<&str>;
    /// What a field is, by its type's definition and its JSON name.
    fn of_field(&self, definition: &str, field: &str) -> Option<&str>;
}

/// Which OpenAPI a document is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, definition: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{definition}"),
            Self::V3 => format!("#/components/schemas/{definition}"),
        }
    }
}

/// Where the pieces of a document go.
pub trait Sink {
    fn path(&mut self, path: &str, item: &Value);
    fn schema(&mut self, name: &str, schema: &Value);
}

/// The OpenAPI v3 document of the resources given, which are those of one group and version.
pub fn v3(resources: &[Resource<'_>], custom: &Custom, words: &dyn Words) -> Vec<u8> {
    let mut paths = Json::new("openapi", "3.0.0");
    each(resources, custom, words, Dialect::V3, &mut paths);
    paths.text.extend_from_slice(
        br#"},"securitySchemes":{"BearerToken":{"type":"apiKey","description":"Bearer token","name":"authorization","in":"header"}}}}"#,
    );
    paths.text
}

/// The OpenAPI v2 document of all resources.
pub fn v2(resources: &[Resource<'_>], custom: &Custom, words: &dyn Words) -> Vec<u8> {
    let mut paths = Json::new("swagger", "2.0");
    paths.between = br#"},"definitions":{"#;
    each(resources, custom, words, Dialect::V2, &mut paths);
    paths.text.extend_from_slice(
        br#"},"securityDefinitions":{"BearerToken":{"type":"apiKey","description":"Bearer token","name":"authorization","in":"header"}},"security":[{"BearerToken":[]}]}"#,
    );
    paths.text
}

/// Gives every piece of a document to `sink`: first the paths, then the schemas.
pub fn each(resources: &[Resource<'_>], custom: &Custom, words: &dyn Words, dialect: Dialect, sink: &mut dyn Sink) {
    let mut wanted = BTreeSet::new();
    if !custom.schemas.is_empty() {
        wanted.extend([("meta/v1", "ObjectMeta"), ("meta/v1", "ListMeta")]);
    }
    let mut items: BTreeMap<String, Value> = BTreeMap::new();
    for resource in resources {
        paths::of(resource, dialect, &mut wanted, &mut |path, item| {
            items.entry(path).or_insert(item);
        });
    }
    let mut roots = BTreeSet::new();
    for resource in resources {
        let (base, tag) = (names::base(resource.group, resource.version), names::tag(resource.group, resource.version));
        if roots.insert(base.clone()) {
            items.insert(format!("{base}/"), paths::discovery(resource, &tag, dialect, &mut wanted));
        }
    }
    for (path, item) in &items {
        sink.path(path, item);
    }
    for (path, item) in custom.paths.iter().filter(|(path, _)| !items.contains_key(*path)) {
        sink.path(path, item);
    }
    let own = schemas::closure(wanted, words, dialect);
    for (name, schema) in &own {
        sink.schema(name, &schema());
    }
    for (name, schema) in custom.schemas.iter().filter(|(name, _)| !own.contains_key(*name)) {
        sink.schema(name, schema);
    }
}

/// A document as JSON text.
struct Json {
    text: Vec<u8>,
    between: &'static [u8],
    in_schemas: bool,
}

impl Json {
    /// The start of a document whose first field, `form`, says which version of OpenAPI it is in.
    fn new(form: &str, number: &str) -> Self {
        let version = kinit_version::kubernetes();
        let start =
            format!(r#"{{"{form}":"{number}","info":{{"title":"Kubernetes","version":"{version}"}},"paths":{{"#);
        Self { text: start.into_bytes(), between: br#"},"components":{"schemas":{"#, in_schemas: false }
    }

    fn member(&mut self, name: &str, value: &Value) {
        if self.text.last() != Some(&b'{') {
            self.text.push(b',');
        }
        self.text.extend_from_slice(json!(name).to_string().as_bytes());
        self.text.push(b':');
        self.text.extend_from_slice(value.to_string().as_bytes());
    }
}

impl Sink for Json {
    fn path(&mut self, path: &str, item: &Value) {
        self.member(path, item);
    }

    fn schema(&mut self, name: &str, schema: &Value) {
        if !self.in_schemas {
            self.in_schemas = true;
            self.text.extend_from_slice(self.between);
        }
        self.member(name, schema);
    }
}

#[cfg(test)]
mod tests;
