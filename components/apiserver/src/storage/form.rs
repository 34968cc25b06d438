//! The forms in which objects are kept in etcd: JSON or protobuf, as upstream writes them. Either is read, whichever is
//! written, so that a cluster can go from one to the other, and from upstream's server to this one. Pure.

use bytes::Bytes;
use kinit_api::canonical::canonicalize;
use kinit_api::protobuf;
use serde_json::Value;

/// In which form objects are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    #[default]
    #[value(name = "application/json")]
    Json,
    #[value(name = "application/vnd.kubernetes.protobuf")]
    Protobuf,
}

fn is_protobuf(value: &[u8]) -> bool {
    value.starts_with(protobuf::MAGIC)
}

impl Form {
    /// A value as JSON, and whether it would now be written in another form. What is of no kind that there is stays as it is,
    /// and whoever wants an object of it finds none.
    pub fn read(self, value: Bytes) -> (Bytes, bool) {
        if !is_protobuf(&value) {
            return (value, false);
        }
        let Ok(mut object) = protobuf::decode(&value, ("", "")) else { return (value, false) };
        let name = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        if let Some(kind) = protobuf::kind(&name("apiVersion"), &name("kind")) {
            canonicalize(kind, &mut object);
        }
        (Value::Object(object).to_string().into(), self == Self::Json)
    }

    /// JSON as it is written. What is no object of a built-in kind is JSON in either form.
    pub fn written(self, value: Bytes) -> Bytes {
        if self == Self::Json {
            return value;
        }
        let encoded = serde_json::from_slice::<Value>(&value).ok().and_then(|object| protobuf::encode(&object));
        encoded.map_or(value, Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_in_either_form() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "b", "uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"x": "y"}},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]},
            "status": {"phase": "Running"}});
        let custom = json!({"apiVersion": "a.b/v1", "kind": "Toy", "metadata": {"name": "a"}, "spec": {"n": 1}});
        for (object, has_message) in [(pod, true), (custom, false)] {
            let text = Bytes::from(object.to_string());
            assert_eq!(Form::Json.written(text.clone()), text);
            let stored = Form::Protobuf.written(text.clone());
            assert_eq!(is_protobuf(&stored), has_message);
            let read = |form: Form, value: &Bytes| {
                let (json, stale) = form.read(value.clone());
                (serde_json::from_slice::<Value>(&json).unwrap(), stale)
            };
            assert_eq!(read(Form::Protobuf, &stored), (object.clone(), false));
            assert_eq!(read(Form::Json, &stored), (object.clone(), has_message));
            assert_eq!(read(Form::Json, &text), (object, false));
        }
    }

    #[test]
    fn what_is_no_object_stays_as_it_is() {
        let broken = Bytes::from_static(b"k8s\0\xff");
        assert_eq!(Form::Json.read(broken.clone()), (broken, false));
        let other = Bytes::from_static(b"{\"kind\":\"RangeAllocation\",\"apiVersion\":\"v1\"}");
        assert_eq!(Form::Protobuf.written(other.clone()), other);
    }
}
