//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// kube-proxy has a node's kernel send packets for Services to their endpoints.
#[derive(Debug, Clone, Parser)]
#[command(name = "kube-proxy", version = kinit_version::kubernetes())]
pub struct Options {
    /// File with a KubeProxyConfiguration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the API server is reached, when there is no configuration file
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of this node instead of the host's
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Ranges of pods, when there is no configuration file
    #[arg(long, value_name = "CIDRS")]
    pub cluster_cidr: Option<String>,
    /// Take all rules away and end
    #[arg(long)]
    pub cleanup: bool,
    /// How much to log
    #[arg(short = 'v', long = "v", default_value_t = 0, value_name = "LEVEL")]
    pub verbosity: u8,
}

impl kinit_serving::process::LogOptions for Options {
    fn verbosity(&self) -> u8 {
        self.verbosity
    }
}
