//! The shell: watches, transactions, health and metrics.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kinit_runtime::Informer;
use kinit_serving::health::{Health, Scope};
use kinit_serving::listener::{Limits, Listener};
use kinit_serving::metrics::Metrics;
use kinit_serving::zpages::{Flags, Pages};
use kube::Api;
use kube::runtime::watcher;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use kinit_serving::host;

use crate::balancers::Balancers;
use crate::config::{Configuration, LocalPods};
use crate::conntrack;
use crate::options::Options;
use crate::render::{Settings, render};
use crate::ruleset::Ruleset;
use crate::service::{Place, State};

/// Changes that come together go into one transaction.
const SETTLE: Duration = Duration::from_millis(10);
/// After a failed transaction the next is tried this soon.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// The label with a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// A proxy that is ready to run.
pub struct Server {
    options: Options,
    flags: Flags,
    config: Configuration,
}

impl Server {
    /// Reads the configuration. `flags` are what the process was started with.
    pub fn new(options: Options, flags: Flags) -> anyhow::Result<Self> {
        options.foreign.settle()?;
        let mut config = match &options.config {
            Some(path) => Configuration::load(path)?,
            None => Configuration::of_flags(&options.foreign)?,
        };
        if options.config.is_some() && options.foreign.has_fields() {
            tracing::warn!("flags that are fields of the configuration have no effect beside --config");
        }
        if let Some(range) = options.cluster_cidr.clone().filter(|_| options.config.is_none()) {
            config.cluster_cidr = range;
        }
        Ok(Self { options, flags, config })
    }

    /// Runs until shutdown; then the rules stay. With `--cleanup` it takes them away and ends.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        if self.options.cleanup {
            return cleanup().await;
        }
        let from_config = &self.config.client_connection.kubeconfig;
        let kubeconfig =
            self.options.kubeconfig.as_ref().or((!from_config.as_os_str().is_empty()).then_some(from_config));
        let kubeconfig =
            kubeconfig.context("no kubeconfig is given, by clientConnection.kubeconfig or --kubeconfig")?;
        let client = kinit_runtime::on_node(kubeconfig).await?;
        let node = self.node_name();
        if matches!(self.config.mode.as_str(), "iptables" | "ipvs") {
            let mode = &self.config.mode;
            tracing::warn!(mode, "Services are served by nftables, which does all that this mode does");
        }
        tracing::info!(node, "kube-proxy starts, by nftables");
        crate::tune::apply(&self.config);
        let synced = Arc::new(AtomicBool::new(false));
        let (metrics, figures) = figures();
        let mut tasks = tokio::task::JoinSet::new();
        let paths = ["/healthz", "/livez", "/metrics", "/proxyMode", "/readyz"];
        let pages = Arc::new(Pages::new("kube-proxy", Some(self.flags.clone()), paths));
        // What the process was started with is not for everybody on the network.
        for (address, default, pages) in [
            (&self.config.healthz_bind_address, "0.0.0.0:10256", None),
            (&self.config.metrics_bind_address, "127.0.0.1:10249", Some(pages)),
        ] {
            let address = if address.is_empty() { default } else { address };
            let address: SocketAddr =
                address.parse().with_context(|| format!("{address:?} is not an address with a port"))?;
            match Listener::bind(address, None).await {
                Ok(listener) => {
                    tasks.spawn(serve(listener, synced.clone(), metrics.clone(), pages, shutdown.clone()));
                }
                Err(error) if self.config.bind_address_hard_fail => return Err(error.into()),
                Err(error) => tracing::error!(%error, "goes on without"),
            }
        }
        let services: Arc<Informer<Service>> = Informer::start(client.clone(), &shutdown);
        let slices: Arc<Informer<EndpointSlice>> = Informer::start(client.clone(), &shutdown);
        let own = watcher::Config::default().fields(&format!("metadata.name={node}"));
        let nodes: Arc<Informer<Node>> = Informer::start_with(Api::all(client), own, &shutdown);
        let changed = Arc::new(Notify::new());
        let (one, two, three) = (changed.clone(), changed.clone(), changed.clone());
        services.handle(move |_, _| one.notify_one());
        slices.handle(move |_, _| two.notify_one());
        nodes.handle(move |_, _| three.notify_one());
        tokio::select! {
            () = async { services.synced().await; slices.synced().await; nodes.synced().await } => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let mut kernel = Kernel { known: None, figures };
        let settle = self.config.nftables.min_sync_period.map_or(SETTLE, |span| span.0.max(SETTLE));
        let mut anew = self.config.nftables.sync_period.filter(|span| !span.0.is_zero()).map(|span| {
            let mut ticks = tokio::time::interval(span.0);
            ticks.reset();
            ticks
        });
        let mut balancers = Balancers::new(synced.clone(), shutdown.clone());
        loop {
            let (services, slices) = (services.list(), slices.list());
            let this = nodes.get(&node);
            let zone = this.as_ref().and_then(|node| node.metadata.labels.as_ref()?.get(ZONE).cloned());
            let place = Place { node: node.clone(), zone: zone.unwrap_or_default() };
            let state = State::of(services.iter().map(Arc::as_ref), slices.iter().map(Arc::as_ref), &place);
            drop((services, slices));
            let settings = self.settings(this.as_deref())?;
            balancers.follow(&state).await;
            let well = kernel.settle(state, settings).await;
            synced.store(well, Ordering::Relaxed);
            tokio::select! {
                () = changed.notified() => tokio::time::sleep(settle).await,
                () = tokio::time::sleep(TRY_AGAIN), if !well => {}
                () = due(&mut anew) => kernel.known = None,
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// What holds for all Services, as the node is now.
    fn settings(&self, node: Option<&Node>) -> anyhow::Result<Settings> {
        let (mut cluster_ranges, mut pod_interface) = (Vec::new(), None);
        match self.config.local_pods()? {
            LocalPods::Ranges(ranges) => cluster_ranges = ranges,
            LocalPods::NodeRanges => {
                let spec = node.and_then(|node| node.spec.clone()).unwrap_or_default();
                cluster_ranges = spec.pod_cidrs.unwrap_or_else(|| spec.pod_cidr.into_iter().collect());
            }
            LocalPods::Interface(name) => pod_interface = Some(name),
        }
        let addresses = node.and_then(|node| node.status.as_ref()?.addresses.as_ref()).into_iter().flatten();
        let own = addresses.filter(|one| one.type_ == "InternalIP").map(|one| {
            let length = if one.address.contains(':') { 128 } else { 32 };
            format!("{}/{length}", one.address)
        });
        let own: Vec<String> = own.collect();
        let node_ports = self.config.node_port_addresses.iter().flatten();
        let node_ports = node_ports.flat_map(|range| match range.as_str() {
            "primary" => own.clone(),
            range => vec![range.to_owned()],
        });
        Ok(Settings {
            cluster_ranges,
            pod_interface,
            masquerade_all: self.config.nftables.masquerade_all,
            mark: self.config.mark(),
            node_ports: node_ports.collect(),
        })
    }

    fn node_name(&self) -> String {
        let configured = Some(self.config.hostname_override.clone()).filter(|name| !name.is_empty());
        self.options.hostname_override.clone().or(configured).unwrap_or_else(|| {
            std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_lowercase()
        })
    }
}

/// What is counted.
#[derive(Clone, Default)]
struct Figures {
    transactions: Counter,
    failures: Counter,
    services: Gauge,
}

fn figures() -> (Metrics, Figures) {
    let (metrics, figures) = (Metrics::default(), Figures::default());
    metrics.register(|registry| {
        registry.register("kubeproxy_sync_proxy_rules", "Transactions of nftables", figures.transactions.clone());
        registry.register("kubeproxy_sync_proxy_rules_failures", "Those that failed", figures.failures.clone());
        registry.register("kubeproxy_service_ports", "Service ports that are known", figures.services.clone());
    });
    (metrics, figures)
}

/// What the kernel was last told.
struct Kernel {
    known: Option<(State, Settings, [Ruleset; 2])>,
    figures: Figures,
}

impl Kernel {
    /// Tells the kernel what differs; says whether it took it.
    async fn settle(&mut self, state: State, settings: Settings) -> bool {
        if self.known.as_ref().is_some_and(|(known, before, _)| *known == state && *before == settings) {
            return true;
        }
        self.figures.services.set(state.ports.len() as i64);
        let rules = [false, true].map(|six| render(&state, &settings, six));
        let (transaction, flows) = match &self.known {
            Some((known, _, old)) => {
                let change = rules.iter().zip(old).map(|(new, old)| new.change(old)).collect::<String>();
                (change, conntrack::stale(known, &state))
            }
            None => (rules.iter().map(Ruleset::create).collect(), Vec::new()),
        };
        if !transaction.is_empty() {
            self.figures.transactions.inc();
            if let Err(error) = run("nft", vec!["-f".into(), "-".into()], transaction).await {
                self.figures.failures.inc();
                tracing::warn!(error, "the kernel did not take the rules; all of them are made anew");
                self.known = None;
                return false;
            }
        }
        for call in flows {
            // It fails when there was no such flow.
            if let Err(error) = run("conntrack", call, String::new()).await {
                tracing::debug!(error, "no flow was forgotten");
            }
        }
        self.known = Some((state, settings, rules));
        true
    }
}

/// When all rules are to be made anew; never without a period.
async fn due(ticks: &mut Option<tokio::time::Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

async fn run(program: &'static str, arguments: Vec<String>, input: String) -> Result<(), String> {
    let ended = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        host::run(program, &arguments, &input)
    });
    ended.await.map_err(|error| error.to_string())?.map(|_| ())
}

async fn cleanup() -> anyhow::Result<()> {
    let transaction = ["ip", "ip6"]
        .map(|family| format!("add table {family} kube-proxy\ndelete table {family} kube-proxy\n"))
        .concat();
    run("nft", vec!["-f".into(), "-".into()], transaction).await.map_err(anyhow::Error::msg)
}

async fn serve(
    listener: Listener,
    synced: Arc<AtomicBool>,
    metrics: Metrics,
    pages: Option<Arc<Pages>>,
    shutdown: CancellationToken,
) {
    let health = Health::new();
    health.add("rules", Scope::Ready, move || {
        if synced.load(Ordering::Relaxed) { Ok(()) } else { Err("the kernel has no rules of this program yet".into()) }
    });
    let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let path = request.uri().path();
        let answer = if path == "/proxyMode" {
            Some(kinit_serving::text(http::StatusCode::OK, "nftables"))
        } else {
            let (query, headers) = (request.uri().query(), request.headers());
            let answer = health.respond(path, query).or_else(|| metrics.respond(path));
            answer.or_else(|| pages.as_ref().and_then(|pages| pages.respond(path, query, headers)))
        };
        let answer =
            answer.unwrap_or_else(|| kinit_serving::text(http::StatusCode::NOT_FOUND, "there is nothing here\n"));
        async move { Ok::<_, Infallible>(answer) }
    });
    listener.serve(hyper_util::service::TowerToHyperService::new(service), Limits::default(), shutdown).await;
}
