//! The events of a watch in the client's format.

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use kinit_api::protobuf;
use kinit_api::status::Status;
use serde_json::{Value, json};

use super::{Columns, Item, beta, partial};
use crate::negotiate::{Encoding, Form, Format, JSON, YAML};
use crate::registry::{Spec, Storage};

/// Encodes one watcher's events. Tables have their columns in the first event only.
#[derive(Clone, Debug)]
pub struct Events {
    spec: Spec,
    format: Format,
    headed: bool,
}

impl Events {
    pub fn new(spec: Spec, format: Format) -> Self {
        Self { spec, format, headed: false }
    }

    /// Whether all who ask for whole objects as this client does get the same bytes, and whether those are protobuf.
    pub fn shared(&self) -> Option<bool> {
        let stored = self.spec.custom.is_none() && self.spec.storage == Storage::Own;
        (stored
            && self.format.form == Form::Whole
            && matches!(self.format.encoding, Encoding::Json | Encoding::Protobuf))
        .then_some(self.format.encoding == Encoding::Protobuf)
    }

    pub(super) fn content_type(&self) -> &'static str {
        match self.format.encoding {
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => JSON,
        }
    }

    /// An event's bytes, with what sets it apart from the next one.
    pub fn encode(&mut self, kind: &str, item: &Item) -> Result<Bytes, Status> {
        let whole = self.format.form == Form::Whole || kind == "ERROR";
        match (self.format.encoding, item) {
            (Encoding::Json, _) if whole => return Ok(line(kind, item.json())),
            (Encoding::Protobuf, Item::Stored(entry)) if whole => {
                let message = entry.message().ok_or_else(|| Status::not_acceptable(&[JSON, YAML]))?;
                let names = (&*self.spec.api_version(), self.spec.kind());
                return framed(&protobuf::watch_event(kind, &protobuf::enveloped(names, &message)));
            }
            _ => {}
        }
        let object: Value = serde_json::from_slice(item.json()).map_err(Status::internal)?;
        let object = if kind == "ERROR" { object } else { self.shaped(object)? };
        match self.format.encoding {
            Encoding::Protobuf => framed(&protobuf::watch_event(kind, &super::protobuf(&object)?)),
            _ => Ok(line(kind, object.to_string().as_bytes())),
        }
    }

    fn shaped(&mut self, object: Value) -> Result<Value, Status> {
        Ok(match self.format.form {
            Form::Table(include) => {
                let columns = Columns::of(&self.spec);
                let head = if self.headed { Value::Null } else { columns.definitions() };
                self.headed = true;
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let row = beta(self.format, columns.row(object, include, Timestamp::now()));
                json!({
                    "kind": "Table", "apiVersion": self.format.meta_version(), "metadata": metadata,
                    "columnDefinitions": head, "rows": [row],
                })
            }
            Form::Partial => partial(self.format, object),
            Form::PartialList => return Err(super::no_list(&self.spec)),
            Form::Whole => object,
        })
    }
}

fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(object.len() + 40);
    bytes.put_slice(format!(r#"{{"type":"{kind}","object":"#).as_bytes());
    bytes.put_slice(object);
    bytes.put_slice(b"}\n");
    bytes.freeze()
}

/// An event of protobuf, which has its length before it.
fn framed(event: &[u8]) -> Result<Bytes, Status> {
    let mut frame = BytesMut::with_capacity(event.len() + 4);
    frame.put_u32(u32::try_from(event.len()).map_err(Status::internal)?);
    frame.put_slice(event);
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kinit_api::table::Include;

    use super::*;
    use crate::cache::Entry;

    fn pods() -> Spec {
        crate::registry::find("", "v1", "pods").unwrap().1.clone()
    }

    fn pod() -> Item {
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "resourceVersion": "3"}});
        Item::Made(pod.to_string().into())
    }

    #[test]
    fn tables_name_their_columns_once() {
        let mut events = Events::new(pods(), Format { form: Form::Table(Include::Metadata), ..Format::default() });
        let first: Value = serde_json::from_slice(&events.encode("ADDED", &pod()).unwrap()).unwrap();
        let second: Value = serde_json::from_slice(&events.encode("MODIFIED", &pod()).unwrap()).unwrap();
        assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
        assert_eq!((&second["type"], &second["object"]["columnDefinitions"]), (&json!("MODIFIED"), &Value::Null));
        assert_eq!(second["object"]["rows"][0]["cells"][0], "a");
    }

    #[test]
    fn an_object_is_no_list_of_metadata() {
        let mut events = Events::new(pods(), Format { form: Form::PartialList, ..Format::default() });
        let error = events.encode("ADDED", &pod()).unwrap_err();
        let what = "you requested PartialObjectMetadataList, but the requested object is not a list (*core.Pod)";
        assert_eq!((error.code, error.message.as_str()), (406, what));
        let gone = Item::Made(Status::expired("old").to_value().to_string().into());
        assert!(events.encode("ERROR", &gone).is_ok());
    }

    #[test]
    fn protobuf_comes_in_frames_with_their_length() {
        let mut events = Events::new(pods(), Format { encoding: Encoding::Protobuf, ..Format::default() });
        let frame = events.encode("ADDED", &pod()).unwrap();
        let length = u32::from_be_bytes(frame[..4].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap() + 4, frame.len());
        assert!(frame[4..].starts_with(b"\x0a\x05ADDED\x12"));
        let stored = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}).to_string();
        let entry = Entry::new(&pods(), stored.as_bytes(), 3).unwrap();
        assert_eq!(events.encode("ADDED", &Item::Stored(Arc::new(entry))).unwrap(), frame);
        let status = json!({"kind": "Status", "apiVersion": "v1", "code": 410}).to_string().into();
        assert!(events.encode("ERROR", &Item::Made(status)).is_ok());
    }
}
