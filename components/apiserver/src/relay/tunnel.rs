//! Port forwarding for clients that speak WebSocket: its messages carry the bytes of a SPDY connection, which go to the
//! kubelet as they are.

use http::{HeaderMap, Request};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kinit_serving::draining::Received;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::websocket;

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

/// Carries bytes until either side ends.
pub async fn run(request: Request<Received>, mut response: http::Response<Incoming>) {
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
        while let Some(message) = websocket::read(&mut from_client).await? {
            match message {
                websocket::Message::Data(bytes) => {
                    to_kubelet.write_all(&bytes).await?;
                    to_kubelet.flush().await?;
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
    tokio::select! { ended = inward => ended, ended = outward => ended }
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
        carrying.await.unwrap().unwrap();
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
