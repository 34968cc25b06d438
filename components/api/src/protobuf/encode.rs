//! From JSON to protobuf. Values whose type is not the field's are passed over: what is stored has been checked before.

use kinit_schema::{Element, Field, Shape, Type};
use serde_json::Value;

use super::scalar;
use super::wire::Writer;

/// Writes the fields of `kind` that `object` has.
pub(super) fn message(writer: &mut Writer, kind: &Type, object: &Value) {
    for field in &kind.fields {
        if field.number == 0 {
            continue;
        }
        if let Some(inner) = field.embedded() {
            writer.message(field.number, |writer| message(writer, inner, object));
            continue;
        }
        match object.get(field.name) {
            None | Some(Value::Null) => {}
            Some(value) => value_of(writer, field, value),
        }
    }
}

fn value_of(writer: &mut Writer, field: &Field, value: &Value) {
    match (field.shape, value) {
        (Shape::One, value) => element(writer, field.number, field.element, value),
        (Shape::List, Value::Array(items)) => {
            for item in items {
                element(writer, field.number, field.element, item);
            }
        }
        (Shape::Map, Value::Object(entries)) => {
            for (key, value) in entries {
                writer.message(field.number, |writer| {
                    writer.bytes(1, key.as_bytes());
                    element(writer, 2, field.element, value);
                });
            }
        }
        (Shape::List | Shape::Map, _) => {}
    }
}

fn element(writer: &mut Writer, number: u32, element: Element, value: &Value) {
    match element {
        Element::Message(reference) => writer.message(number, |writer| message(writer, reference.get(), value)),
        Element::Scalar(kind) => scalar::encode(writer, number, kind, value),
    }
}
