//! The command line, with upstream's names.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;

/// Serves the Kubernetes API out of etcd.
#[derive(Clone, Debug, Parser)]
#[command(name = "kube-apiserver", version = "v1.36.0")]
pub struct Options {
    /// The address on which to serve
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port on which to serve; 0 takes a free one
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// etcd's client URLs, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    pub etcd_servers: Vec<String>,
    /// CA file that etcd's certificate is checked against
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,
    /// Client certificate for etcd
    #[arg(long, requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// Key of the client certificate for etcd
    #[arg(long, requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// What all keys in etcd begin with
    #[arg(long, default_value = "/registry")]
    pub etcd_prefix: String,
    /// The serving certificate; self-signed where it is not given
    #[arg(long, requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// The serving certificate's key
    #[arg(long, requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// CA file that clients' certificates are checked against
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// How much is logged, 0 to 10
    #[arg(short = 'v', long = "v", default_value_t = 0)]
    pub verbosity: u8,
}

impl kinit_serving::process::LogOptions for Options {
    fn verbosity(&self) -> u8 {
        self.verbosity
    }
}
