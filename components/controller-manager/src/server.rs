//! Putting the parts together.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use kinit_runtime::leader::lead;
use kinit_serving::health::Health;
use kinit_serving::listener::{Limits, Listener, Peer};
use kinit_serving::metrics::Metrics;
use kinit_serving::tls::{ClientAuth, Holder, Tls, TlsOptions};
use kinit_serving::zpages::{Flags, Pages};
use tokio_util::sync::CancellationToken;

use crate::context::{Caches, Context};
use crate::options::Options;
use crate::{
    attach, autoscaling, binder, bootstrap, certificates, cronjob, daemonset, deployment, disruption, endpoints,
    ephemeral, garbage, job, mirroring, namespace, nodeipam, nodelifecycle, nodettl, podgc, protection, quota,
    replicaset, replication, roleaggregation, rootca, serviceaccount, servicecidr, statefulset, ttl,
};

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A controller: its names, upstream's of today and of before, and how it is started.
struct Controller {
    name: &'static str,
    others: &'static [&'static str],
    start: fn(Arc<Context>) -> Running,
}

macro_rules! controllers {
    ($($name:literal $(| $other:literal)? => $start:path,)*) => {
        &[$(Controller { name: $name, others: &[$($other)?], start: |context| Box::pin($start(context)) }),*]
    };
}

/// Every controller, by the names that --controllers takes.
const CONTROLLERS: &[Controller] = controllers! {
    "node-ipam-controller" | "nodeipam" => nodeipam::run,
    "node-lifecycle-controller" | "nodelifecycle" => nodelifecycle::run,
    "ttl-controller" | "ttl" => nodettl::run,
    "certificatesigningrequest-approving-controller" | "csrapproving" => certificates::approve,
    "certificatesigningrequest-signing-controller" | "csrsigning" => certificates::sign,
    "certificatesigningrequest-cleaner-controller" | "csrcleaner" => certificates::clean::run,
    "clusterrole-aggregation-controller" | "clusterrole-aggregation" => roleaggregation::run,
    "root-ca-certificate-publisher-controller" | "root-ca-cert-publisher" => rootca::run,
    "serviceaccount-controller" | "serviceaccount" => serviceaccount::run,
    "namespace-controller" | "namespace" => namespace::run,
    "daemonset-controller" | "daemonset" => daemonset::run,
    "replicaset-controller" | "replicaset" => replicaset::run,
    "deployment-controller" | "deployment" => deployment::run,
    "job-controller" | "job" => job::run,
    "statefulset-controller" | "statefulset" => statefulset::run,
    "cronjob-controller" | "cronjob" => cronjob::run,
    "ttl-after-finished-controller" | "ttl-after-finished" => ttl::run,
    "disruption-controller" | "disruption" => disruption::run,
    "replicationcontroller-controller" | "replicationcontroller" => replication::run,
    "pod-garbage-collector-controller" | "podgc" => podgc::run,
    "horizontal-pod-autoscaler-controller" | "horizontalpodautoscaling" => autoscaling::run,
    "resourcequota-controller" | "resourcequota" => quota::run,
    "endpointslice-mirroring-controller" | "endpointslicemirroring" => mirroring::run,
    "persistentvolume-binder-controller" | "persistentvolume-binder" => binder::run,
    "persistentvolume-attach-detach-controller" | "attachdetach" => attach::run,
    "ephemeral-volume-controller" | "ephemeral-volume" => ephemeral::run,
    "persistentvolumeclaim-protection-controller" | "pvc-protection" => protection::claims_in_use,
    "persistentvolume-protection-controller" | "pv-protection" => protection::volumes_in_use,
    "volumeattributesclass-protection-controller" => protection::attributes_in_use,
    "endpoints-controller" | "endpoint" => endpoints::run,
    "endpointslice-controller" | "endpointslice" => endpoints::run_slices,
    "garbage-collector-controller" | "garbagecollector" => garbage::run,
    "service-cidr-controller" => servicecidr::run,
    "bootstrap-signer-controller" | "bootstrapsigner" => bootstrap::sign,
    "token-cleaner-controller" | "tokencleaner" => bootstrap::clean,
};

/// Controllers of upstream's that are not there: whoever switches them off has what they want.
const ABSENT: &[&str] = &[
    "cloud-node-lifecycle",
    "device-taint-eviction-controller",
    "kube-apiserver-serving-clustertrustbundle-publisher-controller",
    "legacy-service-account-token-cleaner",
    "legacy-serviceaccount-token-cleaner-controller",
    "persistentvolume-expander",
    "persistentvolume-expander-controller",
    "podcertificaterequest-cleaner-controller",
    "podgroup-protection-controller",
    "resource-claim-controller",
    "resourceclaim-controller",
    "resourcepoolstatusrequest-controller",
    "route",
    "selinux-warning-controller",
    "service",
    "serviceaccount-token",
    "serviceaccount-token-controller",
    "storage-version-gc",
    "storage-version-migrator-controller",
    "storageversion-garbage-collector-controller",
    "svm",
    "taint-eviction-controller",
    "validatingadmissionpolicy-status-controller",
];

/// A controller manager that is ready to run.
pub struct Server {
    options: Options,
    flags: Flags,
}

impl Server {
    /// Checks the command line. `flags` is all that stands in it.
    pub fn new(options: Options, flags: Flags) -> anyhow::Result<Self> {
        for name in &options.controllers {
            let plain = name.strip_prefix('-').unwrap_or(name);
            let known = plain == "*" || CONTROLLERS.iter().any(|one| one.name == plain || one.others.contains(&plain));
            let switched_off = plain != name && ABSENT.contains(&plain);
            if !(known || switched_off) {
                let all: Vec<&str> = CONTROLLERS.iter().map(|one| one.name).collect();
                anyhow::bail!("--controllers: there is no controller {plain:?}; there are *, {}", all.join(", "));
            }
        }
        options.foreign.settle()?;
        Ok(Self { options, flags })
    }

    /// Runs until shutdown, or until it no longer leads.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let options = self.options;
        // One provider for all of TLS; a test that boots several components has set it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address: SocketAddr = format!("{}:{}", options.bind_address, options.secure_port).parse()?;
        let local = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let holder = Holder {
            pair: "kube-controller-manager",
            host: "localhost",
            names: &[],
            addresses: &local,
            bind: address.ip(),
        };
        let identity = options.serving.identity(&options.cert_dir, &holder, jiff::Timestamp::now())?;
        let mut tls = TlsOptions::http(identity, ClientAuth::None);
        options.tls.apply(&mut tls);
        tls.sni.clone_from(&options.serving.tls_sni_cert_key);
        let tls = Tls::new(tls)?;
        let listener = Listener::bind(address, Some(tls)).await?;
        tokio::spawn(serve(listener, options.serving.limits(), self.flags, shutdown.clone()));
        let client = kinit_runtime::from_kubeconfig(&options.kubeconfig).await?;
        let config = config_of(&options).await?;
        let mut work = shutdown.clone();
        if options.leader_elect {
            let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
            let candidate = options.election.candidate(&host)?;
            match lead(client.clone(), candidate, &shutdown).await {
                Some(token) => work = token,
                None => return Ok(()),
            }
        }
        let caches = Caches::start(&client, &work);
        let context = Arc::new(Context { options, client, config, shutdown: work.clone(), caches });
        for controller in CONTROLLERS.iter().filter(|one| context.options.runs(one.name, one.others)) {
            tracing::info!(controller = controller.name, "starts");
            tokio::spawn((controller.start)(context.clone()));
        }
        work.cancelled().await;
        if shutdown.is_cancelled() { Ok(()) } else { anyhow::bail!("lost the leadership") }
    }
}

async fn config_of(options: &Options) -> anyhow::Result<kube::Config> {
    let kubeconfig = kube::config::Kubeconfig::read_from(&options.kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    config.headers.extend(kinit_runtime::client::user_agent());
    Ok(config)
}

/// Metrics and what the process is, for clients on this host alone: there is no asking the API server who may see them yet.
fn show(
    request: &http::Request<hyper::body::Incoming>,
    (health, metrics): (&Health, &Metrics),
    pages: &Pages,
) -> http::Response<kinit_serving::Body> {
    let local = request.extensions().get::<Peer>().is_some_and(|peer| peer.address.ip().is_loopback());
    match (request.uri().path(), local) {
        ("/metrics", true) => {
            let text = format!("{}{}", kinit_runtime::figures::text(), metrics.process());
            kinit_serving::text(http::StatusCode::OK, text)
        }
        ("/metrics" | "/metrics/slis" | "/flagz" | "/statusz", false) => {
            kinit_serving::text(http::StatusCode::FORBIDDEN, "this is shown on this host alone\n")
        }
        (path, _) => Metrics::indicators(path, health)
            .or_else(|| pages.respond(path, request.uri().query(), request.headers()))
            .unwrap_or_else(not_found),
    }
}

fn not_found() -> http::Response<kinit_serving::Body> {
    kinit_serving::text(http::StatusCode::NOT_FOUND, "404 page not found\n")
}

async fn serve(listener: Listener, limits: Limits, flags: Flags, shutdown: CancellationToken) {
    let health = Arc::new(Health::new());
    let metrics = Metrics::default();
    let paths = ["/healthz", "/livez", "/metrics", "/metrics/slis", "/readyz"];
    let pages = Arc::new(Pages::new("kube-controller-manager", Some(flags), paths));
    let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let answer = health.respond(request.uri().path(), request.uri().query());
        let answer = answer.unwrap_or_else(|| show(&request, (&health, &metrics), &pages));
        async move { Ok::<_, Infallible>(answer) }
    });
    listener.serve(hyper_util::service::TowerToHyperService::new(service), limits, shutdown).await;
}
