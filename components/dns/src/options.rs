//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;

/// cluster-dns answers for the names of a Kubernetes cluster's Services and pods.
#[derive(Debug, Clone, Parser)]
#[command(name = "cluster-dns", version = kinit_version::kubernetes())]
pub struct Options {
    /// The cluster's domain
    #[arg(long, visible_alias = "domain", value_name = "NAME", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// How the API server is reached; without it by the pod's ServiceAccount
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Resolvers for other names instead of those of /etc/resolv.conf
    #[arg(long, value_name = "IP[:PORT]", value_delimiter = ',')]
    pub upstream: Vec<String>,
    /// Address of queries
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Port of queries
    #[arg(long, value_name = "PORT", default_value_t = 53)]
    pub port: u16,
    /// Address of /health
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub health_address: SocketAddr,
    /// Address of /ready
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8181")]
    pub ready_address: SocketAddr,
    /// Address of /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9153")]
    pub metrics_address: SocketAddr,
    /// How much to log
    #[arg(short = 'v', long = "v", default_value_t = 0, value_name = "LEVEL")]
    pub verbosity: u8,
}

impl kinit_serving::process::LogOptions for Options {
    fn verbosity(&self) -> u8 {
        self.verbosity
    }
}
