//! One call: its message as it comes in, and its answer as it goes out, each with the five bytes that gRPC puts before.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use kinit_serving::listener::Peer;
use prost::Message;
use tonic::Status;

pub use super::passed::RequestBody;
use super::passed::room;

/// What stands before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A call whose message has not been read yet.
pub struct Call {
    pub headers: HeaderMap,
    pub peer: Arc<Peer>,
    pub body: RecvStream,
    pub respond: SendResponse<Bytes>,
}

/// A message in the making, with room for what stands before it.
pub fn begin(capacity: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(PREFIX + capacity);
    buffer.put_bytes(0, PREFIX);
    buffer
}

/// Ends what [`begin`] began.
pub fn finish(mut buffer: BytesMut) -> Bytes {
    let length = u32::try_from(buffer.len() - PREFIX).unwrap_or(u32::MAX);
    buffer[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    buffer.freeze()
}

/// A message without what stands before it.
pub fn unframed(mut frame: Bytes) -> Bytes {
    frame.split_off(PREFIX.min(frame.len()))
}

/// A message with what stands before it.
pub fn framed(message: &impl Message) -> Bytes {
    let mut buffer = begin(message.encoded_len());
    message.encode(&mut buffer).expect("it grows as needed");
    finish(buffer)
}

impl Call {
    /// Reads the message, which may have no more than `most` bytes.
    pub async fn message<M: Message + Default>(&mut self, most: usize) -> Result<M, Status> {
        let mut held = self.data().await?.ok_or_else(|| Status::internal("Missing request message."))?;
        if whole(&held, most)?.is_none() {
            let mut gathered = BytesMut::from(held);
            while whole(&gathered, most)?.is_none() {
                let more = self.data().await?.ok_or_else(|| Status::internal("Unexpected EOF decoding stream."))?;
                gathered.extend_from_slice(&more);
            }
            held = gathered.freeze();
        }
        // A call is answered once its client has said all: the library takes what comes to a stream that has been answered
        // before its end for an error of the client's, and closes a connection that has had many of them.
        while !self.body.is_end_stream() && self.data().await?.is_some() {}
        let length = whole(&held, most)?.unwrap_or_default();
        let message = held.slice(PREFIX..PREFIX + length);
        M::decode(message).map_err(|error| Status::internal(error.to_string()))
    }

    async fn data(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(data) = self.body.data().await else { return Ok(None) };
        let data = data.map_err(|error| Status::cancelled(error.to_string()))?;
        // The client may send as much again.
        let _ = self.body.flow_control().release_capacity(data.len());
        Ok(Some(data))
    }

    /// Answers the call; what was given is framed already. A client that is gone needs no answer.
    pub fn answer(mut self, outcome: Result<Bytes, Status>) {
        let _ = match outcome {
            Ok(message) => self.respond.send_response(head(), false).and_then(|mut stream| {
                stream.send_data(message, false)?;
                stream.send_trailers(trailers())
            }),
            Err(status) => self.respond.send_response(status.into_http::<()>(), true).map(drop),
        };
    }

    /// Begins an answer of many messages, and gives the requests that go on coming.
    pub fn begin(self) -> Result<(RequestBody, Reply), h2::Error> {
        let Self { body, mut respond, .. } = self;
        Ok((RequestBody::new(body), Reply { stream: respond.send_response(head(), false)? }))
    }
}

/// The length of the message that `held` begins with, once all of it is there.
fn whole(held: &[u8], most: usize) -> Result<Option<usize>, Status> {
    let Some((prefix, rest)) = held.split_first_chunk::<PREFIX>() else { return Ok(None) };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err(Status::unimplemented("compressed messages are not understood"));
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > most {
        return Err(Status::out_of_range(format!(
            "Error, decoded message length too large: found {length} bytes, the limit is: {most} bytes"
        )));
    }
    Ok((rest.len() >= length).then_some(length))
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))])
}

/// The sending side of a call with many answers.
pub struct Reply {
    stream: SendStream<Bytes>,
}

impl Reply {
    /// Sends a framed message, once the client takes something.
    pub async fn send(&mut self, message: Bytes) -> Result<(), h2::Error> {
        // What does not fit waits with the connection; the next message waits here.
        room(&mut self.stream, message.len()).await?;
        self.stream.send_data(message, false)
    }

    /// Ends the call; a client that is gone needs no reason.
    pub fn end(&mut self, status: &Status) {
        let mut last = HeaderMap::new();
        if status.add_header(&mut last).is_ok() {
            let _ = self.stream.send_trailers(last);
        }
    }

    /// Waits until the client gives the call up.
    pub async fn closed(&mut self) {
        let _ = std::future::poll_fn(|context| self.stream.poll_reset(context)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_once_all_of_it_is_there() {
        let table: [(&[u8], Option<Option<usize>>); 6] = [
            (&[], Some(None)),
            (&[0, 0, 0, 0], Some(None)),
            (&[0, 0, 0, 0, 2, 1], Some(None)),
            (&[0, 0, 0, 0, 2, 1, 1], Some(Some(2))),
            (&[0, 0, 0, 0, 9], None),
            (&[1, 0, 0, 0, 0], None),
        ];
        for (held, expected) in table {
            assert_eq!(whole(held, 8).ok(), expected, "{held:?}");
        }
    }

    #[test]
    fn a_frame_says_how_long_it_is() {
        let mut buffer = begin(3);
        buffer.put_slice(b"abc");
        assert_eq!(finish(buffer).as_ref(), b"\0\0\0\0\x03abc");
    }
}
