//! The accept loop: TCP, TLS, HTTP/1.1 and HTTP/2, with bounds and a graceful end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::tls::Tls;

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
    /// The client's verified chain, leaf first; empty without a client certificate or without TLS.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

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

impl Default for Limits {
    fn default() -> Self {
        Self {
            http2_streams: 1000,
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
}

impl Listener {
    /// Binds `address`; port 0 asks the kernel for a free one. The error names the address.
    pub async fn bind(address: SocketAddr, tls: Option<Tls>) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
        let socket = TcpListener::bind(address).await.map_err(named)?;
        let address = socket.local_addr().map_err(named)?;
        Ok(Self { socket, address, tls })
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
        Ok(Self { socket, address, tls })
    }

    /// The address that clients reach, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then drains. `service` is cloned for each connection.
    pub async fn serve<S, B>(self, service: S, limits: Limits, shutdown: CancellationToken)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<crate::BoxError>,
    {
        if let Some(tls) = &self.tls {
            tokio::spawn(tls.clone().follow(shutdown.clone()));
        }
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let graceful = Arc::new(GracefulShutdown::new());
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT).keep_alive(true);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams)
            .keep_alive_interval(limits.keep_alive)
            .keep_alive_timeout(limits.keep_alive_timeout);
        let http = Arc::new(http);

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
            let connection =
                Connection { stream, address, tls: self.tls.clone(), http: http.clone(), watcher: graceful.watcher() };
            let service = service.clone();
            tokio::spawn(async move {
                connection.run(service).await;
                drop(slot);
            });
        }

        drop(self.socket);
        let Ok(graceful) = Arc::try_unwrap(graceful) else { return };
        if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
            tracing::debug!("connections still open after the drain time");
        }
    }
}

struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Tls>,
    http: Arc<auto::Builder<TokioExecutor>>,
    watcher: hyper_util::server::graceful::Watcher,
}

impl Connection {
    async fn run<S, B>(self, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<crate::BoxError>,
    {
        let _ = self.stream.set_nodelay(true);
        let Some(tls) = self.tls else {
            let peer = Peer { address: self.address, certificates: Arc::from([]), tls: false };
            let service = WithPeer { service, peer };
            let connection = self.http.serve_connection_with_upgrades(TokioIo::new(self.stream), service);
            finish(self.address, self.watcher.watch(connection.into_owned()).await);
            return;
        };
        let acceptor = tokio_rustls::TlsAcceptor::from(tls.config());
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(self.stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(peer = %self.address, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(peer = %self.address, "TLS handshake took too long"),
        };
        let certificates: Vec<_> = stream
            .get_ref()
            .1
            .peer_certificates()
            .map(|chain| chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
            .unwrap_or_default();
        let peer = Peer { address: self.address, certificates: certificates.into(), tls: true };
        let service = WithPeer { service, peer };
        let connection = self.http.serve_connection_with_upgrades(TokioIo::new(stream), service);
        finish(self.address, self.watcher.watch(connection.into_owned()).await);
    }
}

fn finish(peer: SocketAddr, result: Result<(), crate::BoxError>) {
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
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
