//! A client that does no more than it must: requests over a few connections of HTTP/2.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kinit_pki::kubeconfig::Kubeconfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

/// Where the server is and who asks it. Clones share connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    address: String,
    name: ServerName<'static>,
    tls: TlsConnector,
    token: Option<String>,
    connections: Vec<Mutex<Option<SendRequest<Full<Bytes>>>>>,
    next: AtomicUsize,
}

/// An answer that is read as it comes.
pub struct Stream {
    body: Incoming,
    rest: BytesMut,
}

/// What a request sends.
pub struct Body<'a> {
    pub kind: &'a str,
    pub bytes: Bytes,
}

impl Client {
    /// A client that spreads what it asks over so many connections.
    pub fn load(kubeconfig: &Path, connections: usize) -> Result<Self> {
        let config = Kubeconfig::load(kubeconfig)?;
        let (cluster, user) = config.current()?;
        let server = url::Url::parse(&cluster.server)?;
        let host = server.host_str().context("the server has no host")?.to_owned();
        let address = format!("{host}:{}", server.port_or_known_default().unwrap_or(443));
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(cluster.ca_pem()?.unwrap_or_default().as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut tls = match user.map(|user| user.certificate_pem()).transpose()?.flatten() {
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?
            }
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let shared = Shared {
            address,
            name: ServerName::try_from(host)?,
            tls: TlsConnector::from(Arc::new(tls)),
            token: user.map(|user| user.bearer_token()).transpose()?.flatten(),
            connections: (0..connections.max(1)).map(|_| Mutex::new(None)).collect(),
            next: AtomicUsize::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A connection, made anew where the last one has gone.
    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>> {
        let shared = &self.shared;
        let at = shared.next.fetch_add(1, Ordering::Relaxed) % shared.connections.len();
        let mut slot = shared.connections[at].lock().await;
        if let Some(sender) = slot.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = TcpStream::connect(&shared.address).await?;
        stream.set_nodelay(true)?;
        let stream = shared.tls.connect(shared.name.clone(), stream).await?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(64 << 20)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        *slot = Some(sender.clone());
        Ok(sender)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<Body<'_>>,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.shared.address))
            .header("accept", accept)
            .header("user-agent", "load");
        if let Some(token) = &self.shared.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(body) = &body {
            request = request.header("content-type", body.kind);
        }
        let request = request.body(Full::new(body.map(|body| body.bytes).unwrap_or_default()))?;
        let mut sender = self.sender().await?;
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&self, method: Method, path: &str, accept: &str, body: Option<Body<'_>>) -> Result<(u16, Bytes)> {
        let answer = async {
            let response = self.send(method, path, accept, body).await?;
            let status = response.status().as_u16();
            Ok::<_, anyhow::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        tokio::time::timeout(Duration::from_secs(120), answer).await.map_err(|_| anyhow!("no answer in two minutes"))?
    }

    /// As [`Self::ask`], where anything but success is an error.
    pub async fn must(&self, method: Method, path: &str, accept: &str, body: Option<Body<'_>>) -> Result<Bytes> {
        let what = format!("{method} {path}");
        match self.ask(method, path, accept, body).await? {
            (200..=299, bytes) => Ok(bytes),
            (status, bytes) => bail!("{what}: {status} {}", String::from_utf8_lossy(&bytes)),
        }
    }

    /// A watch, as its answer comes.
    pub async fn watch(&self, path: &str) -> Result<Stream> {
        let response = self.send(Method::GET, path, "application/json", None).await?;
        if !response.status().is_success() {
            bail!("{path}: {}", response.status());
        }
        Ok(Stream { body: response.into_body(), rest: BytesMut::new() })
    }
}

impl Stream {
    /// The next line, or none when the answer ends.
    pub async fn line(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line = self.rest.split_to(end + 1);
                return Ok(Some(line.freeze()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
