//! What answers and events are made of.

use std::sync::Arc;

use bytes::Bytes;
use kinit_api::protobuf;
use serde_json::Value;

use crate::cache::Entry;

/// An object on its way to a client.
#[derive(Clone, Debug)]
pub enum Item {
    /// As the cache has it, whose encodings all clients share.
    Stored(Arc<Entry>),
    /// Made for one client, as JSON.
    Made(Bytes),
}

impl Item {
    pub fn json(&self) -> &Bytes {
        match self {
            Self::Stored(entry) => &entry.json,
            Self::Made(json) => json,
        }
    }

    /// The object's protobuf message; `None` for kinds that have none.
    pub fn message(&self) -> Option<Bytes> {
        match self {
            Self::Stored(entry) => entry.message(),
            Self::Made(json) => {
                let value: Value = serde_json::from_slice(json).ok()?;
                let name = |field: &str| value[field].as_str().unwrap_or_default();
                protobuf::message((name("apiVersion"), name("kind")), &value).map(Bytes::from)
            }
        }
    }
}
