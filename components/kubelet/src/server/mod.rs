//! The kubelet's API: logs, exec, attach, port-forward, and figures. The API server is its client.
//!
//! - [`auth`]: who may ask. [`streams`]: exec, attach and port-forward, joined with the runtime's streaming server.
//! - [`logs`]: containers' logs and the host's. [`stats`]: figures, as a summary and as metrics.

mod auth;
mod logs;
mod query;
mod stats;
mod streams;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::ValueEnum;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use kinit_pki::Certificate;
use kinit_serving::listener::{Limits, Listener};
use kinit_serving::metrics::Metrics;
use kinit_serving::tls::{ClientAuth, Identity, MinVersion, Tls, TlsFlags, TlsOptions, keep};
use kinit_serving::zpages::{Flags, Pages};
use kinit_serving::{Body, text};
use tokio_util::sync::CancellationToken;

use crate::certificates::covers;
use crate::certificates::store::Store;
use crate::context::Context;
use crate::error::Result;
use crate::options::Options;
use crate::pod::facts;
use crate::pod::source::Pods;
use crate::pod::state::PodState;
use auth::Gate;
use query::Query;

/// An answer that ends a request early.
type Refusal = Box<Response<Body>>;
type Answer = Result<Response<Body>, Refusal>;

/// What requests are answered from.
struct Api {
    context: Arc<Context>,
    pods: Pods,
    gate: Gate,
    metrics: Metrics,
    pages: Pages,
}

/// Binds the port. The certificate is the configured one. Without it, it is the one in `kubelet-server-current.pem` where the cluster
/// is asked for one, signed by nobody else until it has signed, or else the one in `kubelet.crt`, which is made once for the host's
/// name. A newer one is served when it is there.
pub async fn bind(context: &Context, options: &Options) -> anyhow::Result<Listener> {
    let config = &context.config;
    let identity = match (&config.tls_cert_file, &config.tls_private_key_file) {
        (Some(cert), Some(key)) => Identity::Files { cert: cert.clone(), key: key.clone() },
        _ if !config.server_tls_bootstrap => {
            let (cert, key) = (options.cert_dir.join("kubelet.crt"), options.cert_dir.join("kubelet.key"));
            keep(&cert, &key, || Ok(kinit_pki::self_signed(&context.host_name, &[], &[], jiff::Timestamp::now())?))?;
            Identity::Files { cert, key }
        }
        _ => {
            let store = Store::server(&options.cert_dir);
            let newest = store.newest();
            // One that the cluster has signed stays until it has signed another.
            let fits = |own: &Certificate| covers(own, &[], &[context.node_ip]) || store.signed().is_some();
            if !newest.as_ref().is_some_and(fits) {
                let now = jiff::Timestamp::now();
                let (certificate, key) = kinit_pki::self_signed(&context.host_name, &[], &[context.node_ip], now)?;
                store.put(&certificate, &key)?;
            }
            Identity::Files { cert: store.current(), key: store.current() }
        }
    };
    let ca = config.authentication.x509.client_ca_file.clone().filter(|path| path.exists());
    let clients = ca.map_or(ClientAuth::None, |path| ClientAuth::Optional(vec![path]));
    let mut options = TlsOptions::http(identity, clients);
    let tls_min_version = MinVersion::from_str(&config.tls_min_version, false)
        .map_err(|_| anyhow::anyhow!("tlsMinVersion {:?} is not known", config.tls_min_version))?;
    TlsFlags { tls_cipher_suites: config.tls_cipher_suites.clone(), tls_min_version }.apply(&mut options);
    // Streams are upgraded connections, which only HTTP/1.1 has.
    options.alpn = vec![b"http/1.1".to_vec()];
    let address: SocketAddr = format!("{}:{}", config.address, config.port).parse()?;
    Ok(Listener::bind(address, Some(Tls::new(options)?)).await?)
}

/// The paths that requests may begin with.
const PATHS: [&str; 12] = [
    "/attach",
    "/configz",
    "/containerLogs",
    "/exec",
    "/healthz",
    "/logs",
    "/metrics",
    "/pods",
    "/portForward",
    "/run",
    "/runningpods",
    "/stats",
];

/// Serves until shutdown.
pub async fn serve(listener: Listener, context: Arc<Context>, pods: Pods, flags: Flags, shutdown: CancellationToken) {
    let pages = Pages::new("kubelet", Some(flags), PATHS);
    let api = Arc::new(Api { context, pods, gate: Gate::default(), metrics: Metrics::default(), pages });
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.answer(request).await.unwrap_or_else(|refusal| *refusal)) }
    });
    listener.serve(TowerToHyperService::new(service), Limits::default(), shutdown).await;
}

fn refuse(status: StatusCode, reason: impl std::fmt::Display) -> Refusal {
    Box::new(text(status, format!("{reason}\n")))
}

fn internal(reason: impl std::fmt::Display) -> Refusal {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, reason)
}

fn json(value: &serde_json::Value) -> Response<Body> {
    let mut answer = text(StatusCode::OK, value.to_string());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

impl Api {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.gate.check(&self.context, &request).await?;
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let query = Query::of(&request);
        match parts.as_slice() {
            ["exec", ..] | ["attach", ..] | ["portForward", ..] | ["run", ..] => {
                self.streams(&parts, &query, request).await
            }
            _ if request.method() != Method::GET && request.method() != Method::HEAD => {
                Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed"))
            }
            ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] => Ok(text(StatusCode::OK, "ok")),
            ["pods"] => Ok(self.list()),
            ["runningpods"] => self.running().await,
            ["configz"] => {
                let mut document = self.context.config.document.clone();
                if let Some(map) = document.as_object_mut() {
                    map.retain(|key, _| key != "kind" && key != "apiVersion");
                }
                Ok(json(&serde_json::json!({"kubeletconfig": document})))
            }
            ["containerLogs", namespace, pod, container] => self.logs(&query, namespace, pod, container).await,
            ["logs", rest @ ..] if self.context.config.enable_system_log_handler => {
                logs::of_host(&rest.join("/")).await
            }
            ["stats", "summary"] | ["stats"] => stats::summary(&self.context, &self.pods).await.map(|all| json(&all)),
            ["metrics"] => stats::metrics(&self.metrics, &self.context, &self.pods).await,
            ["metrics", "resource"] => stats::resource_metrics(&self.context).await,
            ["metrics", "probes"] => stats::probe_metrics(&self.context),
            ["metrics", "cadvisor"] => stats::container_metrics(&self.context).await,
            _ => {
                let page = self.pages.respond(&path, request.uri().query(), request.headers());
                page.ok_or_else(|| refuse(StatusCode::NOT_FOUND, "404 page not found"))
            }
        }
    }

    fn list(&self) -> Response<Body> {
        let pods = self.pods.all();
        let items: Vec<_> = pods.iter().map(|pod| pod.as_ref()).collect();
        json(&serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
    }

    /// The pods that the runtime has, as far as it knows them.
    async fn running(&self) -> Answer {
        use crate::pod::state::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID};
        use kinit_cri::v1::{ContainerState, ListContainersRequest};
        let request = tonic::Request::new(ListContainersRequest::default());
        let answer = self.context.runtime.runtime.clone().list_containers(request).await;
        let mut pods = std::collections::BTreeMap::<String, serde_json::Value>::new();
        for container in answer.map_err(|status| internal(status.message()))?.into_inner().containers {
            if container.state() != ContainerState::ContainerRunning {
                continue;
            }
            let label = |name: &str| container.labels.get(name).cloned().unwrap_or_default();
            let pod = pods.entry(label(POD_UID)).or_insert_with(|| {
                serde_json::json!({
                    "metadata": {"name": label(POD_NAME), "namespace": label(POD_NAMESPACE), "uid": label(POD_UID)},
                    "spec": {"containers": []}, "status": {},
                })
            });
            if let Some(all) = pod["spec"]["containers"].as_array_mut() {
                all.push(
                    serde_json::json!({"name": label(CONTAINER_NAME), "image": container.image_ref, "resources": {}}),
                );
            }
        }
        let items: Vec<_> = pods.into_values().collect();
        Ok(json(&serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})))
    }

    async fn state(&self, namespace: &str, name: &str) -> Result<PodState, Refusal> {
        let pod = self
            .pods
            .find(namespace, name)
            .ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("pod does not exist: {namespace}/{name}")))?;
        PodState::read(&self.context.runtime, facts::uid(&pod)).await.map_err(internal)
    }
}
