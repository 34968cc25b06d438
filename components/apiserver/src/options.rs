//! The command line, with upstream's names.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};
use ipnet::IpNet;
use kinit_flags::Common;
use kinit_serving::tls::{ServingFlags, TlsFlags};

mod address;
mod foreign;
mod runtime;

use crate::audit::AuditOptions;
use crate::authn::oidc::OidcOptions;
use crate::authn::webhook::TokenWebhookOptions;

/// Serves the Kubernetes API out of etcd.
#[derive(Clone, Debug, Parser)]
#[command(name = "kube-apiserver", args_override_self = true)]
pub struct Options {
    /// The address on which to serve
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port on which to serve; 0 takes a free one
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// The address at which the cluster reaches this server; it becomes an endpoint of the Service default/kubernetes
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// The folder in which a certificate is kept that is made as --tls-cert-file is not given; it is in memory where this is empty
    #[arg(long, value_name = "DIR", default_value = "/var/run/kubernetes")]
    pub cert_dir: String,
    #[command(flatten)]
    pub serving: ServingFlags,
    #[command(flatten)]
    pub etcd: EtcdOptions,
    #[command(flatten)]
    pub authentication: AuthenticationOptions,
    #[command(flatten)]
    pub authorization: AuthorizationOptions,
    #[command(flatten)]
    pub admission: AdmissionOptions,
    #[command(flatten)]
    pub audit: AuditOptions,
    #[command(flatten)]
    pub kubelet: KubeletOptions,
    /// Where ClusterIPs come from: one range, or one of each family
    #[arg(long, value_delimiter = ',', default_value = "10.0.0.0/24")]
    pub service_cluster_ip_range: Vec<IpNet>,
    /// Where NodePorts come from
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: PortRange,
    /// Whether Pods may ask for privileged containers
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub allow_privileged: bool,
    /// How many requests are worked on at a time, together with those that change something
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// How many requests that change something are worked on at a time, together with the others
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    /// Whether those seats are shared out by FlowSchemas and priority levels
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub enable_priority_and_fairness: bool,
    /// How long a request may take that is no watch and no stream
    #[arg(long, default_value = "1m0s", value_parser = kinit_duration::flag)]
    pub request_timeout: std::time::Duration,
    /// How many seconds a watch lasts at least that does not say how long; it is up to twice that, and with 0 for ever
    #[arg(long, default_value_t = 1800)]
    pub min_request_timeout: u32,
    /// How many of the requests over HTTP/2 have their client told to connect anew, at most one in fifty, so that clients spread over
    /// servers behind a load balancer
    #[arg(long, default_value_t = 0.0, value_parser = goaway_chance, allow_hyphen_values = true)]
    pub goaway_chance: f64,
    /// Regular expressions of the origins whose pages may ask: each says where a host begins (^ or //) and ends ($ or :)
    #[arg(long, value_delimiter = ',')]
    pub cors_allowed_origins: Vec<String>,
    /// The name at which clients are told to reach this server; --advertise-address where it is not given
    #[arg(long, default_value = "")]
    pub external_hostname: String,
    /// How long events are kept
    #[arg(long, default_value = "1h0m0s", value_parser = kinit_duration::flag)]
    pub event_ttl: std::time::Duration,
    #[command(flatten)]
    pub tls: TlsFlags,
    /// What is served beyond what is by default, or less; nothing is: [group/]version[/resource]=true or false, api/ga, api/beta, api/alpha
    #[arg(long, value_delimiter = ',', value_parser = runtime::parse)]
    pub runtime_config: Vec<String>,
    /// What clients are told of transport security in each answer: max-age=SECONDS, includeSubDomains, preload
    #[arg(long, value_delimiter = ',', value_parser = transport_security)]
    pub strict_transport_security_directives: Vec<String>,
    /// How long the server goes on after it was told to end, with /readyz saying so
    #[arg(long, default_value = "0s", value_parser = kinit_duration::flag)]
    pub shutdown_delay_duration: std::time::Duration,
    #[command(flatten)]
    pub common: Common,
    /// Flags of upstream's that mean nothing here
    #[command(flatten)]
    pub foreign: foreign::Foreign,
}

fn goaway_chance(text: &str) -> Result<f64, String> {
    let chance: f64 = text.parse().map_err(|_| "it must be a number".to_owned())?;
    let fits = (0.0..=0.02).contains(&chance);
    if fits { Ok(chance) } else { Err("--goaway-chance can not be less than 0 or greater than 0.02".to_owned()) }
}

/// A directive of RFC 6797, section 6.1, as upstream takes it.
fn transport_security(text: &str) -> Result<String, String> {
    let is_age = text.split_once('=').is_some_and(|(name, age)| name == "max-age" && !age.contains('='));
    if is_age || matches!(text, "includeSubDomains" | "preload") {
        return Ok(text.to_owned());
    }
    Err("allowed values: max-age=expireTime, includeSubDomains, preload".to_owned())
}

/// How etcd is reached.
#[derive(Clone, Debug, Args)]
pub struct EtcdOptions {
    /// etcd's client URLs, separated by commas
    #[arg(long = "etcd-servers", value_delimiter = ',', required = true)]
    pub servers: Vec<String>,
    /// CA file that etcd's certificate is checked against
    #[arg(long = "etcd-cafile")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate for etcd
    #[arg(long = "etcd-certfile", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Key of the client certificate for etcd
    #[arg(long = "etcd-keyfile", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// What all keys in etcd begin with
    #[arg(long = "etcd-prefix", default_value = "/registry")]
    pub prefix: String,
    /// In which form objects of built-in kinds are written to etcd; either is read
    #[arg(long, value_enum, default_value = "application/json")]
    pub storage_media_type: crate::storage::Form,
    /// How long etcd keeps what objects were; 0 keeps it until somebody else compacts
    #[arg(long = "etcd-compaction-interval", default_value = "5m0s", value_parser = kinit_duration::flag)]
    pub compaction_interval: std::time::Duration,
    /// File that says which resources are encrypted in etcd, and how (EncryptionConfiguration)
    #[arg(long)]
    pub encryption_provider_config: Option<PathBuf>,
    /// Whether that file's changes are taken up while the server runs
    #[arg(long, requires = "encryption_provider_config", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub encryption_provider_config_automatic_reload: bool,
}

/// Who clients may be.
#[derive(Clone, Debug, Args)]
pub struct AuthenticationOptions {
    /// CA file that clients' certificates are checked against
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// Whether requests without credentials are let in as system:anonymous
    #[arg(long, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub anonymous_auth: Option<bool>,
    /// File that says whose tokens are believed and who needs none (AuthenticationConfiguration); it is followed
    #[arg(long)]
    pub authentication_config: Option<PathBuf>,
    /// File of tokens: token,user,uid,"group1,group2"
    #[arg(long)]
    pub token_auth_file: Option<PathBuf>,
    #[command(flatten)]
    pub oidc: OidcOptions,
    #[command(flatten)]
    pub webhook: TokenWebhookOptions,
    /// Whether Secrets of type bootstrap.kubernetes.io/token in kube-system are credentials
    #[arg(long, default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub enable_bootstrap_token_auth: bool,
    /// Who issues ServiceAccount tokens: the first signs, all are accepted
    #[arg(long)]
    pub service_account_issuer: Vec<String>,
    /// Where clients find the keys of the first issuer, if not at this server's /openid/v1/jwks
    #[arg(long, value_name = "URL", value_parser = jwks_uri)]
    pub service_account_jwks_uri: Option<String>,
    /// PEM files with public or private keys that ServiceAccount tokens are checked with
    #[arg(long)]
    pub service_account_key_file: Vec<PathBuf>,
    /// PEM file with the private key that ServiceAccount tokens are signed with
    #[arg(long, requires = "service_account_issuer")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Audiences of the API; the issuers where it is not given
    #[arg(long, value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    /// The longest life of a ServiceAccount token that may be asked for
    #[arg(long, value_parser = kinit_duration::flag)]
    pub service_account_max_token_expiration: Option<std::time::Duration>,
    /// Whether tokens of Pods live for a year with a warning after an hour, for clients that never read them again
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub service_account_extend_token_expiration: bool,
    /// CA file that front proxies' certificates are checked against
    #[arg(long)]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of front proxies; any that the CA vouches for where it is not given
    #[arg(long, value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers in which a front proxy tells the user's name
    #[arg(long, value_delimiter = ',', default_value = "x-remote-user")]
    pub requestheader_username_headers: Vec<String>,
    /// Headers in which a front proxy tells the user's UID
    #[arg(long, value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers in which a front proxy tells the user's groups
    #[arg(long, value_delimiter = ',', default_value = "x-remote-group")]
    pub requestheader_group_headers: Vec<String>,
    /// What the headers begin with in which a front proxy tells more of the user
    #[arg(long, value_delimiter = ',', default_value = "x-remote-extra-")]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// Certificate with which this server asks aggregated servers
    #[arg(long, requires = "proxy_client_key_file")]
    pub proxy_client_cert_file: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, requires = "proxy_client_cert_file")]
    pub proxy_client_key_file: Option<PathBuf>,
}

/// What clients may do.
#[derive(Clone, Debug, Args)]
pub struct AuthorizationOptions {
    /// Who is asked, in this order; the first that allows decides
    #[arg(id = "authorization-mode", long = "authorization-mode", value_delimiter = ',')]
    pub modes: Vec<AuthorizationMode>,
    /// File that says who is asked (AuthorizationConfiguration), in place of the flags; it is followed
    #[arg(
        id = "authorization-config", long = "authorization-config",
        conflicts_with_all = ["authorization-mode", "authorization-webhook-config-file", "authorization-policy-file"]
    )]
    pub config: Option<PathBuf>,
    /// Kubeconfig file of the server that mode Webhook asks
    #[arg(id = "authorization-webhook-config-file", long = "authorization-webhook-config-file")]
    pub webhook_config_file: Option<PathBuf>,
    /// How long its permissions count
    #[arg(id = "authorization-webhook-cache-authorized-ttl", long = "authorization-webhook-cache-authorized-ttl", default_value = "5m0s", value_parser = kinit_duration::flag)]
    pub webhook_allowed_for: std::time::Duration,
    /// How long its refusals count
    #[arg(id = "authorization-webhook-cache-unauthorized-ttl", long = "authorization-webhook-cache-unauthorized-ttl", default_value = "30s", value_parser = kinit_duration::flag)]
    pub webhook_refused_for: std::time::Duration,
    /// The version of the question
    #[arg(id = "authorization-webhook-version", long = "authorization-webhook-version", default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    pub webhook_version: String,
    /// File of the policies of mode ABAC, one a line
    #[arg(id = "authorization-policy-file", long = "authorization-policy-file")]
    pub policy_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum AuthorizationMode {
    #[value(name = "AlwaysAllow")]
    AlwaysAllow,
    #[value(name = "AlwaysDeny")]
    AlwaysDeny,
    #[value(name = "Node")]
    Node,
    #[value(name = "RBAC")]
    Rbac,
    #[value(name = "ABAC")]
    Abac,
    #[value(name = "Webhook")]
    Webhook,
}

impl AuthorizationMode {
    /// As flags and configurations have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AlwaysAllow => "AlwaysAllow",
            Self::AlwaysDeny => "AlwaysDeny",
            Self::Node => "Node",
            Self::Rbac => "RBAC",
            Self::Abac => "ABAC",
            Self::Webhook => "Webhook",
        }
    }
}

/// What is looked at before a write.
#[derive(Clone, Debug, Args)]
pub struct AdmissionOptions {
    /// Admission plugins to run besides the default ones
    #[arg(long, value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Default admission plugins not to run
    #[arg(long, value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// File with the configuration of admission plugins (AdmissionConfiguration)
    #[arg(long)]
    pub admission_control_config_file: Option<PathBuf>,
    /// Seconds that a Pod stays on a node that is not ready, where it does not say itself
    #[arg(long, default_value_t = 300)]
    pub default_not_ready_toleration_seconds: i64,
    /// Seconds that a Pod stays on a node that is unreachable, where it does not say itself
    #[arg(long, default_value_t = 300)]
    pub default_unreachable_toleration_seconds: i64,
}

fn jwks_uri(text: &str) -> Result<String, String> {
    let parsed = url::Url::parse(text).map_err(|error| format!("must be a valid URL: {error}"))?;
    if parsed.scheme() == "https" {
        Ok(text.to_owned())
    } else {
        Err(format!("requires https scheme, parsed as: {text}"))
    }
}

/// How kubelets are reached.
#[derive(Clone, Debug, Args)]
pub struct KubeletOptions {
    /// Client certificate for kubelets
    #[arg(long, requires = "kubelet_client_key")]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Key of the client certificate for kubelets
    #[arg(long, requires = "kubelet_client_certificate")]
    pub kubelet_client_key: Option<PathBuf>,
    /// CA file that kubelets' serving certificates are checked against; they are not checked where it is not given
    #[arg(long)]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Kinds of node addresses in the order in which they are tried
    #[arg(long, value_delimiter = ',', default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP")]
    pub kubelet_preferred_address_types: Vec<String>,
}

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

fn port_range(text: &str) -> Result<PortRange, String> {
    let wrong = || format!("{text:?} is no range of ports, for example 30000-32767");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let range = PortRange { first: first.parse().map_err(|_| wrong())?, last: last.parse().map_err(|_| wrong())? };
    if range.first == 0 || range.first > range.last { Err(wrong()) } else { Ok(range) }
}

impl Options {
    /// Fills in what others are told of this server where it is not given, as upstream's server does when it starts.
    pub fn complete(&mut self) {
        let given = self.advertise_address.filter(|address| !address.is_unspecified());
        self.advertise_address = given.or_else(|| address::advertised(self.bind_address));
        if self.advertise_address.is_none() {
            tracing::warn!("no default route leads to an address of this host; give --advertise-address");
        }
    }

    /// The address that others reach this server at: what is advertised, else what it listens on.
    pub fn own_address(&self) -> Option<IpAddr> {
        self.advertise_address.or_else(|| (!self.bind_address.is_unspecified()).then_some(self.bind_address))
    }

    /// The API's own ClusterIP: the first address of the first range.
    pub fn kubernetes_service_ip(&self) -> IpAddr {
        match self.service_cluster_ip_range.first().map(|range| range.trunc().addr()) {
            Some(IpAddr::V4(base)) => IpAddr::V4((u32::from(base) + 1).into()),
            Some(IpAddr::V6(base)) => IpAddr::V6((u128::from(base) + 1).into()),
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }
}

impl kinit_serving::process::LogOptions for Options {
    fn verbosity(&self) -> u8 {
        self.common.verbosity
    }

    fn json(&self) -> bool {
        self.common.json()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_over_https_alone() {
        assert_eq!(jwks_uri("https://a/b").as_deref(), Ok("https://a/b"));
        assert_eq!(jwks_uri("http://a").unwrap_err(), "requires https scheme, parsed as: http://a");
        assert!(jwks_uri("a b").unwrap_err().starts_with("must be a valid URL: "));
    }

    #[test]
    fn clients_are_told_to_leave_seldom() {
        assert_eq!((goaway_chance("0"), goaway_chance(".02")), (Ok(0.0), Ok(0.02)));
        for text in ["-0.1", "0.021", "NaN", "x"] {
            assert!(goaway_chance(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(port_range("30000-32767"), Ok(PortRange { first: 30000, last: 32767 }));
        assert!(port_range("5-4").is_err() && port_range("x").is_err());
        let options = Options::parse_from([
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.96.0.0/12",
            "--allow-privileged",
        ]);
        assert_eq!(options.authorization.modes, [AuthorizationMode::Node, AuthorizationMode::Rbac]);
        assert_eq!(options.kubernetes_service_ip().to_string(), "10.96.0.1");
        assert!(options.allow_privileged);
    }

    #[test]
    fn what_is_said_of_transport_security_is_what_the_rfc_has() {
        for text in ["max-age=31536000", "max-age=", "includeSubDomains", "preload"] {
            assert_eq!(transport_security(text).as_deref(), Ok(text));
        }
        for text in ["", "foo", "max-age", "max-age=1=2", "includesubdomains"] {
            assert!(transport_security(text).is_err(), "{text}");
        }
    }
}
