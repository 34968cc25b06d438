//! Speaking HTTP/1.1 to a kubelet, a pod or a node, and joining two upgraded connections.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kinit_api::status::Status;
use kinit_serving::Body;
use kinit_serving::draining::Received;
use kinit_serving::trust::{anchored, any_server, refusal};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::target::{Endpoint, Security};
use crate::dial;
use crate::options::KubeletOptions;
use crate::server::Running;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to backends. Cheap to clone.
#[derive(Clone)]
pub struct Backend {
    options: Arc<KubeletOptions>,
    unchecked: Arc<ClientConfig>,
}

impl Backend {
    /// Reads the files once, so that a missing one is told at start. They are read again for each connection, as their
    /// contents change when certificates are renewed.
    pub fn new(options: KubeletOptions) -> anyhow::Result<Self> {
        kubelet_tls(&options, true)?;
        Ok(Self { options: Arc::new(options), unchecked: Arc::new(unchecked()?) })
    }

    /// The order in which a node's addresses are tried.
    pub fn preferred_address_types(&self) -> &[String] {
        &self.options.kubelet_preferred_address_types
    }

    /// Sends a request and gives the answer's head; its body follows as it comes. The error says what failed.
    pub async fn send(&self, endpoint: &Endpoint, request: Request<Body>) -> Result<Response<Incoming>, String> {
        let stream = connect(endpoint).await?;
        let config = match endpoint.security {
            Security::Plain => return exchange(stream, request).await,
            Security::Tls => self.unchecked.clone(),
            Security::Kubelet => self.kubelet(true)?,
            Security::UncheckedKubelet => self.kubelet(false)?,
        };
        secured(endpoint, stream, config, request).await
    }

    fn kubelet(&self, check: bool) -> Result<Arc<ClientConfig>, String> {
        kubelet_tls(&self.options, check).map(Arc::new).map_err(|error| format!("{error:#}"))
    }
}

/// Asks somebody over TLS for a path, whoever vouches for its certificate. The error says what failed.
pub async fn ask_unchecked(endpoint: &Endpoint, path: &str) -> Result<Response<Incoming>, String> {
    let request = get(endpoint, path).map_err(|status| status.message)?;
    let config = unchecked().map_err(|error| format!("{error:#}"))?;
    secured(endpoint, connect(endpoint).await?, Arc::new(config), request).await
}

async fn connect(endpoint: &Endpoint) -> Result<TcpStream, String> {
    let dialled = tokio::time::timeout(CONNECT_TIMEOUT, dial::dial(&endpoint.host, endpoint.port)).await;
    dialled.map_err(|_| format!("dial tcp {}: i/o timeout", authority(endpoint)))?
}

async fn secured(
    endpoint: &Endpoint,
    stream: TcpStream,
    config: Arc<ClientConfig>,
    request: Request<Body>,
) -> Result<Response<Incoming>, String> {
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(config);
    let secured = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream)).await;
    let secured = secured.map_err(|_| format!("{}: the TLS handshake took too long", authority(endpoint)))?;
    exchange(secured.map_err(|error| refusal(&error))?, request).await
}

/// `host:port`, with brackets where the host is an IPv6 address.
pub fn authority(endpoint: &Endpoint) -> String {
    let Endpoint { host, port, .. } = endpoint;
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

async fn exchange<S>(stream: S, request: Request<Body>) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(|error| error.to_string())
}

fn kubelet_tls(options: &KubeletOptions, check: bool) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let judge = match options.kubelet_certificate_authority.as_ref().filter(|_| check) {
        Some(path) => anchored(kinit_serving::tls::read_certificates(path)?, provider),
        None => any_server(provider),
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(judge);
    match (&options.kubelet_client_certificate, &options.kubelet_client_key) {
        (Some(certificate), Some(key)) => {
            let chain = kinit_serving::tls::read_certificates(certificate)?;
            let key = kinit_serving::tls::read_key(key)?;
            builder.with_client_auth_cert(chain, key).with_context(|| shown(certificate))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn shown(path: &Path) -> String {
    format!("--kubelet-client-certificate {}", path.display())
}

fn unchecked() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(any_server(provider)).with_no_client_auth())
}

/// A request for a backend.
pub fn request(method: Method, path: &str, headers: HeaderMap, body: Body) -> Result<Request<Body>, Status> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() =
        path.parse().map_err(|error| Status::bad_request(format!("{path:?} cannot be relayed: {error}")))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// A plain request for a kubelet.
pub fn get(endpoint: &Endpoint, path: &str) -> Result<Request<Body>, Status> {
    request(Method::GET, path, forwarded(&HeaderMap::new(), endpoint, false), kinit_serving::full(""))
}

/// Headers of a message that belong to one connection only.
const HOP: &[HeaderName] = &[
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A client's headers as a backend gets them: without its credentials and, unless the connection is to be upgraded,
/// without those of its own connection.
pub fn forwarded(headers: &HeaderMap, endpoint: &Endpoint, upgrade: bool) -> HeaderMap {
    let mut out = headers.clone();
    out.remove(header::AUTHORIZATION);
    out.remove(header::HOST);
    if !upgrade {
        HOP.iter().for_each(|name| {
            out.remove(name);
        });
    }
    if let Ok(host) = authority(endpoint).parse() {
        out.insert(header::HOST, host);
    }
    out
}

/// A backend's answer as it goes to the client.
pub fn answer(response: Response<Incoming>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    HOP.iter().for_each(|name| {
        parts.headers.remove(name);
    });
    // The connection to the client may be of another version than the one to the backend.
    parts.version = http::Version::HTTP_11;
    Response::from_parts(parts, body.map_err(Into::into).boxed_unsync())
}

/// Whether the backend took the upgrade.
pub fn switched(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// Answers the client as the backend did, and joins the two connections.
pub fn join(mut request: Request<Received>, mut response: Response<Incoming>) -> Response<Body> {
    let mut reply = Response::new(kinit_serving::full(""));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.headers_mut().clone_from(response.headers());
    let running = request.extensions_mut().remove::<Running>();
    let (ours, theirs) = (hyper::upgrade::on(request), hyper::upgrade::on(&mut response));
    tokio::spawn(async move {
        let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) else { return };
        kinit_serving::join::join(TokioIo::new(ours), TokioIo::new(theirs)).await;
        drop(running);
    });
    reply
}
