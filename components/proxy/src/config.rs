//! The configuration file.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

/// KubeProxyConfiguration v1alpha1. Fields of type [`Value`] are accepted, because kubeadm writes all of them, and have
/// no effect on nftables; fields that are not named here are refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct Configuration {
    pub api_version: String,
    pub kind: String,
    pub client_connection: ClientConnection,
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: String,
    pub hostname_override: String,
    pub healthz_bind_address: String,
    pub metrics_bind_address: String,
    pub mode: String,
    pub nftables: Nftables,
    pub bind_address: Value,
    pub bind_address_hard_fail: Value,
    pub config_sync_period: Value,
    pub conntrack: Value,
    pub detect_local: Value,
    pub detect_local_mode: Value,
    pub enable_profiling: Value,
    pub feature_gates: Value,
    pub iptables: Value,
    pub ipvs: Value,
    pub logging: Value,
    pub node_port_addresses: Option<Vec<String>>,
    pub oom_score_adj: Value,
    pub port_range: Value,
    pub show_hidden_metrics_for_version: Value,
    pub windows_run_as_service: Value,
    pub winkernel: Value,
}

/// How the API server is reached.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct ClientConnection {
    pub kubeconfig: PathBuf,
    pub accept_content_types: Value,
    pub burst: Value,
    pub content_type: Value,
    pub qps: Value,
}

/// Settings of the nftables mode.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct Nftables {
    pub masquerade_all: bool,
    pub masquerade_bit: Option<u32>,
    pub min_sync_period: Value,
    pub sync_period: Value,
}

impl Configuration {
    /// Reads a file; errors name it.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} cannot be used", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = serde_yaml::from_str(text)?;
        anyhow::ensure!(
            config.api_version == "kubeproxy.config.k8s.io/v1alpha1" && config.kind == "KubeProxyConfiguration",
            "it is a {} {}, and not a kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration",
            config.api_version,
            config.kind
        );
        anyhow::ensure!(
            matches!(config.mode.as_str(), "" | "nftables"),
            "mode {:?} is not there; this kube-proxy works by nftables alone, so set mode: nftables",
            config.mode
        );
        anyhow::ensure!(
            config.node_port_addresses.iter().flatten().all(|range| is_range(range)),
            "nodePortAddresses must be ranges like 10.0.0.0/8; to have node ports at every address of the node leave it out"
        );
        anyhow::ensure!(
            config.nftables.masquerade_bit.is_none_or(|bit| bit < 32),
            "nftables.masqueradeBit must be below 32"
        );
        Ok(config)
    }

    /// Ranges of pods.
    pub fn cluster_ranges(&self) -> Vec<String> {
        self.cluster_cidr.split(',').map(|range| range.trim().to_owned()).filter(|range| !range.is_empty()).collect()
    }

    /// The bit that marks packets which are to be masqueraded.
    pub fn mark(&self) -> u32 {
        1 << self.nftables.masquerade_bit.unwrap_or(14)
    }
}

/// Whether a text is an address with the length of a prefix.
fn is_range(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

    #[test]
    fn what_has_a_meaning_is_read_and_what_has_none_is_refused() {
        let parse = |text: &str| Configuration::parse(&format!("{HEAD}{text}"));
        let config = parse("clusterCIDR: 10.244.0.0/16, fd00::/48\nmode: nftables\nconntrack: {maxPerCore: null}\n");
        let config = config.expect("a configuration");
        assert_eq!(config.cluster_ranges(), ["10.244.0.0/16", "fd00::/48"]);
        assert_eq!(config.mark(), 0x4000);
        assert!(parse("nodePortAddresses: [10.0.0.0/8, 'fd00::/8']\n").is_ok());
        assert!(parse("nodePortAddresses: null\n").is_ok());
        for bad in [
            "nodePortAddresses: [10.0.0.1]\n",
            "mode: ipvs\n",
            "nftables: {masqueradeBit: 40}\n",
            "clusterCidr: 10.0.0.0/8\n",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
