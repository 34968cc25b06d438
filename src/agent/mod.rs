//! `kinit agent`: what goes on on a node as long as it is one, beside the kubelet.
//!
//! - [`balancer`]: one address on the node that leads to whichever API servers are well, chosen by [`pool`].
//! - [`renewal`]: the control plane's certificates, issued anew before they end.
//! - [`snapshots`]: saved every so often where no systemd has timers.
//!
//! It runs as a unit of its own, or inside the supervisor where systemd does not run. What it is to do stands in one file,
//! which it keeps true: after a reboot it knows the API servers that there were before.

pub mod balancer;
pub mod pool;
pub mod renewal;
pub mod snapshots;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::Reporter;

/// What the agent is to do.
pub const CONFIG: &str = "/var/lib/kinit/agent.json";
/// Where the balancer listens: the same on every node, so that one kubeconfig does for all.
pub const LOCAL_ENDPOINT: &str = "127.0.0.1:6444";
/// Port of [`LOCAL_ENDPOINT`].
pub const LOCAL_PORT: u16 = 6444;
/// Annotation of kubeadm-config by which a cluster says that its nodes have a balancer each.
pub const ANNOTATION: &str = "kinit.local/local-endpoint";

/// What the agent is to do on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// The balancer, if the cluster has no endpoint of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balancer: Option<Balanced>,
    /// The certificates to renew, on a control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal: Option<renewal::Work>,
    /// Snapshots to save, where systemd does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<snapshots::Schedule>,
}

/// What is balanced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Balanced {
    /// This node's own API server, which is preferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<String>,
    /// `host:port` of every API server that is known.
    pub servers: Vec<String>,
    /// The cluster's CA.
    pub ca: PathBuf,
}

impl Config {
    /// Reads the file; `None` when it is not there.
    pub fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(anyhow::anyhow!("{}: {error}", path.display())),
        }
    }

    /// The text of the file.
    pub fn to_text(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Writes the file.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        Ok(kinit_pki::files::write_atomic(path, self.to_text()?.as_bytes(), 0o600)?)
    }
}

/// Whether the cluster whose kubeadm-config this is has a balancer on each node.
pub fn is_balanced(kubeadm_config: &Value) -> bool {
    kubeadm_config.pointer("/metadata/annotations").is_some_and(|all| all[ANNOTATION] == LOCAL_ENDPOINT)
}

/// Does all that the file says, for good.
pub async fn run(reporter: Arc<dyn Reporter>) -> anyhow::Result<()> {
    let path = Path::new(CONFIG);
    let config = Config::load(path)?.ok_or_else(|| {
        anyhow::anyhow!("{CONFIG} is not there\nhint: `kinit init` and `kinit join` write it and start the agent")
    })?;
    let host = crate::host::RealHost::new()?;
    if let Some(address) = crate::readdress::lost(&host, &kinit_preflight::own_addresses())? {
        reporter.warn(&crate::readdress::hint(address));
    }
    let mut parts = tokio::task::JoinSet::new();
    if let Some(balanced) = config.balanced_by(path) {
        let listener = balancer::listen(LOCAL_ENDPOINT).await?;
        parts.spawn(balancer::run(listener, balanced, reporter.clone()));
    }
    if let Some(work) = config.renewal {
        parts.spawn(renewal::run(work, reporter.clone()));
    }
    if let Some(schedule) = config.snapshots {
        parts.spawn(snapshots::run(schedule, reporter.clone()));
    }
    if parts.is_empty() {
        std::future::pending::<()>().await;
    }
    // None of them ends but by a defect, and then whoever started this starts it again.
    match parts.join_next().await {
        Some(Err(error)) => Err(error.into()),
        _ => anyhow::bail!("a part of the agent ended"),
    }
}

impl Config {
    fn balanced_by(&self, path: &Path) -> Option<balancer::Work> {
        let balanced = self.balancer.clone()?;
        Some(balancer::Work { balanced, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.json");
        assert_eq!(Config::load(&path).unwrap(), None);
        let config = Config {
            balancer: Some(Balanced { own: None, servers: vec!["10.0.0.1:6443".into()], ca: "/ca".into() }),
            renewal: Some(renewal::Work { folder: "/pki".into(), algorithm: "ECDSA-P256".into() }),
            snapshots: None,
        };
        config.save(&path).unwrap();
        assert_eq!(Config::load(&path).unwrap(), Some(config));
    }

    #[test]
    fn a_cluster_says_whether_its_nodes_have_a_balancer() {
        assert!(is_balanced(&json!({"metadata": {"annotations": {ANNOTATION: LOCAL_ENDPOINT}}})));
        assert!(!is_balanced(&json!({"metadata": {"name": "kubeadm-config"}})));
    }
}
