//! The HTTP server: from a connection to a handler and back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::Service;
use kinit_api::status::Status;
use kinit_serving::Body;
use kinit_serving::health::{Health, Scope};
use kinit_serving::listener::{Limits, Listener, Peer};
use kinit_serving::metrics::Metrics;
use kinit_serving::tls::{ClientAuth, Identity, Tls, TlsOptions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::authn::{self, User};
use crate::cache::Cache;
use crate::handlers::{Api, Payload, error_response, json_response};
use crate::options::Options;
use crate::storage::{Etcd, WriteError};
use crate::{authz, discovery, request};

/// The largest body that is read; upstream's limit.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// Namespaces that exist in every cluster.
const SYSTEM_NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// A server that does not listen yet.
pub struct Server {
    options: Options,
    tls: Tls,
    address: watch::Sender<Option<SocketAddr>>,
}

impl Server {
    /// Reads certificates; errors name the file.
    pub fn new(options: Options) -> anyhow::Result<Self> {
        let identity = match (&options.tls_cert_file, &options.tls_private_key_file) {
            (Some(cert), Some(key)) => Identity::Files { cert: cert.clone(), key: key.clone() },
            _ => Identity::SelfSigned { names: vec!["localhost".into(), "127.0.0.1".into()] },
        };
        let client_auth = match &options.client_ca_file {
            Some(ca) => ClientAuth::Optional(vec![ca.clone()]),
            None => ClientAuth::None,
        };
        let tls = Tls::new(TlsOptions::http(identity, client_auth))?;
        Ok(Self { options, tls, address: watch::channel(None).0 })
    }

    /// The address that clients reach, once the server listens.
    pub fn address(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.address.subscribe()
    }

    /// Serves until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let etcd = Etcd::new(&self.options)?;
        let (cache, follow) = Cache::new(etcd.clone(), shutdown.clone());
        let follower = tokio::spawn(follow);
        let address = SocketAddr::new(self.options.bind_address, self.options.secure_port);
        let listener = Listener::bind(address, Some(self.tls)).await.context("--bind-address, --secure-port")?;
        let address = listener.address();
        self.address.send_replace(Some(address));
        tracing::info!(%address, "serving");

        let health = Health::new();
        let synced = cache.clone();
        health.add("etcd", Scope::Ready, move || {
            if synced.synced() { Ok(()) } else { Err("the watch cache has not been filled".into()) }
        });
        let bootstrap = tokio::spawn(make_namespaces(etcd.clone(), shutdown.clone()));
        let front =
            Front { api: Api { etcd, cache }, health, metrics: Metrics::default(), address: address.to_string() };
        listener.serve(front, Limits::default(), shutdown).await;
        bootstrap.await?;
        follower.await?;
        Ok(())
    }
}

/// Makes the namespaces that every cluster has, as soon as etcd answers.
async fn make_namespaces(etcd: Etcd, shutdown: CancellationToken) {
    for name in SYSTEM_NAMESPACES {
        let object = serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": name, "uid": uuid::Uuid::new_v4().to_string(),
                "creationTimestamp": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                "labels": {"kubernetes.io/metadata.name": name},
            },
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        let value = Bytes::from(object.to_string());
        loop {
            match etcd.put(&etcd.key("namespaces", "", name), value.clone(), 0).await {
                Ok(_) | Err(WriteError::Mismatch(_)) => break,
                Err(WriteError::Failed(_)) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        }
    }
}

#[derive(Clone)]
struct Front {
    api: Api,
    health: Health,
    metrics: Metrics,
    address: String,
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let front = self.clone();
        Box::pin(async move { Ok(front.answer(request).await.unwrap_or_else(|error| error_response(&error))) })
    }
}

impl Front {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Status> {
        let user = request.extensions().get::<Peer>().map_or_else(User::anonymous, authn::user);
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let Some(wanted) = request::parse(&parts.method, path, parts.uri.query())? else {
            authz::path_allowed(&user, path)?;
            return self.describe(&parts.method, path, parts.uri.query());
        };
        authz::resource_allowed(&user, &wanted)?;
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let payload = Payload { content_type: content_type.unwrap_or_default().to_owned(), bytes: read(body).await? };
        self.api.handle(&wanted, payload).await
    }

    fn describe(&self, method: &http::Method, path: &str, query: Option<&str>) -> Result<Response<Body>, Status> {
        if method != http::Method::GET && method != http::Method::HEAD {
            return Err(Status::method_not_allowed());
        }
        if let Some(response) = self.health.respond(path, query).or_else(|| self.metrics.respond(path)) {
            return Ok(response);
        }
        let document = discovery::document(path, &self.address).ok_or_else(Status::no_such_path)?;
        Ok(json_response(StatusCode::OK, document.to_string()))
    }
}

async fn read(body: Incoming) -> Result<Bytes, Status> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Status::too_large(MAX_BODY)),
        Err(error) => Err(Status::bad_request(format!("the body could not be read: {error}"))),
    }
}
