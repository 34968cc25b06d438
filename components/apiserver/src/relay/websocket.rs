//! The server's side of WebSocket (RFC 6455): the handshake's answer, and frames.

use std::io;
use std::time::Duration;

use base64::Engine;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kinit_serving::Body;
use tokio::io::{AsyncRead, AsyncReadExt};

const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A larger message is refused; clients send 32 KiB at most.
const MAX_MESSAGE: usize = 4 << 20;

const CONTINUED: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The client ends an orderly conversation with this code, and so does the server.
pub const NORMAL: u16 = 1000;
/// How long a client has to say goodbye once it has been told all.
pub const GOODBYE: Duration = Duration::from_secs(5);

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Data(Bytes),
    Ping(Bytes),
    Close,
}

/// Whether the request asks for an upgrade to WebSocket.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

/// The subprotocols that the client offers, in its order.
pub fn offered(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// What a bearer token is offered as by clients that can say no other header; behind it stands the token in base64.
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// Makes the header that it stands for of a bearer token among the offered subprotocols, and takes it out of these, so that
/// nobody else is told. The error says that it is none, or comes alone.
pub fn take_bearer(headers: &mut HeaderMap) -> Result<(), &'static str> {
    if !is_wanted(headers) {
        return Ok(());
    }
    let (tokens, others): (Vec<&str>, Vec<&str>) = offered(headers).into_iter().partition(|it| it.starts_with(BEARER));
    let token = match tokens[..] {
        [] => return Ok(()),
        [token] => &token.as_bytes()[BEARER.len()..],
        _ => return Err("multiple bearer tokens among the subprotocols"),
    };
    let others = match others.join(",") {
        others if others.is_empty() => return Err("no subprotocol beside the bearer token's"),
        others => HeaderValue::try_from(others).map_err(|_| "bad subprotocols")?,
    };
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).ok();
    let token = token.and_then(|token| String::from_utf8(token).ok()).ok_or("bad encoding of a bearer token")?;
    let value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| "bad bearer token")?;
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, others);
    headers.entry(header::AUTHORIZATION).or_insert(value);
    Ok(())
}

/// The answer that begins the conversation, with the subprotocol that is agreed on.
pub fn accepted(headers: &HeaderMap, protocol: &str) -> Response<Body> {
    let mut response = Response::new(kinit_serving::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    for (name, value) in
        [(header::SEC_WEBSOCKET_ACCEPT, accept(headers)), (header::SEC_WEBSOCKET_PROTOCOL, protocol.to_owned())]
    {
        if let Ok(value) = value.parse::<HeaderValue>()
            && !value.is_empty()
        {
            out.insert(name, value);
        }
    }
    response
}

/// The proof that the server read the client's key.
fn accept(headers: &HeaderMap) -> String {
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|value| value.as_bytes()).unwrap_or_default();
    let mut digest = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(MAGIC);
    base64::engine::general_purpose::STANDARD.encode(digest.finish())
}

/// Reads the next message, putting together one that comes in pieces. `None` at an end without a goodbye.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Message>> {
    let bad = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut whole = BytesMut::new();
    loop {
        let mut head = [0; 2];
        if from.read(&mut head[..1]).await? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut head[1..]).await?;
        if head[1] & 0x80 == 0 {
            return Err(bad("a client's frame is not masked"));
        }
        let size = match head[1] & 0x7f {
            126 => from.read_u16().await? as usize,
            127 => usize::try_from(from.read_u64().await?).unwrap_or(usize::MAX),
            size => size as usize,
        };
        if size.saturating_add(whole.len()) > MAX_MESSAGE {
            return Err(bad("a message is too large"));
        }
        let mut mask = [0; 4];
        from.read_exact(&mut mask).await?;
        let mut payload = vec![0; size];
        from.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match head[0] & 0x0f {
            CONTINUED | TEXT | BINARY => whole.extend_from_slice(&payload),
            CLOSE => return Ok(Some(Message::Close)),
            PING => return Ok(Some(Message::Ping(payload.into()))),
            PONG => continue,
            _ => return Err(bad("a frame of an unknown kind")),
        }
        if head[0] & 0x80 != 0 {
            return Ok(Some(Message::Data(whole.freeze())));
        }
    }
}

/// Waits for the client's goodbye: to close on what it has sent would take away what it has not read yet.
pub async fn goodbye(mut from: impl AsyncRead + Unpin) {
    let heard = async { while !matches!(read(&mut from).await, Ok(None | Some(Message::Close)) | Err(_)) {} };
    let _ = tokio::time::timeout(GOODBYE, heard).await;
}

fn frame(kind: u8, parts: [&[u8]; 2]) -> Bytes {
    let size = parts[0].len() + parts[1].len();
    let mut out = BytesMut::with_capacity(size + 10);
    out.put_u8(0x80 | kind);
    match size {
        0..126 => out.put_u8(size as u8),
        126..=0xffff => {
            out.put_u8(126);
            out.put_u16(size as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(size as u64);
        }
    }
    parts.into_iter().for_each(|part| out.put_slice(part));
    out.freeze()
}

/// A message of bytes.
pub fn binary(bytes: &[u8]) -> Bytes {
    frame(BINARY, [&[], bytes])
}

/// A message of text, which is UTF-8.
pub fn text(text: &[u8]) -> Bytes {
    frame(TEXT, [&[], text])
}

/// A message whose first byte is the number of a channel.
pub fn channel(number: u8, bytes: &[u8]) -> Bytes {
    frame(BINARY, [&[number], bytes])
}

/// The answer to a ping.
pub fn pong(bytes: &[u8]) -> Bytes {
    frame(PONG, [&[], bytes])
}

/// The goodbye.
pub fn close(code: u16) -> Bytes {
    frame(CLOSE, [&[], &code.to_be_bytes()])
}

/// A client's frame, for tests.
#[cfg(test)]
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        size @ 0..126 => out.push(0x80 | size as u8),
        size => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(size as u16).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_own_example_is_accepted() {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, "WebSocket".parse().unwrap());
        headers.insert(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, "a, b".parse().unwrap());
        assert!(is_wanted(&headers));
        assert_eq!(accept(&headers), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(offered(&headers), ["a", "b"]);
    }

    #[test]
    fn a_token_among_the_subprotocols_is_a_header() {
        let taken = |protocols: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::UPGRADE, "websocket".parse().unwrap());
            headers.insert(header::SEC_WEBSOCKET_KEY, "x".parse().unwrap());
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocols.parse().unwrap());
            take_bearer(&mut headers).map(|()| {
                let text = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
                (text(header::AUTHORIZATION), text(header::SEC_WEBSOCKET_PROTOCOL).unwrap())
            })
        };
        let token = format!("{BEARER}YS1i");
        assert_eq!(taken("a, b"), Ok((None, "a, b".into())));
        assert_eq!(taken(&format!("a, {token},b")), Ok((Some("Bearer a-b".into()), "a,b".into())));
        assert!(taken(&token).is_err() && taken(&format!("{token},a,{token}")).is_err());
        assert!(taken(&format!("a,{BEARER}?")).is_err());
    }

    #[tokio::test]
    async fn pieces_become_one_message() {
        let mut wire = masked(BINARY, b"ab");
        wire.extend(masked(0x80 | CONTINUED, b"cd"));
        wire.extend(masked(0x80 | PING, b"x"));
        wire.extend(masked(0x80 | BINARY, &[7; 300]));
        wire.extend(masked(0x80 | CLOSE, &[]));
        let mut from = wire.as_slice();
        assert_eq!(read(&mut from).await.unwrap(), Some(Message::Data(Bytes::from_static(b"abcd"))));
        assert_eq!(read(&mut from).await.unwrap(), Some(Message::Ping(Bytes::from_static(b"x"))));
        assert_eq!(read(&mut from).await.unwrap(), Some(Message::Data(Bytes::from(vec![7; 300]))));
        assert_eq!(read(&mut from).await.unwrap(), Some(Message::Close));
        assert_eq!(read(&mut from).await.unwrap(), None);
        assert!(read(&mut [0x82u8, 3, 1, 2, 3].as_slice()).await.is_err());
        assert!(read(&mut [0x82u8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0].as_slice()).await.is_err());
        for (size, head) in [(1, 2), (200, 4), (70_000, 10)] {
            assert_eq!(binary(&vec![0; size]).len(), size + head);
        }
    }
}
