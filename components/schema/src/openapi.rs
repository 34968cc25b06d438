//! OpenAPI documents, versions 2 and 3, made from the table: a path for each resource, a schema for each type.
//!
//! Documents are large, so they are written piece by piece into one buffer: only a path or a schema at a time is a tree.

mod names;
mod parameters;
mod paths;
pub mod roots;
mod schemas;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub use names::definition as definition_name;

/// Types of the table that a document needs, by package and name.
type Wanted = BTreeSet<(&'static str, &'static str)>;

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
///
/// Parameters that are no field of a type have theirs as fields of `path`.
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
    /// Only documents of version 2 have parameters beside their paths.
    fn parameter(&mut self, name: &str, parameter: &Value);
}

/// What a document is about.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    pub resources: &'a [Resource<'a>],
    /// Paths besides those of resources and of their groups' versions.
    pub roots: &'a [roots::Root],
    pub custom: &'a Custom,
    pub words: &'a dyn Words,
}

/// The version of the API, as documents state it: `1.36`.
pub fn version() -> &'static str {
    let version = kinit_version::kubernetes().trim_start_matches('v');
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

/// The document in JSON. Version 3's are of one group and version, or of one path; version 2's is of all.
pub fn json(content: &Content<'_>, dialect: Dialect) -> Vec<u8> {
    let of_custom = !content.resources.is_empty() && content.resources.iter().all(|it| it.custom.is_some());
    let mut document = Json::new(dialect, of_custom && dialect == Dialect::V3);
    each(content, dialect, &mut document);
    document.end()
}

/// Gives every piece of a document to `sink`: first the paths, then the schemas, then the parameters.
pub fn each(content: &Content<'_>, dialect: Dialect, sink: &mut dyn Sink) {
    let &Content { resources, roots, custom, words } = content;
    let mut wanted = Wanted::new();
    if !custom.schemas.is_empty() {
        wanted.extend([("meta/v1", "ObjectMeta"), ("meta/v1", "ListMeta")]);
    }
    let mut items: BTreeMap<String, Value> = BTreeMap::new();
    for resource in resources {
        paths::of(resource, words, dialect, &mut wanted, &mut |path, item| {
            items.entry(path).or_insert(item);
        });
    }
    let built_in = resources.iter().filter(|it| it.custom.is_none());
    let versions: BTreeSet<(&str, &str)> = built_in.map(|it| (it.group, it.version)).collect();
    let versions = versions.into_iter().map(|(group, version)| roots::of_version(group, version));
    for root in roots.iter().cloned().chain(versions) {
        items.insert(root.path(), root.item(dialect, &mut wanted));
    }
    for (path, item) in &custom.paths {
        items.entry(path.clone()).or_insert_with(|| item.clone());
    }
    let mut shared = parameters::Shared::default();
    for (path, item) in &mut items {
        if dialect == Dialect::V2 {
            shared.take(item);
        }
        sink.path(path, item);
    }
    let of =
        resources.first().filter(|it| dialect == Dialect::V3 && it.custom.is_none()).map(|it| (it.group, it.version));
    let own = schemas::closure(&wanted, of, words, dialect);
    for (name, schema) in &own {
        sink.schema(name, &schema());
    }
    for (name, schema) in custom.schemas.iter().filter(|(name, _)| !own.contains_key(*name)) {
        sink.schema(name, schema);
    }
    for (name, parameter) in &shared.0 {
        sink.parameter(name, parameter);
    }
}

/// A document as JSON text.
struct Json {
    text: Vec<u8>,
    /// Whether it is of custom resources alone, which upstream gives another title and no security.
    of_custom: bool,
    dialect: Dialect,
    section: Section,
}

/// Which of a document's maps is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Paths,
    Schemas,
    Parameters,
}

/// How clients say who they are: the ways, by name.
pub fn security() -> Value {
    let token = json!({
        "type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header",
    });
    json!({ "BearerToken": token })
}

impl Json {
    fn new(dialect: Dialect, of_custom: bool) -> Self {
        let (form, number) = match dialect {
            Dialect::V2 => ("swagger", "2.0"),
            Dialect::V3 => ("openapi", "3.0.0"),
        };
        let (title, version) = if of_custom { ("Kubernetes CRD Swagger", "v0.1.0") } else { ("Kubernetes", version()) };
        let start = format!(r#"{{"{form}":"{number}","info":{{"title":"{title}","version":"{version}"}},"paths":{{"#);
        Self { text: start.into_bytes(), of_custom, dialect, section: Section::Paths }
    }

    /// Writes a member of a section, which is the one that is being written or one after it.
    fn member(&mut self, section: Section, name: &str, value: &Value) {
        if self.section != section {
            self.section = section;
            self.text.extend_from_slice(match (section, self.dialect) {
                (Section::Schemas, Dialect::V3) => br#"},"components":{"schemas":{"#,
                (Section::Schemas, Dialect::V2) => br#"},"definitions":{"#,
                (Section::Parameters | Section::Paths, _) => br#"},"parameters":{"#,
            });
        }
        if self.text.last() != Some(&b'{') {
            self.text.push(b',');
        }
        self.text.extend_from_slice(json!(name).to_string().as_bytes());
        self.text.push(b':');
        self.text.extend_from_slice(value.to_string().as_bytes());
    }

    fn end(mut self) -> Vec<u8> {
        let security = security();
        let end = match (self.dialect, self.section) {
            (Dialect::V2, _) => format!(r#"}},"securityDefinitions":{security},"security":[{{"BearerToken":[]}}]}}"#),
            (Dialect::V3, Section::Schemas) if self.of_custom => "}}}".to_owned(),
            (Dialect::V3, Section::Paths) => format!(r#"}},"components":{{"securitySchemes":{security}}}}}"#),
            (Dialect::V3, _) => format!(r#"}},"securitySchemes":{security}}}}}"#),
        };
        self.text.extend_from_slice(end.as_bytes());
        self.text
    }
}

impl Sink for Json {
    fn path(&mut self, path: &str, item: &Value) {
        self.member(Section::Paths, path, item);
    }

    fn schema(&mut self, name: &str, schema: &Value) {
        self.member(Section::Schemas, name, schema);
    }

    fn parameter(&mut self, name: &str, parameter: &Value) {
        self.member(Section::Parameters, name, parameter);
    }
}

#[cfg(test)]
mod tests;
