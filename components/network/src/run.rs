//! The shell: a watch of the nodes, and putting plans into effect.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Node;
use kinit_runtime::Informer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::options::Options;
use crate::plan::{Action, NodeFacts, Observed, Range, plan};
use crate::routes::Routes;
use kinit_serving::host;

use crate::conflist;

/// Nothing tells when somebody else takes a route away, so the host is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// After something failed it is tried again this soon.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// Changes that come together are put into effect together.
const SETTLE: Duration = Duration::from_millis(20);

/// An agent that is ready to run.
pub struct Server {
    options: Options,
}

impl Server {
    /// Checks what was asked.
    pub fn new(options: Options) -> anyhow::Result<Self> {
        for range in &options.cluster_cidr {
            range.parse::<Range>().map_err(anyhow::Error::msg).context("--cluster-cidr")?;
        }
        Ok(Self { options })
    }

    /// Runs until shutdown; then everything stays as it is.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let client = kinit_runtime::on_node(&self.options.kubeconfig).await?;
        forward()?;
        let routes = Routes::connect().context("cannot reach the kernel's routing table")?;
        let nodes: Arc<Informer<Node>> = Informer::start(client, &shutdown);
        let changed = Arc::new(Notify::new());
        let notify = changed.clone();
        nodes.handle(move |_, _| notify.notify_one());
        tokio::select! {
            () = nodes.synced() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        tracing::info!(node = self.options.node_name, "kinit-network starts");
        let mut masquerade = None;
        loop {
            let facts: Vec<NodeFacts> = nodes.list().iter().map(|node| NodeFacts::of(node)).collect();
            let well = self.settle(&facts, &routes, &mut masquerade).await;
            tokio::select! {
                () = changed.notified() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(if well { LOOK_AGAIN } else { TRY_AGAIN }) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// Looks at the host, plans and acts; says whether all went well.
    async fn settle(&self, nodes: &[NodeFacts], routes: &Routes, masquerade: &mut Option<String>) -> bool {
        let path = self.options.cni_conf_dir.join(conflist::FILE);
        let observed = Observed {
            routes: match routes.list().await {
                Ok(routes) => routes,
                Err(error) => {
                    tracing::warn!(%error, "cannot list routes");
                    return false;
                }
            },
            conflist: std::fs::read_to_string(&path).ok(),
            masquerade: masquerade.clone(),
        };
        let options = &self.options;
        let Some(actions) = plan(&options.node_name, nodes, &options.cluster_cidr, mtu(), &observed) else {
            tracing::info!(node = options.node_name, "waits for the node's range of pod addresses (spec.podCIDR)");
            return true;
        };
        let mut well = true;
        for action in actions {
            let result = match &action {
                Action::SetRoute { range, via, node } => routes.set(*range, *via).await.map_err(|error| {
                    format!(
                        "no route to the pods of node {node}: {error}; its address {via} must be on a network that this \
                         host is on, because packets go to it without a tunnel"
                    )
                }),
                Action::RemoveRoute { range, via } => {
                    routes.remove(*range, *via).await.map_err(|error| format!("cannot remove the route {range}: {error}"))
                }
                Action::Masquerade(text) => apply(text.clone()).await.map(|()| *masquerade = Some(text.clone())),
                Action::WriteConflist(text) => {
                    replace(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
                }
            };
            match result {
                Ok(()) => match action {
                    Action::SetRoute { range, via, node } => tracing::info!(%range, %via, node, "route set"),
                    Action::RemoveRoute { range, via } => tracing::info!(%range, %via, "route removed"),
                    Action::Masquerade(_) => tracing::info!("masquerading set"),
                    Action::WriteConflist(_) => tracing::info!(path = %path.display(), "CNI configuration written"),
                },
                Err(error) => {
                    tracing::warn!("{error}");
                    well = false;
                }
            }
        }
        well
    }
}

async fn apply(transaction: String) -> Result<(), String> {
    let ended = tokio::task::spawn_blocking(move || host::run("nft", &["-f", "-"], &transaction)).await;
    ended.map_err(|error| error.to_string())?.map(|_| ())
}

/// Writes a file so that it is never seen half written.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // The container runtime reads files that end in .conflist only.
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)?;
    // The runtime is root's, and nobody else has to know how pods are connected.
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)
}

/// Makes sure that this host forwards packets.
fn forward() -> anyhow::Result<()> {
    let path = "/proc/sys/net/ipv4/ip_forward";
    let now = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    if now.trim() != "1" {
        std::fs::write(path, "1").with_context(|| {
            format!("this host forwards no packets and {path} cannot be written; run sysctl -w net.ipv4.ip_forward=1")
        })?;
    }
    Ok(())
}

/// The largest packet of the interface that the default route leaves by.
fn mtu() -> Option<u32> {
    let table = std::fs::read_to_string("/proc/net/route").ok()?;
    let default = table.lines().skip(1).find(|line| line.split_whitespace().nth(1) == Some("00000000"))?;
    let interface = default.split_whitespace().next()?;
    std::fs::read_to_string(format!("/sys/class/net/{interface}/mtu")).ok()?.trim().parse().ok()
}
