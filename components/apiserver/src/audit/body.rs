//! Bodies as events have them: trees, without managed fields where that is asked for. Pure, but for a body's end.

use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use kinit_api::object::Object;
use kinit_api::{defaults, protobuf, strict};
use kinit_serving::{Body, BoxError};
use serde_json::Value;

use crate::negotiate::PROTOBUF;

/// The largest body that is unpacked to be noted.
const MAX_BODY: u64 = 64 << 20;

/// The tree of a body in any of the encodings; `None` where it is none.
pub fn tree(content_type: &str, bytes: &[u8]) -> Option<Value> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        PROTOBUF => protobuf::decode(bytes, ("", "")).ok().map(Value::Object),
        "application/yaml" | "application/apply-patch+yaml" => serde_yaml::from_slice(bytes).ok(),
        _ => serde_json::from_slice(bytes).ok(),
    }
}

/// An object as a server has it that decoded it: without what its kind does not have, and with defaults. Custom kinds are as
/// they are; `None` where it is none of its kind.
pub fn decoded(tree: Value) -> Option<Value> {
    let mut object = Object::from_value(tree)?;
    let (api_version, kind) = (object.api_version().to_owned(), object.kind().to_owned());
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    if let Some(schema) = kinit_schema::kind(group, version, &kind) {
        strict::conform(object.map_mut(), schema).ok()?;
        defaults::apply(group, version, &kind, &mut object);
    }
    Some(object.into_value())
}

/// The tree of an answer.
pub fn answer(headers: &HeaderMap, bytes: &Bytes) -> Option<Value> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = text(header::CONTENT_TYPE);
    if text(header::CONTENT_ENCODING) != "gzip" {
        return tree(content_type, bytes);
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(bytes.as_ref()).take(MAX_BODY).read_to_end(&mut unpacked).ok()?;
    tree(content_type, &unpacked)
}

/// Takes managed fields out of an object, a list's items or a table's rows.
pub fn without_managed_fields(tree: &mut Value) {
    let strip = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    strip(tree);
    for (list, within) in [("items", None), ("rows", Some("object"))] {
        for item in tree.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            match within {
                None => strip(item),
                Some(field) => item.get_mut(field).into_iter().for_each(strip),
            }
        }
    }
}

/// A body that runs something once it has ended, or nobody wants more of it.
pub struct Ending<F: FnOnce() + Send + Unpin + 'static> {
    body: Body,
    end: Option<F>,
}

impl<F: FnOnce() + Send + Unpin + 'static> Ending<F> {
    pub fn new(body: Body, end: F) -> Self {
        Self { body, end: Some(end) }
    }
}

impl<F: FnOnce() + Send + Unpin + 'static> http_body::Body for Ending<F> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        http_body::Body::poll_frame(Pin::new(&mut self.body), context)
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

impl<F: FnOnce() + Send + Unpin + 'static> Drop for Ending<F> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn managed_fields_go_from_objects_lists_and_tables() {
        let object = || json!({"metadata": {"name": "a", "managedFields": []}});
        let plain = json!({"metadata": {"name": "a"}});
        let cases = [
            (object(), plain.clone()),
            (json!({"items": [object()]}), json!({"items": [plain]})),
            (json!({"rows": [{"object": object()}]}), json!({"rows": [{"object": plain}]})),
        ];
        for (mut tree, wanted) in cases {
            without_managed_fields(&mut tree);
            assert_eq!(tree, wanted);
        }
    }

    #[test]
    fn a_body_tells_its_end() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let body = Ending::new(kinit_serving::full("x"), move || sender.send(()).unwrap());
        assert!(receiver.try_recv().is_err());
        drop(body);
        assert!(receiver.try_recv().is_ok());
    }

    #[test]
    fn objects_are_noted_with_their_defaults() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "other": 1});
        let noted = decoded(secret).unwrap();
        assert_eq!(noted, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque"}));
        assert_eq!(decoded(json!({"apiVersion": "v1", "kind": "Secret", "data": 1})), None);
        let custom = json!({"apiVersion": "x.io/v1", "kind": "Foo", "spec": {"a": 1}});
        assert_eq!(decoded(custom.clone()), Some(custom));
    }
}
