//! Requests over TLS with a kubeconfig's credentials.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kinit_pki::Kubeconfig;
use kinit_serving::trust::any_server;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{Api, Error, PATIENCE, Verb};

/// An answer that takes longer is given up, unless whoever asks is more patient than usual.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Answers longer than this are refused: nothing that a bootstrapper reads is.
const LIMIT: usize = 32 << 20;

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Whose certificates are believed.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Those signed by these CAs, PEM.
    Authorities(String),
    /// Those that this host believes.
    Host,
    /// Any: for the one request whose answer is checked by other means.
    Anyone,
}

/// The API at a URL.
pub struct KubeApi {
    source: Source,
    connection: OnceCell<Connection>,
    patience: Duration,
}

enum Source {
    /// A file, and the URL to use in place of the one in it.
    File(PathBuf, Option<String>),
    Given(Box<Connection>),
}

#[derive(Clone)]
struct Connection {
    url: String,
    token: Option<String>,
    client: HttpClient,
}

impl KubeApi {
    /// The API that the kubeconfig at `path` points to. The file is read when it is first needed.
    pub fn from_file(path: PathBuf) -> Self {
        Self { source: Source::File(path, None), connection: OnceCell::new(), patience: PATIENCE }
    }

    /// The API at `url`, with the credentials in the kubeconfig at `path`. The file is read when it is first needed.
    pub fn from_file_at(path: PathBuf, url: &str) -> Self {
        Self { source: Source::File(path, Some(url.to_owned())), connection: OnceCell::new(), patience: PATIENCE }
    }

    /// The API that a kubeconfig points to.
    pub fn from_kubeconfig(config: &Kubeconfig) -> Result<Self, Error> {
        Ok(Self {
            source: Source::Given(Box::new(Connection::from_kubeconfig(config)?)),
            connection: OnceCell::new(),
            patience: PATIENCE,
        })
    }

    /// The API at `url`, with no credentials but perhaps a bearer token.
    pub fn new(url: &str, trust: &Trust, token: Option<String>) -> Result<Self, Error> {
        Ok(Self {
            source: Source::Given(Box::new(Connection::new(url, trust, None, token)?)),
            connection: OnceCell::new(),
            patience: PATIENCE,
        })
    }

    /// The same for a cluster that may take this long to come up, in place of a minute.
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    async fn connection(&self) -> Result<&Connection, Error> {
        self.connection
            .get_or_try_init(|| async {
                match &self.source {
                    Source::File(path, url) => {
                        let mut connection = Connection::from_kubeconfig(&Kubeconfig::load(path)?)?;
                        if let Some(url) = url {
                            connection.url = url.trim_end_matches('/').to_owned();
                        }
                        Ok(connection)
                    }
                    Source::Given(connection) => Ok(connection.as_ref().clone()),
                }
            })
            .await
    }
}

impl Connection {
    fn from_kubeconfig(config: &Kubeconfig) -> Result<Self, Error> {
        let (cluster, user) = config.current()?;
        let ca = cluster.ca_pem()?.unwrap_or_default();
        let certificate = user.map(|user| user.certificate_pem()).transpose()?.flatten();
        let token = user.map(|user| user.bearer_token()).transpose()?.flatten();
        Self::new(&cluster.server, &Trust::Authorities(ca), certificate, token)
    }

    fn new(
        url: &str,
        trust: &Trust,
        certificate: Option<(String, String)>,
        token: Option<String>,
    ) -> Result<Self, Error> {
        let fail = |reason: String| Error::Unreachable { url: url.to_owned(), reason };
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| fail(error.to_string()))?;
        let builder = match trust {
            Trust::Authorities(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let certificate = certificate.map_err(|error| fail(format!("its CA: {error}")))?;
                    roots.add(certificate).map_err(|error| fail(format!("its CA: {error}")))?;
                }
                builder.with_root_certificates(roots)
            }
            Trust::Host => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                builder.with_root_certificates(roots)
            }
            Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(any_server(provider)),
        };
        let tls = match certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| fail(format!("its client certificate: {error}")))?;
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                    .map_err(|error| fail(format!("its client key: {error}")))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| fail(error.to_string()))?
            }
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { url: url.trim_end_matches('/').to_owned(), token, client })
    }

    /// The status and the body of an answer that comes within `limit`.
    async fn send(&self, request: Request<Full<Bytes>>, limit: Duration) -> Result<(u16, Bytes), Error> {
        let unreachable = |reason: String| Error::Unreachable { url: self.url.clone(), reason };
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| unreachable(chain(&error)))?;
            let code = answer.status().as_u16();
            let body = http_body_util::Limited::new(answer.into_body(), LIMIT)
                .collect()
                .await
                .map_err(|error| unreachable(error.to_string()))?;
            Ok((code, body.to_bytes()))
        };
        tokio::time::timeout(limit, exchange)
            .await
            .map_err(|_| unreachable(format!("it did not answer within {}s", limit.as_secs())))?
    }
}

/// The text at an https URL whose server this host believes.
pub async fn download(url: &str) -> Result<String, Error> {
    let connection = Connection::new(url, &Trust::Host, None, None)?;
    let unreachable = |reason: String| Error::Unreachable { url: url.to_owned(), reason };
    let request = Request::builder().uri(url).body(Full::new(Bytes::new()));
    let request = request.map_err(|error| unreachable(error.to_string()))?;
    let (code, bytes) = connection.send(request, TIMEOUT).await?;
    if code != 200 {
        return Err(unreachable(format!("it answers with status {code}")));
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| unreachable("what is there is no text".into()))
}

#[async_trait]
impl Api for KubeApi {
    fn patience(&self) -> Duration {
        self.patience
    }

    async fn call(&self, verb: Verb, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let connection = self.connection().await?;
        let unreachable = |reason: String| Error::Unreachable { url: connection.url.clone(), reason };
        let (method, content_type) = match verb {
            Verb::Get => (Method::GET, "application/json"),
            Verb::Post => (Method::POST, "application/json"),
            Verb::Put => (Method::PUT, "application/json"),
            Verb::MergePatch => (Method::PATCH, "application/merge-patch+json"),
            Verb::StrategicPatch => (Method::PATCH, "application/strategic-merge-patch+json"),
            Verb::Delete => (Method::DELETE, "application/json"),
        };
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", connection.url))
            .header(ACCEPT, "application/json")
            .header(http::header::USER_AGENT, concat!("kinit/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &connection.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let bytes = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, content_type);
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(bytes)).map_err(|error| unreachable(error.to_string()))?;
        let (code, bytes) = connection.send(request, TIMEOUT.max(self.patience / 4)).await?;
        let value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        if (200..300).contains(&code) {
            return Ok(value);
        }
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let message = if value.is_string() { value.as_str().unwrap_or_default().to_owned() } else { text("message") };
        let method = match verb {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::MergePatch | Verb::StrategicPatch => "PATCH",
            Verb::Delete => "DELETE",
        };
        Err(Error::Refused { method, path: path.to_owned(), code, reason: text("reason"), message })
    }
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// How far this host's clock is from that of the server at `url`, to the second. Nothing secret is asked or believed.
pub async fn clock_skew(url: &str) -> Option<Duration> {
    let connection = Connection::new(url, &Trust::Anyone, None, None).ok()?;
    let request = Request::builder().uri(format!("{url}/livez")).body(Full::new(Bytes::new())).ok()?;
    let answer = tokio::time::timeout(Duration::from_secs(5), connection.client.request(request)).await.ok()?.ok()?;
    let date = answer.headers().get(http::header::DATE)?.to_str().ok()?;
    let there = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    Some(Duration::from_secs(there.as_second().abs_diff(jiff::Timestamp::now().as_second())))
}
