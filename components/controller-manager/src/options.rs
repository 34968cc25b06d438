//! The command line: upstream's flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};
use kinit_flags::Common;
use kinit_runtime::leader::{Candidate, Times};
use kinit_serving::tls::{ServingFlags, TlsFlags};

mod foreign;

pub use foreign::Foreign;

/// kube-controller-manager runs the loops that bring a cluster to where its objects say it should be.
#[derive(Debug, Clone, Parser)]
#[command(name = "kube-controller-manager")]
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
    /// The longest life of what is signed on request
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = kinit_duration::flag)]
    pub cluster_signing_duration: Duration,
    /// Which controllers run: `*` and names, `-name` for one that does not
    #[arg(long, value_delimiter = ',', default_value = "*")]
    pub controllers: Vec<String>,
    /// How the API server is reached
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Whether replicas elect a leader
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// Bits of the prefix of each node's range, in a cluster of one family [default: 24, with IPv6 64]
    #[arg(long, value_name = "BITS")]
    pub node_cidr_mask_size: Option<u8>,
    /// Bits of the prefix of each node's IPv4 range [default: 24]
    #[arg(long, value_name = "BITS")]
    pub node_cidr_mask_size_ipv4: Option<u8>,
    /// Bits of the prefix of each node's IPv6 range [default: 64]
    #[arg(long, value_name = "BITS")]
    pub node_cidr_mask_size_ipv6: Option<u8>,
    /// Nodes of a zone a second that lose their pods, once they are not ready
    #[arg(long, value_name = "RATE", default_value_t = 0.1)]
    pub node_eviction_rate: f64,
    /// The same in a large zone much of which is not ready; in a small one no node loses its pods then
    #[arg(long, value_name = "RATE", default_value_t = 0.01)]
    pub secondary_node_eviction_rate: f64,
    /// Zones of more nodes are large
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    pub large_cluster_size_threshold: usize,
    /// The part of a zone's nodes that are not ready from which on it is much
    #[arg(long, value_name = "PART", default_value_t = 0.55)]
    pub unhealthy_zone_threshold: f64,
    /// How long a node may say nothing after it has come
    #[arg(long, value_name = "DURATION", default_value = "1m0s", value_parser = kinit_duration::flag)]
    pub node_startup_grace_period: Duration,
    /// How long a node may say nothing before it counts as gone
    #[arg(long, value_name = "DURATION", default_value = "50s", value_parser = kinit_duration::flag)]
    pub node_monitor_grace_period: Duration,
    /// How many pods that ended are kept; none are deleted if it is 0 or less
    #[arg(long, value_name = "COUNT", default_value_t = 12_500, allow_hyphen_values = true)]
    pub terminated_pod_gc_threshold: i64,
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
    /// The folder in which a certificate is kept that is made as --tls-cert-file is not given; it is in memory where this is empty
    #[arg(long, value_name = "DIR", default_value = "")]
    pub cert_dir: String,
    #[command(flatten)]
    pub serving: ServingFlags,
    #[command(flatten)]
    pub election: Election,
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

/// By which Lease replicas elect a leader, and how often they try.
#[derive(Debug, Clone, Args)]
pub struct Election {
    /// How long a leader that says nothing stays leader
    #[arg(long = "leader-elect-lease-duration", value_name = "DURATION", default_value = "15s", value_parser = kinit_duration::flag)]
    pub lease_duration: Duration,
    /// A leader that could not renew for this long gives up
    #[arg(long = "leader-elect-renew-deadline", value_name = "DURATION", default_value = "10s", value_parser = kinit_duration::flag)]
    pub renew_deadline: Duration,
    /// The pause between two tries
    #[arg(long = "leader-elect-retry-period", value_name = "DURATION", default_value = "2s", value_parser = kinit_duration::flag)]
    pub retry_period: Duration,
    /// Name of the Lease
    #[arg(long = "leader-elect-resource-name", value_name = "NAME", default_value = "kube-controller-manager")]
    pub resource_name: String,
    /// Namespace of the Lease
    #[arg(long = "leader-elect-resource-namespace", value_name = "NAME", default_value = "kube-system")]
    pub resource_namespace: String,
}

impl Election {
    /// Who this host's manager is when it wants to lead.
    pub fn candidate(&self, host: &str) -> anyhow::Result<Candidate> {
        let times = Times { life: self.lease_duration, patience: self.renew_deadline, renew: self.retry_period };
        anyhow::ensure!(
            times.life > times.patience && times.patience > times.renew && !times.renew.is_zero(),
            "--leader-elect-lease-duration must be longer than --leader-elect-renew-deadline, and that longer than \
             --leader-elect-retry-period"
        );
        let mut candidate = Candidate::new(&self.resource_name, host);
        candidate.namespace.clone_from(&self.resource_namespace);
        candidate.times = times;
        Ok(candidate)
    }
}

/// Controllers that run only when they are named.
const ON_DEMAND: &[&str] = &["bootstrap-signer-controller", "token-cleaner-controller"];

impl Options {
    /// Whether a controller runs that is known by its name and, from before, by others.
    pub fn runs(&self, name: &str, others: &[&str]) -> bool {
        let is = |one: &str| one == name || others.contains(&one);
        let named = self.controllers.iter().any(|one| is(one));
        let excluded = self.controllers.iter().any(|one| one.strip_prefix('-').is_some_and(is));
        let all = self.controllers.iter().any(|one| one == "*");
        named || (all && !excluded && !ON_DEMAND.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_is_what_the_flags_say() {
        let options = |more: &[&str]| Options::parse_from(["x", "--kubeconfig=k"].iter().chain(more)).election;
        let usual = options(&[]).candidate("h").expect("the defaults");
        assert_eq!((usual.name.as_str(), usual.namespace.as_str()), ("kube-controller-manager", "kube-system"));
        assert_eq!(usual.times, Times::default());
        let own = options(&["--leader-elect-resource-name=a", "--leader-elect-lease-duration=1m"]);
        let own = own.candidate("h").expect("one of its own");
        assert_eq!((own.name.as_str(), own.times.life), ("a", Duration::from_secs(60)));
        assert!(options(&["--leader-elect-lease-duration=5s"]).candidate("h").is_err());
    }

    #[test]
    fn controllers_are_chosen_by_name() {
        let options = |list: &str| Options::parse_from(["x", "--kubeconfig=k", &format!("--controllers={list}")]);
        for (list, name, other, runs) in [
            ("*", "deployment-controller", "deployment", true),
            ("*", "bootstrap-signer-controller", "bootstrapsigner", false),
            ("*,bootstrapsigner", "bootstrap-signer-controller", "bootstrapsigner", true),
            ("*,-job", "job-controller", "job", false),
            ("*,-job-controller", "job-controller", "job", false),
            ("job-controller", "job-controller", "job", true),
            ("job", "deployment-controller", "deployment", false),
        ] {
            assert_eq!(options(list).runs(name, &[other]), runs, "{list} {name}");
        }
    }
}
