//! Version 2's document in protobuf: gnostic's `openapi.v2.Document`, which client-go's discovery reads.
//!
//! Each message is a table of JSON keys; one encoder walks all of them.

use kinit_schema::openapi::{self, Dialect, Resource, Sink, Words};
use serde_json::{Map, Value};

/// What a JSON value becomes.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Bool,
    Texts,
    /// A string in a message as its field 1 (a list of types has but one here).
    TextIn1,
    /// Any value, as its text.
    Any,
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
        ("description", 4, Form::Text),
        ("default", 5, Form::Any),
        ("required", 19, Form::Texts),
        ("additionalProperties", 21, Form::In1(&SCHEMA)),
        ("type", 22, Form::TextIn1),
        ("items", 23, Form::In1(&SCHEMA)),
        ("properties", 25, Form::Named(1, &SCHEMA)),
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
static ANY: Message = Message { fields: &[], extensions: 0 };
const DOCUMENT_PATHS: u32 = 8;
const DOCUMENT_DEFINITIONS: u32 = 9;

/// The document of all resources.
pub fn document(resources: &[Resource<'_>], custom: &openapi::Custom, words: &dyn Words) -> Vec<u8> {
    let mut parts = Parts::default();
    openapi::each(resources, custom, words, Dialect::V2, &mut parts);
    let mut output = Vec::with_capacity(parts.paths.len() + parts.definitions.len() + 64);
    bytes(&mut output, 1, b"2.0");
    let info = serde_json::json!({"title": "Kubernetes", "version": kinit_version::kubernetes()});
    form(&mut output, 2, Form::Message(&INFO), &info);
    bytes(&mut output, DOCUMENT_PATHS, &parts.paths);
    drop(parts.paths);
    bytes(&mut output, DOCUMENT_DEFINITIONS, &parts.definitions);
    output
}

#[derive(Default)]
struct Parts {
    paths: Vec<u8>,
    definitions: Vec<u8>,
}

impl Sink for Parts {
    fn path(&mut self, path: &str, item: &Value) {
        named(&mut self.paths, 2, path, &PATH_ITEM, item);
    }

    fn schema(&mut self, name: &str, schema: &Value) {
        named(&mut self.definitions, 1, name, &SCHEMA, schema);
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
                bytes(output, number, &of_parameter(parameter));
            }
        }
    }
}

/// A parameter is wrapped by where it is: item, parameter, and for all but bodies one more.
fn of_parameter(parameter: &Value) -> Vec<u8> {
    let wrapped = |number: u32, inner: &[u8]| {
        let mut output = Vec::new();
        bytes(&mut output, number, inner);
        output
    };
    let parameter = match parameter["in"].as_str() {
        Some("body") => wrapped(1, &encoded(&BODY, parameter)),
        Some("path") => wrapped(2, &wrapped(4, &encoded(&PATH, parameter))),
        _ => wrapped(2, &wrapped(3, &encoded(&QUERY, parameter))),
    };
    wrapped(1, &parameter)
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
        let mut expected = vec![0x0a, 16, 0x0a, 14, 0x12, 4];
        expected.extend(b"body");
        expected.extend([0x1a, 4]);
        expected.extend(b"body");
        expected.extend([0x20, 1]);
        assert_eq!(of_parameter(&body), expected);
    }
}
