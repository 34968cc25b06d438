//! The configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use kinit_duration::Span;
use serde::Deserialize;
use serde_json::Value;

use crate::options::Foreign;

const VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

/// KubeProxyConfiguration v1alpha1. Fields of type [`Value`] are accepted, because upstream's tools write all of them, and
/// say something about programs or modes that are not these; fields that are not named here are refused.
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
    pub conntrack: Conntrack,
    pub detect_local: DetectLocal,
    pub detect_local_mode: String,
    pub config_sync_period: Option<Span>,
    pub bind_address_hard_fail: bool,
    pub node_port_addresses: Option<Vec<String>>,
    pub oom_score_adj: Option<i32>,
    pub bind_address: Value,
    pub enable_profiling: Value,
    pub feature_gates: Value,
    pub iptables: Value,
    pub ipvs: Value,
    pub logging: Value,
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
    pub min_sync_period: Option<Span>,
    pub sync_period: Option<Span>,
}

/// Limits and times of the kernel's table of connections.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct Conntrack {
    pub max_per_core: Option<u64>,
    pub min: Option<u64>,
    pub tcp_established_timeout: Option<Span>,
    pub tcp_close_wait_timeout: Option<Span>,
    pub tcp_be_liberal: bool,
    pub udp_timeout: Option<Span>,
    pub udp_stream_timeout: Option<Span>,
}

/// By which interface pods are known.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the API's field names")]
pub struct DetectLocal {
    pub bridge_interface: String,
    pub interface_name_prefix: String,
}

/// How a packet of a pod is told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalPods {
    /// By these ranges; none means that it is not known.
    Ranges(Vec<String>),
    /// By the ranges of this node.
    NodeRanges,
    /// By the interface that it comes by; a `*` at the end stands for any rest.
    Interface(String),
}

impl Conntrack {
    /// Settings of the kernel below `/proc/sys/net/netfilter`, with upstream's defaults. Pure.
    pub fn settings(&self, cores: u64) -> Vec<(&'static str, u64)> {
        const DAY: Duration = Duration::from_secs(86_400);
        const HOUR: Duration = Duration::from_secs(3600);
        let most = match self.max_per_core.unwrap_or(32_768) {
            0 => 0,
            each => (each * cores).max(self.min.unwrap_or(131_072)),
        };
        let seconds = |span: Option<Span>, default: Duration| span.map_or(default, |span| span.0).as_secs();
        let all = [
            ("nf_conntrack_max", most),
            ("nf_conntrack_tcp_timeout_established", seconds(self.tcp_established_timeout, DAY)),
            ("nf_conntrack_tcp_timeout_close_wait", seconds(self.tcp_close_wait_timeout, HOUR)),
            ("nf_conntrack_tcp_be_liberal", u64::from(self.tcp_be_liberal)),
            ("nf_conntrack_udp_timeout", seconds(self.udp_timeout, Duration::ZERO)),
            ("nf_conntrack_udp_timeout_stream", seconds(self.udp_stream_timeout, Duration::ZERO)),
        ];
        // Nothing leaves the kernel's own.
        all.into_iter().filter(|(_, value)| *value > 0).collect()
    }
}

impl Configuration {
    /// Reads a file; errors name it.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} cannot be used", path.display()))
    }

    /// From the command line alone.
    pub fn of_flags(flags: &Foreign) -> anyhow::Result<Self> {
        let mut tree = serde_json::json!({"apiVersion": VERSION, "kind": KIND});
        flags.fill(&mut tree)?;
        Self::of(tree).context("the command line")
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        Self::of(serde_yaml::from_str(text)?)
    }

    fn of(mut tree: Value) -> anyhow::Result<Self> {
        // What is null is not there.
        drop_nulls(&mut tree);
        let config: Self = serde_json::from_value(tree)?;
        anyhow::ensure!(
            config.api_version == VERSION && config.kind == KIND,
            "it is a {} {}, and not a kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration",
            config.api_version,
            config.kind
        );
        anyhow::ensure!(
            matches!(config.mode.as_str(), "" | "nftables" | "iptables" | "ipvs"),
            "mode {:?} is not one of nftables, iptables and ipvs",
            config.mode
        );
        anyhow::ensure!(
            config.node_port_addresses.iter().flatten().all(|range| range == "primary" || is_range(range)),
            "nodePortAddresses must be ranges like 10.0.0.0/8, or primary; to have node ports at every address of the \
             node leave it out"
        );
        anyhow::ensure!(
            config.nftables.masquerade_bit.is_none_or(|bit| bit < 32),
            "nftables.masqueradeBit must be below 32"
        );
        config.local_pods()?;
        Ok(config)
    }

    /// How pods of this node are known.
    pub fn local_pods(&self) -> anyhow::Result<LocalPods> {
        let named = |name: &str, field: &str| {
            anyhow::ensure!(
                !name.is_empty() && name.len() < 16 && !name.contains(['"', '/', '*']),
                "detectLocalMode {} needs the name of an interface in detectLocal.{field}",
                self.detect_local_mode
            );
            Ok(name.to_owned())
        };
        Ok(match self.detect_local_mode.as_str() {
            "" | "ClusterCIDR" => {
                let ranges = self.cluster_cidr.split(',').map(|range| range.trim().to_owned());
                LocalPods::Ranges(ranges.filter(|range| !range.is_empty()).collect())
            }
            "NodeCIDR" => LocalPods::NodeRanges,
            "BridgeInterface" => LocalPods::Interface(named(&self.detect_local.bridge_interface, "bridgeInterface")?),
            "InterfaceNamePrefix" => {
                LocalPods::Interface(named(&self.detect_local.interface_name_prefix, "interfaceNamePrefix")? + "*")
            }
            other => anyhow::bail!(
                "detectLocalMode {other:?} is not one of ClusterCIDR, NodeCIDR, BridgeInterface and InterfaceNamePrefix"
            ),
        })
    }

    /// The bit that marks packets which are to be masqueraded.
    pub fn mark(&self) -> u32 {
        1 << self.nftables.masquerade_bit.unwrap_or(14)
    }
}

fn drop_nulls(tree: &mut Value) {
    if let Value::Object(map) = tree {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(drop_nulls);
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

    fn parse(text: &str) -> anyhow::Result<Configuration> {
        Configuration::parse(&format!("{HEAD}{text}"))
    }

    #[test]
    fn what_has_a_meaning_is_read_and_what_has_none_is_refused() {
        let config = parse("clusterCIDR: 10.244.0.0/16, fd00::/48\nmode: nftables\nconntrack: {maxPerCore: null}\n");
        let config = config.expect("a configuration");
        let ranges = ["10.244.0.0/16", "fd00::/48"].map(str::to_owned).to_vec();
        assert_eq!(config.local_pods().expect("ranges"), LocalPods::Ranges(ranges));
        assert_eq!(config.mark(), 0x4000);
        for good in [
            "nodePortAddresses: [10.0.0.0/8, 'fd00::/8']\n",
            "nodePortAddresses: [primary]\n",
            "nodePortAddresses: null\n",
            "mode: iptables\niptables: {masqueradeBit: 14, syncPeriod: 0s}\n",
            "mode: ipvs\n",
            "configSyncPeriod: 15m0s\noomScoreAdj: null\nbindAddressHardFail: false\n",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "nodePortAddresses: [10.0.0.1]\n",
            "mode: userspace\n",
            "nftables: {masqueradeBit: 40}\n",
            "clusterCidr: 10.0.0.0/8\n",
            "detectLocalMode: BridgeInterface\n",
            "detectLocalMode: Guess\n",
            "nftables: {minSyncPeriod: 10}\n",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pods_are_known_in_one_of_four_ways() {
        let known = |text: &str| parse(text).expect("a configuration").local_pods().expect("a way");
        assert_eq!(known("detectLocalMode: NodeCIDR\n"), LocalPods::NodeRanges);
        let bridge = known("detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}\n");
        assert_eq!(bridge, LocalPods::Interface("cni0".into()));
        let prefix = known("detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}\n");
        assert_eq!(prefix, LocalPods::Interface("veth*".into()));
    }

    #[test]
    fn the_table_of_connections_grows_with_the_cores() {
        let most = |text: &str, cores| {
            let settings = parse(text).expect("a configuration").conntrack.settings(cores);
            settings.into_iter().find(|(name, _)| *name == "nf_conntrack_max").map(|(_, value)| value)
        };
        assert_eq!(most("", 2), Some(131_072));
        assert_eq!(most("conntrack: {maxPerCore: null, min: null}\n", 8), Some(262_144));
        assert_eq!(most("conntrack: {maxPerCore: 0}\n", 8), None);
        assert_eq!(most("conntrack: {maxPerCore: 10, min: 5}\n", 2), Some(20));
        let all = parse("conntrack: {tcpEstablishedTimeout: 0s, udpTimeout: 90s, tcpBeLiberal: true}\n");
        let names: Vec<_> = all.expect("a configuration").conntrack.settings(1).into_iter().skip(1).collect();
        let wanted = [
            ("nf_conntrack_tcp_timeout_close_wait", 3600),
            ("nf_conntrack_tcp_be_liberal", 1),
            ("nf_conntrack_udp_timeout", 90),
        ];
        assert_eq!(names, wanted);
    }
}
