//! How a place in an object is owned: as a whole, field by field, or element by element. The schema says it.

use std::collections::BTreeMap;

use kinit_schema::{Element, Field, ListType, Scalar, Shape, Type};
use serde_json::{Map, Value};

use super::Schema;
use crate::patch::{go_text, go_type};

/// How a place in a custom resource is owned, as its definition says.
#[derive(Clone, Debug)]
pub enum Structure {
    /// As a whole.
    Leaf,
    /// As a whole, of parts that have a structure: an atomic object, or one of its lists.
    Whole(Box<Structure>),
    /// A list that is owned as a whole.
    List(Box<Structure>),
    /// A plain value.
    Plain(Plain),
    /// Without a schema: objects field by field, lists as a whole.
    Free,
    /// As a built-in type says, for example `metadata`.
    Type(&'static Type),
    Object(Fields),
    /// A list owned by each value.
    Values,
    /// A list owned by each element.
    Elements(Elements),
}

/// The fields of an object.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub named: BTreeMap<String, Structure>,
    /// What fields of other names hold, where there may be any.
    pub rest: Option<Box<Structure>>,
}

/// A list whose elements are told apart by keys.
#[derive(Clone, Debug)]
pub struct Elements {
    /// Each key, and what stands for it where it is absent.
    pub keys: Vec<(String, Option<Value>)>,
    pub element: Box<Structure>,
}

impl Structure {
    fn node(&self) -> Node<'_> {
        match self {
            Self::Leaf => Node::Leaf,
            Self::Whole(inner) => Node::Whole(Whole::Own(inner)),
            Self::List(element) => Node::Whole(Whole::OwnList(element)),
            Self::Plain(plain) => Node::Plain(*plain),
            Self::Free => Node::Free,
            Self::Type(schema) => Node::Struct(schema),
            Self::Object(fields) => Node::Object(fields),
            Self::Values => Node::Values,
            Self::Elements(elements) => Node::Elements(elements),
        }
    }
}

/// The types that plain values are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    Text,
    Number,
    Bool,
    /// Any of them.
    Any,
}

impl Plain {
    fn of(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Bool => Self::Bool,
            Scalar::I32 | Scalar::I64 | Scalar::U8 | Scalar::U64 | Scalar::F64 => Self::Number,
            Scalar::String | Scalar::Duration | Scalar::Time | Scalar::MicroTime | Scalar::Bytes => Self::Text,
            _ => Self::Any,
        }
    }

    /// What is wrong with a value that is of another type.
    pub fn mismatch(self, value: &Value) -> Option<String> {
        let fits = match (self, value) {
            (_, Value::Null) => true,
            (Self::Text, value) => value.is_string(),
            (Self::Number, value) => value.is_number(),
            (Self::Bool, value) => value.is_boolean(),
            (Self::Any, value) => !value.is_object() && !value.is_array(),
        };
        (!fits).then(|| match self {
            Self::Text => format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(value)),
            Self::Number => format!("expected numeric (int or float), got {}", go_type(value)),
            Self::Bool => format!("expected boolean, got &{{{}}}", go_text(value)),
            Self::Any => format!("expected any scalar, got &{{{}}}", go_text(value)),
        })
    }
}

/// A value as a literal of Go's.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(list) => {
            format!("[]interface {{}}{{{}}}", list.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let fields: Vec<String> =
                map.iter().map(|(name, value)| format!("{name:?}:{}", go_syntax(value))).collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// What something that is owned as a whole is made of.
#[derive(Clone, Copy)]
pub enum Whole<'a> {
    Struct(&'static Type),
    Map(&'static Field),
    /// A list of elements of the field.
    List(&'static Field),
    Own(&'a Structure),
    OwnList(&'a Structure),
}

impl<'a> Whole<'a> {
    /// How it would be owned part by part, or, of a list, how each element would: the types are the same.
    pub fn parts(self) -> Result<Node<'a>, Node<'a>> {
        match self {
            Self::Struct(schema) => Ok(Node::Struct(schema)),
            Self::Map(field) => Ok(Node::Map(field)),
            Self::Own(structure) => Ok(structure.node()),
            Self::List(field) => Err(of_element(field)),
            Self::OwnList(element) => Err(element.node()),
        }
    }
}

/// A place in an object.
#[derive(Clone, Copy)]
pub enum Node<'a> {
    /// Owned as a whole: atomic lists and maps, and plain values of any type.
    Leaf,
    /// A plain value.
    Plain(Plain),
    /// Owned as a whole, and made of parts that have types of their own.
    Whole(Whole<'a>),
    Struct(&'static Type),
    /// A map whose values are elements of the field.
    Map(&'static Field),
    /// A list owned by each value.
    Values,
    /// A list owned by each element, told apart by keys.
    Items(&'static Type, &'static [&'static str]),
    /// An object of a custom resource.
    Object(&'a Fields),
    /// As [`Node::Items`], in a custom resource.
    Elements(&'a Elements),
    /// Without a schema: objects are owned field by field, lists as a whole.
    Free,
}

impl<'a> Node<'a> {
    /// The top of an object; kinds without a schema are free.
    pub fn root(schema: Option<Schema<'a>>) -> Self {
        match schema {
            Some(Schema::Type(schema)) => Self::Struct(schema),
            Some(Schema::Own(structure)) => structure.node(),
            None => Self::Free,
        }
    }

    /// Whether the type names the field, so that it is no key of a map.
    pub fn names(self, name: &str) -> bool {
        match self {
            Self::Struct(_) => true,
            Self::Object(fields) => fields.named.contains_key(name),
            _ => false,
        }
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
            Self::Object(fields) => fields.named.get(name).or(fields.rest.as_deref()).map(Structure::node),
            Self::Leaf | Self::Plain(_) | Self::Whole(_) | Self::Values | Self::Items(..) | Self::Elements(_) => None,
        }
    }

    /// Whether an object here is owned field by field.
    pub fn has_fields(self) -> bool {
        matches!(self, Self::Struct(_) | Self::Map(_) | Self::Object(_) | Self::Free)
    }

    /// Whether a value is made of parts that are owned one by one.
    pub fn has_parts_in(self, value: &Value) -> bool {
        match value {
            Value::Object(map) => self.has_fields() && !map.is_empty(),
            Value::Array(list) => {
                matches!(self, Self::Values | Self::Items(..) | Self::Elements(_)) && !list.is_empty()
            }
            _ => false,
        }
    }

    /// What a field holds when nothing is set, where Go encodes it nevertheless: a struct within a struct, or null.
    pub fn unset(self, name: &str) -> Option<Value> {
        let Self::Struct(schema) = self else { return None };
        let field = schema.field(name)?;
        let one = field.shape == Shape::One && !field.pointer;
        if one && !field.omit_zero && field.message().is_some() {
            return Some(Value::Object(Map::new()));
        }
        // A time is written whatever its tags say.
        if one && matches!(field.element, Element::Scalar(Scalar::Time | Scalar::MicroTime)) {
            return Some(Value::Null);
        }
        if field.omit_empty || !one {
            return (!field.omit_empty).then_some(Value::Null);
        }
        match field.element {
            Element::Scalar(_) => default(schema, name),
            Element::Message(_) => None,
        }
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
            Self::Items(schema, _) if schema.atomic => Self::Whole(Whole::Struct(schema)),
            Self::Items(schema, _) => Self::Struct(schema),
            Self::Elements(elements) => elements.element.node(),
            _ => Self::Leaf,
        }
    }

    /// An element's name in a set of fields. A key that is not there counts as its default, which for those that Go always
    /// writes is nothing.
    pub fn element_name(self, item: &Value) -> Result<String, String> {
        let keys: Vec<(&str, Option<Value>)> = match self {
            Self::Items(schema, keys) => keys.iter().map(|key| (*key, default(schema, key))).collect(),
            Self::Elements(elements) => {
                elements.keys.iter().map(|(key, default)| (key.as_str(), default.clone())).collect()
            }
            _ => {
                let why = match item {
                    Value::Object(_) => "associative list without keys has an element that's a map type",
                    Value::Array(_) => "not supported: associative list with lists as elements",
                    Value::Null => "associative list without keys has an element that's an explicit null",
                    _ => return Ok(format!("v:{item}")),
                };
                return Err(why.to_owned());
            }
        };
        match item {
            Value::Object(_) => {}
            Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
            _ => return Err("associative list with keys may not have non-map elements".to_owned()),
        }
        let mut named = Map::new();
        for (key, default) in &keys {
            if let Some(value) = item.get(key).cloned().or_else(|| default.clone()) {
                named.insert((*key).to_owned(), value);
            }
        }
        if named.is_empty() {
            let names: Vec<String> = keys.iter().map(|(key, _)| format!("{key:?}")).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                names.join(" ")
            ));
        }
        Ok(format!("k:{}", Value::Object(named)))
    }
}

/// What stands for a key that an element does not have.
fn default(schema: &Type, key: &str) -> Option<Value> {
    let field = schema.field(key)?;
    if let Some(default) = field.default {
        return Some(default.into());
    }
    let written = !field.omit_empty && !field.pointer && field.shape == Shape::One;
    match field.element {
        Element::Scalar(scalar) if written => match Plain::of(scalar) {
            Plain::Text => Some("".into()),
            Plain::Number => Some(0.into()),
            Plain::Bool => Some(false.into()),
            Plain::Any => None,
        },
        _ => None,
    }
}

fn is_plain_struct(field: &Field) -> bool {
    field.shape == Shape::One
        && !field.pointer
        && !field.omit_zero
        && field.message().is_some_and(|schema| !schema.atomic)
}

fn of_field(field: &'static Field) -> Node<'static> {
    match (field.shape, field.list) {
        (Shape::One, _) if field.atomic => {
            field.message().map_or(of_element(field), |schema| Node::Whole(Whole::Struct(schema)))
        }
        (Shape::Map, _) if field.atomic => Node::Whole(Whole::Map(field)),
        (Shape::List, _) if field.atomic => Node::Whole(Whole::List(field)),
        (Shape::One, _) => of_element(field),
        (Shape::Map, _) => Node::Map(field),
        (Shape::List, ListType::Atomic) => Node::Whole(Whole::List(field)),
        (Shape::List, ListType::Set) => Node::Values,
        (Shape::List, ListType::Map(keys)) => field.message().map_or(Node::Leaf, |schema| Node::Items(schema, keys)),
    }
}

fn of_element(field: &'static Field) -> Node<'static> {
    match field.element {
        Element::Scalar(Scalar::Json) => Node::Free,
        Element::Scalar(
            Scalar::Raw
            | Scalar::Strings
            | Scalar::FieldsV1
            | Scalar::PropsOrBool
            | Scalar::PropsOrArray
            | Scalar::PropsOrStrings,
        ) => Node::Leaf,
        Element::Scalar(scalar) => Node::Plain(Plain::of(scalar)),
        Element::Message(reference) if reference.get().atomic && !field.granular => {
            Node::Whole(Whole::Struct(reference.get()))
        }
        Element::Message(reference) => Node::Struct(reference.get()),
    }
}
