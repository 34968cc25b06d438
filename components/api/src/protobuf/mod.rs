//! Kubernetes' protobuf, to and from JSON trees, for every kind of the schema.
//!
//! An object on the wire is the magic `k8s\0` and an envelope ([`Envelope`]) that names the kind and holds its message. The
//! messages themselves follow the schema's table; what JSON has inline may be a message of its own there.
//!
//! What decoding makes is what Go would write: a field that is no pointer has its zero value where the message lacks it, and
//! is left out of JSON only where its type says so. So `decode(encode(x))` is `x` in upstream's own words, without the fields
//! that the kind does not have.

mod decode;
mod encode;
mod scalar;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

use kinit_schema::Type;
use serde_json::{Map, Value};

use wire::{Reader, Writer};

/// What every message on the wire begins with.
pub const MAGIC: &[u8] = b"k8s\0";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("empty data")]
    Empty,
    #[error("empty body")]
    NoBody,
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: illegal wireType {0}")]
    WireType(u64),
    #[error("proto: wrong wireType = {0} for field {1}")]
    FieldWireType(u64, String),
    #[error("proto: illegal tag 0 (wire type {0})")]
    Tag(u64),
    #[error("proto: negative length found during unmarshaling")]
    Length,
    #[error("proto: integer overflow")]
    Varint,
    #[error("proto: a string is not UTF-8")]
    Utf8,
    #[error("proto: messages are nested too deeply")]
    Depth,
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    UnknownKind { api_version: String, kind: String },
    #[error("a raw field is not JSON: {0}")]
    Raw(serde_json::Error),
    /// What is wrong within the message of an object whose kind is known.
    #[error("{error}")]
    Message { api_version: String, kind: String, error: Box<Error> },
}

/// What is around an object on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    /// The object's message.
    pub raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Opens what `bytes` hold.
    pub fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        let content = match bytes.strip_prefix(MAGIC) {
            None if bytes.is_empty() => return Err(Error::Empty),
            None => return Err(Error::NoMagic),
            Some([]) => return Err(Error::NoBody),
            Some(content) => content,
        };
        let mut reader = Reader::new(content);
        let mut envelope = Self::default();
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => {
                    let mut names = Reader::new(value.bytes()?);
                    while let Some((number, value)) = names.field()? {
                        match number {
                            1 => envelope.api_version = value.str()?,
                            2 => envelope.kind = value.str()?,
                            _ => {}
                        }
                    }
                }
                2 => envelope.raw = value.bytes()?,
                _ => {}
            }
        }
        Ok(envelope)
    }
}

/// The type that an `apiVersion` and a `kind` name.
pub fn kind(api_version: &str, kind: &str) -> Option<&'static Type> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    kinit_schema::kind(group, version, kind)
}

/// An object of a kind of the schema as it is on the wire; `None` for other kinds.
pub fn encode(object: &Value) -> Option<Vec<u8>> {
    let name = |field: &str| object[field].as_str().unwrap_or_default();
    let names = (name("apiVersion"), name("kind"));
    Some(enveloped(names, &message(names, object)?))
}

/// The message of an object, without what names its kind; `None` where the names, an `apiVersion` and a `kind`, are of no
/// kind of the schema.
pub fn message((api_version, kind_name): (&str, &str), object: &Value) -> Option<Vec<u8>> {
    let kind = kind(api_version, kind_name)?;
    let mut writer = Writer::with_capacity(1024);
    encode::message(&mut writer, kind, object);
    Some(writer.into_bytes())
}

/// What is around the items of a list on the wire.
#[derive(Debug)]
pub struct ListFrame {
    /// What is before the items.
    pub head: Vec<u8>,
    /// How many bytes all of it is.
    pub length: usize,
    items: u32,
}

impl ListFrame {
    /// What is after the items: the content's encoding and type, which are the envelope's own here.
    pub const TAIL: &[u8] = b"\x1a\0\x22\0";

    /// What is before an item's message of a length.
    pub fn before(&self, length: usize) -> Vec<u8> {
        let mut writer = Writer::with_capacity(8);
        writer.bytes_ahead(self.items, length);
        writer.into_bytes()
    }
}

/// What is around the items of a list of a kind of the schema, an `apiVersion` and a `kind`, whose items' messages have these
/// lengths; `None` for other kinds.
pub fn list_frame(names: (&str, &str), metadata: &Value, lengths: impl Iterator<Item = usize>) -> Option<ListFrame> {
    let kind = kind(names.0, names.1)?;
    let part = |name: &str| kind.field(name).and_then(|field| Some((field.number, field.message()?)));
    let (of_metadata, of_items) = (part("metadata")?, part("items")?);
    let mut own = Writer::default();
    own.message(of_metadata.0, |writer| encode::message(writer, of_metadata.1, metadata));
    let own = own.into_bytes();
    let items: usize = lengths.map(|length| Writer::size_of_bytes(of_items.0, length)).sum();
    let mut head = opened(names, own.len() + items);
    head.raw(&own);
    let head = head.into_bytes();
    Some(ListFrame { length: head.len() + items + ListFrame::TAIL.len(), head, items: of_items.0 })
}

/// A message of a kind, an `apiVersion` and a `kind`, as it is on the wire.
pub fn enveloped(names: (&str, &str), message: &[u8]) -> Vec<u8> {
    let mut writer = opened(names, message.len());
    writer.raw(message);
    writer.raw(ListFrame::TAIL);
    writer.into_bytes()
}

/// The beginning of an envelope around a message of a length.
fn opened((api_version, kind): (&str, &str), length: usize) -> Writer {
    let mut writer = Writer::with_capacity(length.min(1 << 20) + 128);
    writer.raw(MAGIC);
    writer.message(1, |names| {
        names.bytes(1, api_version.as_bytes());
        names.bytes(2, kind.as_bytes());
    });
    writer.bytes_ahead(2, length);
    writer
}

/// The object that is on the wire. What it does not say of its kind is as `expected`, an `apiVersion` and a `kind`.
pub fn decode(bytes: &[u8], expected: (&str, &str)) -> Result<Map<String, Value>, Error> {
    let envelope = Envelope::open(bytes)?;
    let or = |named, expected| if str::is_empty(named) { expected } else { named };
    let (api_version, kind_name) = (or(envelope.api_version, expected.0), or(envelope.kind, expected.1));
    let unknown = || Error::UnknownKind { api_version: api_version.to_owned(), kind: kind_name.to_owned() };
    let kind = kind(api_version, kind_name).ok_or_else(unknown)?;
    let mut object = decode::message(kind, envelope.raw).map_err(|error| Error::Message {
        api_version: api_version.to_owned(),
        kind: kind_name.to_owned(),
        error: Box::new(error),
    })?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind_name.into());
    Ok(object)
}

/// One event of a watch, without a frame: `object` is what [`encode`] made.
pub fn watch_event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(object.len() + 32);
    writer.bytes(1, kind.as_bytes());
    writer.message(2, |writer| writer.bytes(1, object));
    writer.into_bytes()
}
