//! The documents that `kinit config print` shows: what each command does when it is told nothing.

use serde_json::{Value, json};

use super::settings::{CONTAINERD_SOCKET, Settings, TokenSettings};
use super::v1beta4::{
    API_VERSION, ApiEndpoint, BootstrapToken, BootstrapTokenDiscovery, Discovery, InitConfiguration, JoinConfiguration,
    NodeRegistration, ResetConfiguration, Timeouts, UpgradeApply, UpgradeConfiguration, UpgradeDiff, UpgradeNode,
    UpgradePlan,
};
use super::{Error, NodeSettings, timeouts};
use crate::host::Host;
use crate::phase::kubelet;
use crate::templates;

/// A token that stands for the reader's own.
const EXAMPLE_TOKEN: &str = "abcdef.0123456789abcdef";

fn registration() -> NodeRegistration {
    NodeRegistration {
        name: "node".into(),
        cri_socket: CONTAINERD_SOCKET.into(),
        image_pull_policy: "IfNotPresent".into(),
        image_pull_serial: Some(true),
        ..NodeRegistration::default()
    }
}

fn waits() -> Timeouts {
    let all = timeouts::Timeouts::default();
    Timeouts {
        control_plane_component_health_check: kinit_duration::format(all.control_plane),
        kubelet_health_check: kinit_duration::format(all.kubelet),
        kubernetes_api_call: kinit_duration::format(all.api_call),
        etcd_api_call: kinit_duration::format(all.etcd_call),
        tls_bootstrap: kinit_duration::format(all.tls_bootstrap),
        discovery: kinit_duration::format(all.discovery),
        upgrade_manifests: kinit_duration::format(all.upgrade_manifests),
    }
}

/// `InitConfiguration` and `ClusterConfiguration`.
pub fn init() -> anyhow::Result<String> {
    let token = TokenSettings::resolve(&BootstrapToken { token: EXAMPLE_TOKEN.into(), ..BootstrapToken::default() })?;
    let init = InitConfiguration {
        api_version: API_VERSION.into(),
        kind: "InitConfiguration".into(),
        bootstrap_tokens: vec![BootstrapToken {
            token: EXAMPLE_TOKEN.into(),
            ttl: "24h0m0s".into(),
            usages: token.usages,
            groups: token.groups,
            ..BootstrapToken::default()
        }],
        local_api_endpoint: ApiEndpoint { advertise_address: "1.2.3.4".into(), bind_port: 6443 },
        node_registration: registration(),
        timeouts: waits(),
        ..InitConfiguration::default()
    };
    let cluster = Settings::resolve(Default::default(), None, None)?.to_document();
    Ok(format!("{}---\n{}", serde_yaml::to_string(&init)?, serde_yaml::to_string(&cluster)?))
}

/// `JoinConfiguration`.
pub fn join() -> anyhow::Result<String> {
    let join = JoinConfiguration {
        api_version: API_VERSION.into(),
        kind: "JoinConfiguration".into(),
        ca_cert_path: "/etc/kubernetes/pki/ca.crt".into(),
        discovery: Discovery {
            bootstrap_token: Some(BootstrapTokenDiscovery {
                token: EXAMPLE_TOKEN.into(),
                api_server_endpoint: "kube-apiserver:6443".into(),
                unsafe_skip_ca_verification: true,
                ..BootstrapTokenDiscovery::default()
            }),
            tls_bootstrap_token: EXAMPLE_TOKEN.into(),
            ..Discovery::default()
        },
        node_registration: registration(),
        timeouts: waits(),
        ..JoinConfiguration::default()
    };
    Ok(serde_yaml::to_string(&join)?)
}

/// `ResetConfiguration`.
pub fn reset() -> anyhow::Result<String> {
    Ok(serde_yaml::to_string(&ResetConfiguration {
        api_version: API_VERSION.into(),
        certificates_dir: "/etc/kubernetes/pki".into(),
        cri_socket: CONTAINERD_SOCKET.into(),
        kind: "ResetConfiguration".into(),
        timeouts: waits(),
        ..ResetConfiguration::default()
    })?)
}

/// `UpgradeConfiguration`.
pub fn upgrade() -> anyhow::Result<String> {
    let yes = Some(true);
    Ok(serde_yaml::to_string(&UpgradeConfiguration {
        api_version: API_VERSION.into(),
        apply: UpgradeApply {
            certificate_renewal: yes,
            etcd_upgrade: yes,
            image_pull_policy: "IfNotPresent".into(),
            image_pull_serial: yes,
            ..UpgradeApply::default()
        },
        diff: UpgradeDiff { context_lines: 3, ..UpgradeDiff::default() },
        kind: "UpgradeConfiguration".into(),
        node: UpgradeNode {
            certificate_renewal: yes,
            etcd_upgrade: yes,
            image_pull_policy: "IfNotPresent".into(),
            image_pull_serial: yes,
            ..UpgradeNode::default()
        },
        plan: UpgradePlan { etcd_upgrade: yes, ..UpgradePlan::default() },
        timeouts: waits(),
    })?)
}

/// The configuration of a component by its kind, as init would write it on `host`.
pub fn component(kind: &str, host: &dyn Host) -> anyhow::Result<String> {
    let cluster = Settings::resolve(Default::default(), None, None)?;
    let config: Value = match kind {
        "KubeletConfiguration" => {
            let defaults = super::settings::HostDefaults { host_name: "node".into(), address: None, cri_socket: None };
            let node = NodeSettings::resolve(&NodeRegistration::default(), &defaults, true)?;
            kubelet::configuration(host, &cluster, &node)?
        }
        "KubeProxyConfiguration" => {
            let values = json!({"pod_subnet": cluster.pod_subnet.to_string()});
            templates::objects(templates::KUBE_PROXY_CONFIG, values)?.swap_remove(0)
        }
        other => {
            let hint = "there are KubeletConfiguration and KubeProxyConfiguration";
            return Err(Error::value("--component-configs", other, "is no component's configuration", hint).into());
        }
    };
    Ok(serde_yaml::to_string(&config)?)
}
