//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgAction, Parser};
use kinit_flags::Common;
use kinit_serving::tls::{ServingFlags, TlsFlags};

mod foreign;

pub use foreign::Foreign;

/// kube-scheduler gives each pod of a Kubernetes cluster a node.
#[derive(Debug, Clone, Parser)]
#[command(name = "kube-scheduler")]
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
    /// The folder in which a certificate is kept that is made as --tls-cert-file is not given; it is in memory where this is empty
    #[arg(long, value_name = "DIR", default_value = "")]
    pub cert_dir: String,
    #[command(flatten)]
    pub serving: ServingFlags,
    /// Whether to wait for the Lease kube-system/kube-scheduler
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub leader_elect: Option<bool>,
    #[command(flatten)]
    pub tls: TlsFlags,
    #[command(flatten)]
    pub common: Common,
    /// Flags of upstream's that have no code here
    #[command(flatten)]
    pub foreign: Foreign,
}

impl kinit_serving::process::LogOptions for Options {
    fn verbosity(&self) -> u8 {
        self.common.verbosity
    }

    fn json(&self) -> bool {
        self.common.json()
    }
}
