//! The command line.

use std::path::PathBuf;

use clap::Parser;
use kinit_flags::Common;

mod foreign;

pub use foreign::Foreign;

/// kube-proxy has a node's kernel send packets for Services to their endpoints.
#[derive(Debug, Clone, Parser)]
#[command(name = "kube-proxy")]
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
