//! The kubelet's API: logs, exec, attach, port-forward. The API server is its client.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kinit_cri::Runtime;
use kinit_cri::v1::{AttachRequest, ExecRequest, ExecSyncRequest, PortForwardRequest};
use kinit_serving::listener::{Limits, Listener, Peer};
use kinit_serving::tls::{ClientAuth, Identity, Tls, TlsOptions};
use kinit_serving::{Body, text};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::Result;
use crate::logs::{self, Wanted};
use crate::pod::source::Pods;
use crate::pod::state::PodState;
use crate::pod::{container, facts, sandbox};

/// How long an answer of the API about who may do what is believed.
const BELIEVED: Duration = Duration::from_secs(10);

type Answer = Result<Response<Body>, Response<Body>>;

struct Api10250 {
    context: Arc<Context>,
    pods: Pods,
    allowed: Mutex<HashMap<String, Instant>>,
}

/// Binds the port, with a certificate made now: the API server does not check it unless it is told to.
pub async fn bind(context: &Context) -> anyhow::Result<Listener> {
    let names = vec![context.node_name.clone(), context.node_ip.to_string()];
    let ca = context.config.authentication.x509.client_ca_file.clone().filter(|path| path.exists());
    let clients = ca.map_or(ClientAuth::None, |path| ClientAuth::Optional(vec![path]));
    let mut options = TlsOptions::http(Identity::SelfSigned { names }, clients);
    // Streams are upgraded connections, which only HTTP/1.1 has.
    options.alpn = vec![b"http/1.1".to_vec()];
    let address: SocketAddr = format!("{}:{}", context.config.address, context.config.port).parse()?;
    Ok(Listener::bind(address, Some(Tls::new(options)?)).await?)
}

/// Serves until shutdown.
pub async fn serve(listener: Listener, context: Arc<Context>, pods: Pods, shutdown: CancellationToken) {
    let api = Arc::new(Api10250 { context, pods, allowed: Mutex::default() });
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.answer(request).await.unwrap_or_else(|refusal| refusal)) }
    });
    listener.serve(TowerToHyperService::new(service), Limits::default(), shutdown).await;
}

fn refuse(status: StatusCode, reason: impl std::fmt::Display) -> Response<Body> {
    text(status, format!("{reason}\n"))
}

/// What the query of a request says, each name once or often.
fn query(request: &Request<Incoming>) -> Vec<(String, String)> {
    let parts = request.uri().query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
    let decode = |text: &str| percent(&text.replace('+', " "));
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = bytes.get(index + 1..index + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| bytes[index] == b'%') {
            Some(byte) => {
                out.push(byte);
                index += 3;
            }
            None => {
                out.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Api10250 {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        self.authorize(&request, parts[0]).await?;
        match parts.as_slice() {
            ["healthz"] => Ok(text(StatusCode::OK, "ok")),
            ["pods" | "runningpods"] => Ok(self.list()),
            ["containerLogs", namespace, pod, container] => self.logs(&request, namespace, pod, container).await,
            ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
                let id = self.container_id(namespace, pod, container).await?;
                let all = query(&request);
                let on = |name: &str| all.iter().any(|(key, value)| key == name && (value == "1" || value == "true"));
                let wanted = ExecRequest {
                    container_id: id,
                    cmd: all.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.clone()).collect(),
                    tty: on("tty"),
                    stdin: on("input") || on("stdin"),
                    stdout: on("output") || on("stdout"),
                    stderr: (on("error") || on("stderr")) && !on("tty"),
                };
                let url = self.context.runtime.runtime.clone().exec(Runtime::request(wanted)).await;
                self.stream(request, url.map(|url| url.into_inner().url)).await
            }
            ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
                let id = self.container_id(namespace, pod, container).await?;
                let all = query(&request);
                let on = |name: &str| all.iter().any(|(key, value)| key == name && (value == "1" || value == "true"));
                let wanted = AttachRequest {
                    container_id: id,
                    tty: on("tty"),
                    stdin: on("input") || on("stdin"),
                    stdout: on("output") || on("stdout"),
                    stderr: (on("error") || on("stderr")) && !on("tty"),
                };
                let url = self.context.runtime.runtime.clone().attach(Runtime::request(wanted)).await;
                self.stream(request, url.map(|url| url.into_inner().url)).await
            }
            ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
                let (_, state) = self.state(namespace, pod).await?;
                let sandbox = state.sandbox().ok_or_else(|| refuse(StatusCode::NOT_FOUND, "the pod does not run"))?;
                let ports = query(&request);
                let port = ports
                    .iter()
                    .filter(|(key, _)| key == "port" || key == "ports")
                    .filter_map(|(_, value)| value.parse().ok());
                let wanted = PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port: port.collect() };
                let url = self.context.runtime.runtime.clone().port_forward(Runtime::request(wanted)).await;
                self.stream(request, url.map(|url| url.into_inner().url)).await
            }
            ["run", namespace, pod, container] | ["run", namespace, pod, _, container]
                if request.method() == Method::POST =>
            {
                let id = self.container_id(namespace, pod, container).await?;
                let command = query(&request)
                    .into_iter()
                    .find(|(key, _)| key == "cmd")
                    .map(|(_, value)| value)
                    .unwrap_or_default();
                let cmd = command.split_whitespace().map(str::to_owned).collect();
                let wanted = ExecSyncRequest { container_id: id, cmd, timeout: 60 };
                let answer = self.context.runtime.runtime.clone().exec_sync(Runtime::request(wanted)).await;
                let answer =
                    answer.map_err(|status| refuse(StatusCode::INTERNAL_SERVER_ERROR, status.message()))?.into_inner();
                Ok(text(StatusCode::OK, [answer.stdout, answer.stderr].concat()))
            }
            _ => Err(refuse(StatusCode::NOT_FOUND, "404 page not found")),
        }
    }

    /// Lets only those through whom the API server would let.
    async fn authorize(&self, request: &Request<Incoming>, first: &str) -> Result<(), Response<Body>> {
        if self.context.config.authorization.mode == "AlwaysAllow" || first == "healthz" {
            return Ok(());
        }
        let unauthorized = || refuse(StatusCode::UNAUTHORIZED, "Unauthorized");
        let (user, groups) = self.identify(request).await.ok_or_else(unauthorized)?;
        let verb = match *request.method() {
            Method::GET | Method::HEAD => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            _ => "delete",
        };
        let subresource = match first {
            "stats" => "stats",
            "metrics" => "metrics",
            "logs" => "log",
            _ => "proxy",
        };
        let key = format!("{user} {groups:?} {verb} {subresource}");
        if self.allowed.lock().get(&key).is_some_and(|at| at.elapsed() < BELIEVED) {
            return Ok(());
        }
        let client = self.context.client().map_err(|error| refuse(StatusCode::SERVICE_UNAVAILABLE, error))?;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.clone()),
                groups: Some(groups),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.into()),
                    version: Some("v1".into()),
                    resource: Some("nodes".into()),
                    subresource: Some(subresource.into()),
                    name: Some(self.context.node_name.clone()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let answer = Api::<SubjectAccessReview>::all(client).create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, error))?;
        if !answer.status.is_some_and(|status| status.allowed) {
            let reason = format!("Forbidden (user={user}, verb={verb}, resource=nodes, subresource={subresource})");
            return Err(refuse(StatusCode::FORBIDDEN, reason));
        }
        let mut allowed = self.allowed.lock();
        allowed.retain(|_, at| at.elapsed() < BELIEVED);
        allowed.insert(key, Instant::now());
        Ok(())
    }

    /// Who asks: by client certificate or by bearer token.
    async fn identify(&self, request: &Request<Incoming>) -> Option<(String, Vec<String>)> {
        if let Some(shown) = request.extensions().get::<Peer>().and_then(|peer| peer.certificates.first()) {
            let certificate = kinit_pki::Certificate::from_der(shown, "client certificate").ok()?;
            return Some((certificate.common_name, certificate.organizations));
        }
        let header = request.headers().get(http::header::AUTHORIZATION)?.to_str().ok()?;
        let token = header.strip_prefix("Bearer ").filter(|_| self.context.config.authentication.webhook.enabled)?;
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), ..Default::default() },
            ..Default::default()
        };
        let client = self.context.client().ok()?;
        let answer = Api::<TokenReview>::all(client).create(&PostParams::default(), &review).await.ok()?;
        let status = answer.status.filter(|status| status.authenticated == Some(true))?;
        let user = status.user?;
        Some((user.username?, user.groups.unwrap_or_default()))
    }

    fn list(&self) -> Response<Body> {
        let pods: Vec<_> = self.pods.all();
        let pods: Vec<_> = pods.iter().map(|pod| pod.as_ref()).collect();
        let mut answer =
            text(StatusCode::OK, serde_json::json!({"kind": "PodList", "apiVersion": "v1", "items": pods}).to_string());
        answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        answer
    }

    async fn state(&self, namespace: &str, name: &str) -> Result<(String, PodState), Response<Body>> {
        let missing = || refuse(StatusCode::NOT_FOUND, format!("pod {namespace}/{name} does not run here"));
        let pod = self.pods.find(namespace, name).ok_or_else(missing)?;
        let uid = facts::uid(&pod).to_owned();
        let state = PodState::read(&self.context.runtime, &uid).await;
        Ok((uid, state.map_err(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, error))?))
    }

    async fn container_id(&self, namespace: &str, pod: &str, name: &str) -> Result<String, Response<Body>> {
        let (_, state) = self.state(namespace, pod).await?;
        let running = state.latest(name).filter(|instance| instance.is_running());
        let missing =
            || refuse(StatusCode::NOT_FOUND, format!("container {name} of pod {namespace}/{pod} does not run"));
        running.map(|instance| instance.status.id.clone()).ok_or_else(missing)
    }

    async fn logs(&self, request: &Request<Incoming>, namespace: &str, name: &str, wanted_container: &str) -> Answer {
        let missing = |what: String| refuse(StatusCode::NOT_FOUND, what);
        let pod = self
            .pods
            .find(namespace, name)
            .ok_or_else(|| missing(format!("pod {namespace}/{name} does not run here")))?;
        let (uid, state) = self.state(namespace, name).await?;
        let all = query(request);
        let get = |key: &str| all.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str());
        let on = |key: &str| matches!(get(key), Some("true" | "1"));
        let instance = if on("previous") { state.previous(wanted_container) } else { state.latest(wanted_container) };
        let instance = instance.ok_or_else(|| {
            refuse(
                StatusCode::BAD_REQUEST,
                format!("container {wanted_container} of pod {namespace}/{name} has no log yet"),
            )
        })?;
        let since_seconds = get("sinceSeconds").and_then(|text| text.parse::<i64>().ok());
        let since = since_seconds
            .and_then(|seconds| jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - seconds).ok())
            .or_else(|| get("sinceTime").and_then(|text| text.parse().ok()));
        let wanted = Wanted {
            follow: on("follow") && !on("previous"),
            tail: get("tailLines").and_then(|text| text.parse().ok()),
            since,
            timestamps: on("timestamps"),
            limit: get("limitBytes").and_then(|text| text.parse().ok()),
        };
        let path = sandbox::log_folder(&pod).join(container::log_path(wanted_container, instance.restarts()));
        if !path.exists() {
            return Err(missing(format!("the log of container {wanted_container} is not there")));
        }
        let (out, chunks) = tokio::sync::mpsc::channel(8);
        let (context, id) = (self.context.clone(), instance.status.id.clone());
        tokio::spawn(async move {
            let ended = || {
                let (context, uid, id) = (context.clone(), uid.clone(), id.clone());
                async move {
                    let state = PodState::read(&context.runtime, &uid).await;
                    state.is_ok_and(|state| !state.containers.iter().any(|one| one.status.id == id && one.is_running()))
                }
            };
            if let Err(error) = logs::send(path, wanted, out, ended).await {
                tracing::debug!(%error, "a log ended early");
            }
        });
        let body = StreamBody::new(
            ReceiverStream::new(chunks).map(|chunk: Bytes| Ok::<_, kinit_serving::BoxError>(Frame::data(chunk))),
        );
        let mut answer = Response::new(body.boxed_unsync());
        answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
        Ok(answer)
    }

    /// Joins the client's connection with the runtime's streaming server: both speak the same protocol, whichever it is.
    async fn stream(&self, request: Request<Incoming>, url: Result<String, tonic::Status>) -> Answer {
        let bad = |reason: String| refuse(StatusCode::BAD_GATEWAY, reason);
        let url = url.map_err(|status| refuse(StatusCode::INTERNAL_SERVER_ERROR, status.message()))?;
        let rest = url.strip_prefix("http://").ok_or_else(|| bad(format!("the runtime streams at {url}")))?;
        let (host, path) =
            rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
        let stream = tokio::net::TcpStream::connect(host).await.map_err(|error| bad(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| bad(error.to_string()))?;
        tokio::spawn(connection.with_upgrades());
        let mut forward = Request::builder().method(request.method().clone()).uri(path);
        for (name, value) in request.headers() {
            if name != http::header::HOST && name != http::header::AUTHORIZATION {
                forward = forward.header(name, value);
            }
        }
        let forward = forward
            .header(http::header::HOST, host)
            .body(Empty::<Bytes>::new())
            .map_err(|error| bad(error.to_string()))?;
        let mut answer = sender.send_request(forward).await.map_err(|error| bad(error.to_string()))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (parts, body) = answer.into_parts();
            let body = body.map_err(|error| -> kinit_serving::BoxError { error.into() }).boxed_unsync();
            return Ok(Response::from_parts(parts, body));
        }
        let theirs = hyper::upgrade::on(&mut answer);
        let mut switched = text(StatusCode::SWITCHING_PROTOCOLS, "");
        *switched.headers_mut() = answer.headers().clone();
        let ours = hyper::upgrade::on(request);
        tokio::spawn(async move {
            let (Ok(ours), Ok(theirs)) = (ours.await, theirs.await) else { return };
            // Either side may go away at any time; that ends the stream.
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(ours), &mut TokioIo::new(theirs)).await;
        });
        Ok(switched)
    }
}
