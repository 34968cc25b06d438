//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// kinit-network keeps the pod network of one node.
#[derive(Debug, Clone, Parser)]
#[command(name = "kinit-network", version = kinit_version::kubernetes())]
pub struct Options {
    /// How the API server is reached; it must not be by a Service's address
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Name of this node
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: String,
    /// Ranges of all pods, separated by commas; traffic to them keeps the pod's address
    #[arg(long, value_name = "CIDRS", value_delimiter = ',')]
    pub cluster_cidr: Vec<String>,
    /// Folder of the container runtime's CNI configuration
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub cni_conf_dir: PathBuf,
    /// How much to log
    #[arg(short = 'v', long = "v", default_value_t = 0, value_name = "LEVEL")]
    pub verbosity: u8,
}

impl kinit_serving::process::LogOptions for Options {
    fn verbosity(&self) -> u8 {
        self.verbosity
    }
}
