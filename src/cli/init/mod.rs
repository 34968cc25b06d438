//! `kinit init`.

mod flags;
mod summary;

use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;

use jiff::Timestamp;
use kinit_preflight::Role;

use super::output::emit;
use super::print;
use crate::api::{Api, KubeApi, WouldCall};
use crate::config::settings::{HostDefaults, runtime_socket};
use crate::config::{Documents, InitSettings};
use crate::host::{Host, MemoryHost, RealHost};
use crate::images::{Binaries, ImageStore, RuntimeImages, WouldImport};
use crate::join::fetch::write_home;
use crate::phase::init::{InitContext, TREE, listing};
use crate::phase::{addons, kubeconfig, own_name, run_one, run_tree, validate_names};
use crate::preflight;
use crate::report::{self, Outcome};
use flags::{InitFlags, PhaseFlags};
pub use summary::Intended;
use summary::Summary;

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

fn phases_help() -> String {
    let mut text = String::from("Phases:\n");
    for (path, about) in listing(TREE) {
        text.push_str(&format!("  {:<40} {about}\n", path.replace('/', " ")));
    }
    text.push_str(&format!("  {SHOW_JOIN:<40} shows how others join\n"));
    text.push_str("\nExample:\n  kinit init phase certs apiserver --apiserver-cert-extra-sans api.example.com");
    text
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
    alone.fit(path.as_deref().unwrap_or_default())?;
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
        kubeconfig_dir: alone.kubeconfig_dir.clone().unwrap_or_else(|| kubeconfig::KUBERNETES_DIR.into()),
        now: Timestamp::now(),
    };
    let host = context.host.as_ref();
    let skips = |name: &str| context.settings.skip_phases.iter().any(|other| other == name);
    let tell = || {
        let summary = Summary::of(&context.settings, &flags)?;
        emit(flags.output, &summary, || summary.text())
    };
    match path {
        Some(path) if path == ["preflight"] => check(&context).await?,
        Some(path) if path == [SHOW_JOIN] => tell()?,
        Some(path) => {
            let parts: Vec<&str> = path.iter().map(String::as_str).filter(|part| *part != "all").collect();
            let path = own_name(parts.join("/"));
            if alone.print_manifest {
                return print(&addons::manifest(&context, &path)?);
            }
            run_one(TREE, &path, &context, reporter.as_ref(), &context.settings.skip_phases).await?;
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
                tell()?;
            }
        }
    }
    dry.map_or(Ok(()), |host| Intended::print(&host, flags.output))
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
