//! How a place in an object is owned: as a whole, field by field, or element by element. The schema says it.

use kinit_schema::{Element, Field, ListType, Scalar, Shape, Type};
use serde_json::{Map, Value};

/// A place in an object.
#[derive(Clone, Copy)]
pub enum Node {
    /// Owned as a whole: plain values, atomic lists, atomic maps.
    Leaf,
    Struct(&'static Type),
    /// A map whose values are elements of the field.
    Map(&'static Field),
    /// A list owned by each value.
    Values,
    /// A list owned by each element, told apart by keys.
    Items(&'static Type, &'static [&'static str]),
    /// Without a schema: objects are owned field by field, lists as a whole.
    Free,
}

impl Node {
    /// The top of an object; kinds without a schema are free.
    pub fn root(schema: Option<&'static Type>) -> Self {
        schema.map_or(Self::Free, Self::Struct)
    }

    /// What a field of this place is; `None` where the type has no such field.
    pub fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::Struct(schema) => match schema.field(name) {
                Some(field) => Some(of_field(field)),
                None if schema.kind && matches!(name, "apiVersion" | "kind") => Some(Self::Leaf),
                None => None,
            },
            Self::Map(field) => Some(of_element(field)),
            Self::Free => Some(Self::Free),
            Self::Leaf | Self::Values | Self::Items(..) => None,
        }
    }

    /// Whether an object here is owned field by field.
    pub fn has_fields(self) -> bool {
        matches!(self, Self::Struct(_) | Self::Map(_) | Self::Free)
    }

    /// What a field holds when nothing is set, where Go encodes it nevertheless: a struct within a struct, or null.
    pub fn unset(self, name: &str) -> Option<Value> {
        let Self::Struct(schema) = self else { return None };
        let field = schema.field(name)?;
        if is_plain_struct(field) {
            return Some(Value::Object(Map::new()));
        }
        (!field.omit_empty && (field.pointer || field.shape != Shape::One)).then_some(Value::Null)
    }

    /// The fields of a struct that are structs themselves, and so always there.
    pub fn plain_structs(self) -> Vec<&'static str> {
        match self {
            Self::Struct(schema) => schema
                .json_fields()
                .into_iter()
                .filter(|field| is_plain_struct(field))
                .map(|field| field.name)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// What the elements of a list here are.
    pub fn element(self) -> Self {
        match self {
            Self::Items(schema, _) => Self::Struct(schema),
            _ => Self::Leaf,
        }
    }

    /// An element's name in a set of fields.
    pub fn element_name(self, item: &Value) -> Result<String, String> {
        let Self::Items(schema, keys) = self else { return Ok(format!("v:{item}")) };
        let mut named = Map::new();
        for key in keys {
            let field = schema.field(key);
            let value = match item.get(key).filter(|value| !value.is_null()) {
                Some(value) => Some(value.clone()),
                None => field.and_then(|field| field.default.map(Value::from)),
            };
            let Some(value) = value else {
                return Err(format!(
                    "element {}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)",
                    named.len()
                ));
            };
            named.insert((*key).to_owned(), value);
        }
        Ok(format!("k:{}", Value::Object(named)))
    }
}

fn is_plain_struct(field: &Field) -> bool {
    field.shape == Shape::One
        && !field.pointer
        && !field.omit_zero
        && field.message().is_some_and(|schema| !schema.atomic)
}

fn of_field(field: &'static Field) -> Node {
    if field.atomic {
        return Node::Leaf;
    }
    match (field.shape, field.list) {
        (Shape::One, _) => of_element(field),
        (Shape::Map, _) => Node::Map(field),
        (Shape::List, ListType::Atomic) => Node::Leaf,
        (Shape::List, ListType::Set) => Node::Values,
        (Shape::List, ListType::Map(keys)) => field.message().map_or(Node::Leaf, |schema| Node::Items(schema, keys)),
    }
}

fn of_element(field: &'static Field) -> Node {
    match field.element {
        Element::Scalar(Scalar::Raw | Scalar::Json) => Node::Free,
        Element::Scalar(_) => Node::Leaf,
        Element::Message(reference) if reference.get().atomic && !field.granular => Node::Leaf,
        Element::Message(reference) => Node::Struct(reference.get()),
    }
}
