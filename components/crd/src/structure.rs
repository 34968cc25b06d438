//! How the fields of a custom resource are owned by those who apply them.

use kinit_api::apply::{Elements, Fields, Plain, Structure};

use crate::object::object_meta;
use crate::schema::{Additional, ListType, Schema};

/// The structure of whole objects.
pub fn structure(schema: &Schema) -> Structure {
    let mut top = match place(schema) {
        Structure::Object(fields) => fields,
        _ => Fields { rest: Some(Box::new(Structure::Free)), ..Fields::default() },
    };
    top.named.insert("apiVersion".into(), Structure::Leaf);
    top.named.insert("kind".into(), Structure::Leaf);
    top.named.insert("metadata".into(), object_meta().map_or(Structure::Free, Structure::Type));
    Structure::Object(top)
}

fn place(schema: &Schema) -> Structure {
    if schema.int_or_string {
        return Structure::Plain(Plain::Any);
    }
    match schema.kind.as_str() {
        "object" if schema.atomic => Structure::Whole(Box::new(object(schema))),
        "object" => object(schema),
        "array" => match (schema.list, &schema.items) {
            (ListType::Set, _) => Structure::Values,
            (ListType::Map, Some(items)) => {
                let default = |key: &String| items.properties.get(key).and_then(|own| own.default.clone());
                let keys = schema.keys.iter().map(|key| (key.clone(), default(key))).collect();
                Structure::Elements(Elements { keys, element: Box::new(place(items)) })
            }
            (_, Some(items)) => Structure::List(Box::new(place(items))),
            _ => Structure::Leaf,
        },
        "" => Structure::Free,
        "string" => Structure::Plain(Plain::Text),
        "integer" | "number" => Structure::Plain(Plain::Number),
        "boolean" => Structure::Plain(Plain::Bool),
        _ => Structure::Leaf,
    }
}

fn object(schema: &Schema) -> Structure {
    let named: std::collections::BTreeMap<_, _> =
        schema.properties.iter().map(|(name, own)| (name.clone(), place(own))).collect();
    let rest = match &schema.additional {
        Some(Additional::Of(own)) => Some(place(own)),
        Some(Additional::Any(_)) => Some(Structure::Free),
        None if schema.preserve || named.is_empty() => Some(Structure::Free),
        None => None,
    };
    let mut fields = Fields { named, rest: rest.map(Box::new) };
    if schema.embedded {
        fields.named.insert("apiVersion".into(), Structure::Leaf);
        fields.named.insert("kind".into(), Structure::Leaf);
        fields.named.insert("metadata".into(), object_meta().map_or(Structure::Free, Structure::Type));
    }
    Structure::Object(fields)
}
