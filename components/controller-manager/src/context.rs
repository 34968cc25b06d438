//! What all controllers share: caches, and clients that act under each controller's own name.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController,
    ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::resource::v1::ResourceClaim;
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttributesClass};
use kinit_runtime::Informer;
use kinit_runtime::events::{self, Recorder, Source};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio_util::sync::CancellationToken;

use crate::options::Options;

/// A token is replaced after this time; it lives twice as long.
const TOKEN_PACE: Duration = Duration::from_secs(1800);
const RETRY: Duration = Duration::from_millis(200);

/// What all controllers share.
pub struct Context {
    /// The command line.
    pub options: Options,
    /// The controller manager's own client.
    pub client: kube::Client,
    /// Its configuration, from which those of controllers are made.
    pub config: kube::Config,
    /// When all ends.
    pub shutdown: CancellationToken,
    /// Caches.
    pub caches: Caches,
}

/// One cache per kind.
#[expect(missing_docs, reason = "each is named by its kind")]
pub struct Caches {
    pub pods: Arc<Informer<Pod>>,
    pub nodes: Arc<Informer<Node>>,
    pub leases: Arc<Informer<Lease>>,
    pub namespaces: Arc<Informer<Namespace>>,
    pub services: Arc<Informer<Service>>,
    pub endpoints: Arc<Informer<Endpoints>>,
    pub slices: Arc<Informer<EndpointSlice>>,
    pub config_maps: Arc<Informer<ConfigMap>>,
    pub secrets: Arc<Informer<Secret>>,
    pub accounts: Arc<Informer<ServiceAccount>>,
    pub replica_sets: Arc<Informer<ReplicaSet>>,
    pub deployments: Arc<Informer<Deployment>>,
    pub daemon_sets: Arc<Informer<DaemonSet>>,
    pub jobs: Arc<Informer<Job>>,
    pub requests: Arc<Informer<CertificateSigningRequest>>,
    pub cron_jobs: Arc<Informer<CronJob>>,
    pub stateful_sets: Arc<Informer<StatefulSet>>,
    pub revisions: Arc<Informer<ControllerRevision>>,
    pub replication_controllers: Arc<Informer<ReplicationController>>,
    pub claims: Arc<Informer<PersistentVolumeClaim>>,
    pub device_claims: Arc<Informer<ResourceClaim>>,
    pub volumes: Arc<Informer<PersistentVolume>>,
    pub attributes_classes: Arc<Informer<VolumeAttributesClass>>,
    pub storage_classes: Arc<Informer<StorageClass>>,
    pub quotas: Arc<Informer<ResourceQuota>>,
    pub budgets: Arc<Informer<PodDisruptionBudget>>,
    pub scalers: Arc<Informer<HorizontalPodAutoscaler>>,
    pub cluster_roles: Arc<Informer<ClusterRole>>,
}

impl Caches {
    /// Starts all.
    pub fn start(client: &kube::Client, shutdown: &CancellationToken) -> Self {
        Self {
            pods: Informer::start(client.clone(), shutdown),
            nodes: Informer::start(client.clone(), shutdown),
            leases: Informer::start(client.clone(), shutdown),
            namespaces: Informer::start(client.clone(), shutdown),
            services: Informer::start(client.clone(), shutdown),
            endpoints: Informer::start(client.clone(), shutdown),
            slices: Informer::start(client.clone(), shutdown),
            config_maps: Informer::start(client.clone(), shutdown),
            secrets: Informer::start(client.clone(), shutdown),
            accounts: Informer::start(client.clone(), shutdown),
            replica_sets: Informer::start(client.clone(), shutdown),
            deployments: Informer::start(client.clone(), shutdown),
            daemon_sets: Informer::start(client.clone(), shutdown),
            jobs: Informer::start(client.clone(), shutdown),
            requests: Informer::start(client.clone(), shutdown),
            cron_jobs: Informer::start(client.clone(), shutdown),
            stateful_sets: Informer::start(client.clone(), shutdown),
            revisions: Informer::start(client.clone(), shutdown),
            replication_controllers: Informer::start(client.clone(), shutdown),
            claims: Informer::start(client.clone(), shutdown),
            device_claims: Informer::start(client.clone(), shutdown),
            volumes: Informer::start(client.clone(), shutdown),
            attributes_classes: Informer::start(client.clone(), shutdown),
            storage_classes: Informer::start(client.clone(), shutdown),
            quotas: Informer::start(client.clone(), shutdown),
            budgets: Informer::start(client.clone(), shutdown),
            scalers: Informer::start(client.clone(), shutdown),
            cluster_roles: Informer::start(client.clone(), shutdown),
        }
    }
}

/// A controller's client; it is another one each time its token is renewed.
#[derive(Clone)]
pub struct Actor {
    client: Arc<ArcSwap<kube::Client>>,
    /// Where the controller says what it did.
    pub events: Recorder,
}

impl Actor {
    /// The client as it is now.
    pub fn client(&self) -> kube::Client {
        self.client.load().as_ref().clone()
    }
}

/// The name that a controller has in events; most have that of their account.
fn component(account: &str) -> &str {
    match account {
        "daemon-set-controller" => "daemonset-controller",
        "disruption-controller" => "controllermanager",
        other => other,
    }
}

impl Context {
    /// A client for the controller `name`: under the service account of that name in kube-system if that is wanted.
    pub async fn actor(self: &Arc<Self>, name: &str) -> Actor {
        let (events, said) = events::channel();
        let actor = Actor { client: Arc::new(ArcSwap::from_pointee(self.client.clone())), events };
        let source = Source { component: component(name).to_owned(), host: String::new() };
        let client = self.client.clone();
        tokio::spawn(events::run(source, said, move || Some(client.clone()), self.shutdown.clone()));
        if !self.options.use_service_account_credentials {
            return actor;
        }
        self.renew(&actor, name).await;
        let (context, own, name) = (self.clone(), actor.clone(), name.to_owned());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(TOKEN_PACE) => {}
                    () = context.shutdown.cancelled() => return,
                }
                context.renew(&own, &name).await;
            }
        });
        actor
    }

    async fn renew(&self, actor: &Actor, name: &str) {
        loop {
            match self.client_of(name).await {
                Ok(client) => {
                    actor.client.store(Arc::new(client));
                    return;
                }
                Err(error) => tracing::debug!(name, %error, "no token yet"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    async fn client_of(&self, name: &str) -> Result<kube::Client, kube::Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), "kube-system");
        if api.get_opt(name).await?.is_none() {
            let account = ServiceAccount {
                metadata: ObjectMeta { name: Some(name.into()), ..Default::default() },
                ..Default::default()
            };
            match api.create(&PostParams::default(), &account).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                other => {
                    other?;
                }
            }
        }
        let mut request = TokenRequest::default();
        request.spec.get_or_insert_default().expiration_seconds = Some(TOKEN_PACE.as_secs() as i64 * 2);
        let answer = api.create_token_request(name, &PostParams::default(), &request).await?;
        let token = answer.status.and_then(|status| status.token).unwrap_or_default();
        let mut config = self.config.clone();
        config.auth_info = kube::config::AuthInfo { token: Some(token.into()), ..Default::default() };
        kube::Client::try_from(config)
    }
}
