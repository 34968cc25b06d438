//! The shell: watches, transactions, health and metrics.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kinit_runtime::Informer;
use kinit_serving::health::{Health, Scope};
use kinit_serving::listener::{Limits, Listener};
use kinit_serving::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use kinit_serving::host;

use crate::balancers::Balancers;
use crate::config::Configuration;
use crate::conntrack;
use crate::options::Options;
use crate::render::{Settings, render};
use crate::ruleset::Ruleset;
use crate::service::State;

/// Changes that come together go into one transaction.
const SETTLE: Duration = Duration::from_millis(10);
/// After a failed transaction the next is tried this soon.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// A proxy that is ready to run.
pub struct Server {
    options: Options,
    config: Configuration,
}

impl Server {
    /// Reads the configuration.
    pub fn new(options: Options) -> anyhow::Result<Self> {
        let mut config = match &options.config {
            Some(path) => Configuration::load(path)?,
            None => Configuration::default(),
        };
        if let Some(range) = options.cluster_cidr.clone().filter(|_| options.config.is_none()) {
            config.cluster_cidr = range;
        }
        Ok(Self { options, config })
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
        let client = kinit_runtime::from_kubeconfig(kubeconfig).await?;
        let node = self.node_name();
        tracing::info!(node, "kube-proxy starts, by nftables");
        let synced = Arc::new(AtomicBool::new(false));
        let (metrics, figures) = figures();
        let mut tasks = tokio::task::JoinSet::new();
        for (address, default) in [
            (&self.config.healthz_bind_address, "0.0.0.0:10256"),
            (&self.config.metrics_bind_address, "127.0.0.1:10249"),
        ] {
            let address = if address.is_empty() { default } else { address };
            let address: SocketAddr =
                address.parse().with_context(|| format!("{address:?} is not an address with a port"))?;
            let listener = Listener::bind(address, None).await?;
            tasks.spawn(serve(listener, synced.clone(), metrics.clone(), shutdown.clone()));
        }
        let services: Arc<Informer<Service>> = Informer::start(client.clone(), &shutdown);
        let slices: Arc<Informer<EndpointSlice>> = Informer::start(client, &shutdown);
        let changed = Arc::new(Notify::new());
        let (one, other) = (changed.clone(), changed.clone());
        services.handle(move |_, _| one.notify_one());
        slices.handle(move |_, _| other.notify_one());
        tokio::select! {
            () = async { services.synced().await; slices.synced().await } => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let settings = Settings {
            cluster_ranges: self.config.cluster_ranges(),
            masquerade_all: self.config.nftables.masquerade_all,
            mark: self.config.mark(),
            node_ports: self.config.node_port_addresses.clone().unwrap_or_default(),
        };
        let mut kernel = Kernel { settings, known: None, figures };
        let mut balancers = Balancers::new(synced.clone(), shutdown.clone());
        loop {
            let (services, slices) = (services.list(), slices.list());
            let state = State::of(services.iter().map(Arc::as_ref), slices.iter().map(Arc::as_ref), &node);
            drop((services, slices));
            balancers.follow(&state).await;
            let well = kernel.settle(state).await;
            synced.store(well, Ordering::Relaxed);
            tokio::select! {
                () = changed.notified() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(TRY_AGAIN), if !well => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
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
    settings: Settings,
    known: Option<(State, [Ruleset; 2])>,
    figures: Figures,
}

impl Kernel {
    /// Tells the kernel what differs; says whether it took it.
    async fn settle(&mut self, state: State) -> bool {
        if self.known.as_ref().is_some_and(|(known, _)| *known == state) {
            return true;
        }
        self.figures.services.set(state.ports.len() as i64);
        let rules = [false, true].map(|six| render(&state, &self.settings, six));
        let (transaction, flows) = match &self.known {
            Some((known, old)) => {
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
        self.known = Some((state, rules));
        true
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

async fn serve(listener: Listener, synced: Arc<AtomicBool>, metrics: Metrics, shutdown: CancellationToken) {
    let health = Health::new();
    health.add("rules", Scope::Ready, move || {
        if synced.load(Ordering::Relaxed) { Ok(()) } else { Err("the kernel has no rules of this program yet".into()) }
    });
    let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let path = request.uri().path();
        let answer = if path == "/proxyMode" {
            Some(kinit_serving::text(http::StatusCode::OK, "nftables"))
        } else {
            health.respond(path, request.uri().query()).or_else(|| metrics.respond(path))
        };
        let answer =
            answer.unwrap_or_else(|| kinit_serving::text(http::StatusCode::NOT_FOUND, "there is nothing here\n"));
        async move { Ok::<_, Infallible>(answer) }
    });
    listener.serve(hyper_util::service::TowerToHyperService::new(service), Limits::default(), shutdown).await;
}
