//! Clients, the relay and a fake kubelet on loopback.

use std::convert::Infallible;
use std::net::SocketAddr;

use hyper_util::rt::TokioIo;
use kinit_serving::draining::Received;
use kinit_serving::listener::{Limits, Listener};
use kinit_serving::tls::{ClientAuth, Identity, Tls, TlsOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::query::Streams;
use super::*;

/// Serves `handler` until the end of the test.
async fn serve<F, Fut>(tls: Option<Tls>, handler: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), tls).await.unwrap();
    let address = listener.address();
    let service = hyper::service::service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    tokio::spawn(listener.serve(service, Limits::default(), CancellationToken::new()));
    address
}

/// A kubelet that knows one container: it says what it was asked, and echoes the stream that it is given.
async fn kubelet() -> Endpoint {
    let identity = Identity::made("127.0.0.1").unwrap();
    let tls = Tls::new(TlsOptions::http(identity, ClientAuth::None)).unwrap();
    let address = serve(Some(tls), |mut request| async move {
        let path = request.uri().to_string();
        if !request.headers().contains_key(header::UPGRADE) {
            let mut answer = kinit_serving::text(StatusCode::OK, path);
            answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/elsewhere"));
            return answer;
        }
        if path.contains("gone") {
            return kinit_serving::text(StatusCode::NOT_FOUND, "container not found (\"gone\")\n");
        }
        let mut answer = kinit_serving::text(StatusCode::SWITCHING_PROTOCOLS, "");
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        for name in ["upgrade", "x-stream-protocol-version"] {
            if let Some(value) = request.headers().get(name) {
                answer.headers_mut().insert(name, value.clone());
            }
        }
        tokio::spawn(async move {
            let mut stream = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        answer
    })
    .await;
    Endpoint { host: address.ip().to_string(), port: address.port(), security: Security::Kubelet }
}

/// A server that relays everything to the kubelet.
async fn front() -> SocketAddr {
    let endpoint = kubelet().await;
    let options = KubeletOptions {
        kubelet_client_certificate: None,
        kubelet_client_key: None,
        kubelet_certificate_authority: None,
        kubelet_preferred_address_types: Vec::new(),
    };
    let backend = Backend::new(options).unwrap();
    serve(None, move |request| {
        let (backend, endpoint, request) = (backend.clone(), endpoint.clone(), request.map(Received::new));
        async move {
            let path = request.uri().to_string();
            let streams = Streams { stdout: true, ..Streams::default() };
            let answer = match path.split('/').nth(1) {
                Some("exec") => streams::run(&backend, endpoint, path, streams, request).await,
                Some("ports") => streams::forward_ports(&backend, endpoint, path, request).await,
                _ => proxy::run(&backend, endpoint, 1, request).await,
            };
            answer.unwrap_or_else(|error| crate::handlers::error_response(&error))
        }
    })
    .await
}

/// Sends a request's head and reads the answer's.
async fn ask(request: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(front().await).await.unwrap();
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (String::from_utf8(head).unwrap(), stream)
}

async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    all
}

const WEBSOCKET: &str = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol:";

#[tokio::test]
async fn spdy_passes_as_it_is() {
    let (head, mut stream) = ask(
        "POST /exec/a HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: SPDY/3.1\nX-Stream-Protocol-Version: v4\n\n",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("x-stream-protocol-version: v4"), "{head}");
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(rest(stream).await, b"hello");
}

#[tokio::test]
async fn who_asks_for_no_upgrade_is_told() {
    let (head, stream) = ask("POST /exec/a HTTP/1.1\nHost: x\nConnection: close\n\n").await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(String::from_utf8(rest(stream).await).unwrap().contains("Upgrade request required"));
}

#[tokio::test]
async fn a_refused_exec_is_told_as_its_outcome() {
    let (head, stream) = ask(&format!("GET /exec/gone HTTP/1.1\nHost: x\n{WEBSOCKET} v5.channel.k8s.io\n\n")).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-protocol: v5.channel.k8s.io"), "{head}");
    let said = String::from_utf8_lossy(&rest(stream).await).into_owned();
    assert!(said.contains("unable to upgrade connection: container not found (\\\"gone\\\")"), "{said}");
}

#[tokio::test]
async fn ports_are_forwarded_inside_messages() {
    let (head, mut stream) =
        ask(&format!("GET /ports/a HTTP/1.1\nHost: x\n{WEBSOCKET} SPDY/3.1+portforward.k8s.io\n\n")).await;
    assert!(head.contains("sec-websocket-protocol: SPDY/3.1+portforward.k8s.io"), "{head}");
    stream.write_all(&websocket::masked(0x82, b"hello")).await.unwrap();
    assert!(rest(stream).await.starts_with(b"\x82\x05hello"));
}

#[tokio::test]
async fn a_proxied_request_keeps_its_path_and_query() {
    let (head, _) = ask("GET /proxy HTTP/1.1\nHost: x\n\n").await;
    assert!(head.starts_with("HTTP/1.1 301") && head.contains("location: /proxy/\r\n"), "{head}");
    let (head, stream) = ask("GET /proxy/a/b?c=d HTTP/1.1\nHost: x\nConnection: close\n\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("location: /proxy/elsewhere\r\n"), "{head}");
    assert_eq!(rest(stream).await, b"/a/b?c=d");
}
