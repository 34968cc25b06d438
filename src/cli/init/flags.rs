//! The flags of `kinit init` and of its phases.

use std::path::PathBuf;

use super::super::CommonArgs;
use super::super::output::Format;
use crate::config::Documents;
use crate::config::settings::InitOverrides;
use crate::config::v1beta4::Arg;

/// Flags that only a phase by itself has: what a phase of `control-plane` gives the components beside what the configuration
/// says, and as whom one speaks to the cluster.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PhaseFlags {
    /// The kubeconfig file to use when talking to the cluster [default: admin.conf]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The path where to save the kubeconfig files, in phase `kubeconfig` [default: /etc/kubernetes]
    #[arg(long, value_name = "DIR")]
    pub kubeconfig_dir: Option<PathBuf>,
    /// Print the addon manifests to standard output instead of installing them, in phase `addon`
    #[arg(long)]
    pub print_manifest: bool,
    /// More flags of the API server, as NAME=VALUE
    #[arg(long, value_name = "FLAGS", value_delimiter = ',')]
    pub apiserver_extra_args: Vec<String>,
    /// More flags of the controller manager, as NAME=VALUE
    #[arg(long, value_name = "FLAGS", value_delimiter = ',')]
    pub controller_manager_extra_args: Vec<String>,
    /// More flags of the scheduler, as NAME=VALUE
    #[arg(long, value_name = "FLAGS", value_delimiter = ',')]
    pub scheduler_extra_args: Vec<String>,
}

impl PhaseFlags {
    /// Refuses flags that mean nothing to the phase at `path`.
    pub fn fit(&self, path: &[String]) -> anyhow::Result<()> {
        let given = [
            ("kubeconfig-dir", "kubeconfig", self.kubeconfig_dir.is_some()),
            ("print-manifest", "addon", self.print_manifest),
            ("apiserver-extra-args", "control-plane", !self.apiserver_extra_args.is_empty()),
            ("controller-manager-extra-args", "control-plane", !self.controller_manager_extra_args.is_empty()),
            ("scheduler-extra-args", "control-plane", !self.scheduler_extra_args.is_empty()),
        ];
        let phase = path.first().map_or("", String::as_str).split('/').next().unwrap_or_default();
        match given.iter().find(|(_, of, is)| *is && *of != phase) {
            None => Ok(()),
            Some((flag, of, _)) => anyhow::bail!(
                "--{flag} says nothing to phase {phase}\nhint: it is a flag of `kinit init phase {of}`\ncode: Usage"
            ),
        }
    }

    pub fn add_to(&self, documents: &mut Documents) -> anyhow::Result<()> {
        let cluster = documents.cluster.get_or_insert_default();
        for (given, flags) in [
            (&self.apiserver_extra_args, &mut cluster.api_server.extra_args),
            (&self.controller_manager_extra_args, &mut cluster.controller_manager.extra_args),
            (&self.scheduler_extra_args, &mut cluster.scheduler.extra_args),
        ] {
            for text in given {
                let (name, value) = text.split_once('=').ok_or_else(|| {
                    anyhow::anyhow!(
                        "{text:?} is no flag with a value\nhint: give NAME=VALUE, without dashes\ncode: Usage"
                    )
                })?;
                let name = name.trim_start_matches('-').to_owned();
                flags.push(Arg { name, value: value.to_owned() });
            }
        }
        Ok(())
    }
}

/// The flags themselves, shared by `init` and its phases.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct InitFlags {
    /// Address of this host that the API server is reached at [default: that of the default route]
    #[arg(long, value_name = "IP")]
    pub apiserver_advertise_address: Option<String>,
    /// Port of the API server [default: 6443]
    #[arg(long, value_name = "PORT")]
    pub apiserver_bind_port: Option<u16>,
    /// More names and addresses in the API server's certificate
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub apiserver_cert_extra_sans: Vec<String>,
    /// Folder of keys and certificates [default: /etc/kubernetes/pki]
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// File with InitConfiguration and ClusterConfiguration of kubeadm.k8s.io/v1beta4
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One address for all control planes, HOST or HOST:PORT
    #[arg(long, value_name = "ENDPOINT")]
    pub control_plane_endpoint: Option<String>,
    /// Socket of the container runtime
    #[arg(long, value_name = "SOCKET")]
    pub cri_socket: Option<String>,
    /// Show what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Preflight checks whose errors become warnings, or `all`
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub ignore_preflight_errors: Vec<String>,
    /// A set of key=value pairs that describe feature gates of kubeadm
    #[arg(long, value_name = "GATES", value_delimiter = ',')]
    pub feature_gates: Vec<String>,
    /// Key used to encrypt the control plane certificates in the kubeadm-certs Secret
    #[arg(long, value_name = "KEY")]
    pub certificate_key: Option<String>,
    /// Where images are named from
    #[arg(long, value_name = "NAME")]
    pub image_repository: Option<String>,
    /// Version of the control plane
    #[arg(long, value_name = "VERSION")]
    pub kubernetes_version: Option<String>,
    /// Name of this node [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Path to a directory that contains files named "target[suffix][+patchtype].extension", to change what is written
    #[arg(long, value_name = "DIR")]
    pub patches: Option<PathBuf>,
    /// Range of the pods' addresses [default: 10.244.0.0/16]
    #[arg(long, value_name = "CIDR")]
    pub pod_network_cidr: Option<String>,
    /// Range of the services' addresses [default: 10.96.0.0/12]
    #[arg(long, value_name = "CIDR")]
    pub service_cidr: Option<String>,
    /// DNS domain of the services [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub service_dns_domain: Option<String>,
    /// Phases to leave out
    #[arg(long, value_name = "PHASES", value_delimiter = ',')]
    pub skip_phases: Vec<String>,
    /// Do not print the token at the end
    #[arg(long)]
    pub skip_token_print: bool,
    /// Do not print the key used to encrypt the control plane certificates
    #[arg(long)]
    pub skip_certificate_key_print: bool,
    /// The token that nodes join with [default: a random one]
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Life of the token, as 24h0m0s; 0 never ends
    #[arg(long, value_name = "DURATION")]
    pub token_ttl: Option<String>,
    /// Keep the control plane's certificates in the cluster, encrypted
    #[arg(long)]
    pub upload_certs: bool,
    /// How to print what comes out of it: how others join, or what a dry run would do
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// Flags that several commands have
    #[command(flatten)]
    pub common: CommonArgs,
}

impl InitFlags {
    pub fn overrides(&self) -> InitOverrides {
        InitOverrides {
            advertise_address: self.apiserver_advertise_address.clone(),
            bind_port: self.apiserver_bind_port,
            cert_sans: self.apiserver_cert_extra_sans.clone(),
            cert_dir: self.cert_dir.clone(),
            control_plane_endpoint: self.control_plane_endpoint.clone(),
            cri_socket: self.cri_socket.clone(),
            ignore_preflight_errors: self.ignore_preflight_errors.clone(),
            image_repository: self.image_repository.clone(),
            kubernetes_version: self.kubernetes_version.clone(),
            node_name: self.node_name.clone(),
            pod_subnet: self.pod_network_cidr.clone(),
            service_subnet: self.service_cidr.clone(),
            dns_domain: self.service_dns_domain.clone(),
            skip_phases: self.skip_phases.clone(),
            token: self.token.clone(),
            token_ttl: self.token_ttl.clone(),
            dry_run: self.dry_run,
            patches: self.patches.clone(),
            certificate_key: self.certificate_key.clone(),
            upload_certs: self.upload_certs,
            feature_gates: self.feature_gates.clone(),
        }
    }

    /// kubeadm's rule: with a file, what the file can say is not given by flags.
    pub fn refuse_mixing(&self) -> anyhow::Result<()> {
        if self.config.is_none() {
            return Ok(());
        }
        let given = [
            ("apiserver-advertise-address", self.apiserver_advertise_address.is_some()),
            ("apiserver-bind-port", self.apiserver_bind_port.is_some()),
            ("apiserver-cert-extra-sans", !self.apiserver_cert_extra_sans.is_empty()),
            ("cert-dir", self.cert_dir.is_some()),
            ("control-plane-endpoint", self.control_plane_endpoint.is_some()),
            ("image-repository", self.image_repository.is_some()),
            ("kubernetes-version", self.kubernetes_version.is_some()),
            ("pod-network-cidr", self.pod_network_cidr.is_some()),
            ("service-cidr", self.service_cidr.is_some()),
            ("service-dns-domain", self.service_dns_domain.is_some()),
            ("token", self.token.is_some()),
            ("token-ttl", self.token_ttl.is_some()),
            ("certificate-key", self.certificate_key.is_some()),
            ("feature-gates", !self.feature_gates.is_empty()),
        ];
        let mixed: Vec<&str> = given.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        if !mixed.is_empty() {
            anyhow::bail!(
                "--config cannot be mixed with --{}\nhint: say it in the file\ncode: Usage",
                mixed.join(", --")
            );
        }
        Ok(())
    }
}
