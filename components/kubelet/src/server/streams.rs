//! exec, attach and port-forward: the client's connection is joined with the runtime's streaming server. Both speak the
//! same protocol, whichever it is.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kinit_cri::v1::{AttachRequest, ExecRequest, ExecSyncRequest, PortForwardRequest, StreamUrl};
use kinit_serving::text;

use super::query::Query;
use super::{Answer, Api, Refusal, internal, refuse};

/// Seconds that a command of `/run` may take.
const RUN_LIMIT: i64 = 60;

impl Api {
    /// Answers a request for streams by its path's parts.
    pub(super) async fn streams(&self, parts: &[&str], query: &Query, request: Request<Incoming>) -> Answer {
        let mut runtime = self.context.runtime.runtime.clone();
        let either = |one: &str, other: &str| query.on(one) || query.on(other);
        let tty = query.on("tty");
        let (stdin, stdout) = (either("input", "stdin"), either("output", "stdout"));
        // A terminal has one stream out.
        let stderr = either("error", "stderr") && !tty;
        let nothing = || refuse(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
        match parts {
            ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
                if !(stdin || stdout || stderr) {
                    return Err(nothing());
                }
                let container_id = self.running_container(namespace, pod, container).await?;
                let cmd = query.all("command").map(str::to_owned).collect();
                let wanted = ExecRequest { container_id, cmd, tty, stdin, stdout, stderr };
                self.join(request, runtime.exec(tonic::Request::new(wanted)).await).await
            }
            ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
                if !(stdin || stdout || stderr) {
                    return Err(nothing());
                }
                let container_id = self.running_container(namespace, pod, container).await?;
                let wanted = AttachRequest { container_id, tty, stdin, stdout, stderr };
                self.join(request, runtime.attach(tonic::Request::new(wanted)).await).await
            }
            ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
                let state = self.state(namespace, pod).await?;
                let sandbox = state.sandbox().filter(|sandbox| sandbox.ready);
                let sandbox = sandbox.ok_or_else(|| refuse(StatusCode::NOT_FOUND, "sandbox is not running"))?;
                let ports = query.all("port").chain(query.all("ports")).flat_map(|ports| ports.split(','));
                let port = ports.filter_map(|port| port.parse().ok()).collect();
                let wanted = PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port };
                self.join(request, runtime.port_forward(tonic::Request::new(wanted)).await).await
            }
            ["run", namespace, pod, container] | ["run", namespace, pod, _, container] => {
                let container_id = self.running_container(namespace, pod, container).await?;
                let command = query.get("cmd").unwrap_or_default();
                let cmd = command.split_whitespace().map(str::to_owned).collect();
                let wanted = ExecSyncRequest { container_id, cmd, timeout: RUN_LIMIT };
                let answer = runtime.exec_sync(tonic::Request::new(wanted)).await;
                let answer = answer.map_err(|status| internal(status.message()))?.into_inner();
                Ok(text(StatusCode::OK, [answer.stdout, answer.stderr].concat()))
            }
            _ => Err(refuse(StatusCode::NOT_FOUND, "404 page not found")),
        }
    }

    async fn running_container(&self, namespace: &str, pod: &str, name: &str) -> Result<String, Refusal> {
        let state = self.state(namespace, pod).await?;
        let running = state.latest(name).filter(|instance| instance.is_running());
        let missing = || internal(format!("container not found ({name:?})"));
        running.map(|instance| instance.status.id.clone()).ok_or_else(missing)
    }

    async fn join(&self, request: Request<Incoming>, url: Result<tonic::Response<StreamUrl>, tonic::Status>) -> Answer {
        let bad = |reason: String| refuse(StatusCode::BAD_GATEWAY, reason);
        let url = url.map_err(|status| internal(status.message()))?.into_inner().url;
        let rest = url.strip_prefix("http://").ok_or_else(|| bad(format!("the runtime streams at {url}")))?;
        let (host, path) =
            rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
        let stream = tokio::net::TcpStream::connect(host).await.map_err(|error| bad(error.to_string()))?;
        let _ = stream.set_nodelay(true);
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
        let forward = forward.header(http::header::HOST, host).body(Empty::<Bytes>::new());
        let forward = forward.map_err(|error| bad(error.to_string()))?;
        let mut answer = sender.send_request(forward).await.map_err(|error| bad(error.to_string()))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (parts, body) = answer.into_parts();
            let body = body.map_err(|error| -> kinit_serving::BoxError { error.into() }).boxed_unsync();
            return Ok(http::Response::from_parts(parts, body));
        }
        let theirs = hyper::upgrade::on(&mut answer);
        let mut switched = text(StatusCode::SWITCHING_PROTOCOLS, "");
        *switched.headers_mut() = answer.headers().clone();
        let ours = hyper::upgrade::on(request);
        tokio::spawn(async move {
            let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) else { return };
            kinit_serving::join::join(TokioIo::new(ours), TokioIo::new(theirs)).await;
        });
        Ok(switched)
    }
}
