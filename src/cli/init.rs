//! `kinit init`.

use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use kinit_preflight::Role;

use super::{CommonArgs, print};
use crate::api::{Api, KubeApi, WouldCall};
use crate::config::settings::{HostDefaults, InitOverrides, runtime_socket};
use crate::config::v1beta4::Arg;
use crate::config::{Documents, InitSettings};
use crate::host::{Effect, Host, MemoryHost, RealHost};
use crate::images::{Binaries, ImageStore, RuntimeImages, WouldImport};
use crate::join::fetch::write_home;
use crate::phase::init::{InitContext, TREE, listing};
use crate::phase::{kubeconfig, run_one, run_tree, validate_names};
use crate::preflight;
use crate::report::{self, Outcome};

/// The phase that only prints.
const SHOW_JOIN: &str = "show-join-command";

/// Flags of `kinit init`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Example:\n  kinit init --pod-network-cidr 10.244.0.0/16 --apiserver-cert-extra-sans api.example.com"
)]
pub struct InitArgs {
    /// Run one phase alone
    #[command(subcommand)]
    pub phase: Option<InitCommand>,
    /// The flags
    #[command(flatten)]
    pub flags: InitFlags,
}

/// What stands below `init`.
#[derive(Debug, clap::Subcommand)]
pub enum InitCommand {
    /// Run one phase of init alone
    Phase(Box<PhaseArgs>),
}

/// Arguments of `kinit init phase`.
#[derive(Debug, clap::Args)]
#[command(after_help = phases_help())]
pub struct PhaseArgs {
    /// The phase and, if it has parts, the part: `certs apiserver`; `all` means all parts
    #[arg(required = true, num_args = 1..=2, value_name = "PHASE")]
    pub path: Vec<String>,
    /// What a phase alone has
    #[command(flatten)]
    pub alone: PhaseFlags,
    /// The flags
    #[command(flatten)]
    pub flags: InitFlags,
}

/// Flags that only a phase by itself has: what a phase of `control-plane` gives the components beside what the configuration
/// says, and as whom one speaks to the cluster.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PhaseFlags {
    /// The kubeconfig file to use when talking to the cluster [default: admin.conf]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
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
    fn add_to(&self, documents: &mut Documents) -> anyhow::Result<()> {
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
    /// Flags that several commands have
    #[command(flatten)]
    pub common: CommonArgs,
}

fn phases_help() -> String {
    let mut text = String::from("Phases:\n");
    for (path, about) in listing(TREE) {
        text.push_str(&format!("  {:<40} {about}\n", path.replace('/', " ")));
    }
    text.push_str(&format!("  {SHOW_JOIN:<40} shows how others join\n"));
    text.push_str("\nExample:\n  kinit init phase certs apiserver --apiserver-cert-extra-sans api.example.com");
    text
}

impl InitFlags {
    fn overrides(&self) -> InitOverrides {
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
    fn refuse_mixing(&self) -> anyhow::Result<()> {
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

/// What the host itself gives as defaults.
pub fn host_defaults() -> anyhow::Result<HostDefaults> {
    let host_name = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    // An address for documentation: whatever leads nowhere else leads to the default route.
    Ok(HostDefaults { host_name, address: address_towards("192.0.2.1:9"), cri_socket: runtime_socket() })
}

/// The address that packets to `endpoint` leave from. Connecting a datagram socket sends nothing.
pub fn address_towards(endpoint: &str) -> Option<IpAddr> {
    let to = endpoint.to_socket_addrs().ok()?.next()?;
    let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Runs the command.
pub async fn run(args: InitArgs, verbose: u8) -> anyhow::Result<()> {
    let (flags, path, alone) = match args.phase {
        Some(InitCommand::Phase(phase)) => (phase.flags.clone(), Some(phase.path), phase.alone),
        None => (args.flags, None, PhaseFlags::default()),
    };
    flags.refuse_mixing()?;
    let mut documents = Documents::load(flags.config.as_deref())?;
    documents.only("init", &["InitConfiguration", "ClusterConfiguration"])?;
    alone.add_to(&mut documents)?;
    let settings = InitSettings::resolve(documents, flags.overrides(), &host_defaults()?)?;
    // These two are no part of the tree: the one comes before anything is written, the other is text.
    let outside = ["preflight", SHOW_JOIN];
    let skipped = settings.skip_phases.iter().filter(|name| !outside.contains(&name.as_str()));
    let named: Vec<String> = skipped.cloned().collect();
    validate_names(TREE, &named)?;
    let reporter = report::for_stderr(verbose);
    let dry = if settings.dry_run { Some(Arc::new(MemoryHost::dry_run()?)) } else { None };
    let host: Arc<dyn Host> = match &dry {
        Some(host) => host.clone(),
        None => Arc::new(RealHost::new()?),
    };
    let (images, api, super_api): (Arc<dyn ImageStore>, Arc<dyn Api>, Arc<dyn Api>) = if settings.dry_run {
        (Arc::new(WouldImport), Arc::new(WouldCall), Arc::new(WouldCall))
    } else {
        let api = |file: &str| {
            let path = alone.kubeconfig.clone().unwrap_or_else(|| kubeconfig::path(file));
            Arc::new(KubeApi::from_file(path).patient(settings.timeouts.api_call))
        };
        (Arc::new(RuntimeImages::new(settings.node.cri_path().to_owned())), api("admin.conf"), api("super-admin.conf"))
    };
    let context = InitContext {
        binaries: Binaries::new(flags.common.bin_dir.as_deref()),
        settings,
        host,
        images,
        api,
        super_api,
        reporter: reporter.clone(),
        now: Timestamp::now(),
    };
    let host = context.host.as_ref();
    let skips = |name: &str| context.settings.skip_phases.iter().any(|other| other == name);
    match path {
        Some(path) if path == ["preflight"] => check(&context).await?,
        Some(path) if path == [SHOW_JOIN] => print(&next_steps(&context, &flags)?)?,
        Some(path) => {
            let parts: Vec<&str> = path.iter().map(String::as_str).filter(|part| *part != "all").collect();
            run_one(TREE, &parts.join("/"), &context, reporter.as_ref()).await?;
        }
        None => {
            if !skips("preflight") {
                check(&context).await?;
            }
            preflight::begin(host, "init")?;
            write_home(host, &context.binaries)?;
            run_tree(TREE, &context, reporter.as_ref(), &context.settings.skip_phases).await?;
            preflight::finish(host, "init")?;
            if dry.is_none() && !skips(SHOW_JOIN) {
                print(&next_steps(&context, &flags)?)?;
            }
        }
    }
    if let Some(host) = dry {
        print(&shown(&host)?)?;
    }
    Ok(())
}

async fn check(context: &InitContext) -> anyhow::Result<()> {
    let begin = std::time::Instant::now();
    let settings = &context.settings;
    let request = preflight::init_request(settings, context.host.as_ref(), &context.binaries);
    let ignore = &settings.ignore_preflight_errors;
    let findings = preflight::judge(context.host.as_ref(), request, Role::ControlPlane, ignore).await?;
    preflight::settle(&findings, &context.reporter)?;
    context.reporter.end("preflight", &Outcome::Changed, begin.elapsed());
    Ok(())
}

/// What a dry run would have done: each file as a difference to what is there, and each program.
pub fn shown(host: &MemoryHost) -> anyhow::Result<String> {
    let mut text = String::new();
    for (path, contents) in host.written() {
        let name = path.display().to_string();
        let before = host.before(&path)?;
        let old_name = if before.is_some() { name.as_str() } else { "/dev/null" };
        let before = before.unwrap_or_default();
        let (old, new) = (String::from_utf8_lossy(&before), String::from_utf8_lossy(&contents));
        text.push_str(&crate::diff::unified(old_name, &name, &old, &new, 3));
    }
    for effect in host.effects() {
        match effect {
            Effect::Run(command) => text.push_str(&format!("would run: {command}\n")),
            Effect::Remove(path) => text.push_str(&format!("would remove: {}\n", path.display())),
            Effect::Install(from, to) => {
                text.push_str(&format!("would copy: {} to {}\n", from.display(), to.display()));
            }
            Effect::Write(_) => {}
        }
    }
    Ok(text)
}

fn next_steps(context: &InitContext, flags: &InitFlags) -> anyhow::Result<String> {
    let settings = &context.settings;
    let ca = kinit_pki::Certificate::load(&settings.cluster.certificates_dir.join("ca.crt"))?;
    let (host, port) = settings.endpoint();
    let token = if flags.skip_token_print { "<token>".to_owned() } else { settings.tokens[0].token.reveal() };
    let join = format!(
        "kinit join {} --token {token} \\\n    --discovery-token-ca-cert-hash {}",
        crate::config::net::host_port(&host, port),
        ca.public_key_hash(),
    );
    let more = match settings.certificate_key.as_ref().filter(|_| settings.upload_certs) {
        None => String::new(),
        Some(_) if flags.skip_certificate_key_print => String::new(),
        Some(key) => format!(
            "To add control planes, run this on each, as root, within two hours:\n\n  {join} \\\n    --control-plane \
             --certificate-key {key}\n\n"
        ),
    };
    Ok(format!(
        "\nYour Kubernetes control-plane has initialized successfully!\n\n\
         To use the cluster, as a regular user:\n\n  \
         mkdir -p $HOME/.kube\n  \
         sudo cp -i /etc/kubernetes/admin.conf $HOME/.kube/config\n  \
         sudo chown $(id -u):$(id -g) $HOME/.kube/config\n\n\
         or, as root:\n\n  \
         export KUBECONFIG=/etc/kubernetes/admin.conf\n\n\
         {more}To add workers, run here, for any number of hosts that you can reach over SSH:\n\n  \
         kinit join --ssh root@HOST --ssh root@HOST\n\n\
         or run this on each, as root:\n\n  \
         {join}\n"
    ))
}
