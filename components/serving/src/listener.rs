//! The accept loop: TCP, TLS, HTTP/1.1 and HTTP/2, with bounds and a graceful end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gather;
use crate::tls::Tls;
pub use crate::transport::Transport;

/// A peer has this long to finish its TLS handshake and to send its first request's headers.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections beyond this wait in the kernel's backlog until one ends.
const MAX_CONNECTIONS: usize = 20_000;

/// Connections that wait to be accepted, as the standard library takes.
const BACKLOG: u32 = 1024;

/// Who is on the other side; in each request's extensions.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// The client's chain, leaf first, verified unless the server takes whatever comes; empty without a client certificate or
    /// without TLS.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// When this is cancelled, the connection takes no new requests and ends with those that it has.
    pub leave: CancellationToken,
}

/// Streams that a connection has usually.
const MOST_STREAMS: u32 = 1000;

/// Bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams that one HTTP/2 connection may have open.
    pub http2_streams: u32,
    /// After shutdown begins, connections with requests under way have this long before they are dropped.
    pub drain: Duration,
    /// How often a quiet HTTP/2 client is asked whether it is there; never without.
    pub keep_alive: Option<Duration>,
    /// How long its answer may take.
    pub keep_alive_timeout: Duration,
}

impl Limits {
    /// Streams of a connection that its client may have given up before they are taken up, with which it is closed. Who serves
    /// many cancels as many calls at once when these go, so a few must not end the others. The rule is that of Go's server,
    /// four times the streams that may be open; a client of etcd has no bound of those.
    pub fn given_up_streams(&self) -> usize {
        4 * self.http2_streams.min(MOST_STREAMS) as usize
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            http2_streams: MOST_STREAMS,
            drain: Duration::from_secs(5),
            keep_alive: Some(Duration::from_secs(30)),
            keep_alive_timeout: Duration::from_secs(15),
        }
    }
}

/// A bound socket, not yet serving.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    failures: Arc<Failures>,
}

/// Connections of one listener that came to nothing.
#[derive(Debug, Default)]
pub struct Failures {
    handshakes: AtomicU64,
}

impl Failures {
    /// TLS handshakes that failed or took too long.
    pub fn handshakes(&self) -> u64 {
        self.handshakes.load(Ordering::Relaxed)
    }
}

impl Listener {
    /// Binds `address`; port 0 asks the kernel for a free one. The error names the address.
    pub async fn bind(address: SocketAddr, tls: Option<Tls>) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
        let socket = TcpListener::bind(address).await.map_err(named)?;
        let address = socket.local_addr().map_err(named)?;
        Ok(Self { socket, address, tls, failures: Arc::default() })
    }

    /// Binds `address`, which other processes may have bound in the same way: the kernel shares connections out.
    pub fn bind_shared(address: SocketAddr, tls: Option<Tls>) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
        let bind = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.set_reuseport(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        let socket = bind().map_err(named)?;
        let address = socket.local_addr().map_err(named)?;
        Ok(Self { socket, address, tls, failures: Arc::default() })
    }

    /// Where failures are counted, also while it serves.
    pub fn failures(&self) -> Arc<Failures> {
        self.failures.clone()
    }

    /// The address that clients reach, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves HTTP until `shutdown`, then drains. `service` is cloned for each connection.
    pub async fn serve<S, B>(self, service: S, limits: Limits, shutdown: CancellationToken)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<crate::BoxError>,
    {
        self.speak(Http::new(service, limits), limits.drain, shutdown).await;
    }

    /// Accepts connections until `shutdown` and lets `protocol` run each of them; then waits for their ends, but not
    /// longer than `drain`.
    pub async fn speak(self, protocol: impl Protocol, drain: Duration, shutdown: CancellationToken) {
        if let Some(tls) = &self.tls {
            tokio::spawn(tls.clone().follow(shutdown.clone()));
        }
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { break };
            let (stream, address) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.socket.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Running out of file descriptors passes; a busy loop would keep it from passing.
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let (tls, protocol, shutdown) = (self.tls.clone(), protocol.clone(), shutdown.clone());
            let failures = self.failures.clone();
            connections.spawn(async move {
                match greet(stream, address, tls).await {
                    Some((transport, peer)) => protocol.run(transport, peer, shutdown).await,
                    None => {
                        failures.handshakes.fetch_add(1, Ordering::Relaxed);
                    }
                }
                drop(slot);
            });
        }

        drop(self.socket);
        connections.close();
        if tokio::time::timeout(drain, connections.wait()).await.is_err() {
            tracing::debug!("connections still open after the drain time");
        }
    }
}

/// Does the handshake, if there is one.
async fn greet(stream: TcpStream, address: SocketAddr, tls: Option<Tls>) -> Option<(Transport, Peer)> {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return Some((
            Transport::Plain(stream),
            Peer { address, certificates: Arc::from([]), tls: false, leave: CancellationToken::new() },
        ));
    };
    let local = stream.local_addr().ok().map(|local| local.ip());
    let acceptor = tokio_rustls::TlsAcceptor::from(tls.config(local));
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(peer = %address, %error, "TLS handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!(peer = %address, "TLS handshake took too long");
            return None;
        }
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates: Vec<_> = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
    let peer = Peer { address, certificates: certificates.into(), tls: true, leave: CancellationToken::new() };
    Some((Transport::Tls(Box::new(stream)), peer))
}

/// What is spoken on connections.
pub trait Protocol: Clone + Send + Sync + 'static {
    /// Runs one connection to its end, which it hastens once `shutdown` comes.
    fn run(
        self,
        transport: Transport,
        peer: Peer,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// HTTP/1.1 and HTTP/2, whichever the client begins with.
#[derive(Clone)]
pub struct Http<S> {
    service: S,
    http: Arc<auto::Builder<TokioExecutor>>,
}

impl<S> Http<S> {
    /// `service` is cloned for each connection.
    pub fn new(service: S, limits: Limits) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT).keep_alive(true);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams)
            .max_pending_accept_reset_streams(limits.given_up_streams())
            .keep_alive_interval(limits.keep_alive)
            .keep_alive_timeout(limits.keep_alive_timeout);
        Self { service, http: Arc::new(http) }
    }
}

impl<S, B> Protocol for Http<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<crate::BoxError>,
{
    async fn run(self, transport: Transport, peer: Peer, shutdown: CancellationToken) {
        let (address, leave) = (peer.address, peer.leave.clone());
        let service = WithPeer { service: self.service, peer };
        // What takes a connection of HTTP/1.1 over drives it by itself.
        let gathers = transport.agreed_on_http2();
        let (transport, mut gathering) = gather::gathered(transport, gathers);
        let connection = self.http.serve_connection_with_upgrades(TokioIo::new(transport), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = poll_fn(|context| gathering.poll(connection.as_mut(), context)) => Some(ended),
            () = shutdown.cancelled() => None,
            () = leave.cancelled() => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                poll_fn(|context| gathering.poll(connection.as_mut(), context)).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %address, %error, "connection ended");
        }
    }
}

/// Adds the [`Peer`] to each request of a connection.
#[derive(Clone)]
struct WithPeer<S> {
    service: S,
    peer: Peer,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for WithPeer<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const SETTINGS: u8 = 4;
    const GO_AWAY: u8 = 7;
    const CANCEL: u32 = 8;
    /// GET of / over http, in the table that every client has.
    const GET: &[u8] = &[0x82, 0x84, 0x86, 0x41, 1, b'a'];

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[tokio::test]
    async fn handshakes_that_fail_are_counted() {
        let identity = crate::tls::Identity::made("localhost").unwrap();
        let tls = Tls::new(crate::tls::TlsOptions::http(identity, crate::tls::ClientAuth::None)).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Some(tls)).await.unwrap();
        let (address, failures, shutdown) = (listener.address(), listener.failures(), CancellationToken::new());
        let service = hyper::service::service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::new())))
        });
        let serving = tokio::spawn(listener.serve(service, Limits::default(), shutdown.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        // An end or a reset: either comes when the server is done with it.
        let _ = stream.read_to_end(&mut rest).await;
        shutdown.cancel();
        serving.await.unwrap();
        assert_eq!(failures.handshakes(), 1);
    }

    #[tokio::test]
    async fn calls_that_are_given_up_end_no_connection() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let (address, shutdown) = (listener.address(), CancellationToken::new());
        let service = hyper::service::service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from_static(b"answer"))))
        });
        let serving = tokio::spawn(listener.serve(service, Limits::default(), shutdown.clone()));
        let mut sent = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
        for stream in (1..1000).step_by(2) {
            sent.extend(frame(HEADERS, 5, stream, GET));
            sent.extend(frame(RESET, 0, stream, &CANCEL.to_be_bytes()));
        }
        sent.extend(frame(HEADERS, 5, 1001, GET));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.expect("the connection goes on");
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).await.expect("the connection goes on");
            assert_ne!(head[3], GO_AWAY, "{:?}", String::from_utf8_lossy(&payload));
            if head[3] == DATA && head[5..] == 1001_u32.to_be_bytes() {
                assert_eq!(payload, b"answer");
                break;
            }
        }
        drop(stream);
        shutdown.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_service_has_clients_leave_with_their_answer() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let (address, shutdown) = (listener.address(), CancellationToken::new());
        let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
            request.extensions().get::<Peer>().unwrap().leave.cancel();
            Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from_static(b"answer"))))
        });
        let serving = tokio::spawn(listener.serve(service, Limits::default(), shutdown.clone()));
        let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&[begin, frame(HEADERS, 5, 1, GET)].concat()).await.unwrap();
        let (mut answered, mut told) = (false, false);
        while !(answered && told) {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.expect("it is told and answered before the connection ends");
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).await.unwrap();
            answered |= head[3] == DATA && payload == b"answer";
            told |= head[3] == GO_AWAY && payload[4..8] == [0; 4];
        }
        shutdown.cancel();
        drop(stream);
        serving.await.unwrap();
    }
}
