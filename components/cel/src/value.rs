//! Values: constants of the expression, results of functions, and JSON that is looked at where it lies.

mod convert;
pub(crate) mod equal;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::authorizer::{Authz, Decision};
use crate::decl::{Decl, ListDecl, ObjectDecl};
use crate::error::EvalError;
use crate::types::Type;

pub(crate) type Result<T> = std::result::Result<T, EvalError>;

#[derive(Clone)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Rc<[u8]>),
    Timestamp(jiff::Timestamp),
    /// In nanoseconds.
    Duration(i64),
    List(List<'a>),
    Map(Map<'a>),
    Optional(Option<Rc<Value<'a>>>),
    Type(Rc<str>),
    Struct(Rc<Struct<'a>>),
    Opaque(Opaque<'a>),
}

/// A string of the expression or of an object, or a new one.
#[derive(Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Owned(Rc<str>),
}

#[derive(Clone)]
pub enum List<'a> {
    Json(&'a [Json], Option<&'a ListDecl>),
    Owned(Rc<Vec<Value<'a>>>),
}

#[derive(Clone)]
pub enum Map<'a> {
    /// A map, with the declaration of its values.
    Json(&'a serde_json::Map<String, Json>, Option<&'a Decl>),
    /// An object: its fields go by escaped names, and neither the undeclared ones nor those that are null are seen.
    Object(&'a serde_json::Map<String, Json>, &'a ObjectDecl),
    Owned(Rc<BTreeMap<Key<'a>, Value<'a>>>),
    /// Fields that are worked out when they are asked for.
    Lazy(Rc<dyn Fields<'a> + 'a>),
}

/// Fields that are worked out when they are asked for.
pub trait Fields<'a> {
    fn get(&self, name: &str) -> Option<Result<Value<'a>>>;
}

/// A struct that the expression builds: `Object{spec: ...}`.
pub struct Struct<'a> {
    pub name: String,
    pub fields: BTreeMap<String, Value<'a>>,
}

/// A key of a map. Numbers are equal whatever their type, so unsigned ones are kept as signed where they fit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(Text<'a>),
}

#[derive(Clone)]
pub enum Opaque<'a> {
    Url(Rc<url::Url>),
    Quantity(kinit_api::quantity::Quantity),
    Semver(Rc<semver::Version>),
    Ip(std::net::IpAddr),
    /// With the address as it was written.
    Cidr(std::net::IpAddr, u8),
    Format(&'static crate::library::format::Format),
    Authz(Rc<Authz<'a>>),
    Decision(Rc<Decision>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(Text::Owned(text.into()))
    }
}

impl<'a> Value<'a> {
    pub fn text(text: &'a str) -> Self {
        Self::String(Text::Borrowed(text))
    }

    pub fn list(items: Vec<Value<'a>>) -> Self {
        Self::List(List::Owned(Rc::new(items)))
    }

    pub fn some(value: Value<'a>) -> Self {
        Self::Optional(Some(Rc::new(value)))
    }

    /// Whether it is what an absent value of its type would be.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null | Self::Optional(None) => true,
            Self::Bool(value) => !value,
            Self::Int(value) | Self::Duration(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
            _ => false,
        }
    }

    /// What `size()` gives, and 1 for what has no size.
    pub(crate) fn size(&self) -> u64 {
        let size = match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            Self::Optional(Some(value)) => return value.size(),
            Self::Opaque(Opaque::Ip(address)) => {
                if address.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Self::Opaque(Opaque::Cidr(address, _)) => {
                if address.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            _ => 1,
        };
        size as u64
    }

    /// The cost of looking at all that is in it.
    pub(crate) fn traversal(&self) -> u64 {
        match self {
            Self::String(text) => text.len() as u64 / 10,
            Self::Bytes(bytes) => bytes.len() as u64 / 10,
            Self::List(list) => (0..list.len()).filter_map(|at| list.get(at)).map(|item| item.traversal()).sum(),
            Self::Map(map) => {
                map.keys().iter().map(|key| key.traversal() + map.get(key).map_or(0, |value| value.traversal())).sum()
            }
            _ => 1,
        }
    }

    /// Whether a value may be given where the declaration of a function says this type.
    pub(crate) fn fits(&self, wanted: &Type) -> bool {
        match (self, wanted) {
            (_, Type::Dyn | Type::Var(_))
            | (Self::Null, Type::Null)
            | (Self::Bool(_), Type::Bool)
            | (Self::Int(_), Type::Int)
            | (Self::Uint(_), Type::Uint)
            | (Self::Double(_), Type::Double)
            | (Self::String(_), Type::String)
            | (Self::Bytes(_), Type::Bytes)
            | (Self::Timestamp(_), Type::Timestamp)
            | (Self::Duration(_), Type::Duration)
            | (Self::Map(_), Type::Map(..))
            | (Self::Type(_), Type::Type(_)) => true,
            (Self::List(list), Type::List(item)) => list.get(0).is_none_or(|first| first.fits(item)),
            (Self::Optional(value), Type::Optional(inner)) => value.as_ref().is_none_or(|value| value.fits(inner)),
            (Self::Opaque(_), Type::Opaque(name)) => &*self.type_name() == *name,
            _ => false,
        }
    }

    pub fn type_name(&self) -> Rc<str> {
        let name = match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(Map::Object(_, object)) => &object.name,
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Struct(object) => &object.name,
            Self::Opaque(opaque) => match opaque {
                Opaque::Url(_) => "kubernetes.URL",
                Opaque::Quantity(_) => "kubernetes.Quantity",
                Opaque::Semver(_) => "kubernetes.Semver",
                Opaque::Ip(_) => "net.IP",
                Opaque::Cidr(..) => "net.CIDR",
                Opaque::Format(_) => "kubernetes.NamedFormat",
                Opaque::Authz(authz) => authz.type_name(),
                Opaque::Decision(_) => "kubernetes.authorization.Decision",
            },
        };
        name.into()
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_json() {
            Some(json) => write!(f, "{}({json})", self.type_name()),
            None => f.write_str(&self.type_name()),
        }
    }
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, _) => items.len(),
            Self::Owned(items) => items.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, at: usize) -> Option<Value<'a>> {
        match self {
            Self::Json(items, decl) => items.get(at).map(|item| Value::of_json(item, decl.map(|list| &*list.items))),
            Self::Owned(items) => items.get(at).cloned(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(map, _) => map.len(),
            Self::Object(..) => self.keys().len(),
            Self::Owned(map) => map.len(),
            Self::Lazy(_) => 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a field or a key that is a string.
    pub fn field(&self, name: &str) -> Option<Result<Value<'a>>> {
        match self {
            Self::Json(map, decl) => map.get(name).map(|value| Ok(Value::of_json(value, *decl))),
            Self::Object(map, object) => {
                let field = object.fields.get(name)?;
                let value = map.get(&field.name).filter(|value| !value.is_null());
                value.map(|value| Ok(Value::of_json(value, Some(&field.decl))))
            }
            Self::Owned(map) => map.get(&Key::String(Text::Owned(name.into()))).cloned().map(Ok),
            Self::Lazy(fields) => fields.get(name),
        }
    }

    pub fn get(&self, key: &Value<'a>) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Owned(map), _) => map.get(&Key::of(key)?).cloned(),
            (_, Value::String(name)) => self.field(name)?.ok(),
            _ => None,
        }
    }

    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Json(map, _) => map.keys().map(|key| Value::text(key)).collect(),
            Self::Object(map, object) => {
                let present =
                    object.fields.iter().filter(|(_, field)| map.get(&field.name).is_some_and(|it| !it.is_null()));
                present.map(|(name, _)| Value::text(name)).collect()
            }
            Self::Owned(map) => map.keys().cloned().map(Value::from).collect(),
            Self::Lazy(_) => Vec::new(),
        }
    }
}

impl<'a> Key<'a> {
    pub fn of(value: &Value<'a>) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Uint(value) => i64::try_from(*value).map_or(Self::Uint(*value), Self::Int),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9e15 => Self::Int(*value as i64),
            Value::String(text) => Self::String(text.clone()),
            _ => return None,
        })
    }
}

impl<'a> From<Key<'a>> for Value<'a> {
    fn from(key: Key<'a>) -> Self {
        match key {
            Key::Bool(value) => Self::Bool(value),
            Key::Int(value) => Self::Int(value),
            Key::Uint(value) => Self::Uint(value),
            Key::String(text) => Self::String(text),
        }
    }
}

/// The name of a type as expressions write it; its value is that name.
pub(crate) fn type_ident(name: &str) -> Option<(Type, &'static str)> {
    let any = || Type::Dyn;
    Some(match name {
        "bool" => (Type::Bool, "bool"),
        "int" => (Type::Int, "int"),
        "uint" => (Type::Uint, "uint"),
        "double" => (Type::Double, "double"),
        "string" => (Type::String, "string"),
        "bytes" => (Type::Bytes, "bytes"),
        "list" => (Type::list(any()), "list"),
        "map" => (Type::Map(Arc::new(any()), Arc::new(any())), "map"),
        "null_type" => (Type::Null, "null_type"),
        "type" => (Type::Type(Arc::new(any())), "type"),
        "optional_type" => (Type::optional(any()), "optional_type"),
        "google.protobuf.Timestamp" => (Type::Timestamp, "google.protobuf.Timestamp"),
        "google.protobuf.Duration" => (Type::Duration, "google.protobuf.Duration"),
        "kubernetes.URL" => (crate::types::URL, "kubernetes.URL"),
        "kubernetes.Quantity" => (crate::types::QUANTITY, "kubernetes.Quantity"),
        "kubernetes.Semver" => (crate::types::SEMVER, "kubernetes.Semver"),
        "net.IP" => (crate::types::IP, "net.IP"),
        "net.CIDR" => (crate::types::CIDR, "net.CIDR"),
        _ => return None,
    })
}
