//! Version 2's document in protobuf: gnostic's `openapi.v2.Document`, which client-go's discovery reads.
//!
//! Each message is a table of JSON keys; one encoder walks all of them.

use kinit_schema::openapi::{self, Content, Dialect, Sink};
use serde_json::{Map, Value};

/// What a JSON value becomes.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Bool,
    Double,
    Int,
    Texts,
    /// A string in a message as its field 1 (a list of types has but one here).
    TextIn1,
    /// Any value, as its text.
    Any,
    Anys,
    Message(&'static Message),
    /// A message as field 1 of another.
    In1(&'static Message),
    /// A message per key, in pairs of name (1) and value (2), which are the given field of a message around them.
    Named(u32, &'static Message),
    Parameters,
}

struct Message {
    fields: &'static [(&'static str, u32, Form)],
    /// The number of the `x-` keys.
    extensions: u32,
}

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Form::Text),
        ("format", 2, Form::Text),
        ("title", 3, Form::Text),
        ("description", 4, Form::Text),
        ("default", 5, Form::Any),
        ("multipleOf", 6, Form::Double),
        ("maximum", 7, Form::Double),
        ("exclusiveMaximum", 8, Form::Bool),
        ("minimum", 9, Form::Double),
        ("exclusiveMinimum", 10, Form::Bool),
        ("maxLength", 11, Form::Int),
        ("minLength", 12, Form::Int),
        ("pattern", 13, Form::Text),
        ("maxItems", 14, Form::Int),
        ("minItems", 15, Form::Int),
        ("uniqueItems", 16, Form::Bool),
        ("maxProperties", 17, Form::Int),
        ("minProperties", 18, Form::Int),
        ("required", 19, Form::Texts),
        ("enum", 20, Form::Anys),
        ("additionalProperties", 21, Form::In1(&SCHEMA)),
        ("type", 22, Form::TextIn1),
        ("items", 23, Form::In1(&SCHEMA)),
        ("properties", 25, Form::Named(1, &SCHEMA)),
        ("example", 30, Form::Any),
    ],
    extensions: 31,
};
static RESPONSE: Message =
    Message { fields: &[("description", 1, Form::Text), ("schema", 2, Form::In1(&SCHEMA))], extensions: 5 };
static RESPONSE_VALUE: Message = Message { fields: &[("", 1, Form::Message(&RESPONSE))], extensions: 0 };
static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Form::Texts),
        ("description", 3, Form::Text),
        ("operationId", 5, Form::Text),
        ("produces", 6, Form::Texts),
        ("consumes", 7, Form::Texts),
        ("parameters", 8, Form::Parameters),
        ("responses", 9, Form::Named(1, &RESPONSE_VALUE)),
        ("schemes", 10, Form::Texts),
    ],
    extensions: 13,
};
static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, Form::Message(&OPERATION)),
        ("put", 3, Form::Message(&OPERATION)),
        ("post", 4, Form::Message(&OPERATION)),
        ("delete", 5, Form::Message(&OPERATION)),
        ("options", 6, Form::Message(&OPERATION)),
        ("head", 7, Form::Message(&OPERATION)),
        ("patch", 8, Form::Message(&OPERATION)),
        ("parameters", 9, Form::Parameters),
    ],
    extensions: 10,
};
static BODY: Message = Message {
    fields: &[
        ("description", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("required", 4, Form::Bool),
        ("schema", 5, Form::Message(&SCHEMA)),
    ],
    extensions: 6,
};
static QUERY: Message = Message {
    fields: &[
        ("required", 1, Form::Bool),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 6, Form::Text),
        ("uniqueItems", 20, Form::Bool),
    ],
    extensions: 23,
};
static PATH: Message = Message {
    fields: &[
        ("required", 1, Form::Bool),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 5, Form::Text),
        ("uniqueItems", 19, Form::Bool),
    ],
    extensions: 22,
};
static INFO: Message = Message { fields: &[("title", 1, Form::Text), ("version", 2, Form::Text)], extensions: 7 };
static API_KEY: Message = Message {
    fields: &[("type", 1, Form::Text), ("name", 2, Form::Text), ("in", 3, Form::Text), ("description", 4, Form::Text)],
    extensions: 5,
};
static REFERENCE: Message = Message { fields: &[("$ref", 1, Form::Text)], extensions: 0 };
static ANY: Message = Message { fields: &[], extensions: 0 };
const DOCUMENT_PATHS: u32 = 8;
const DOCUMENT_DEFINITIONS: u32 = 9;
const DOCUMENT_PARAMETERS: u32 = 10;
const DOCUMENT_SECURITY: u32 = 12;
const DOCUMENT_SECURITY_DEFINITIONS: u32 = 13;

/// The document of all resources.
pub fn document(content: &Content<'_>) -> Vec<u8> {
    let mut parts = Parts::default();
    openapi::each(content, Dialect::V2, &mut parts);
    let mut output = Vec::with_capacity(parts.paths.len() + parts.definitions.len() + 64);
    bytes(&mut output, 1, b"2.0");
    let info = serde_json::json!({"title": "Kubernetes", "version": openapi::version()});
    form(&mut output, 2, Form::Message(&INFO), &info);
    bytes(&mut output, DOCUMENT_PATHS, &parts.paths);
    drop(parts.paths);
    bytes(&mut output, DOCUMENT_DEFINITIONS, &parts.definitions);
    bytes(&mut output, DOCUMENT_PARAMETERS, &parts.parameters);
    let security = openapi::security();
    named_in(&mut output, DOCUMENT_SECURITY, &security, |output, _| bytes(output, 2, &[]));
    named_in(&mut output, DOCUMENT_SECURITY_DEFINITIONS, &security, |output, value| {
        let mut item = Vec::new();
        form(&mut item, 2, Form::Message(&API_KEY), value);
        bytes(output, 2, &item);
    });
    output
}

#[derive(Default)]
struct Parts {
    paths: Vec<u8>,
    definitions: Vec<u8>,
    parameters: Vec<u8>,
}

impl Sink for Parts {
    fn path(&mut self, path: &str, item: &Value) {
        named(&mut self.paths, 2, path, &PATH_ITEM, item);
    }

    fn schema(&mut self, name: &str, schema: &Value) {
        named(&mut self.definitions, 1, name, &SCHEMA, schema);
    }

    fn parameter(&mut self, name: &str, parameter: &Value) {
        let mut pair = Vec::new();
        bytes(&mut pair, 1, name.as_bytes());
        bytes(&mut pair, 2, &of_parameter(parameter));
        bytes(&mut self.parameters, 1, &pair);
    }
}

fn varint(output: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        output.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    output.push(value as u8);
}

fn bytes(output: &mut Vec<u8>, number: u32, value: &[u8]) {
    varint(output, u64::from(number << 3 | 2));
    varint(output, value.len() as u64);
    output.extend_from_slice(value);
}

fn named(output: &mut Vec<u8>, number: u32, name: &str, message: &'static Message, value: &Value) {
    let mut pair = Vec::new();
    bytes(&mut pair, 1, name.as_bytes());
    form(&mut pair, 2, Form::Message(message), value);
    bytes(output, number, &pair);
}

/// A message as a field, with a pair for each member of an object: its name, and what `write` gives of its value.
fn named_in(output: &mut Vec<u8>, number: u32, object: &Value, write: impl Fn(&mut Vec<u8>, &Value)) {
    let mut message = Vec::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let mut pair = Vec::new();
        bytes(&mut pair, 1, name.as_bytes());
        write(&mut pair, value);
        bytes(&mut message, 1, &pair);
    }
    bytes(output, number, &message);
}

fn encoded(message: &'static Message, value: &Value) -> Vec<u8> {
    let mut output = Vec::new();
    // A message without keys of its own is but a wrapper of one field, or any value's text.
    if let [("", number, inner)] = message.fields {
        form(&mut output, *number, *inner, value);
        return output;
    }
    if std::ptr::eq(message, &ANY) {
        bytes(&mut output, 2, value.to_string().as_bytes());
        return output;
    }
    let empty = Map::new();
    let map = value.as_object().unwrap_or(&empty);
    for (key, number, kind) in message.fields {
        if let Some(value) = map.get(*key) {
            form(&mut output, *number, *kind, value);
        }
    }
    for (key, value) in map.iter().filter(|(key, _)| key.starts_with("x-")) {
        named(&mut output, message.extensions, key, &ANY, value);
    }
    output
}

fn form(output: &mut Vec<u8>, number: u32, kind: Form, value: &Value) {
    match kind {
        Form::Text => bytes(output, number, value.as_str().unwrap_or_default().as_bytes()),
        Form::Bool => {
            varint(output, u64::from(number << 3));
            output.push(u8::from(value == true));
        }
        Form::Double => {
            varint(output, u64::from(number << 3 | 1));
            output.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Form::Int => {
            varint(output, u64::from(number << 3));
            // A negative number is its two's complement, of ten bytes.
            varint(output, value.as_i64().unwrap_or_default() as u64);
        }
        Form::Texts => {
            for text in value.as_array().into_iter().flatten() {
                form(output, number, Form::Text, text);
            }
        }
        Form::TextIn1 => {
            let mut inner = Vec::new();
            form(&mut inner, 1, Form::Text, value);
            bytes(output, number, &inner);
        }
        Form::Anys => {
            for value in value.as_array().into_iter().flatten() {
                form(output, number, Form::Any, value);
            }
        }
        Form::Any => bytes(output, number, &encoded(&ANY, value)),
        Form::Message(message) => bytes(output, number, &encoded(message, value)),
        Form::In1(message) => {
            let mut inner = Vec::new();
            bytes(&mut inner, 1, &encoded(message, value));
            bytes(output, number, &inner);
        }
        Form::Named(field, message) => {
            let mut inner = Vec::new();
            for (name, value) in value.as_object().into_iter().flatten() {
                named(&mut inner, field, name, message, value);
            }
            bytes(output, number, &inner);
        }
        Form::Parameters => {
            for parameter in value.as_array().into_iter().flatten() {
                let mut item = Vec::new();
                match parameter.get("$ref") {
                    Some(_) => form(&mut item, 2, Form::Message(&REFERENCE), parameter),
                    None => bytes(&mut item, 1, &of_parameter(parameter)),
                }
                bytes(output, number, &item);
            }
        }
    }
}

/// A parameter is wrapped by where it is: body, or another, which is wrapped once more.
fn of_parameter(parameter: &Value) -> Vec<u8> {
    let wrapped = |number: u32, inner: &[u8]| {
        let mut output = Vec::new();
        bytes(&mut output, number, inner);
        output
    };
    match parameter["in"].as_str() {
        Some("body") => wrapped(1, &encoded(&BODY, parameter)),
        Some("path") => wrapped(2, &wrapped(4, &encoded(&PATH, parameter))),
        _ => wrapped(2, &wrapped(3, &encoded(&QUERY, parameter))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_nest_as_gnostic_has_them() {
        let schema = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"});
        let mut expected = vec![0xb2, 0x01, 7, 0x0a, 5];
        expected.extend(b"array");
        expected.extend([0xba, 0x01, 13, 0x0a, 11, 0xb2, 0x01, 8, 0x0a, 6]);
        expected.extend(b"string");
        expected.extend([0xfa, 0x01, 33, 0x0a, 22]);
        expected.extend(b"x-kubernetes-list-type");
        expected.extend([0x12, 7, 0x12, 5]);
        expected.extend(b"\"set\"");
        assert_eq!(encoded(&SCHEMA, &schema), expected);
        let body = json!({"in": "body", "name": "body", "required": true});
        let mut expected = vec![0x0a, 14, 0x12, 4];
        expected.extend(b"body");
        expected.extend([0x1a, 4]);
        expected.extend(b"body");
        expected.extend([0x20, 1]);
        assert_eq!(of_parameter(&body), expected);
    }
}
