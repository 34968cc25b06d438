//! Logs and watches for clients that want them in WebSocket messages.

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kinit_serving::Body;
use kinit_serving::draining::Received;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::websocket;
use crate::server::Running;

/// How a log is put into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    protocol: &'static str,
    base64: bool,
}

const BINARY: Format = Format { protocol: "binary.k8s.io", base64: false };
const BASE64: Format = Format { protocol: "base64.binary.k8s.io", base64: true };
/// For clients that offer no subprotocol.
const PLAIN: Format = Format { protocol: "", base64: false };

/// How a body becomes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// A log: each piece as it comes.
    Pieces(Format),
    /// A watch in JSON: each event, which is a line, as text.
    Lines,
    /// A watch in protobuf: each event without its length, which goes before it.
    Frames,
}

impl Cut {
    fn messages(self, mut bytes: &[u8]) -> Vec<Bytes> {
        match self {
            Self::Pieces(format) => vec![message(format, bytes)],
            Self::Lines => bytes.split_inclusive(|byte| *byte == b'\n').map(websocket::text).collect(),
            Self::Frames => {
                let mut all = Vec::new();
                while let Some((size, rest)) = bytes.split_first_chunk() {
                    let size = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX);
                    let (event, rest) = rest.split_at(size.min(rest.len()));
                    all.push(websocket::binary(event));
                    bytes = rest;
                }
                all
            }
        }
    }
}

/// How the client wants its messages; `None` if it does not want messages, or in a way that is not known here.
pub fn wanted(headers: &HeaderMap) -> Option<Format> {
    if !websocket::is_wanted(headers) {
        return None;
    }
    let offered = websocket::offered(headers);
    if offered.is_empty() {
        return Some(PLAIN);
    }
    offered.iter().find_map(|name| [BINARY, BASE64].into_iter().find(|format| format.protocol == *name))
}

/// Answers with the body in messages.
pub fn answer(mut request: Request<Received>, format: Format, body: Incoming) -> Response<Body> {
    let reply = websocket::accepted(request.headers(), format.protocol);
    let running = request.extensions_mut().remove::<Running>();
    pass(request, running, Cut::Pieces(format), body);
    reply
}

/// Answers with the events of a watch, of which `answer` is what clients get that do not ask for messages. As upstream has it,
/// a client says where its code comes from, and offers one subprotocol at most, whichever it is.
pub fn events(request: Request<()>, running: Option<Running>, answer: Response<Body>) -> Response<Body> {
    let headers = request.headers();
    let refused = |status: StatusCode| {
        let mut response = Response::new(kinit_serving::full(""));
        *response.status_mut() = status;
        response
    };
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    if origin.is_none_or(|origin| url::Url::parse(origin).is_err()) {
        return refused(StatusCode::FORBIDDEN);
    }
    let protocol = match websocket::offered(headers)[..] {
        [] => "",
        [one] => one,
        _ => return refused(StatusCode::BAD_REQUEST),
    };
    let reply = websocket::accepted(headers, protocol);
    let content_type = answer.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_json = content_type.is_some_and(|value| value.starts_with(b"application/json"));
    let cut = if is_json { Cut::Lines } else { Cut::Frames };
    pass(request, running, cut, answer.into_body());
    reply
}

/// Sends a body in messages, once the client's connection has been upgraded.
fn pass<R, B>(request: Request<R>, running: Option<Running>, cut: Cut, body: B)
where
    R: Send + 'static,
    B: hyper::body::Body<Data = Bytes, Error: Send> + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let Ok(client) = hyper::upgrade::on(request).await else { return };
        if let Err(error) = send(TokioIo::new(client), cut, body).await {
            tracing::debug!(%error, "a stream of messages ended early");
        }
        drop(running);
    });
}

async fn send<S, B>(client: S, cut: Cut, mut body: B) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send,
    B: hyper::body::Body<Data = Bytes> + Unpin + Send,
{
    let (mut read, mut write) = tokio::io::split(client);
    // Of a log an empty message says that the connection stands.
    if let Cut::Pieces(format) = cut {
        write.write_all(&message(format, &[])).await?;
        write.flush().await?;
    }
    let writing = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(bytes) = frame.into_data() {
                for message in cut.messages(&bytes) {
                    write.write_all(&message).await?;
                }
                write.flush().await?;
            }
        }
        write.write_all(&websocket::close(websocket::NORMAL)).await?;
        write.shutdown().await
    };
    // What the client says is of no interest but for its end.
    let reading = async {
        while let Some(message) = websocket::read(&mut read).await? {
            if message == websocket::Message::Close {
                break;
            }
        }
        Ok(())
    };
    tokio::select! { ended = writing => ended, ended = reading => ended }
}

fn message(format: Format, bytes: &[u8]) -> Bytes {
    if format.base64 {
        return websocket::text(base64::engine::general_purpose::STANDARD.encode(bytes).as_bytes());
    }
    websocket::binary(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn a_log_comes_in_messages() {
        for (format, wanted) in
            [(BINARY, &b"\x82\x00\x82\x02hi\x88\x02\x03\xe8"[..]), (BASE64, b"\x81\x00\x81\x04aGk=\x88\x02\x03\xe8")]
        {
            let (mut client, near) = tokio::io::duplex(1024);
            let sending =
                tokio::spawn(send(near, Cut::Pieces(format), http_body_util::Full::new(Bytes::from_static(b"hi"))));
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, wanted);
            sending.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn each_event_of_a_watch_is_a_message() {
        let (lines, frames) = (&b"{\"a\":1}\n{}\n"[..], &b"\0\0\0\x02hi\0\0\0\x01x"[..]);
        for (cut, body, wanted) in [
            (Cut::Lines, lines, &b"\x81\x08{\"a\":1}\n\x81\x03{}\n\x88\x02\x03\xe8"[..]),
            (Cut::Frames, frames, &b"\x82\x02hi\x82\x01x\x88\x02\x03\xe8"[..]),
        ] {
            let (mut client, near) = tokio::io::duplex(1024);
            let sending = tokio::spawn(send(near, cut, http_body_util::Full::new(Bytes::from_static(body))));
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, wanted);
            sending.await.unwrap().unwrap();
        }
    }

    #[test]
    fn the_first_known_protocol_is_taken() {
        let mut headers = HeaderMap::new();
        assert_eq!(wanted(&headers), None);
        headers.insert(header::UPGRADE, "websocket".parse().unwrap());
        headers.insert(header::SEC_WEBSOCKET_KEY, "x".parse().unwrap());
        assert_eq!(wanted(&headers), Some(PLAIN));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, "x, base64.binary.k8s.io, binary.k8s.io".parse().unwrap());
        assert_eq!(wanted(&headers), Some(BASE64));
    }
}
