//! `KubeletConfiguration`, the fields that have an effect here, with upstream's defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kinit_duration::Span;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::options::Foreign;

/// The configuration. Fields that are not listed are accepted and have no effect; a warning names them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    /// Folder of static pods.
    pub static_pod_path: Option<PathBuf>,
    /// Address that the API of the kubelet listens on.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Who may ask.
    pub authentication: Authentication,
    /// What they may ask.
    pub authorization: Authorization,
    /// Address of the health port.
    pub healthz_bind_address: String,
    /// The health port; 0 for none.
    pub healthz_port: u16,
    /// DNS servers of pods.
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Vec<String>,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// `systemd` or `cgroupfs`.
    pub cgroup_driver: String,
    /// Socket of the container runtime.
    pub container_runtime_endpoint: String,
    /// How long a call of the runtime may take, but for those that take as long as they are given.
    pub runtime_request_timeout: Span,
    /// The host's resolv.conf.
    pub resolv_conf: PathBuf,
    /// Pods that may run at once.
    pub max_pods: u32,
    /// Whether the client certificate is renewed.
    pub rotate_certificates: bool,
    /// The serving certificate, if it is not made or asked for here.
    pub tls_cert_file: Option<PathBuf>,
    /// Its key.
    pub tls_private_key_file: Option<PathBuf>,
    /// The cipher suites of TLS 1.2 that are offered; all that are safe without any.
    pub tls_cipher_suites: Vec<String>,
    /// The oldest version of TLS that is spoken, by upstream's name; none before 1.2 is.
    pub tls_min_version: String,
    /// Whether `/logs` shows the host's logs.
    pub enable_system_log_handler: bool,
    /// Used part of the image disk in percent from which unused images are removed.
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: u8,
    /// Used part of the image disk in percent down to which they are.
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: u8,
    /// How large a container's log file may grow.
    pub container_log_max_size: String,
    /// How many files of a container's log are kept.
    pub container_log_max_files: usize,
    /// Below which of these amounts pods are evicted, by signal; the kubelet's own if there are none.
    pub eviction_hard: Option<BTreeMap<String, String>>,
    /// Below which of these they are if that lasts.
    pub eviction_soft: Option<BTreeMap<String, String>>,
    /// How long it may last, by signal.
    pub eviction_soft_grace_period: Option<BTreeMap<String, Span>>,
    /// How much more there has to be until a shortage is over, by signal.
    pub eviction_minimum_reclaim: Option<BTreeMap<String, String>>,
    /// The most seconds that a pod has to end when the node is softly short.
    pub eviction_max_pod_grace_period: i64,
    /// A shortage counts as over when it has not been seen this long.
    pub eviction_pressure_transition_period: Span,
    /// Whether the kubelet's own thresholds hold where the configuration has none.
    pub merge_default_eviction_settings: Option<bool>,
    /// How long a shutdown of the host waits for pods; not at all if this is zero.
    pub shutdown_grace_period: Span,
    /// How much of that is for critical pods.
    pub shutdown_grace_period_critical_pods: Span,
    /// How long it waits for pods from each priority on, in place of the two.
    pub shutdown_grace_period_by_pod_priority: Vec<ShutdownGrace>,
    /// Kernel settings beyond the safe ones that pods may make; a `*` at the end stands for any rest.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// What the kubelet keeps of the node for itself, by resource.
    pub kube_reserved: BTreeMap<String, String>,
    /// What is kept for the rest of the host.
    pub system_reserved: BTreeMap<String, String>,
    /// Fields that have no effect here.
    #[serde(flatten)]
    pub others: BTreeMap<String, serde_json::Value>,
    /// The document as it was read, for `/configz`.
    #[serde(skip)]
    pub document: serde_json::Value,
    /// Whether the serving certificate is asked for from the cluster.
    #[serde(rename = "serverTLSBootstrap")]
    pub server_tls_bootstrap: bool,
}

/// The time that pods have at the host's end.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShutdownGrace {
    /// From which priority on.
    pub priority: i32,
    /// How long.
    pub shutdown_grace_period_seconds: u64,
}

/// Who may ask.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authentication {
    /// Whether strangers may.
    pub anonymous: Switch,
    /// Whether bearer tokens are shown to the API server.
    pub webhook: Webhook,
    /// Whose certificates are believed.
    pub x509: X509,
}

/// Bearer tokens.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Webhook {
    /// Whether they are shown to the API server.
    pub enabled: bool,
}

/// On or off.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Switch {
    /// Which.
    pub enabled: bool,
}

/// Whose client certificates are believed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct X509 {
    /// A file with CAs.
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: Option<PathBuf>,
}

/// What may be asked.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Authorization {
    /// `Webhook` or `AlwaysAllow`.
    pub mode: String,
}

impl Default for Authorization {
    fn default() -> Self {
        Self { mode: "Webhook".into() }
    }
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            static_pod_path: None,
            address: "0.0.0.0".into(),
            port: 10250,
            authentication: Authentication::default(),
            authorization: Authorization::default(),
            healthz_bind_address: "127.0.0.1".into(),
            healthz_port: 10248,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            cgroup_driver: "cgroupfs".into(),
            container_runtime_endpoint: "unix:///run/containerd/containerd.sock".into(),
            runtime_request_timeout: Span(Duration::from_secs(120)),
            resolv_conf: "/etc/resolv.conf".into(),
            max_pods: 110,
            rotate_certificates: false,
            tls_cert_file: None,
            tls_private_key_file: None,
            tls_cipher_suites: Vec::new(),
            tls_min_version: String::new(),
            enable_system_log_handler: true,
            image_gc_high_threshold_percent: 85,
            image_gc_low_threshold_percent: 80,
            container_log_max_size: "10Mi".into(),
            container_log_max_files: 5,
            eviction_hard: None,
            eviction_soft: None,
            eviction_soft_grace_period: None,
            eviction_minimum_reclaim: None,
            eviction_max_pod_grace_period: 0,
            eviction_pressure_transition_period: Span(Duration::from_secs(300)),
            merge_default_eviction_settings: None,
            shutdown_grace_period: Span(Duration::ZERO),
            shutdown_grace_period_critical_pods: Span(Duration::ZERO),
            shutdown_grace_period_by_pod_priority: Vec::new(),
            allowed_unsafe_sysctls: Vec::new(),
            kube_reserved: BTreeMap::new(),
            system_reserved: BTreeMap::new(),
            others: BTreeMap::new(),
            document: serde_json::Value::Null,
            server_tls_bootstrap: false,
        }
    }
}

impl Configuration {
    /// Reads a file; the command line's fields overrule what it has.
    pub fn load(path: &Path, flags: &Foreign) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
        Self::overruled(&text, flags).map_err(|reason| Error::Invalid { path: path.to_owned(), reason })
    }

    /// From the command line alone.
    pub fn of_flags(flags: &Foreign) -> Result<Self, String> {
        let mut config = Self::overruled("kind: KubeletConfiguration", flags)?;
        if !flags.has_fields() {
            config.document = serde_json::Value::Null;
        }
        Ok(config)
    }

    /// Parses a document.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::overruled(text, &Foreign::default())
    }

    fn overruled(text: &str, flags: &Foreign) -> Result<Self, String> {
        let mut value: serde_json::Value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        flags.fill(&mut value).map_err(|refused| refused.to_string())?;
        let kind = value.get("kind").and_then(serde_json::Value::as_str).unwrap_or_default();
        if kind != "KubeletConfiguration" {
            return Err(format!("its kind is {kind:?}, not KubeletConfiguration"));
        }
        let mut config: Self = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
        // Upstream's tools write nothing as zero.
        let usual = Self::default();
        for (own, usual) in [
            (&mut config.runtime_request_timeout, usual.runtime_request_timeout),
            (&mut config.eviction_pressure_transition_period, usual.eviction_pressure_transition_period),
        ] {
            if own.0.is_zero() {
                *own = usual;
            }
        }
        config.document = value;
        config.others.retain(|name, _| name != "kind" && name != "apiVersion");
        Ok(config)
    }

    /// Whether thresholds that are not configured are the kubelet's own.
    pub fn merges(&self) -> bool {
        self.merge_default_eviction_settings.unwrap_or(false)
    }

    /// Path of the runtime's socket.
    pub fn runtime_socket(&self) -> &Path {
        let text = &self.container_runtime_endpoint;
        Path::new(text.strip_prefix("unix://").unwrap_or(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeadms_file_is_read() {
        let text = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nclusterDNS: [10.96.0.10]\n\
                    authentication:\n  x509:\n    clientCAFile: /ca\nstaticPodPath: /m\nimageGCHighThresholdPercent: 100\nsomethingElse: 1\nruntimeRequestTimeout: 15m\n";
        let config = Configuration::parse(text).unwrap();
        assert_eq!(config.cluster_dns, ["10.96.0.10"]);
        assert_eq!(config.authentication.x509.client_ca_file.as_deref(), Some(Path::new("/ca")));
        assert_eq!((config.port, config.max_pods, config.image_gc_high_threshold_percent), (10250, 110, 100));
        assert_eq!(config.runtime_request_timeout, Span(Duration::from_secs(900)));
        assert_eq!(config.others.keys().collect::<Vec<_>>(), ["somethingElse"]);
        assert!(Configuration::parse("kind: Pod\n").is_err());
        let zero = "kind: KubeletConfiguration\nruntimeRequestTimeout: 0s\nevictionPressureTransitionPeriod: 0s\n";
        let config = Configuration::parse(zero).unwrap();
        assert_eq!(config.runtime_request_timeout, Span(Duration::from_secs(120)));
        assert_eq!(config.eviction_pressure_transition_period, Span(Duration::from_secs(300)));
    }
}
