//! Putting the parts together.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use kinit_cri::Runtime;
use kinit_serving::health::Health;
use kinit_serving::listener::{Limits, Listener};
use kinit_serving::zpages::Flags;
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::certificates::store::Store;
use crate::certificates::{self, bootstrap};
use crate::config::Configuration;
use crate::context::Context;
use crate::options::Options;
use crate::pod::source::{Pods, follow_api, follow_files, follow_services};
use crate::{csi, events, eviction, lease, node, relist, server, shutdown, upkeep};

/// A kubelet that is ready to run.
pub struct Server {
    options: Options,
    flags: Flags,
    context: Arc<Context>,
    said: events::Queue,
}

impl Server {
    /// Reads the configuration and the host. `flags` are what the process was started with.
    pub fn new(options: Options, flags: Flags) -> anyhow::Result<Self> {
        options.foreign.settle()?;
        let mut config = match &options.config {
            Some(path) => Configuration::load(path, &options.foreign)?,
            None => Configuration::of_flags(&options.foreign).map_err(anyhow::Error::msg)?,
        };
        if let Some(endpoint) = &options.container_runtime_endpoint {
            config.container_runtime_endpoint = endpoint.clone();
        }
        if !config.others.is_empty() {
            let names: Vec<&str> = config.others.keys().map(String::as_str).collect();
            tracing::warn!(fields = names.join(", "), "fields of the configuration have no effect");
        }
        let host_name = nix::unistd::gethostname()?.to_string_lossy().trim().to_lowercase();
        let node_name = options.hostname_override.clone().unwrap_or_else(|| host_name.clone()).to_lowercase();
        let node_ip = options.node_ip.or_else(default_address).unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let memory =
            std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| node::memory_line(&text, "MemTotal:"));
        // One provider for all of TLS; a test that boots several components has set it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (events, said) = events::channel();
        let memory = memory.unwrap_or(1 << 30);
        let context = Context {
            events,
            wakes: Default::default(),
            claims: Default::default(),
            room: node::room(&config, memory),
            failures: Default::default(),
            mirrors_lost: Default::default(),
            ends: Default::default(),
            pressure: Default::default(),
            runtime: Runtime::new(config.runtime_socket(), config.runtime_request_timeout.0),
            config,
            root: options.root_dir.clone(),
            node_name,
            host_name,
            node_ip,
            memory,
            client: watch::Sender::new(None),
            services: watch::Sender::new(None::<Arc<HashMap<_, _>>>),
            drivers: Default::default(),
            probes: Default::default(),
            node_uid: RwLock::default(),
        };
        Ok(Self { options, flags, context: Arc::new(context), said })
    }

    /// Runs until shutdown. Pods go on running when it ends.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { options, flags, context, said } = self;
        tracing::info!(node = context.node_name, address = %context.node_ip, "kubelet starts");
        let pods = Pods::new(context.clone());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(events::run(context.clone(), said, shutdown.clone()));
        context.events.node(&context.node_name, events::Kind::Normal, "Starting", "Starting kubelet.");
        if context.config.healthz_port != 0 {
            let address: SocketAddr =
                format!("{}:{}", context.config.healthz_bind_address, context.config.healthz_port).parse()?;
            let listener = Listener::bind(address, None).await?;
            tasks.spawn(serve_health(listener, context.clone(), shutdown.clone()));
        }
        tasks.spawn(relist::run(context.clone(), pods.clone(), shutdown.clone()));
        let thresholds = eviction::thresholds::of(&context.config).map_err(anyhow::Error::msg)?;
        tasks.spawn(eviction::run(context.clone(), pods.clone(), thresholds, shutdown.clone()));
        tasks.spawn(upkeep::run(context.clone(), shutdown.clone()));
        let groups = shutdown::groups(&context.config).map_err(anyhow::Error::msg)?;
        tasks.spawn(shutdown::run(context.clone(), pods.clone(), groups, shutdown.clone()));
        tasks.spawn(csi::registry::follow(context.clone(), shutdown.clone()));
        tasks.spawn(follow_files(pods.clone(), context.config.static_pod_path.clone(), shutdown.clone()));
        let listener = server::bind(&context, &options).await?;
        tasks.spawn(server::serve(listener, context.clone(), pods.clone(), flags, shutdown.clone()));
        tokio::select! {
            result = connect(&options, &context, &pods, &shutdown) => result?,
            () = shutdown.cancelled() => {}
        }
        shutdown.cancelled().await;
        tasks.shutdown().await;
        Ok(())
    }
}

/// Gets credentials and keeps what needs the cluster going until shutdown: all of it begins again with each new
/// certificate, so that no connection outlives the one that it was made with.
async fn connect(
    options: &Options,
    context: &Arc<Context>,
    pods: &Pods,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let Some(kubeconfig) = &options.kubeconfig else {
        tracing::info!("there is no kubeconfig: only static pods run");
        return Ok(());
    };
    let store = Store::client(&options.cert_dir);
    bootstrap::ensure(kubeconfig, options.bootstrap_kubeconfig.as_deref(), &store, &context.node_name).await?;
    let renewed = Arc::new(Notify::new());
    let mut background = tokio::task::JoinSet::new();
    if context.config.rotate_certificates {
        let wanted = certificates::client_request(&context.node_name);
        let notify = renewed.clone();
        background.spawn(certificates::follow(
            context.clone(),
            store.clone(),
            wanted,
            move || notify.notify_one(),
            shutdown.clone(),
        ));
    }
    if context.config.server_tls_bootstrap {
        let wanted = certificates::serving_request(context);
        let store = Store::server(&options.cert_dir);
        background.spawn(certificates::follow(context.clone(), store, wanted, || {}, shutdown.clone()));
    }
    while !shutdown.is_cancelled() {
        let client = bootstrap::client(kubeconfig, context.config.rotate_certificates.then_some(&store)).await?;
        context.client.send_replace(Some(client.clone()));
        let round = shutdown.child_token();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(follow_cluster(context.clone(), pods.clone(), client, options.clone(), round.clone()));
        tokio::select! {
            () = renewed.notified() => tracing::info!("connects with the new certificate"),
            () = shutdown.cancelled() => {}
        }
        round.cancel();
        while tasks.join_next().await.is_some() {}
    }
    Ok(())
}

/// All that goes on with the cluster, until `round` ends.
async fn follow_cluster(
    context: Arc<Context>,
    pods: Pods,
    client: kube::Client,
    options: Options,
    round: CancellationToken,
) {
    tokio::select! {
        () = node::register(&context, client.clone(), &options) => {}
        () = round.cancelled() => return,
    }
    // Static pods are reported at once, and not only at the next look.
    for pod in pods.all() {
        pods.wake(crate::pod::facts::uid(&pod));
    }
    tokio::join!(
        follow_services(context.clone(), client.clone(), round.clone()),
        follow_api(pods, client.clone(), round.clone()),
        node::follow_status(context.clone(), client.clone(), round.clone()),
        lease::follow(context, client, round.clone()),
    );
}

async fn serve_health(listener: Listener, context: Arc<Context>, shutdown: CancellationToken) {
    let health = Arc::new(Health::new());
    let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let answer = health.respond(request.uri().path(), request.uri().query());
        async move {
            Ok::<_, std::convert::Infallible>(
                answer.unwrap_or_else(|| kinit_serving::text(http::StatusCode::NOT_FOUND, "there is nothing here\n")),
            )
        }
    });
    drop(context);
    listener.serve(hyper_util::service::TowerToHyperService::new(service), Limits::default(), shutdown).await;
}

/// The address that packets to the default route leave from. Connecting a datagram socket sends nothing.
fn default_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
