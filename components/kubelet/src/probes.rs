//! Probes: asking containers whether they started, live and are ready.

mod grpc;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, ContainerPort, HTTPGetAction, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kinit_cri::v1::ExecSyncRequest;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::context::Context;
use crate::events;
use crate::pod::actions::{ProbeVerdicts, Verdicts};
use crate::pod::facts;
use crate::pod::state::PodState;

/// Bytes of an answer that are read.
const BODY_LIMIT: usize = 10 << 10;

/// Which of a container's three probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Whether it has started.
    Startup,
    /// Whether it lives.
    Liveness,
    /// Whether it takes work.
    Readiness,
}

/// Answers to one probe of a container.
#[derive(Debug, Clone)]
pub struct Count {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container's name.
    pub container: String,
    /// How many were good, and how many not.
    pub answers: [u64; 2],
}

/// What probes say, by container id, and the tasks that ask.
#[derive(Default)]
pub struct ProbeTable {
    verdicts: Mutex<HashMap<String, Verdicts>>,
    tasks: Mutex<HashMap<String, (String, JoinHandle<()>)>>,
    counts: Mutex<BTreeMap<(String, Kind), Count>>,
}

impl ProbeTable {
    /// What probes say of a pod's containers. Those without probes have started and are ready.
    pub fn verdicts(&self, state: &PodState) -> ProbeVerdicts {
        let all = self.verdicts.lock();
        let ids = state.containers.iter().map(|instance| &instance.status.id);
        ids.filter_map(|id| Some((id.clone(), *all.get(id)?))).collect()
    }

    /// Asks every running container that has probes, and no others.
    pub fn follow(&self, context: &Arc<Context>, pod: &Arc<Pod>, state: &PodState, wake: &Arc<tokio::sync::Notify>) {
        let mut wanted: HashMap<String, &Container> = HashMap::new();
        let spec = pod.spec.clone().unwrap_or_default();
        for container in facts::containers(&spec) {
            let has = container.liveness_probe.is_some()
                || container.readiness_probe.is_some()
                || container.startup_probe.is_some();
            if let Some(instance) = state.latest(&container.name).filter(|instance| has && instance.is_running()) {
                wanted.insert(instance.status.id.clone(), container);
            }
        }
        let uid = facts::uid(pod);
        let mut tasks = self.tasks.lock();
        tasks.retain(|id, (of, task)| {
            let keep = of != uid || wanted.contains_key(id);
            if !keep {
                task.abort();
                self.verdicts.lock().remove(id);
            }
            keep
        });
        let ip = match facts::host_network(pod) {
            true => Some(context.node_ip),
            false => state.sandbox().and_then(|sandbox| sandbox.ips.first()?.parse().ok()),
        };
        for (id, container) in wanted {
            if tasks.contains_key(&id) {
                continue;
            }
            let none = Verdicts {
                started: container.startup_probe.is_none(),
                ready: container.readiness_probe.is_none(),
                failed: false,
            };
            self.verdicts.lock().insert(id.clone(), none);
            let asker = Asker {
                pod: pod.clone(),
                context: context.clone(),
                container: container.clone(),
                id: id.clone(),
                ip,
                wake: wake.clone(),
            };
            let grace = state.latest(&container.name).map_or(0, |instance| instance.status.started_at);
            tasks.insert(id, (uid.to_owned(), tokio::spawn(asker.run(grace))));
        }
    }

    /// Stops asking a pod.
    pub fn forget(&self, uid: &str) {
        self.tasks.lock().retain(|id, (of, task)| {
            if of == uid {
                task.abort();
                self.verdicts.lock().remove(id);
            }
            of != uid
        });
        self.counts.lock().retain(|_, count| facts::uid(&count.pod) != uid);
    }

    /// How often each probe of each container was answered.
    pub fn counts(&self) -> BTreeMap<(String, Kind), Count> {
        self.counts.lock().clone()
    }

    fn count(&self, asker: &Asker, kind: Kind, good: bool) {
        let mut counts = self.counts.lock();
        let new = || Count { pod: asker.pod.clone(), container: asker.container.name.clone(), answers: [0; 2] };
        let count =
            counts.entry((format!("{}/{}", facts::uid(&asker.pod), asker.container.name), kind)).or_insert_with(new);
        count.answers[usize::from(!good)] += 1;
    }

    fn update(&self, id: &str, change: impl FnOnce(&mut Verdicts)) -> bool {
        let mut all = self.verdicts.lock();
        let Some(verdicts) = all.get_mut(id) else { return false };
        let before = *verdicts;
        change(verdicts);
        *verdicts != before
    }
}

struct Asker {
    pod: Arc<Pod>,
    context: Arc<Context>,
    container: Container,
    id: String,
    ip: Option<IpAddr>,
    wake: Arc<tokio::sync::Notify>,
}

impl Asker {
    async fn run(self, _started_at: i64) {
        if let Some(probe) = &self.container.startup_probe {
            self.follow(Kind::Startup, probe).await;
        }
        let liveness = async {
            if let Some(probe) = &self.container.liveness_probe {
                self.follow(Kind::Liveness, probe).await;
            }
        };
        let readiness = async {
            if let Some(probe) = &self.container.readiness_probe {
                self.follow(Kind::Readiness, probe).await;
            }
        };
        tokio::join!(liveness, readiness);
    }

    /// Asks again and again: until it started, or it failed for good, or for ever.
    async fn follow(&self, kind: Kind, probe: &Probe) {
        let seconds =
            |value: Option<i32>, default: u64| Duration::from_secs(value.map_or(default, |value| value.max(0) as u64));
        tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
        let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
        let timeout = seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
        let (mut successes, mut failures) = (0, 0);
        loop {
            let good = tokio::time::timeout(timeout, self.ask(probe, timeout))
                .await
                .unwrap_or_else(|_| Err("no answer in time".into()));
            self.context.probes.count(self, kind, good.is_ok());
            if let Err(reason) = &good {
                tracing::debug!(container = %self.container.name, ?kind, reason, "a probe fails");
                let text = format!("{kind:?} probe failed: {reason}");
                self.context.events.pod(
                    &self.pod,
                    Some(&self.container.name),
                    events::Kind::Warning,
                    "Unhealthy",
                    text,
                );
            }
            (successes, failures) = if good.is_ok() { (successes + 1, 0) } else { (0, failures + 1) };
            let enough = successes >= probe.success_threshold.unwrap_or(1).max(1);
            let too_many = failures >= probe.failure_threshold.unwrap_or(3).max(1);
            let changed = self.context.probes.update(&self.id, |verdicts| match kind {
                Kind::Startup if enough => verdicts.started = true,
                Kind::Startup | Kind::Liveness if too_many => verdicts.failed = true,
                Kind::Readiness if enough => verdicts.ready = true,
                Kind::Readiness if too_many => verdicts.ready = false,
                _ => {}
            });
            if changed {
                self.wake.notify_one();
            }
            if (kind == Kind::Startup && enough) || (kind != Kind::Readiness && too_many) {
                return;
            }
            tokio::time::sleep(period).await;
        }
    }

    async fn ask(&self, probe: &Probe, timeout: Duration) -> Result<(), String> {
        if let Some(exec) = &probe.exec {
            let request = ExecSyncRequest {
                container_id: self.id.clone(),
                cmd: exec.command.clone().unwrap_or_default(),
                timeout: timeout.as_secs() as i64,
            };
            let answer = self.context.runtime.runtime.clone().exec_sync(tonic::Request::new(request)).await;
            let answer = answer.map_err(|status| status.message().to_owned())?.into_inner();
            return if answer.exit_code == 0 { Ok(()) } else { Err(format!("exit code {}", answer.exit_code)) };
        }
        let ip = self.ip.ok_or("the pod has no address")?;
        if let Some(action) = &probe.http_get {
            return http_get(action, ip, self.container.ports.as_deref().unwrap_or_default()).await;
        }
        if let Some(action) = &probe.tcp_socket {
            let host = host(action.host.as_deref(), ip)?;
            let port = port(&action.port, self.container.ports.as_deref().unwrap_or_default())?;
            return TcpStream::connect((host, port)).await.map(|_| ()).map_err(|error| error.to_string());
        }
        if let Some(action) = &probe.grpc {
            let address = SocketAddr::new(ip, action.port as u16);
            return grpc::check(address, action.service.as_deref().unwrap_or_default()).await;
        }
        Err("the probe asks nothing".into())
    }
}

fn host(given: Option<&str>, ip: IpAddr) -> Result<IpAddr, String> {
    match given.filter(|host| !host.is_empty()) {
        None => Ok(ip),
        Some("localhost") => Ok(IpAddr::from([127, 0, 0, 1])),
        Some(host) => host.parse().map_err(|_| format!("host {host} is no address")),
    }
}

fn port(given: &IntOrString, ports: &[ContainerPort]) -> Result<u16, String> {
    let number = match given {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = ports.iter().find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    number.and_then(|number| u16::try_from(number).ok()).ok_or_else(|| format!("there is no port {given:?}"))
}

/// Asks an HTTP server; an answer from 200 to 399 is good.
pub async fn http_get(action: &HTTPGetAction, ip: IpAddr, ports: &[ContainerPort]) -> Result<(), String> {
    let address = SocketAddr::new(host(action.host.as_deref(), ip)?, port(&action.port, ports)?);
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let mut request = http::Request::get(path).header("User-Agent", "kube-probe/1.36").header("Accept", "*/*");
    let headers = action.http_headers.as_deref().unwrap_or_default();
    if !headers.iter().any(|header| header.name.eq_ignore_ascii_case("host")) {
        request = request.header("Host", address.to_string());
    }
    for header in headers {
        request = request.header(&header.name, &header.value);
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|error| error.to_string())?;
    let code = if action.scheme.as_deref() == Some("HTTPS") {
        let name = rustls::pki_types::ServerName::from(address.ip());
        let stream = crate::tls::anyone().connect(name, stream).await.map_err(|error| error.to_string())?;
        exchange(TokioIo::new(stream), request).await?
    } else {
        exchange(TokioIo::new(stream), request).await?
    };
    if (200..400).contains(&code) { Ok(()) } else { Err(format!("status {code}")) }
}

async fn exchange<S>(stream: S, request: http::Request<Empty<bytes::Bytes>>) -> Result<u16, String>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(|error| error.to_string())?;
    let task = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| error.to_string());
    let code = match answer {
        Ok(answer) => {
            let code = answer.status().as_u16();
            // The body is of no interest, but a server may mind if nobody reads the beginning of it.
            let _ = Limited::new(answer.into_body(), BODY_LIMIT).collect().await;
            Ok(code)
        }
        Err(reason) => Err(reason),
    };
    task.abort();
    code
}
