//! How long to wait for what.

use std::time::Duration;

use super::settings::duration;
use super::{Error, v1beta4};

/// Every wait, with kubeadm's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A control plane component coming up.
    pub control_plane: Duration,
    /// The kubelet coming up.
    pub kubelet: Duration,
    /// A cluster that comes up taking calls.
    pub api_call: Duration,
    /// etcd taking calls.
    pub etcd_call: Duration,
    /// The kubelet getting its certificate.
    pub tls_bootstrap: Duration,
    /// Finding the cluster.
    pub discovery: Duration,
    /// A static pod being replaced during an upgrade.
    pub upgrade_manifests: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        Self {
            control_plane: minutes(4),
            kubelet: minutes(4),
            api_call: minutes(1),
            etcd_call: minutes(2),
            tls_bootstrap: minutes(5),
            discovery: minutes(5),
            upgrade_manifests: minutes(5),
        }
    }
}

impl Timeouts {
    /// What a document says, over the defaults.
    pub fn resolve(document: &v1beta4::Timeouts) -> Result<Self, Error> {
        let mut all = Self::default();
        for (field, text, slot) in [
            (
                "controlPlaneComponentHealthCheck",
                &document.control_plane_component_health_check,
                &mut all.control_plane,
            ),
            ("kubeletHealthCheck", &document.kubelet_health_check, &mut all.kubelet),
            ("kubernetesAPICall", &document.kubernetes_api_call, &mut all.api_call),
            ("etcdAPICall", &document.etcd_api_call, &mut all.etcd_call),
            ("tlsBootstrap", &document.tls_bootstrap, &mut all.tls_bootstrap),
            ("discovery", &document.discovery, &mut all.discovery),
            ("upgradeManifests", &document.upgrade_manifests, &mut all.upgrade_manifests),
        ] {
            if !text.is_empty() {
                *slot = duration(&format!("timeouts.{field}"), text)?;
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_replaces_the_default() {
        let document = v1beta4::Timeouts { discovery: "7s".into(), ..Default::default() };
        let all = Timeouts::resolve(&document).unwrap();
        assert_eq!((all.discovery, all.kubelet), (Duration::from_secs(7), Timeouts::default().kubelet));
        let bad = v1beta4::Timeouts { tls_bootstrap: "soon".into(), ..Default::default() };
        assert!(Timeouts::resolve(&bad).unwrap_err().to_string().contains("timeouts.tlsBootstrap"));
    }
}
