//! The shell: watches, queries, health, readiness and metrics.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use hickory_proto::op::Message;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kinit_runtime::Informer;
use kinit_serving::listener::{Limits, Listener};
use kinit_serving::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::answer::{Outcome, answer, encode};
use crate::forward::{Forwarder, resolvers};
use crate::options::Options;
use crate::zone::Zone;

/// Changes that come together make one new zone.
const SETTLE: Duration = Duration::from_millis(20);
/// Queries under way at once; more are dropped by UDP, whose clients ask again.
const QUERIES: usize = 1024;
/// TCP connections at once; more wait.
const CONNECTIONS: usize = 256;
/// A TCP connection without a query for this long ends.
const IDLE: Duration = Duration::from_secs(10);

/// A server that is ready to run.
pub struct Server {
    options: Options,
    resolvers: Vec<SocketAddr>,
}

/// What queries are answered from.
struct Answers {
    zone: ArcSwap<Zone>,
    ready: AtomicBool,
    forwarder: Forwarder,
    turn: AtomicUsize,
    queries: Counter,
}

impl Server {
    /// Reads whom to ask for other names.
    pub fn new(options: Options) -> anyhow::Result<Self> {
        let resolvers = if options.upstream.is_empty() {
            resolvers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
        } else {
            let read = |text: &String| {
                let address = text.parse().or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, 53)));
                address.with_context(|| format!("--upstream: {text:?} is not an address"))
            };
            options.upstream.iter().map(read).collect::<anyhow::Result<_>>()?
        };
        Ok(Self { options, resolvers })
    }

    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let options = self.options;
        let answers = Arc::new(Answers {
            zone: ArcSwap::default(),
            ready: AtomicBool::new(false),
            forwarder: Forwarder::new(self.resolvers),
            turn: AtomicUsize::new(0),
            queries: Counter::default(),
        });
        let address = SocketAddr::new(options.bind_address, options.port);
        let udp = UdpSocket::bind(address).await.with_context(|| format!("cannot listen on {address} by UDP"))?;
        let tcp = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} by TCP"))?;
        let metrics = Metrics::default();
        metrics.register(|registry| {
            registry.register("coredns_dns_requests", "Queries", answers.queries.clone());
        });
        let mut tasks = tokio::task::JoinSet::new();
        for address in [options.health_address, options.ready_address, options.metrics_address] {
            let listener = Listener::bind(address, None).await?;
            tasks.spawn(serve(listener, answers.clone(), metrics.clone(), shutdown.clone()));
        }
        tasks.spawn(by_udp(Arc::new(udp), answers.clone()));
        tasks.spawn(by_tcp(tcp, answers.clone()));

        let client = match &options.kubeconfig {
            Some(path) => kinit_runtime::from_kubeconfig(path).await?,
            None => {
                let mut config = kube::Config::incluster()
                    .context("there is no --kubeconfig, and this does not run in a pod with a ServiceAccount")?;
                config.read_timeout = None;
                kube::Client::try_from(config)?
            }
        };
        let services: Arc<Informer<Service>> = Informer::start(client.clone(), &shutdown);
        let slices: Arc<Informer<EndpointSlice>> = Informer::start(client.clone(), &shutdown);
        let namespaces: Arc<Informer<Namespace>> = Informer::start(client, &shutdown);
        let changed = Arc::new(Notify::new());
        let (one, two, three) = (changed.clone(), changed.clone(), changed.clone());
        services.handle(move |_, _| one.notify_one());
        slices.handle(move |_, _| two.notify_one());
        namespaces.handle(move |_, _| three.notify_one());
        tokio::select! {
            () = async { services.synced().await; slices.synced().await; namespaces.synced().await } => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        tracing::info!(domain = options.cluster_domain, %address, "cluster-dns answers");
        loop {
            let (services, slices, namespaces) = (services.list(), slices.list(), namespaces.list());
            let names = namespaces.iter().filter_map(|namespace| namespace.metadata.name.clone());
            let (services, slices) = (services.iter().map(Arc::as_ref), slices.iter().map(Arc::as_ref));
            answers.zone.store(Arc::new(Zone::build(&options.cluster_domain, services, slices, names)));
            answers.ready.store(true, Ordering::Relaxed);
            tokio::select! {
                () = changed.notified() => tokio::time::sleep(SETTLE).await,
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }
}

impl Answers {
    /// The response to a query's bytes; None when there is nothing to respond to.
    async fn respond(&self, bytes: &[u8], udp: bool) -> Option<Vec<u8>> {
        let query = Message::from_vec(bytes).ok()?;
        self.queries.inc();
        if !self.ready.load(Ordering::Relaxed) {
            // To say that a name is not there would be kept by clients.
            let mut failure = Message::response(query.metadata.id, query.metadata.op_code);
            failure.metadata.response_code = hickory_proto::op::ResponseCode::ServFail;
            failure.add_queries(query.queries.clone());
            return encode(&failure, &query, udp);
        }
        let outcome = answer(&query, &self.zone.load(), self.turn.fetch_add(1, Ordering::Relaxed));
        let response = match outcome {
            Outcome::Ignore => return None,
            Outcome::Response(response) => response,
            Outcome::Ask { name, so_far } => {
                let kind = query.queries.first()?.query_type();
                self.forwarder.complete(name, kind, so_far).await
            }
        };
        encode(&response, &query, udp)
    }
}

async fn by_udp(socket: Arc<UdpSocket>, answers: Arc<Answers>) {
    let slots = Arc::new(Semaphore::new(QUERIES));
    let mut buffer = vec![0; 4096];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            // An error is about an earlier packet that could not be delivered.
            tokio::task::yield_now().await;
            continue;
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let (socket, answers, bytes) = (socket.clone(), answers.clone(), buffer[..length].to_vec());
        tokio::spawn(async move {
            if let Some(response) = answers.respond(&bytes, true).await {
                let _ = socket.send_to(&response, peer).await;
            }
            drop(slot);
        });
    }
}

async fn by_tcp(listener: TcpListener, answers: Arc<Answers>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let answers = answers.clone();
        tokio::spawn(async move {
            // A connection that breaks ends; its client knows.
            let _ = connection(stream, &answers).await;
            drop(slot);
        });
    }
}

async fn connection(mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        tokio::time::timeout(IDLE, stream.read_exact(&mut query)).await??;
        let Some(response) = answers.respond(&query, false).await else { return Ok(()) };
        let mut bytes = Vec::with_capacity(response.len() + 2);
        bytes.extend(u16::try_from(response.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(response);
        stream.write_all(&bytes).await?;
    }
}

async fn serve(listener: Listener, answers: Arc<Answers>, metrics: Metrics, shutdown: CancellationToken) {
    let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let text = |status, text: &'static str| kinit_serving::text(status, text);
        let answer = match request.uri().path() {
            "/health" => text(http::StatusCode::OK, "OK"),
            "/ready" if answers.ready.load(Ordering::Relaxed) => text(http::StatusCode::OK, "OK"),
            "/ready" => text(http::StatusCode::SERVICE_UNAVAILABLE, "the cluster's Services were not listed yet\n"),
            path => {
                metrics.respond(path).unwrap_or_else(|| text(http::StatusCode::NOT_FOUND, "there is nothing here\n"))
            }
        };
        async move { Ok::<_, Infallible>(answer) }
    });
    listener.serve(hyper_util::service::TowerToHyperService::new(service), Limits::default(), shutdown).await;
}
