//! Putting the parts together.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use kinit_runtime::leader::{Candidate, lead};
use kinit_serving::health::Health;
use kinit_serving::listener::{Limits, Listener};
use kinit_serving::tls::{ClientAuth, Identity, Tls, TlsOptions};
use tokio_util::sync::CancellationToken;

use crate::context::{Caches, Context};
use crate::options::Options;
use crate::{
    autoscaling, binder, bootstrap, certificates, cronjob, daemonset, deployment, disruption, endpoints, garbage, job,
    mirroring, namespace, nodeipam, nodelifecycle, podgc, protection, quota, replicaset, replication, roleaggregation,
    rootca, serviceaccount, statefulset, ttl,
};

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A controller: its name, and how it is started.
struct Controller {
    name: &'static str,
    start: fn(Arc<Context>) -> Running,
}

macro_rules! controllers {
    ($($name:literal => $start:path,)*) => {
        &[$(Controller { name: $name, start: |context| Box::pin($start(context)) }),*]
    };
}

/// Every controller, by the names that --controllers takes.
const CONTROLLERS: &[Controller] = controllers! {
    "nodeipam" => nodeipam::run,
    "nodelifecycle" => nodelifecycle::run,
    "csrapproving" => certificates::approve,
    "csrsigning" => certificates::sign,
    "clusterrole-aggregation" => roleaggregation::run,
    "root-ca-cert-publisher" => rootca::run,
    "serviceaccount" => serviceaccount::run,
    "namespace" => namespace::run,
    "daemonset" => daemonset::run,
    "replicaset" => replicaset::run,
    "deployment" => deployment::run,
    "job" => job::run,
    "statefulset" => statefulset::run,
    "cronjob" => cronjob::run,
    "ttl-after-finished" => ttl::run,
    "disruption" => disruption::run,
    "replicationcontroller" => replication::run,
    "podgc" => podgc::run,
    "horizontalpodautoscaling" => autoscaling::run,
    "resourcequota" => quota::run,
    "endpointslicemirroring" => mirroring::run,
    "persistentvolume-binder" => binder::run,
    "persistentvolumeclaim-protection" => protection::claims_in_use,
    "persistentvolume-protection" => protection::volumes_in_use,
    "volumeattributesclass-protection-controller" => protection::attributes_in_use,
    "endpoint" => endpoints::run,
    "endpointslice" => endpoints::run_slices,
    "garbagecollector" => garbage::run,
    "bootstrapsigner" => bootstrap::sign,
    "tokencleaner" => bootstrap::clean,
};

/// A controller manager that is ready to run.
pub struct Server {
    options: Options,
}

impl Server {
    /// Checks the command line.
    pub fn new(options: Options) -> anyhow::Result<Self> {
        for name in &options.controllers {
            let plain = name.strip_prefix('-').unwrap_or(name);
            let known = plain == "*" || CONTROLLERS.iter().any(|one| one.name == plain);
            if !known {
                let all: Vec<&str> = CONTROLLERS.iter().map(|one| one.name).collect();
                anyhow::bail!("--controllers: there is no controller {plain:?}; there are *, {}", all.join(", "));
            }
        }
        Ok(Self { options })
    }

    /// Runs until shutdown, or until it no longer leads.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let options = self.options;
        // One provider for all of TLS; a test that boots several components has set it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address: SocketAddr = format!("{}:{}", options.bind_address, options.secure_port).parse()?;
        let names = vec!["localhost".into(), "127.0.0.1".into()];
        let tls = Tls::new(TlsOptions::http(Identity::SelfSigned { names }, ClientAuth::None))?;
        let listener = Listener::bind(address, Some(tls)).await?;
        tokio::spawn(serve(listener, shutdown.clone()));
        let client = kinit_runtime::from_kubeconfig(&options.kubeconfig).await?;
        let config = config_of(&options).await?;
        let mut work = shutdown.clone();
        if options.leader_elect {
            let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
            let candidate = Candidate::new("kube-controller-manager", &host);
            match lead(client.clone(), candidate, &shutdown).await {
                Some(token) => work = token,
                None => return Ok(()),
            }
        }
        let caches = Caches::start(&client, &work);
        let context = Arc::new(Context { options, client, config, shutdown: work.clone(), caches });
        for controller in CONTROLLERS.iter().filter(|one| context.options.runs(one.name)) {
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

async fn serve(listener: Listener, shutdown: CancellationToken) {
    let health = Arc::new(Health::new());
    let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let answer = health.respond(request.uri().path(), request.uri().query());
        let answer = answer.unwrap_or_else(|| kinit_serving::text(http::StatusCode::NOT_FOUND, "404 page not found\n"));
        async move { Ok::<_, Infallible>(answer) }
    });
    listener.serve(hyper_util::service::TowerToHyperService::new(service), Limits::default(), shutdown).await;
}
