//! Declarations made from OpenAPI schemas: what type a value has, under which names its fields are reached, and how
//! large it can be.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::escape::escape;
use crate::types::Type;

/// The size of the greatest request, which bounds everything that no schema bounds.
pub const MAX_REQUEST: i64 = 3 * 1024 * 1024;

/// The declaration of a value.
#[derive(Debug)]
pub struct Decl {
    pub kind: Kind,
    /// How many items, entries or bytes it may have; 0 where that is no question.
    pub max_elements: i64,
    /// The least number of bytes that it takes in a request.
    pub min_size: i64,
}

#[derive(Debug)]
pub enum Kind {
    /// Anything: what it is shows when it is looked at.
    Dyn,
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Timestamp,
    Date,
    Duration,
    List(Arc<ListDecl>),
    Map(Arc<Decl>),
    Object(Arc<ObjectDecl>),
    /// What another expression gives.
    Typed(Type),
}

#[derive(Debug)]
pub struct ListDecl {
    pub items: Arc<Decl>,
    pub list: ListType,
}

/// What makes two items of a list the same.
#[derive(Debug)]
pub enum ListType {
    Atomic,
    Set,
    Map(Vec<String>),
}

#[derive(Debug)]
pub struct ObjectDecl {
    pub name: String,
    /// By the names that expressions use.
    pub fields: BTreeMap<String, FieldDecl>,
}

#[derive(Debug)]
pub struct FieldDecl {
    /// The name in the object.
    pub name: String,
    pub decl: Arc<Decl>,
}

impl Decl {
    fn new(kind: Kind, max_elements: i64, min_size: i64) -> Self {
        Self { kind, max_elements, min_size }
    }

    /// A declaration without bounds.
    pub fn of(kind: Kind) -> Self {
        Self::new(kind, 0, 1)
    }

    /// An object with these fields, which go by their own names.
    pub fn object(name: &str, fields: impl IntoIterator<Item = (String, Decl)>) -> Self {
        let declared = |(name, decl): (String, Decl)| (name.clone(), FieldDecl { name, decl: Arc::new(decl) });
        let fields = fields.into_iter().map(declared).collect();
        Self::of(Kind::Object(Arc::new(ObjectDecl { name: name.to_owned(), fields })))
    }

    pub fn list(items: Decl) -> Self {
        Self::of(Kind::List(Arc::new(ListDecl { items: Arc::new(items), list: ListType::Atomic })))
    }

    pub fn kind_of(&self) -> Type {
        match &self.kind {
            Kind::Dyn => Type::Dyn,
            Kind::Bool => Type::Bool,
            Kind::Int => Type::Int,
            Kind::Double => Type::Double,
            Kind::String => Type::String,
            Kind::Bytes => Type::Bytes,
            Kind::Timestamp | Kind::Date => Type::Timestamp,
            Kind::Duration => Type::Duration,
            Kind::List(list) => Type::list(list.items.kind_of()),
            Kind::Map(values) => Type::map(Type::String, values.kind_of()),
            Kind::Object(object) => Type::Object(object.clone()),
            Kind::Typed(given) => given.clone(),
        }
    }

    /// How often a value of this size can be in one request.
    pub fn max_cardinality(&self) -> u64 {
        (MAX_REQUEST / (self.min_size + 1)).unsigned_abs()
    }

    pub fn items(&self) -> Option<&Arc<Decl>> {
        match &self.kind {
            Kind::List(list) => Some(&list.items),
            Kind::Map(values) => Some(values),
            _ => None,
        }
    }

    /// The keys of a map, which upstream counts as having no size at all.
    pub fn keys(&self) -> Option<Arc<Decl>> {
        matches!(self.kind, Kind::Map(_)).then(|| Arc::new(Self::of(Kind::String)))
    }

    pub fn field(&self, name: &str) -> Option<&Arc<Decl>> {
        match &self.kind {
            Kind::Object(object) => object.fields.get(name).map(|field| &field.decl),
            _ => None,
        }
    }
}

fn limit(schema: &Json, key: &str) -> Option<i64> {
    schema.get(key).and_then(Json::as_i64).map(|limit| limit.max(0))
}

pub(crate) fn flag(schema: &Json, key: &str) -> bool {
    schema.get(key).and_then(Json::as_bool).unwrap_or(false)
}

/// The declaration of values of a structural schema; none if expressions can't see them. `root` is whether the schema
/// is of a whole resource, whose type and names are always there. `name` is what the type is called in messages.
pub fn from_schema(schema: &Json, root: bool, name: &str) -> Option<Decl> {
    if flag(schema, "x-kubernetes-int-or-string") {
        let most = limit(schema, "maxLength").map_or(MAX_REQUEST - 2, |length| length.saturating_mul(4));
        return Some(Decl::new(Kind::Dyn, most, 1));
    }
    let embedded = |schema: &Json| flag(schema, "x-kubernetes-embedded-resource");
    match schema.get("type").and_then(Json::as_str)? {
        "array" => {
            let items = schema.get("items")?;
            let items = from_schema(items, embedded(items), &format!("{name}.@idx"))?;
            let most = limit(schema, "maxItems").unwrap_or((MAX_REQUEST - 2) / (items.min_size + 1));
            let list = ListDecl { items: Arc::new(items), list: list_type(schema) };
            Some(Decl::new(Kind::List(Arc::new(list)), most, 2))
        }
        "object" => {
            if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
                let values = from_schema(values, embedded(values), &format!("{name}.@elem"))?;
                let most = limit(schema, "maxProperties").unwrap_or((MAX_REQUEST - 2) / (values.min_size + 6));
                return Some(Decl::new(Kind::Map(Arc::new(values)), most, 2));
            }
            Some(object(schema, root, name))
        }
        "string" => Some(string(schema)),
        "boolean" => Some(Decl::new(Kind::Bool, 0, 4)),
        "number" => Some(Decl::new(Kind::Double, 0, 1)),
        "integer" => Some(Decl::new(Kind::Int, 0, 1)),
        _ => None,
    }
}

fn list_type(schema: &Json) -> ListType {
    match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
        Some("set") => ListType::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array).into_iter().flatten();
            ListType::Map(keys.filter_map(Json::as_str).map(str::to_owned).collect())
        }
        _ => ListType::Atomic,
    }
}

fn string(schema: &Json) -> Decl {
    let length = limit(schema, "maxLength");
    match schema.get("format").and_then(Json::as_str) {
        Some("byte") => Decl::new(Kind::Bytes, length.unwrap_or(MAX_REQUEST - 2), 2),
        Some("duration") => Decl::new(Kind::Duration, 32, 3),
        Some("date") => Decl::new(Kind::Date, 12, 12),
        Some("date-time") => Decl::new(Kind::Timestamp, 32, 21),
        _ => {
            let longest = || {
                let values = schema.get("enum")?.as_array()?;
                values.iter().filter_map(Json::as_str).map(|value| i64::try_from(value.len()).unwrap_or(i64::MAX)).max()
            };
            let most = match length {
                Some(length) => length.saturating_mul(4),
                None => longest().unwrap_or(MAX_REQUEST - 2),
            };
            Decl::new(Kind::String, most, 2)
        }
    }
}

/// The fields that each resource has, whatever its schema says.
fn resource_fields() -> Map<String, Json> {
    let text = serde_json::json!({"type": "string"});
    let metadata = serde_json::json!({"type": "object", "properties": {"name": text, "generateName": text}});
    [("apiVersion", text.clone()), ("kind", text), ("metadata", metadata)]
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

fn object(schema: &Json, root: bool, name: &str) -> Decl {
    let none = Map::new();
    let mut properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&none).clone();
    if root {
        let known = properties.get("metadata").and_then(|metadata| metadata.get("properties"));
        let complete = known.is_some_and(|known| known.get("name").is_some() && known.get("generateName").is_some());
        for (key, value) in resource_fields() {
            if key != "metadata" || !complete {
                properties.insert(key, value);
            }
        }
    }
    let required: Vec<&str> =
        schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    let mut min_size = 2;
    let mut fields = BTreeMap::new();
    for (key, property) in &properties {
        let embedded = flag(property, "x-kubernetes-embedded-resource");
        let Some(decl) = from_schema(property, embedded, &format!("{name}.{key}")) else { continue };
        if required.contains(&key.as_str()) && property.get("default").is_none() {
            min_size += i64::try_from(key.len()).unwrap_or(i64::MAX / 2) + decl.min_size + 4;
        }
        if let Some(escaped) = escape(key) {
            fields.insert(escaped, FieldDecl { name: key.clone(), decl: Arc::new(decl) });
        }
    }
    Decl::new(Kind::Object(Arc::new(ObjectDecl { name: name.to_owned(), fields })), 0, min_size)
}
