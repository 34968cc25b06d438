//! JSON to values by declaration, and values to JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value as Json};

use super::{List, Map, Opaque, Text, Value};
use crate::decl::{Decl, Kind};
use crate::time;

impl<'a> Value<'a> {
    /// A JSON value by its declaration; without one it is what it looks like. What doesn't fit its declaration is
    /// what it looks like too, and is another rule's to refuse.
    pub fn of_json(json: &'a Json, decl: Option<&'a Decl>) -> Self {
        match (json, decl.map(|decl| &decl.kind)) {
            (Json::Null, _) => Self::Null,
            (Json::Bool(value), _) => Self::Bool(*value),
            (Json::Number(number), Some(Kind::Double)) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            (Json::Number(number), _) => of_number(number),
            (Json::String(text), kind) => of_string(text, kind),
            (Json::Array(items), Some(Kind::List(list))) => Self::List(List::Json(items, Some(list))),
            (Json::Array(items), _) => Self::List(List::Json(items, None)),
            (Json::Object(map), Some(Kind::Object(object))) => Self::Map(Map::Object(map, object)),
            (Json::Object(map), Some(Kind::Map(values))) => Self::Map(Map::Json(map, Some(values))),
            (Json::Object(map), _) => Self::Map(Map::Json(map, None)),
        }
    }

    /// The value as JSON; none if it or something in it has no such form.
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Uint(value) => Json::from(*value),
            Self::Double(value) => Json::Number(Number::from_f64(*value)?),
            Self::String(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
            Self::Timestamp(time) => Json::String(time.to_string()),
            Self::Duration(nanos) => Json::String(time::duration_text(*nanos)),
            Self::List(List::Json(items, _)) => Json::Array(items.to_vec()),
            Self::List(list) => Json::Array(list.iter().map(|item| item.to_json()).collect::<Option<_>>()?),
            Self::Map(Map::Json(map, _) | Map::Object(map, _)) => Json::Object((*map).clone()),
            Self::Map(map) => {
                let mut object = serde_json::Map::new();
                for key in map.keys() {
                    let Self::String(name) = &key else { return None };
                    object.insert(name.to_string(), map.get(&key)?.to_json()?);
                }
                Json::Object(object)
            }
            Self::Struct(object) => {
                let mut fields = serde_json::Map::new();
                for (name, value) in &object.fields {
                    fields.insert(crate::escape::unescape(name)?, value.to_json()?);
                }
                Json::Object(fields)
            }
            Self::Optional(Some(value)) => value.to_json()?,
            Self::Optional(None) => Json::Null,
            Self::Opaque(Opaque::Quantity(quantity)) => Json::String(quantity.to_string()),
            Self::Opaque(_) | Self::Type(_) => return None,
        })
    }
}

fn of_number<'a>(number: &Number) -> Value<'a> {
    if let Some(value) = number.as_i64() {
        Value::Int(value)
    } else if let Some(value) = number.as_u64() {
        Value::Uint(value)
    } else {
        Value::Double(number.as_f64().unwrap_or(f64::NAN))
    }
}

fn of_string<'a>(text: &'a str, kind: Option<&Kind>) -> Value<'a> {
    let converted = match kind {
        Some(Kind::Bytes) => STANDARD.decode(text).ok().map(|bytes| Value::Bytes(bytes.into())),
        Some(Kind::Timestamp) => time::timestamp(text).ok().map(Value::Timestamp),
        Some(Kind::Date) => time::timestamp(&format!("{text}T00:00:00Z")).ok().map(Value::Timestamp),
        Some(Kind::Duration) => kinit_duration::nanoseconds(text).ok().map(Value::Duration),
        _ => None,
    };
    converted.unwrap_or(Value::String(Text::Borrowed(text)))
}
