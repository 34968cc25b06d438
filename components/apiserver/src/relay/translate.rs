//! exec and attach for clients that speak WebSocket with channels (`v5.channel.k8s.io`), to kubelets that speak SPDY.
//!
//! A message's first byte is its channel: 0 stdin, 1 stdout, 2 stderr, 3 the outcome, 4 the terminal's size; 255 closes
//! the channel whose number follows. Two tasks pump, one for each direction, so that a full direction holds only itself
//! up. Each hands the other what has to be answered through a short queue.

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kinit_api::status::Status;
use kinit_serving::draining::Received;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::query::Streams;
use super::{spdy, websocket};
use crate::server::Running;

/// The subprotocol that is translated; older ones go to the kubelet as they are.
pub const PROTOCOL: &str = "v5.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const OUTCOME: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// An outcome longer than this is cut.
const OUTCOME_LIMIT: usize = 64 << 10;
/// Answers to pings that wait for the other direction; a client that sends more goes without.
const ANSWERS: usize = 8;

/// The channels of a conversation and the SPDY streams behind them.
#[derive(Clone, Copy)]
struct Channels(Streams);

impl Channels {
    /// Each with its name, in the order in which kubelets get them.
    fn all(self) -> impl Iterator<Item = (u8, &'static str)> {
        let Streams { stdin, stdout, stderr, tty } = self.0;
        let wanted = [
            (true, OUTCOME, "error"),
            (stdin, STDIN, "stdin"),
            (stdout, STDOUT, "stdout"),
            (stderr, STDERR, "stderr"),
            (tty, RESIZE, "resize"),
        ];
        wanted.into_iter().filter(|(on, ..)| *on).map(|(_, channel, name)| (channel, name))
    }

    fn stream(self, channel: u8) -> Option<u32> {
        self.all().position(|(own, _)| own == channel).map(|at| 2 * at as u32 + 1)
    }

    fn channel(self, stream: u32) -> Option<u8> {
        self.all().nth((stream.checked_sub(1)? / 2) as usize).map(|(channel, _)| channel)
    }
}

/// Marks a request for the kubelet as one for SPDY.
pub fn ask_for_spdy(headers: &mut http::HeaderMap, protocols: &[&str]) {
    for name in [
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::SEC_WEBSOCKET_EXTENSIONS,
    ] {
        headers.remove(name);
    }
    headers.insert(header::CONNECTION, http::HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, http::HeaderValue::from_static("SPDY/3.1"));
    headers.remove("x-stream-protocol-version");
    for protocol in protocols {
        if let Ok(value) = protocol.parse() {
            headers.append("x-stream-protocol-version", value);
        }
    }
}

/// What a kubelet's refusal of an upgrade means.
pub async fn refusal(response: http::Response<Incoming>) -> Status {
    let code = response.status();
    let body = Limited::new(response.into_body(), OUTCOME_LIMIT).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    let text = if text.is_empty() { code.to_string() } else { text };
    Status::internal(format!("unable to upgrade connection: {text}"))
}

/// Carries the conversation of a client whose upgrade was accepted. `kubelet` is what became of the kubelet's side: a
/// refusal is told to the client as the outcome.
pub async fn run(mut request: Request<Received>, kubelet: Result<http::Response<Incoming>, Status>, streams: Streams) {
    let _running = request.extensions_mut().remove::<Running>();
    let Ok(client) = hyper::upgrade::on(request).await else { return };
    let client = TokioIo::new(client);
    let upgraded = match kubelet {
        Ok(mut response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            hyper::upgrade::on(&mut response).await.map_err(|error| Status::internal(error.to_string()))
        }
        Ok(response) => Err(refusal(response).await),
        Err(status) => Err(status),
    };
    match upgraded {
        Ok(kubelet) => carry(client, TokioIo::new(kubelet), streams).await,
        Err(status) => tell(client, &status).await,
    }
}

async fn tell(mut client: TokioIo<Upgraded>, status: &Status) {
    let outcome = websocket::channel(OUTCOME, status.to_value().to_string().as_bytes());
    for bytes in [outcome, websocket::close(websocket::NORMAL)] {
        if client.write_all(&bytes).await.is_err() {
            return;
        }
    }
    if client.shutdown().await.is_ok() {
        websocket::goodbye(client).await;
    }
}

/// Joins the two sides until the outcome is told or the client goes away. A kubelet that takes nothing more may still
/// have something to say, so only its own end ends what comes from it.
async fn carry<C, K>(client: C, kubelet: K, streams: Streams)
where
    C: AsyncRead + AsyncWrite + Send,
    K: AsyncRead + AsyncWrite + Send,
{
    let channels = Channels(streams);
    let (from_client, to_client) = tokio::io::split(client);
    let (from_kubelet, to_kubelet) = tokio::io::split(kubelet);
    let (pongs, pongs_wanted) = mpsc::channel(ANSWERS);
    let (replies, replies_wanted) = mpsc::channel(ANSWERS);
    let mut inward = std::pin::pin!(inward(from_client, to_kubelet, channels, pongs, replies_wanted));
    let outward = outward(from_kubelet, to_client, channels, replies, pongs_wanted);
    let told = tokio::select! {
        // Nothing more is worth saying.
        () = &mut inward => return,
        told = outward => told,
    };
    match told {
        // To close on what the client has sent would take away what it has not read yet, so its goodbye is waited for.
        Ok(()) => {
            let _ = tokio::time::timeout(websocket::GOODBYE, inward).await;
        }
        Err(error) => tracing::debug!(%error, "a stream ended early"),
    }
}

/// From the client to the kubelet, until the client is gone.
async fn inward(
    mut client: impl AsyncRead + Unpin + Send,
    mut kubelet: impl AsyncWrite + Unpin,
    channels: Channels,
    pongs: mpsc::Sender<Bytes>,
    mut replies: mpsc::Receiver<Bytes>,
) {
    let mut encoder = spdy::Encoder::default();
    let mut opening = BytesMut::new();
    for (channel, name) in channels.all() {
        let stream = channels.stream(channel).expect("every channel listed has a stream");
        opening.extend_from_slice(&encoder.open(stream, &[("streamType", name)]));
    }
    let mut listens = say(&mut kubelet, &opening).await;
    // Reading is not cancelled half way through a message: it goes on in a task of its own.
    let (messages, mut read) = mpsc::channel(1);
    let reader = async move {
        while let Some(message) = websocket::read(&mut client).await? {
            if messages.send(message).await.is_err() {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let writer = async move {
        loop {
            let bytes = tokio::select! {
                message = read.recv() => match message {
                    None | Some(websocket::Message::Close) => return,
                    Some(websocket::Message::Ping(bytes)) => {
                        let _ = pongs.try_send(websocket::pong(&bytes));
                        continue;
                    }
                    Some(websocket::Message::Data(message)) => match message.as_ref() {
                        [CLOSE, channel] => channels.stream(*channel).map(|stream| spdy::data(stream, &[], true)),
                        // The client only says what it is given to say.
                        [channel @ (STDIN | RESIZE), rest @ ..] if !rest.is_empty() => {
                            channels.stream(*channel).map(|stream| spdy::data(stream, rest, false))
                        }
                        _ => None,
                    },
                },
                Some(reply) = replies.recv() => Some(reply),
            };
            if let Some(bytes) = bytes.filter(|_| listens) {
                listens = say(&mut kubelet, &bytes).await;
            }
        }
    };
    let (mut reader, mut writer) = (std::pin::pin!(reader), std::pin::pin!(writer));
    tokio::select! {
        // What was read last is still to be written.
        _ = &mut reader => writer.await,
        () = &mut writer => {}
    }
}

/// Whether the other side took it.
async fn say(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    to.write_all(bytes).await.is_ok() && to.flush().await.is_ok()
}

/// From the kubelet to the client. The outcome is told last, when all output has been.
async fn outward(
    mut kubelet: impl AsyncRead + Unpin + Send,
    mut client: impl AsyncWrite + Unpin,
    channels: Channels,
    replies: mpsc::Sender<Bytes>,
    mut pongs: mpsc::Receiver<Bytes>,
) -> std::io::Result<()> {
    // An empty message says that the connection stands.
    let first = channels.all().map(|(channel, _)| channel).filter(|one| *one == STDOUT || *one == STDERR).min();
    client.write_all(&websocket::channel(first.unwrap_or(OUTCOME), &[])).await?;
    client.flush().await?;
    let (frames, mut read) = mpsc::channel(1);
    let reader = async move {
        while let Some(frame) = spdy::read(&mut kubelet).await? {
            if frames.send(frame).await.is_err() {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let writer = async move {
        let mut open: Vec<u8> = channels.all().map(|(channel, _)| channel).filter(|one| is_out(*one)).collect();
        let mut outcome = Vec::new();
        while !open.is_empty() {
            let frame = tokio::select! {
                frame = read.recv() => frame,
                Some(pong) = pongs.recv() => {
                    client.write_all(&pong).await?;
                    client.flush().await?;
                    continue;
                }
            };
            match frame {
                None | Some(spdy::Frame::GoAway) => break,
                Some(spdy::Frame::Data { stream, bytes, last }) => {
                    let channel = channels.channel(stream);
                    match channel {
                        Some(OUTCOME) => {
                            let room = OUTCOME_LIMIT.saturating_sub(outcome.len()).min(bytes.len());
                            outcome.extend_from_slice(&bytes[..room]);
                        }
                        Some(channel @ (STDOUT | STDERR)) if !bytes.is_empty() => {
                            client.write_all(&websocket::channel(channel, &bytes)).await?;
                            client.flush().await?;
                        }
                        _ => {}
                    }
                    if last {
                        open.retain(|one| Some(*one) != channel);
                    }
                }
                Some(spdy::Frame::Reset { stream }) => open.retain(|one| Some(*one) != channels.channel(stream)),
                Some(spdy::Frame::Ping { id }) => {
                    let _ = replies.try_send(spdy::ping(id));
                }
                Some(spdy::Frame::Other) => {}
            }
        }
        if outcome.is_empty() {
            // An attach ends without one.
            outcome.extend_from_slice(br#"{"metadata":{},"status":"Success"}"#);
        }
        client.write_all(&websocket::channel(OUTCOME, &outcome)).await?;
        client.write_all(&websocket::close(websocket::NORMAL)).await?;
        client.shutdown().await
    };
    let (mut reader, mut writer) = (std::pin::pin!(reader), std::pin::pin!(writer));
    tokio::select! {
        read = &mut reader => read.and(writer.await),
        written = &mut writer => written,
    }
}

fn is_out(channel: u8) -> bool {
    matches!(channel, STDOUT | STDERR | OUTCOME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, DuplexStream};

    async fn message(client: &mut DuplexStream) -> Vec<u8> {
        let head = [client.read_u8().await.unwrap(), client.read_u8().await.unwrap()];
        let mut payload = vec![head[0] & 0x0f; 1 + usize::from(head[1])];
        client.read_exact(&mut payload[1..]).await.unwrap();
        payload
    }

    #[tokio::test]
    async fn channels_become_streams_and_the_outcome_comes_last() {
        let streams = Streams { stdin: true, stdout: true, ..Streams::default() };
        let (mut client, near) = tokio::io::duplex(1024);
        let (far, mut kubelet) = tokio::io::duplex(1024);
        let carrying = tokio::spawn(carry(near, far, streams));
        assert_eq!(message(&mut client).await, [2, STDOUT]);
        for _ in 0..3 {
            assert_eq!(spdy::read(&mut kubelet).await.unwrap(), Some(spdy::Frame::Other));
        }
        client.write_all(&websocket::masked(0x82, &[STDIN, b'h', b'i'])).await.unwrap();
        client.write_all(&websocket::masked(0x82, &[CLOSE, STDIN])).await.unwrap();
        let said = spdy::Frame::Data { stream: 3, bytes: Bytes::from_static(b"hi"), last: false };
        assert_eq!(spdy::read(&mut kubelet).await.unwrap(), Some(said));
        let ended = spdy::Frame::Data { stream: 3, bytes: Bytes::new(), last: true };
        assert_eq!(spdy::read(&mut kubelet).await.unwrap(), Some(ended));
        kubelet.write_all(&spdy::ping(2)).await.unwrap();
        assert_eq!(spdy::read(&mut kubelet).await.unwrap(), Some(spdy::Frame::Ping { id: 2 }));
        kubelet.write_all(&spdy::data(1, b"done", true)).await.unwrap();
        kubelet.write_all(&spdy::data(5, b"out", true)).await.unwrap();
        assert_eq!(message(&mut client).await, [2, STDOUT, b'o', b'u', b't']);
        assert_eq!(message(&mut client).await, [2, OUTCOME, b'd', b'o', b'n', b'e']);
        assert_eq!(message(&mut client).await, [8, 3, 232]);
        client.write_all(&websocket::masked(0x88, &[3, 232])).await.unwrap();
        carrying.await.unwrap();
    }

    #[tokio::test]
    async fn what_a_kubelet_said_before_it_left_arrives() {
        let streams = Streams { stdin: true, stdout: true, ..Streams::default() };
        // Which direction is looked at first is chance.
        for _ in 0..20 {
            let (mut client, near) = tokio::io::duplex(1024);
            let (far, mut kubelet) = tokio::io::duplex(1024);
            kubelet.write_all(&spdy::data(5, b"last", false)).await.unwrap();
            drop(kubelet);
            client.write_all(&websocket::masked(0x82, &[STDIN, b'h', b'i'])).await.unwrap();
            let carrying = tokio::spawn(carry(near, far, streams));
            assert_eq!(message(&mut client).await, [2, STDOUT]);
            assert_eq!(message(&mut client).await, [2, STDOUT, b'l', b'a', b's', b't']);
            assert_eq!(message(&mut client).await[..2], [2, OUTCOME]);
            assert_eq!(message(&mut client).await, [8, 3, 232]);
            // Pings are answered to the end; nobody is left to hear this one.
            client.write_all(&websocket::masked(0x89, b"x")).await.unwrap();
            drop(client);
            carrying.await.unwrap();
        }
    }
}
