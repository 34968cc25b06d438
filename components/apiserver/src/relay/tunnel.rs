//! Port forwarding for clients that speak WebSocket: its messages carry the bytes of a SPDY connection, which go to the
//! kubelet as they are.

use http::{HeaderMap, Request};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kinit_serving::draining::Received;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::websocket;
use crate::server::Running;

/// What a subprotocol begins with whose messages carry SPDY.
const PREFIX: &str = "SPDY/3.1+";
/// Bytes of the kubelet's that go into one message.
const BLOCK: usize = 16 << 10;

/// The protocols to be spoken over SPDY, out of those that the client offers.
pub fn protocols(headers: &HeaderMap) -> Vec<&str> {
    let inner = websocket::offered(headers).into_iter().filter_map(|name| name.strip_prefix(PREFIX));
    inner.filter(|name| name.ends_with(".k8s.io")).collect()
}

/// The subprotocol that is agreed on, when the kubelet has chosen `inner`.
pub fn agreed(inner: &str) -> String {
    format!("{PREFIX}{inner}")
}

/// Carries bytes until the kubelet has said all or the client is gone.
pub async fn run(mut request: Request<Received>, mut response: http::Response<Incoming>) {
    let _running = request.extensions_mut().remove::<Running>();
    let (client, kubelet) = tokio::join!(hyper::upgrade::on(request), hyper::upgrade::on(&mut response));
    let (Ok(client), Ok(kubelet)) = (client, kubelet) else { return };
    if let Err(error) = carry(TokioIo::new(client), TokioIo::new(kubelet)).await {
        tracing::debug!(%error, "a tunnel ended early");
    }
}

async fn carry<C, K>(client: C, kubelet: K) -> std::io::Result<()>
where
    C: AsyncRead + AsyncWrite + Send,
    K: AsyncRead + AsyncWrite + Send,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_kubelet, mut to_kubelet) = tokio::io::split(kubelet);
    // A client that pings faster than it reads goes without answers.
    let (pongs, mut pongs_wanted) = mpsc::channel(4);
    let inward = async move {
        // A kubelet that takes nothing more may still have something to say.
        let mut listens = true;
        while let Some(message) = websocket::read(&mut from_client).await? {
            match message {
                websocket::Message::Data(bytes) => {
                    listens = listens && to_kubelet.write_all(&bytes).await.is_ok() && to_kubelet.flush().await.is_ok();
                }
                websocket::Message::Ping(bytes) => {
                    let _ = pongs.try_send(websocket::pong(&bytes));
                }
                websocket::Message::Close => break,
            }
        }
        to_kubelet.shutdown().await
    };
    let outward = async move {
        let mut block = vec![0; BLOCK];
        loop {
            let bytes = tokio::select! {
                count = from_kubelet.read(&mut block) => match count? {
                    0 => break,
                    count => websocket::binary(&block[..count]),
                },
                Some(pong) = pongs_wanted.recv() => pong,
            };
            to_client.write_all(&bytes).await?;
            to_client.flush().await?;
        }
        to_client.write_all(&websocket::close(websocket::NORMAL)).await?;
        to_client.shutdown().await
    };
    let mut inward = std::pin::pin!(inward);
    tokio::select! {
        ended = &mut inward => ended,
        told = outward => {
            told?;
            // What the client has not read yet would be lost if what it has sent were never read.
            let _ = tokio::time::timeout(websocket::GOODBYE, inward).await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_go_through_as_they_are() {
        let (mut client, near) = tokio::io::duplex(1024);
        let (far, mut kubelet) = tokio::io::duplex(1024);
        let carrying = tokio::spawn(carry(near, far));
        client.write_all(&websocket::masked(0x82, b"abc")).await.unwrap();
        let mut bytes = [0; 3];
        kubelet.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"abc");
        kubelet.write_all(b"de").await.unwrap();
        let mut bytes = [0; 4];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, [0x82, 2, b'd', b'e']);
        drop(kubelet);
        drop(client);
        let _ = carrying.await.unwrap();
    }

    #[tokio::test]
    async fn what_a_kubelet_said_before_it_left_arrives() {
        for _ in 0..20 {
            let (mut client, near) = tokio::io::duplex(1024);
            let (far, mut kubelet) = tokio::io::duplex(1024);
            kubelet.write_all(b"last").await.unwrap();
            drop(kubelet);
            client.write_all(&websocket::masked(0x82, b"abc")).await.unwrap();
            let carrying = tokio::spawn(carry(near, far));
            let mut bytes = [0; 6];
            client.read_exact(&mut bytes).await.unwrap();
            assert_eq!(bytes, [0x82, 4, b'l', b'a', b's', b't']);
            drop(client);
            let _ = carrying.await.unwrap();
        }
    }

    #[test]
    fn only_tunnels_are_offered_on() {
        let mut headers = HeaderMap::new();
        let offered = "SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io, SPDY/3.1+x";
        headers.insert(http::header::SEC_WEBSOCKET_PROTOCOL, offered.parse().unwrap());
        assert_eq!(protocols(&headers), ["portforward.k8s.io"]);
        assert_eq!(agreed("portforward.k8s.io"), "SPDY/3.1+portforward.k8s.io");
    }
}
