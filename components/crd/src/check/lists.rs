//! Arrays whose elements are told apart by value or by keys: no two may be the same.

use kinit_api::validate::field::{Error, Errors, Path};
use serde_json::{Map, Value};

use crate::schema::{ListType, Schema};

/// The elements that are there twice, in all arrays below a value.
pub fn lists(value: &Value, schema: &Schema, path: &Path, errors: &mut Errors) {
    match value {
        Value::Object(map) => {
            for (name, below) in map {
                let here = if schema.properties.contains_key(name) { path.child(name) } else { path.key(name) };
                if let Some(own) = schema.field(name) {
                    lists(below, own, &here, errors);
                }
            }
        }
        Value::Array(list) => {
            let keys: Vec<Value> = list.iter().map(|item| key(schema, item)).collect();
            if schema.list == ListType::Map
                && let Some(at) = list.iter().position(|item| !item.is_object() && !item.is_null())
            {
                let text = "must be an object for an array of list-type map";
                errors.push(Error::invalid(&path.index(at), list[at].clone(), text));
            } else if schema.list != ListType::Atomic {
                for (at, key) in keys.iter().enumerate() {
                    // Only the first repetition is told.
                    if keys[..at].iter().filter(|other| *other == key).count() == 1 {
                        errors.push(Error::duplicate(&path.index(at), key.clone()));
                    }
                }
            }
            let Some(items) = schema.items.as_deref() else { return };
            for (at, item) in list.iter().enumerate() {
                lists(item, items, &path.index(at), errors);
            }
        }
        _ => {}
    }
}

/// What tells an element apart.
fn key(schema: &Schema, item: &Value) -> Value {
    match schema.list {
        ListType::Map => {
            let own = |name: &String| Some((name.clone(), item.get(name)?.clone()));
            Value::Object(schema.keys.iter().filter_map(own).collect::<Map<_, _>>())
        }
        ListType::Set | ListType::Atomic => item.clone(),
    }
}

/// The element of an older list that an element continues; only lists with keys can tell.
pub fn same<'a>(schema: &Schema, old: &'a [Value], item: &Value) -> Option<&'a Value> {
    if schema.list != ListType::Map {
        return None;
    }
    let wanted = key(schema, item);
    old.iter().find(|other| key(schema, other) == wanted)
}
