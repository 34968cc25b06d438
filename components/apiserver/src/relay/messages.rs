//! A log for clients that want it in WebSocket messages.

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
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
    tokio::spawn(async move {
        let Ok(client) = hyper::upgrade::on(request).await else { return };
        if let Err(error) = send(TokioIo::new(client), format, body).await {
            tracing::debug!(%error, "a log ended early");
        }
        drop(running);
    });
    reply
}

async fn send<S, B>(client: S, format: Format, mut body: B) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send,
    B: hyper::body::Body<Data = Bytes> + Unpin + Send,
{
    let (mut read, mut write) = tokio::io::split(client);
    // An empty message says that the connection stands.
    write.write_all(&message(format, &[])).await?;
    write.flush().await?;
    let writing = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(bytes) = frame.into_data() {
                write.write_all(&message(format, &bytes)).await?;
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
        return websocket::text(&base64::engine::general_purpose::STANDARD.encode(bytes));
    }
    websocket::binary(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn a_log_comes_in_messages() {
        for (format, wanted) in
            [(BINARY, &b"\x82\x00\x82\x02hi\x88\x02\x03\xe8"[..]), (BASE64, b"\x81\x00\x81\x04aGk=\x88\x02\x03\xe8")]
        {
            let (mut client, near) = tokio::io::duplex(1024);
            let sending = tokio::spawn(send(near, format, http_body_util::Full::new(Bytes::from_static(b"hi"))));
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
