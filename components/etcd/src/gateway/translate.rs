//! JSON to gRPC frames and back.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions};
use tonic::body::Body;
use tonic::{Code, Status};

/// Bytes before each message: whether it is compressed, and its length.
const FRAME_HEAD: usize = 5;

/// A request's frames of its JSON; a stream's requests stand one behind the other. No body means an empty request.
pub fn request(method: &MethodDescriptor, body: &[u8]) -> Result<Bytes, serde_json::Error> {
    let mut frames = BytesMut::new();
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<serde_json::Value>();
    let options = prost_reflect::DeserializeOptions::new().deny_unknown_fields(false);
    let mut put = |value: serde_json::Value| -> Result<(), serde_json::Error> {
        let message = DynamicMessage::deserialize_with_options(method.input(), value, &options)?;
        frames.put_u8(0);
        frames.put_u32(u32::try_from(message.encoded_len()).map_err(serde::de::Error::custom)?);
        frames.put_slice(&message.encode_to_vec());
        Ok(())
    };
    match values.next() {
        Some(first) => put(first?)?,
        None => put(serde_json::json!({}))?,
    }
    if method.is_client_streaming() {
        values.try_for_each(|value| put(value?))?;
    }
    Ok(frames.freeze())
}

/// The messages of a gRPC answer, as JSON.
pub struct Frames {
    kind: MessageDescriptor,
    body: Body,
    buffer: BytesMut,
}

impl Frames {
    pub fn new(kind: MessageDescriptor, body: Body) -> Self {
        Self { kind, body, buffer: BytesMut::new() }
    }

    /// The next message; `None` at a good end, the status at a bad one.
    pub async fn next(&mut self) -> Result<Option<String>, Status> {
        loop {
            if let Some(message) = self.whole() {
                return self.json(&message).map(Some);
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|status| Status::unavailable(status.to_string()))?;
            match frame.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    let status = frame.trailers_ref().and_then(Status::from_header_map);
                    if let Some(status) = status.filter(|status| status.code() != Code::Ok) {
                        return Err(status);
                    }
                }
            }
        }
    }

    fn whole(&mut self) -> Option<Bytes> {
        let length: [u8; 4] = self.buffer.get(1..FRAME_HEAD)?.try_into().ok()?;
        let end = FRAME_HEAD + u32::from_be_bytes(length) as usize;
        if self.buffer.len() < end {
            return None;
        }
        Some(self.buffer.split_to(end).freeze().slice(FRAME_HEAD..))
    }

    fn json(&self, message: &[u8]) -> Result<String, Status> {
        let malformed = |error: String| Status::internal(error);
        let message =
            DynamicMessage::decode(self.kind.clone(), message).map_err(|error| malformed(error.to_string()))?;
        // Names as in the definitions, 64-bit numbers as strings, nothing that is zero: as etcd's gateway writes it.
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(true);
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::new(&mut out);
        message.serialize_with_options(&mut serializer, &options).map_err(|error| malformed(error.to_string()))?;
        String::from_utf8(out).map_err(|error| malformed(error.to_string()))
    }
}
