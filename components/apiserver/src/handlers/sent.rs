//! Bodies as trees: JSON, YAML or protobuf, and why one is none.

use kinit_api::object::Object;
use kinit_api::protobuf;
use kinit_api::status::Status;
use kinit_api::strict::{self, Parsed};
use serde_json::{Value, json};

use super::{Payload, body};
use crate::negotiate::PROTOBUF;

const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// What is told of a body that does not say of which kind it is.
pub(crate) const NO_VERSION: &str = "couldn't get version/kind; json parse error: ";
/// How much of such a body messages show.
const SHOWN: usize = 30;

/// Why a body is no object.
#[derive(Debug, PartialEq)]
pub enum Unread {
    /// It is of a media type that nobody reads.
    Media,
    /// It does not tell of which kind it is.
    Unrecognized(String),
    /// It tells its kind, and is no object of it.
    Named { kind: String, version: String, why: String },
}

impl Unread {
    /// What a client is told whose body was to be an object of a kind.
    pub fn into_status(self, expected: &str, bytes: &[u8]) -> Status {
        Status::bad_request(match self {
            Self::Media => return Status::unsupported_media_type(MEDIA_TYPES),
            Self::Unrecognized(why) => {
                let shown = summary(bytes);
                format!("the object provided is unrecognized (must be of type {expected}): {why} ({shown})")
            }
            Self::Named { kind, version, why } => {
                format!("{kind} in version {version:?} cannot be handled as a {expected}: {why}")
            }
        })
    }

    /// What a client is told whose body was to be options.
    pub fn into_plain_status(self) -> Status {
        match self {
            Self::Media => Status::unsupported_media_type(MEDIA_TYPES),
            Self::Unrecognized(why) | Self::Named { why, .. } => Status::bad_request(why),
        }
    }
}

/// What a body is as messages show it.
fn summary(bytes: &[u8]) -> String {
    let part = &bytes[..bytes.len().min(SHOWN)];
    let shown = match part.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(part).into_owned(),
        Some(_) => hex::encode(part),
    };
    if bytes.len() > SHOWN { format!("{shown} ...") } else { shown }
}

/// An object as it was sent, and the fields given twice in it. Protobuf that names no kind or no version is of the expected
/// ones, an `apiVersion` and a kind; the object says nothing of its kind where a body of JSON does not.
pub fn object(payload: &Payload, expected: (&str, &str)) -> Result<(Object, Vec<String>), Unread> {
    let unrecognized = |why: String| Unread::Unrecognized(why);
    let Parsed { value, complaints } = match body::media(payload) {
        "" | "application/json" => strict::parse(&payload.bytes)
            .map_err(|error| unrecognized(format!("{NO_VERSION}{}", strict::go_syntax(&payload.bytes, &error))))?,
        "application/yaml" => {
            strict::parse_yaml(&payload.bytes).map_err(|error| unrecognized(strict::go_yaml(&error)))?
        }
        PROTOBUF => Parsed { value: unpacked(&payload.bytes, expected)?, complaints: Vec::new() },
        _ => return Err(Unread::Media),
    };
    // What is null leaves a Go value as it is.
    let value = if value.is_null() { json!({}) } else { value };
    let shape = shapeless(&value);
    let object = Object::from_value(value).ok_or_else(|| unrecognized(shape))?;
    match untyped(&object) {
        Some(why) => Err(unrecognized(why)),
        None => Ok((object, complaints)),
    }
}

/// The tree of a message. One of a kind that is not known is an object that tells its kind and nothing else.
fn unpacked(bytes: &[u8], expected: (&str, &str)) -> Result<Value, Unread> {
    match protobuf::decode(bytes, expected) {
        Ok(map) => Ok(map.into()),
        Err(protobuf::Error::UnknownKind { api_version, kind }) => Ok(json!({"apiVersion": api_version, "kind": kind})),
        Err(protobuf::Error::Message { api_version, kind, error }) => {
            let version = api_version.rsplit('/').next().unwrap_or_default().to_owned();
            Err(Unread::Named { kind, version, why: error.to_string() })
        }
        Err(error) => Err(Unread::Unrecognized(error.to_string())),
    }
}

/// What is told of a tree that is no object.
pub(crate) fn shapeless(value: &Value) -> String {
    let into = r#"Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    format!("{NO_VERSION}json: cannot unmarshal {} into {into}", strict::go_kind(value))
}

/// Why an object's own words of its kind and version cannot be read.
fn untyped(object: &Object) -> Option<String> {
    untyped_in(&|field| object.get(&[field]))
}

/// [`untyped`] for a tree.
pub(crate) fn untyped_tree(tree: &Value) -> Option<String> {
    untyped_in(&|field| tree.get(field))
}

fn untyped_in<'v>(get: &dyn Fn(&str) -> Option<&'v Value>) -> Option<String> {
    for field in ["apiVersion", "kind"] {
        match get(field) {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => {
                let found = strict::go_kind(other);
                return Some(format!(
                    "{NO_VERSION}json: cannot unmarshal {found} into Go struct field .{field} of type string"
                ));
            }
        }
    }
    let version = get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    (version.split('/').count() > 2).then(|| format!("unexpected GroupVersion string: {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(content_type: &str, bytes: &[u8]) -> Payload {
        Payload { content_type: content_type.to_owned(), bytes: bytes.to_vec().into() }
    }

    fn message(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        protobuf::enveloped((api_version, kind), raw)
    }

    #[test]
    fn protobuf_that_names_no_kind_is_of_the_one_that_is_expected() {
        let name = b"\x0a\x03\x0a\x01q";
        for (api_version, kind) in [("", ""), ("v1", ""), ("", "ConfigMap"), ("v1", "ConfigMap")] {
            let payload = sent(PROTOBUF, &message(api_version, kind, name));
            let (object, _) = super::object(&payload, ("v1", "ConfigMap")).unwrap();
            assert_eq!((object.api_version(), object.kind(), object.name()), ("v1", "ConfigMap", "q"));
        }
        // One that is unknown is told like one in JSON, by who knows what is served.
        let payload = sent(PROTOBUF, &message("v2", "Fooo", name));
        let (object, _) = super::object(&payload, ("v1", "ConfigMap")).unwrap();
        assert_eq!((object.api_version(), object.kind(), object.name()), ("v2", "Fooo", ""));
    }

    #[test]
    fn what_cannot_be_read_is_told_in_upstreams_words() {
        let of = |why: &str| format!("the object provided is unrecognized (must be of type ConfigMap): {why}");
        let handled = |why: &str| format!("ConfigMap in version \"v1\" cannot be handled as a ConfigMap: {why}");
        let prefix = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
        for (bytes, expected) in [
            (Vec::new(), of("empty data (<empty>)")),
            (b"k8s\0".to_vec(), of("empty body (6b387300)")),
            (b"k8".to_vec(), of(&format!("{prefix} (6b38)"))),
            (message("v1", "ConfigMap", b"\x0a\x50\x0a"), handled("unexpected EOF")),
            (message("v1", "ConfigMap", b"\x0a\x02\x08\x01"), handled("proto: wrong wireType = 0 for field Name")),
            (
                message("v1", "ConfigMap", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
                handled("proto: negative length found during unmarshaling"),
            ),
        ] {
            let unread = object(&sent(PROTOBUF, &bytes), ("v1", "ConfigMap")).unwrap_err();
            assert_eq!(unread.into_status("ConfigMap", &bytes).message, expected);
        }
        let unread = object(&sent("application/json", b"[]"), ("v1", "ConfigMap")).unwrap_err();
        let told = unread.into_plain_status().message;
        assert!(told.starts_with("couldn't get version/kind; json parse error: json: cannot unmarshal array into"));
        let unread = object(&sent("text/plain", b"{}"), ("v1", "ConfigMap")).unwrap_err();
        assert_eq!(unread.into_plain_status().code, 415);
    }
}
