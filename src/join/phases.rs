//! The phases of `kinit join` on the host itself.

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use jiff::Timestamp;
use kinit_pki::Kubeconfig;
use kinit_pki::kubeconfig::Credential;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{JoinSettings, control_plane, discovery};
use crate::agent;
use crate::api::{self, Api, KubeApi};
use crate::config::Settings;
use crate::config::v1beta4::ClusterConfiguration;
use crate::host::{Change, Host};
use crate::images::{Binaries, COMPONENTS, Component, ImageStore};
use crate::phase::control_plane::MANIFESTS_DIR;
use crate::phase::init::InitContext;
use crate::phase::wait::{is_ready, node_ready, until};
use crate::phase::{Outcome, Phase, Result, Tree, containerd, host_settings, images, kubeconfig, kubelet};
use crate::report::Reporter;
use crate::templates;

const BOOTSTRAP_FILE: &str = "bootstrap-kubelet.conf";

/// What the phases of `join` share.
pub struct JoinContext {
    /// What is wanted.
    pub settings: JoinSettings,
    /// The host.
    pub host: Arc<dyn Host>,
    /// Where images go.
    pub images: Arc<dyn ImageStore>,
    /// Where the components' binaries are.
    pub binaries: Binaries,
    /// Who is told.
    pub reporter: Arc<dyn Reporter>,
    /// When the command began.
    pub now: Timestamp,
    /// What the cluster says of itself, once it was asked.
    pub cluster: OnceCell<Joined>,
    /// What the phases of init run in, for a control plane.
    pub init: OnceCell<InitContext>,
}

/// What the cluster says of itself.
pub struct Joined {
    /// Where and who it is.
    pub found: discovery::Found,
    /// Its settings.
    pub settings: Settings,
    /// The configuration of its kubelets.
    pub kubelet: Value,
}

/// The order.
pub const TREE: Tree<JoinContext> = &[
    // Alone and first: nothing is written for a cluster that is not the right one.
    &[&[DISCOVERY]],
    &[&[HOST_SETTINGS], &[RUNTIME, IMAGES], &[control_plane::PREPARE, control_plane::CHECK_ETCD, KUBELET_FILES]],
    &[&[AGENT, START, WAIT_BOOTSTRAP, control_plane::ETCD_JOIN, control_plane::WAIT, control_plane::JOIN, WAIT_NODE]],
];

const DISCOVERY: Phase<JoinContext> =
    Phase::leaf("discovery", "finds the cluster and checks that it is the right one", |context| {
        async move {
            cluster(context).await?;
            Ok(Outcome::Changed)
        }
        .boxed()
    });

const HOST_SETTINGS: Phase<JoinContext> = Phase::leaf(
    "host-settings",
    "loads kernel modules and switches packet forwarding on, now and at each boot",
    |context| {
        async move {
            let six = host_settings::has_six(&cluster(context).await?.settings);
            host_settings::apply(context.host.as_ref(), six, context.reporter.as_ref()).await
        }
        .boxed()
    },
);

const RUNTIME: Phase<JoinContext> =
    Phase::leaf("container-runtime", "mends containerd's configuration where pods could not run with it", |context| {
        async move {
            let pause = cluster(context).await?.settings.image("pause");
            containerd::mend(context.host.as_ref(), &context.settings.node, &pause).await
        }
        .boxed()
    });

const IMAGES: Phase<JoinContext> =
    Phase::leaf("images", "packs the components into images and gives them to the container runtime", |context| {
        async move {
            let joined = cluster(context).await?;
            let needed: Vec<Component> = COMPONENTS
                .iter()
                .copied()
                .filter(|component| component.on_workers || context.settings.control_plane.is_some())
                .collect();
            let name = |component: &str| joined.settings.image(component);
            images::import(context.host.as_ref(), context.images.as_ref(), &context.binaries, &needed, name).await
        }
        .boxed()
    });

const KUBELET_FILES: Phase<JoinContext> =
    Phase::leaf("kubelet-files", "installs the kubelet and writes its configuration and its unit", |context| {
        async move { kubelet_files(context).await }.boxed()
    });

const AGENT: Phase<JoinContext> =
    Phase::leaf("agent", "starts the way to the API servers and the renewal of certificates", |context| {
        async move { start_agent(context).await }.boxed()
    });

const START: Phase<JoinContext> = Phase::<JoinContext>::leaf("kubelet-start", "starts the kubelet", |context| {
    async move { kubelet::start(context.host.as_ref()).await }.boxed()
})
.alone_after("kubelet-files");

const WAIT_BOOTSTRAP: Phase<JoinContext> =
    Phase::leaf("kubelet-wait-bootstrap", "waits until the kubelet has a certificate of its own", |context| {
        async move { wait_bootstrap(context).await }.boxed()
    });

const WAIT_NODE: Phase<JoinContext> = Phase::leaf("wait-node", "waits until this node is ready", |context| {
    async move {
        if !context.host.is_real() {
            return Ok(Outcome::Skipped("in a dry run".into()));
        }
        let api = KubeApi::from_file(kubeconfig::path("kubelet.conf"));
        node_ready(&api, &context.settings.node.name, context.settings.timeouts.kubelet).await?;
        Ok(Outcome::Changed)
    }
    .boxed()
});

/// Asks the cluster what it says of itself, once.
pub(super) async fn cluster(context: &JoinContext) -> anyhow::Result<&Joined> {
    context
        .cluster
        .get_or_try_init(|| async {
            let found = discovery::discover(&context.settings.source).await?;
            let api = KubeApi::from_kubeconfig(&bootstrap_kubeconfig(context, &found).await?)?;
            let object = config_map(&api, "kubeadm-config").await?;
            let document: ClusterConfiguration = serde_json::from_value(text_in(&object, "ClusterConfiguration")?)?;
            let kubelet = text_in(&config_map(&api, "kubelet-config").await?, "kubelet")?;
            let mut settings = Settings::resolve(document, None, None)?;
            settings.balanced = agent::is_balanced(&object);
            refuse_taken_name(&api, context).await?;
            Ok(Joined { found, settings, kubelet })
        })
        .await
}

/// Two hosts of one name would fight over one Node object.
async fn refuse_taken_name(api: &dyn Api, context: &JoinContext) -> anyhow::Result<()> {
    let name = &context.settings.node.name;
    let taken = matches!(api::get(api, &format!("/api/v1/nodes/{name}")).await, Ok(Some(node)) if is_ready(&node));
    if taken && !context.host.is_resumed()? {
        anyhow::bail!(
            "the cluster has a node {name} already, and it is ready\nhint: give this one another name by --node-name, or \
             take the other out first: kubectl delete node {name}\ncode: NodeExists"
        );
    }
    Ok(())
}

async fn config_map(api: &dyn Api, name: &str) -> anyhow::Result<Value> {
    let path = format!("/api/v1/namespaces/kube-system/configmaps/{name}");
    match api::get(api, &path).await {
        Err(error) if error.code() == Some(401) => {
            anyhow::bail!(
                "the cluster does not take the token for the kubelet's certificate: it is wrong or has ended\nhint: make a new one on the control plane: kinit token create --print-join-command\ncode: TokenRefused"
            )
        }
        other => other?.ok_or_else(|| {
            anyhow::anyhow!("the cluster has no ConfigMap {name}\nhint: finish `kinit init` on the control plane first\ncode: ClusterConfig")
        }),
    }
}

/// The document that a ConfigMap holds under `key`.
fn text_in(object: &Value, key: &str) -> anyhow::Result<Value> {
    let text = object.pointer("/data").and_then(|data| data.get(key)).and_then(Value::as_str);
    let text = text.ok_or_else(|| anyhow::anyhow!("the cluster's ConfigMaps have no {key}\ncode: ClusterConfig"))?;
    Ok(serde_yaml::from_str(text)?)
}

/// What the kubelet asks for its certificate with: the token, or what the discovery file has.
pub(super) async fn bootstrap_kubeconfig(
    context: &JoinContext,
    found: &discovery::Found,
) -> anyhow::Result<Kubeconfig> {
    if let Some(token) = &context.settings.bootstrap_token {
        let token = token.reveal();
        let user = Credential::Token(&token);
        return Ok(Kubeconfig::new("kubernetes", &found.server, &found.ca, "tls-bootstrap-token-user", &user));
    }
    match &context.settings.source {
        super::Source::File { at, .. } => Ok(discovery::file(at).await?),
        super::Source::Token { .. } => anyhow::bail!("there is no token for the kubelet's certificate"),
    }
}

async fn kubelet_files(context: &JoinContext) -> Result {
    let joined = cluster(context).await?;
    let host = context.host.as_ref();
    let ours = kubelet::configuration(host, &joined.settings, &context.settings.node)?;
    let mut config = joined.kubelet.clone();
    // What depends on the host itself is this host's, not that of the one which wrote the ConfigMap.
    for field in ["cgroupDriver", "containerRuntimeEndpoint"] {
        config[field] = ours[field].clone();
    }
    templates::merge(
        &mut config["authentication"]["x509"]["clientCAFile"],
        &serde_json::json!(context.settings.ca_path),
    );
    context.settings.patches.apply("kubeletconfiguration", &mut config)?;
    let mut change = host.write(&context.settings.ca_path, joined.found.ca.as_bytes(), 0o644)?;
    if host.read(&kubeconfig::path("kubelet.conf"))?.is_none() {
        let mut config = bootstrap_kubeconfig(context, &joined.found).await?;
        if let Some(url) = joined.settings.node_url() {
            config.clusters.iter_mut().for_each(|named| named.cluster.server.clone_from(&url));
        }
        let text = config.to_yaml()?;
        change = change.or(host.write(&kubeconfig::path(BOOTSTRAP_FILE), text.as_bytes(), 0o600)?);
    }
    change = change.or(make_folder(host, Path::new(MANIFESTS_DIR))?);
    let files = kubelet::files(host, &context.binaries, Some(&context.settings.node), &config)?;
    Ok(change.or(containerd::changed(&files)).into())
}

/// On a worker of a cluster with an endpoint for all there is nothing for the agent to do.
async fn start_agent(context: &JoinContext) -> Result {
    let joined = cluster(context).await?;
    let own = context.settings.control_plane.as_ref();
    if !joined.settings.balanced && own.is_none() {
        return Ok(Outcome::Skipped("the cluster has an endpoint for all".into()));
    }
    let own = own.map(|own| crate::config::net::host_port(&own.advertise_address.to_string(), own.bind_port));
    let found = joined.found.server.trim_start_matches("https://").to_owned();
    let known = [Some(found), context.settings.source.endpoint().map(str::to_owned), own.clone()];
    let config = agent::Config {
        balancer: joined.settings.balanced.then(|| agent::Balanced {
            own: own.clone(),
            servers: known.into_iter().flatten().collect(),
            ca: context.settings.ca_path.clone(),
        }),
        renewal: own.map(|_| agent::renewal::Work {
            folder: joined.settings.certificates_dir.clone(),
            algorithm: joined.settings.issuance.algorithm.to_string(),
        }),
        snapshots: None,
    };
    crate::phase::agent::start(context.host.as_ref(), &config).await
}

/// The kubelet watches the folder of static pods, on workers too.
fn make_folder(host: &dyn Host, folder: &Path) -> anyhow::Result<Change> {
    host.stage(folder)?;
    if host.is_real() && !folder.exists() {
        std::fs::create_dir_all(folder)?;
        return Ok(Change::Changed);
    }
    Ok(Change::Unchanged)
}

async fn wait_bootstrap(context: &JoinContext) -> Result {
    if !context.host.is_real() {
        return Ok(Outcome::Skipped("in a dry run".into()));
    }
    let path = kubeconfig::path("kubelet.conf");
    let host = context.host.as_ref();
    let patience = context.settings.timeouts.tls_bootstrap;
    until(patience, || async {
        match host.read(&path) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(format!("{} is not there", path.display())),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .map_err(|last| anyhow::anyhow!("the kubelet has no certificate after {}s: {last}\nhint: `journalctl -u kubelet` here and `kubectl get csr` tell why\ncode: KubeletCertificate", patience.as_secs()))?;
    // The kubelet made this file; reset has to take it away all the same.
    host.note(crate::host::record::Entry::File { path })?;
    host.remove(&kubeconfig::path(BOOTSTRAP_FILE))?;
    Ok(Outcome::Changed)
}
