//! The command line and the configuration file.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{ArgAction, Parser};
use serde::Deserialize;

/// kube-scheduler gives each pod of a Kubernetes cluster a node.
#[derive(Debug, Clone, Parser)]
#[command(name = "kube-scheduler", version = kinit_version::kubernetes())]
pub struct Options {
    /// File with a KubeSchedulerConfiguration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the API server is reached
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How clients of the secure port would be authenticated; accepted, because only loopback is shown metrics
    #[arg(long, value_name = "FILE")]
    pub authentication_kubeconfig: Option<PathBuf>,
    /// How clients of the secure port would be authorized; accepted, because only loopback is shown metrics
    #[arg(long, value_name = "FILE")]
    pub authorization_kubeconfig: Option<PathBuf>,
    /// Address of the secure port
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Port of health and metrics, by HTTPS
    #[arg(long, value_name = "PORT", default_value_t = 10259)]
    pub secure_port: u16,
    /// Certificate of the secure port; one is made when there is none
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Whether to wait for the Lease kube-system/kube-scheduler
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub leader_elect: Option<bool>,
    /// How much to log
    #[arg(short = 'v', long = "v", default_value_t = 0, value_name = "LEVEL")]
    pub verbosity: u8,
}

impl kinit_serving::process::LogOptions for Options {
    fn verbosity(&self) -> u8 {
        self.verbosity
    }
}

/// The fields of KubeSchedulerConfiguration that mean something here; others are refused.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Configuration {
    /// `kubescheduler.config.k8s.io/v1`.
    pub api_version: String,
    /// `KubeSchedulerConfiguration`.
    pub kind: String,
    /// How the API server is reached.
    #[serde(default)]
    pub client_connection: ClientConnection,
    /// Whether to wait for the Lease.
    #[serde(default)]
    pub leader_election: LeaderElection,
    /// Names that pods may ask for.
    #[serde(default)]
    pub profiles: Vec<Profile>,
    /// Pause after a first failure.
    #[serde(default = "one")]
    pub pod_initial_backoff_seconds: u64,
    /// Longest pause.
    #[serde(default = "ten")]
    pub pod_max_backoff_seconds: u64,
}

/// How the API server is reached.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientConnection {
    /// A kubeconfig file.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
}

/// Leader election.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaderElection {
    /// Whether to wait for the Lease; true when left out.
    #[serde(default)]
    pub leader_elect: Option<bool>,
}

/// A scheduler under a name of its own.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// What pods say in `spec.schedulerName`.
    pub scheduler_name: String,
}

fn one() -> u64 {
    1
}

fn ten() -> u64 {
    10
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            api_version: String::new(),
            kind: String::new(),
            client_connection: ClientConnection::default(),
            leader_election: LeaderElection::default(),
            profiles: Vec::new(),
            pod_initial_backoff_seconds: one(),
            pod_max_backoff_seconds: ten(),
        }
    }
}

impl Configuration {
    /// Reads a file; errors name it.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: Self = serde_yaml::from_str(&text).with_context(|| format!("{} cannot be used", path.display()))?;
        anyhow::ensure!(
            config.api_version == "kubescheduler.config.k8s.io/v1" && config.kind == "KubeSchedulerConfiguration",
            "{} is a {} {}, and not a kubescheduler.config.k8s.io/v1 KubeSchedulerConfiguration",
            path.display(),
            config.api_version,
            config.kind
        );
        Ok(config)
    }

    /// The names that pods may ask for.
    pub fn names(&self) -> Vec<String> {
        if self.profiles.is_empty() {
            return vec!["default-scheduler".into()];
        }
        self.profiles.iter().map(|profile| profile.scheduler_name.clone()).collect()
    }
}
