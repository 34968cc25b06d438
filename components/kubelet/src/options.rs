//! The command line: the kubelet's flags.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use kinit_flags::Common;

mod foreign;

pub use foreign::Foreign;

/// kubelet runs pods on a node of a Kubernetes cluster.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "kubelet")]
pub struct Options {
    /// File with a KubeletConfiguration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the API server is reached; without it only static pods run
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// What a certificate is asked for with when there is no kubeconfig yet
    #[arg(long, value_name = "FILE")]
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Socket of the container runtime
    #[arg(long, value_name = "URL")]
    pub container_runtime_endpoint: Option<String>,
    /// Name of the node instead of the host's
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Address of the node
    #[arg(long, value_name = "IP")]
    pub node_ip: Option<IpAddr>,
    /// Labels that the node is registered with, name=value
    #[arg(long, value_name = "LABELS", value_delimiter = ',')]
    pub node_labels: Vec<String>,
    /// Taints that the node is registered with, key=value:effect
    #[arg(long, value_name = "TAINTS", value_delimiter = ',')]
    pub register_with_taints: Vec<String>,
    /// Folder of the kubelet's files
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet")]
    pub root_dir: PathBuf,
    /// Folder of certificates
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet/pki")]
    pub cert_dir: PathBuf,
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
