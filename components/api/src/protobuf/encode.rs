//! From JSON to protobuf, byte by byte as upstream's encoders write it: a field that is no pointer is written also where it has
//! its zero value. Values whose type is not the field's are passed over: what is stored has been checked before.

use kinit_schema::{Element, Field, Shape, Type};
use serde_json::Value;

use super::scalar;
use super::wire::Writer;

/// Writes the fields of `kind` that `object` has, and zero values for those that are always written.
pub(super) fn message(writer: &mut Writer, kind: &Type, object: &Value) {
    for field in kind.numbered_fields() {
        if let Some(inner) = field.embedded() {
            writer.message(field.number, |writer| message(writer, inner, object));
            continue;
        }
        match object.get(field.name) {
            None | Some(Value::Null) if field.pointer => {}
            None | Some(Value::Null) => zero(writer, field),
            Some(value) => value_of(writer, field, value),
        }
    }
}

/// What a field that is no pointer is when it holds nothing: lists and maps are not written then.
fn zero(writer: &mut Writer, field: &Field) {
    if field.shape == Shape::One {
        zero_element(writer, field.number, field.element);
    }
}

fn zero_element(writer: &mut Writer, number: u32, element: Element) {
    match element {
        Element::Message(reference) => writer.message(number, |writer| message(writer, reference.get(), &Value::Null)),
        Element::Scalar(kind) => scalar::zero(writer, number, kind),
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
                    match value {
                        Value::Null => zero_element(writer, 2, field.element),
                        value => element(writer, 2, field.element, value),
                    }
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
