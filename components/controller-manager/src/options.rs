//! The command line: those of the flags that kubeadm uses.

use std::path::PathBuf;

use clap::Parser;

/// kube-controller-manager runs the loops that bring a cluster to where its objects say it should be.
#[derive(Debug, Clone, Parser)]
#[command(name = "kube-controller-manager", version = "v1.36.0")]
pub struct Options {
    /// Give each new node a range of pod addresses
    #[arg(long, value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set)]
    pub allocate_node_cidrs: bool,
    /// Accepted; requests are authenticated by nobody, as only health and metrics are served
    #[arg(long, value_name = "FILE")]
    pub authentication_kubeconfig: Option<PathBuf>,
    /// Accepted; see --authentication-kubeconfig
    #[arg(long, value_name = "FILE")]
    pub authorization_kubeconfig: Option<PathBuf>,
    /// Address to serve health and metrics at
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: String,
    /// Port to serve health and metrics at
    #[arg(long, default_value_t = 10257)]
    pub secure_port: u16,
    /// CAs of clients
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Range of pod addresses
    #[arg(long, value_name = "CIDR")]
    pub cluster_cidr: Option<String>,
    /// Accepted; a name for instances in clouds
    #[arg(long, default_value = "kubernetes")]
    pub cluster_name: String,
    /// CA that signs requests
    #[arg(long, value_name = "FILE")]
    pub cluster_signing_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE")]
    pub cluster_signing_key_file: Option<PathBuf>,
    /// Which controllers run: `*` and names, `-name` for one that does not
    #[arg(long, value_delimiter = ',', default_value = "*")]
    pub controllers: Vec<String>,
    /// How the API server is reached
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Whether replicas elect a leader
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// Bits of the prefix of each node's range
    #[arg(long, default_value_t = 24)]
    pub node_cidr_mask_size: u8,
    /// Accepted; aggregated requests are not served
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// CA that is given to every namespace
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// Accepted; tokens are signed by the API server
    #[arg(long, value_name = "FILE")]
    pub service_account_private_key_file: Option<PathBuf>,
    /// Range of service addresses
    #[arg(long, value_name = "CIDR")]
    pub service_cluster_ip_range: Option<String>,
    /// Whether each controller acts under a service account of its own
    #[arg(long, value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set)]
    pub use_service_account_credentials: bool,
    /// How much to log
    #[arg(short = 'v', long = "v", default_value_t = 0, value_name = "LEVEL")]
    pub verbosity: u8,
}

impl kinit_serving::process::LogOptions for Options {
    fn verbosity(&self) -> u8 {
        self.verbosity
    }
}

/// Controllers that run only when they are named.
const ON_DEMAND: &[&str] = &["bootstrapsigner", "tokencleaner"];

impl Options {
    /// Whether the controller `name` runs.
    pub fn runs(&self, name: &str) -> bool {
        let named = self.controllers.iter().any(|one| one == name);
        let excluded = self.controllers.iter().any(|one| one.strip_prefix('-') == Some(name));
        let all = self.controllers.iter().any(|one| one == "*");
        named || (all && !excluded && !ON_DEMAND.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_chosen_by_name() {
        let options = |list: &str| Options::parse_from(["x", "--kubeconfig=k", &format!("--controllers={list}")]);
        for (list, name, runs) in [
            ("*", "deployment", true),
            ("*", "bootstrapsigner", false),
            ("*,bootstrapsigner", "bootstrapsigner", true),
            ("*,-job", "job", false),
            ("job", "deployment", false),
        ] {
            assert_eq!(options(list).runs(name), runs, "{list} {name}");
        }
    }
}
