//! The one HTTPS client for what the cluster's configuration names: admission and conversion webhooks, aggregated servers.
//!
//! Connections are HTTP/1.1, because that spreads calls over backends, and are kept for the next call. Answers are bounded.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use kinit_pki::kubeconfig::User;
use kinit_serving::trust::{anchored, any_server, refusal};
use kinit_serving::{Body, full};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

use super::answer::Answer;
use crate::dial;

/// The largest answer that is read.
const MAX_ANSWER: usize = 8 << 20;
/// How often a busy server is asked again.
const MOST_RETRIES: usize = 10;
/// Idle connections to one target, targets with any, and how long a connection may idle.
const IDLE_PER_TARGET: usize = 16;
const IDLE_TARGETS: usize = 256;
const IDLE_FOR: Duration = Duration::from_secs(60);
/// Where systems keep the authorities that they trust.
const SYSTEM_AUTHORITIES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Whom a server's certificate has to be vouched for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Authorities in PEM; the system's where there are none.
    Authorities(Bytes),
    /// Nobody.
    Anyone,
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host and port that are dialled, or why nobody can tell.
    pub address: Result<(String, u16), String>,
    /// `host:port`, or the host alone, as the URL and the `Host` header have it.
    pub authority: String,
    /// The name that the certificate has to be for.
    pub server_name: String,
    pub trust: Trust,
}

/// Why a call had no answer.
enum Failure {
    Transport(String),
    /// It had begun.
    Body(String),
}

struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

/// The certificate and the key that are shown to servers.
#[derive(Clone)]
pub enum Identity {
    /// Read for each connection, as they are renewed.
    Files(PathBuf, PathBuf),
    Pem(String, String),
}

/// What every request says of who asks.
#[derive(Clone)]
pub enum Authorization {
    /// A header as it stands.
    Header(HeaderValue),
    /// A bearer token, read for each request, as it is renewed.
    TokenFile(PathBuf),
}

/// Calls servers. Cheap to clone; clones share their connections.
#[derive(Clone, Default)]
pub struct Client {
    identity: Option<Identity>,
    authorization: Option<Authorization>,
    idle: Arc<Mutex<HashMap<Target, Vec<Idle>>>>,
}

impl Authorization {
    fn bearer(token: &str) -> anyhow::Result<Self> {
        Ok(Self::Header(HeaderValue::try_from(format!("Bearer {token}"))?))
    }

    fn header(&self) -> Result<HeaderValue, String> {
        match self {
            Self::Header(value) => Ok(value.clone()),
            Self::TokenFile(file) => {
                let told = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
                let token = std::fs::read_to_string(file).map_err(|error| told(&error))?;
                HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|error| told(&error))
            }
        }
    }
}

impl Client {
    /// A client that shows a certificate.
    pub fn with_identity(certificate: PathBuf, key: PathBuf) -> Self {
        Self { identity: Some(Identity::Files(certificate, key)), ..Self::default() }
    }

    /// A client that shows a certificate, or a header, or neither.
    pub fn new(identity: Option<Identity>, authorization: Option<Authorization>) -> Self {
        Self { identity, authorization, idle: Arc::default() }
    }

    /// A client that shows what the user of a kubeconfig shows: its certificate, and its token or its password.
    pub fn of_user(user: &User) -> anyhow::Result<Self> {
        let identity = match (&user.client_certificate, &user.client_key) {
            (Some(certificate), Some(key)) => Some(Identity::Files(certificate.clone(), key.clone())),
            _ => user.certificate_pem()?.map(|(certificate, key)| Identity::Pem(certificate, key)),
        };
        let authorization = match (&user.token, &user.token_file, &user.username) {
            (Some(token), ..) => Some(Authorization::bearer(token)?),
            (None, Some(file), _) => Some(Authorization::TokenFile(file.clone())),
            (None, None, Some(name)) => {
                let pair = BASE64.encode(format!("{name}:{}", user.password.as_deref().unwrap_or_default()));
                Some(Authorization::Header(HeaderValue::try_from(format!("Basic {pair}"))?))
            }
            (None, None, None) => None,
        };
        Ok(Self::new(identity, authorization))
    }

    #[cfg(test)]
    pub fn shown(&self) -> Option<String> {
        let value = self.authorization.as_ref()?.header().unwrap();
        Some(value.to_str().unwrap().to_owned())
    }

    /// Posts JSON and gives the body of a success. The error says what failed, as [`Client::send`] and [`Answer`] tell it.
    pub async fn post(&self, target: &Target, path: &str, body: Bytes, timeout: Duration) -> Result<Bytes, String> {
        self.send(target, path, body, timeout).await?.success()
    }

    /// Posts JSON, again where the server is busy and says when it will not be. The error says why there is no answer, in
    /// Go's words, because clients match on them.
    pub async fn send(&self, target: &Target, path: &str, body: Bytes, timeout: Duration) -> Result<Answer, String> {
        let call = async {
            for _ in 0..MOST_RETRIES {
                let answer = self.call(target, Method::POST, path, &[], &body).await?;
                let Some(wait) = answer.retry_after else { return Ok(answer) };
                tokio::time::sleep(wait).await;
            }
            self.call(target, Method::POST, path, &[], &body).await
        };
        match tokio::time::timeout(timeout, call).await {
            Ok(result) => result.map_err(|error| error.shown(target, path)),
            Err(_) => Err(Failure::Transport("context deadline exceeded".to_owned()).shown(target, path)),
        }
    }

    /// A GET whose answer is read whole, with headers that say for whom it is.
    pub async fn get(
        &self,
        target: &Target,
        path: &str,
        headers: &[(&'static str, &'static str)],
        timeout: Duration,
    ) -> Result<(http::StatusCode, Bytes), String> {
        match tokio::time::timeout(timeout, self.call(target, Method::GET, path, headers, &Bytes::new())).await {
            Ok(Ok(answer)) => Ok((answer.status, answer.body)),
            Ok(Err(Failure::Transport(why) | Failure::Body(why))) => Err(why),
            Err(_) => Err("context deadline exceeded".to_owned()),
        }
    }

    async fn call(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        headers: &[(&'static str, &'static str)],
        body: &Bytes,
    ) -> Result<Answer, Failure> {
        let make = || {
            let mut request = request(target, &method, path, body.clone())?;
            for (name, value) in headers {
                request.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            if let Some(authorization) = &self.authorization {
                request.headers_mut().insert(header::AUTHORIZATION, authorization.header()?);
            }
            Ok(request)
        };
        let (response, sender) = self.exchange(target, make).await.map_err(Failure::Transport)?;
        let (parts, incoming) = response.into_parts();
        let collected = Limited::new(incoming, MAX_ANSWER).collect().await.map_err(|error| {
            let cut =
                dial::broken(&*error, None).map(|why| if why == "EOF" { "unexpected EOF".to_owned() } else { why });
            Failure::Body(cut.unwrap_or_else(|| error.to_string()))
        })?;
        self.keep(target, sender);
        Ok(Answer::new(parts.status, &parts.headers, collected.to_bytes()))
    }

    /// Sends over a kept connection, or a new one where none is left or the kept one has just ended.
    async fn exchange(
        &self,
        target: &Target,
        make: impl Fn() -> Result<Request<Body>, String>,
    ) -> Result<(Response<Incoming>, SendRequest<Body>), String> {
        while let Some(mut sender) = self.take(target) {
            // A request that was not sent is safe to send again; one that was may have been acted on.
            match sender.try_send_request(make()?).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => {
                    if error.take_message().is_none() {
                        return Err(told(&error.into_error()));
                    }
                }
            }
        }
        let mut sender = self.open(target).await?;
        let response = sender.send_request(make()?).await.map_err(|error| told(&error))?;
        Ok((response, sender))
    }

    fn take(&self, target: &Target) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock();
        let kept = idle.get_mut(target)?;
        while let Some(connection) = kept.pop() {
            if connection.since.elapsed() < IDLE_FOR && connection.sender.is_ready() {
                return Some(connection.sender);
            }
        }
        None
    }

    fn keep(&self, target: &Target, sender: SendRequest<Body>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.len() >= IDLE_TARGETS && !idle.contains_key(target) {
            idle.clear();
        }
        let kept = idle.entry(target.clone()).or_default();
        kept.retain(|connection| connection.since.elapsed() < IDLE_FOR && !connection.sender.is_closed());
        if kept.len() < IDLE_PER_TARGET {
            kept.push(Idle { sender, since: Instant::now() });
        }
    }

    /// A new connection, over which an upgrade may be asked for too.
    pub async fn open(&self, target: &Target) -> Result<SendRequest<Body>, String> {
        let (host, port) = target.address.as_ref().map_err(Clone::clone)?;
        let stream = dial::dial(host, *port).await?;
        let ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
        let name = ServerName::try_from(target.server_name.clone()).map_err(|error| error.to_string())?;
        let config = self.tls(&target.trust)?;
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| dial::broken(&error, ends).unwrap_or_else(|| refusal(&error)))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    fn tls(&self, trust: &Trust) -> Result<ClientConfig, String> {
        let text = |error: rustls::Error| error.to_string();
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(text)?;
        let judge = match trust {
            Trust::Authorities(pem) => anchored(authorities(pem)?, provider),
            Trust::Anyone => any_server(provider),
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(judge);
        let (chain, key) = match &self.identity {
            None => return Ok(builder.with_no_client_auth()),
            Some(Identity::Files(certificate, key)) => (
                kinit_serving::tls::read_certificates(certificate).map_err(|error| error.to_string())?,
                kinit_serving::tls::read_key(key).map_err(|error| error.to_string())?,
            ),
            Some(Identity::Pem(certificate, key)) => (
                CertificateDer::pem_slice_iter(certificate.as_bytes())
                    .collect::<Result<_, _>>()
                    .map_err(|error| error.to_string())?,
                PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| error.to_string())?,
            ),
        };
        builder.with_client_auth_cert(chain, key).map_err(text)
    }
}

fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let system;
    let pem = if pem.is_empty() {
        system = SYSTEM_AUTHORITIES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
        &system
    } else {
        pem
    };
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("unable to load root certificates: {error}"))
}

fn request(target: &Target, method: &Method, path: &str, body: Bytes) -> Result<Request<Body>, String> {
    let json = HeaderValue::from_static("application/json");
    let builder = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, &target.authority)
        .header(header::ACCEPT, "application/json, */*")
        .header(header::USER_AGENT, "kube-apiserver-admission");
    let builder = if body.is_empty() { builder } else { builder.header(header::CONTENT_TYPE, json) };
    builder.body(full(body)).map_err(|error| error.to_string())
}

fn told(error: &hyper::Error) -> String {
    dial::broken(error, None).unwrap_or_else(|| error.to_string())
}

impl Failure {
    fn shown(self, target: &Target, path: &str) -> String {
        match self {
            Self::Transport(why) => format!("Post \"https://{}{path}\": {why}", target.authority),
            Self::Body(why) => {
                format!("unexpected error when reading response body. Please retry. Original error: {why}")
            }
        }
    }
}
