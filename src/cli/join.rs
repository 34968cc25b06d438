//! `kinit join`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use kinit_preflight::Role;
use serde_json::json;
use tokio::sync::OnceCell;

use super::CommonArgs;
use super::init::{Intended, address_towards, host_defaults};
use super::output::{Format, emit};
use crate::config::Documents;
use crate::host::{Host, MemoryHost, RealHost, record};
use crate::images::{Binaries, ImageStore, RuntimeImages, WouldImport};
use crate::join::enroll::{Enrollment, enroll};
use crate::join::fetch::fetch;
use crate::join::phases::{JoinContext, TREE};
use crate::join::{JoinOverrides, JoinSettings};
use crate::phase::init::listing;
use crate::phase::{find, run_one, run_tree, validate_names};
use crate::preflight;
use crate::report::{self, Outcome};
use crate::ssh::{Credentials, Target, Unknown};

/// Flags of `kinit join`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Examples:\n  On the control plane, for many hosts at once:\n    kinit join --ssh root@w1 --ssh root@w2\n  On the new node, with a control plane it can reach over SSH:\n    kinit join ssh://root@cp1\n  On the new node, as kubeadm does:\n    kinit join 10.0.0.1:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash sha256:..."
)]
pub struct JoinArgs {
    /// Run one phase alone
    #[command(subcommand)]
    pub phase: Option<JoinCommand>,
    /// HOST:PORT of the API server, or ssh://USER@HOST of a control plane
    #[arg(value_name = "ENDPOINT", conflicts_with = "ssh")]
    pub endpoint: Option<String>,
    /// The flags
    #[command(flatten)]
    pub flags: JoinFlags,
}

/// What stands below `join`.
#[derive(Debug, clap::Subcommand)]
pub enum JoinCommand {
    /// Run one phase of join alone
    Phase(Box<JoinPhaseArgs>),
}

/// Arguments of `kinit join phase`.
#[derive(Debug, clap::Args)]
#[command(after_help = phases_help())]
pub struct JoinPhaseArgs {
    /// The phase and, if it has parts, the part: `control-plane-prepare certs`; `all` means all parts
    /// and after it, where it is needed, the endpoint as join itself takes it
    #[arg(required = true, num_args = 1..=3, value_name = "PHASE")]
    pub words: Vec<String>,
    /// The flags
    #[command(flatten)]
    pub flags: JoinFlags,
}

/// The flags themselves.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct JoinFlags {
    /// The endpoint, which is no flag
    #[arg(skip)]
    pub endpoint: Option<String>,
    /// Enroll this host over SSH, from the control plane; may be given many times
    #[arg(long, value_name = "USER@HOST", conflicts_with_all = ["config", "token", "discovery_file"])]
    pub ssh: Vec<String>,
    /// Private key to log in with over SSH [default: the agent's, or the user's usual ones]
    #[arg(short = 'i', long, value_name = "FILE")]
    pub ssh_key: Vec<PathBuf>,
    /// Believe and remember the keys of hosts that were never seen
    #[arg(long)]
    pub accept_new_host_keys: bool,
    /// File with a JoinConfiguration of kubeadm.k8s.io/v1beta4
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Create a new control plane instance on this node
    #[arg(long)]
    pub control_plane: bool,
    /// The key to decrypt the certificate secrets uploaded by init
    #[arg(long, value_name = "KEY")]
    pub certificate_key: Option<String>,
    /// The IP address the API server of a new control plane will advertise it's listening on
    #[arg(long, value_name = "IP")]
    pub apiserver_advertise_address: Option<String>,
    /// The port for the API server of a new control plane to bind to
    #[arg(long, value_name = "PORT")]
    pub apiserver_bind_port: Option<u16>,
    /// Path to a directory that contains files named "target[suffix][+patchtype].extension"
    #[arg(long, value_name = "DIR")]
    pub patches: Option<PathBuf>,
    /// Socket of the container runtime
    #[arg(long, value_name = "SOCKET")]
    pub cri_socket: Option<String>,
    /// A kubeconfig file to find the cluster by, or the https URL of one
    #[arg(long, value_name = "FILE")]
    pub discovery_file: Option<String>,
    /// The token to find the cluster by
    #[arg(long, value_name = "TOKEN")]
    pub discovery_token: Option<String>,
    /// Hash of the cluster's CA, sha256:...
    #[arg(long, value_name = "HASH", value_delimiter = ',')]
    pub discovery_token_ca_cert_hash: Vec<String>,
    /// Believe any CA that the token signed for
    #[arg(long)]
    pub discovery_token_unsafe_skip_ca_verification: bool,
    /// Show what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Preflight checks whose errors become warnings, or `all`
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub ignore_preflight_errors: Vec<String>,
    /// Name of this node [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Phases to leave out
    #[arg(long, value_name = "PHASES", value_delimiter = ',')]
    pub skip_phases: Vec<String>,
    /// The token for the kubelet's certificate
    #[arg(long, value_name = "TOKEN")]
    pub tls_bootstrap_token: Option<String>,
    /// One token for both
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// How to print what comes out of it: which hosts joined, or what a dry run would do
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// The binaries were put here for this
    #[arg(long, hide = true)]
    pub enrolled: bool,
    /// Flags that several commands have
    #[command(flatten)]
    pub common: CommonArgs,
}

fn phases_help() -> String {
    let mut text = String::from("Phases:\n");
    for (path, about) in listing(TREE) {
        text.push_str(&format!("  {:<40} {about}\n", path.replace('/', " ")));
    }
    text.push_str("\nExample:\n  kinit join phase control-plane-prepare download-certs --config join.yaml");
    text
}

impl JoinFlags {
    fn unknown(&self) -> Unknown {
        if self.accept_new_host_keys { Unknown::Accept } else { Unknown::Ask }
    }

    fn credentials(&self) -> Credentials {
        Credentials { keys: self.ssh_key.clone() }
    }

    fn overrides(&self) -> JoinOverrides {
        JoinOverrides {
            endpoint: self.endpoint.clone(),
            token: self.token.clone(),
            discovery_token: self.discovery_token.clone(),
            tls_bootstrap_token: self.tls_bootstrap_token.clone(),
            hashes: self.discovery_token_ca_cert_hash.clone(),
            unsafe_skip: self.discovery_token_unsafe_skip_ca_verification,
            file: self.discovery_file.clone(),
            node_name: self.node_name.clone(),
            cri_socket: self.cri_socket.clone(),
            ignore_preflight_errors: self.ignore_preflight_errors.clone(),
            skip_phases: self.skip_phases.clone(),
            dry_run: self.dry_run,
            control_plane: self.control_plane,
            certificate_key: self.certificate_key.clone(),
            advertise_address: self.apiserver_advertise_address.clone(),
            bind_port: self.apiserver_bind_port,
            patches: self.patches.clone(),
        }
    }
}

/// The phase that the words name, as a path, and the endpoint that may follow it.
fn phase_and_endpoint(words: &[String]) -> anyhow::Result<(String, Option<String>)> {
    let mut path = words[0].clone();
    let mut rest = &words[1..];
    while let Some((word, more)) = rest.split_first() {
        let longer = if word == "all" { path.clone() } else { format!("{path}/{word}") };
        if find(TREE, &longer).is_none() {
            break;
        }
        (path, rest) = (longer, more);
    }
    if path != "preflight" {
        validate_names(TREE, std::slice::from_ref(&path))?;
    }
    match rest {
        [] => Ok((path, None)),
        [endpoint] => Ok((path, Some(endpoint.clone()))),
        [unknown, ..] => anyhow::bail!(
            "{path} has no part {unknown:?}\nhint: `kinit join phase --help` lists them\ncode: PhaseUnknown"
        ),
    }
}

/// Runs the command.
pub async fn run(args: JoinArgs, verbose: u8) -> anyhow::Result<ExitCode> {
    let (flags, path) = match args.phase {
        Some(JoinCommand::Phase(phase)) => {
            let (path, endpoint) = phase_and_endpoint(&phase.words)?;
            (JoinFlags { endpoint, ..phase.flags.clone() }, Some(path))
        }
        None => (JoinFlags { endpoint: args.endpoint, ..args.flags }, None),
    };
    let reporter = report::for_stderr(verbose);
    let binaries = Binaries::new(flags.common.bin_dir.as_deref());
    if !flags.ssh.is_empty() {
        let targets = flags.ssh.iter().map(|text| text.parse()).collect::<Result<Vec<Target>, _>>()?;
        let work = Enrollment {
            credentials: flags.credentials(),
            unknown: flags.unknown(),
            binaries,
            ignore_preflight_errors: flags.ignore_preflight_errors.clone(),
            verbose,
            control_plane: flags.control_plane,
            targets,
        };
        let hosts = enroll(&work, reporter.clone()).await?;
        let joined = hosts.iter().filter(|host| host.joined).count();
        emit(flags.output, &json!({"hosts": hosts}), || format!("{joined} of {} hosts joined\n", hosts.len()))?;
        return Ok(if joined == hosts.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let documents = Documents::load(flags.config.as_deref())?;
    documents.only("join", &["JoinConfiguration"])?;
    let mut overrides = flags.overrides();
    if let Some(text) = overrides.endpoint.as_deref().filter(|text| text.starts_with("ssh://")) {
        let target: Target = text.parse()?;
        let fetched = fetch(&target, &flags.credentials(), flags.unknown(), &binaries, reporter.as_ref()).await?;
        overrides =
            JoinOverrides { endpoint: fetched.endpoint, token: fetched.token, hashes: fetched.hashes, ..overrides };
    }
    let host = host_defaults()?;
    let mut settings = JoinSettings::resolve(documents.join, overrides, &host)?;
    if settings.control_plane.is_none() {
        let address = settings.source.endpoint().and_then(address_towards);
        settings.node = settings.node.at(address, &host);
    }
    let named: Vec<String> = settings.skip_phases.iter().filter(|name| *name != "preflight").cloned().collect();
    validate_names(TREE, &named)?;
    let dry = if settings.dry_run { Some(Arc::new(MemoryHost::dry_run()?)) } else { None };
    let host: Arc<dyn Host> = match &dry {
        Some(host) => host.clone(),
        None => Arc::new(RealHost::new()?),
    };
    let images: Arc<dyn ImageStore> = if settings.dry_run {
        Arc::new(WouldImport)
    } else {
        Arc::new(RuntimeImages::new(settings.node.cri_path().to_owned()))
    };
    let context = JoinContext {
        settings,
        host,
        images,
        binaries,
        reporter: reporter.clone(),
        now: Timestamp::now(),
        cluster: OnceCell::new(),
        init: OnceCell::new(),
    };
    let whole_command = path.is_none();
    match path {
        Some(path) if path == "preflight" => check(&context).await?,
        Some(path) => run_one(TREE, &path, &context, reporter.as_ref(), &context.settings.skip_phases).await?,
        None => whole(&context, flags.enrolled).await?,
    }
    match dry {
        Some(host) => Intended::print(&host, flags.output)?,
        None if !whole_command => {}
        None => {
            let name = &context.settings.node.name;
            emit(flags.output, &json!({"node": name}), || {
                format!(
                    "\nThis node has joined the cluster as {name}.\n\nRun 'kubectl get nodes' on the control plane to see \
                     it.\n"
                )
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn whole(context: &JoinContext, enrolled: bool) -> anyhow::Result<()> {
    let host = context.host.as_ref();
    if !context.settings.skip_phases.iter().any(|name| name == "preflight") {
        check(context).await?;
    }
    preflight::begin(host, "join")?;
    if enrolled {
        host.note(record::Entry::Folder { path: Binaries::INSTALLED.into() })?;
        put_in_path(host)?;
    }
    run_tree(TREE, context, context.reporter.as_ref(), &context.settings.skip_phases).await?;
    preflight::finish(host, "join")?;
    Ok(())
}

/// Makes `kinit reset` and the rest at hand on a host whose binaries came over SSH; a kinit of the host's own stays.
fn put_in_path(host: &dyn Host) -> anyhow::Result<()> {
    let link = Path::new("/usr/local/bin/kinit");
    // A link whose target is gone is of an earlier time and counts as none.
    if link.exists() {
        return Ok(());
    }
    host.note(record::Entry::File { path: link.to_owned() })?;
    let _ = std::fs::remove_file(link);
    std::os::unix::fs::symlink(Path::new(Binaries::INSTALLED).join("kinit"), link)
        .with_context(|| link.display().to_string())
}

async fn check(context: &JoinContext) -> anyhow::Result<()> {
    let begin = std::time::Instant::now();
    let settings = &context.settings;
    let request = preflight::join_request(settings, context.host.as_ref(), &context.binaries).await;
    let role = if settings.control_plane.is_some() { Role::ControlPlane } else { Role::Worker };
    let ignore = &settings.ignore_preflight_errors;
    let findings = preflight::judge(context.host.as_ref(), request, role, ignore).await?;
    preflight::settle(&findings, &context.reporter)?;
    context.reporter.end("preflight", &Outcome::Changed, begin.elapsed());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_and_where_the_cluster_is_are_told_apart() {
        for (words, wanted) in [
            ("preflight", Some(("preflight", None))),
            ("kubelet-start 10.0.0.1:6443", Some(("kubelet-start", Some("10.0.0.1:6443")))),
            ("control-plane-prepare certs", Some(("control-plane-prepare/certs", None))),
            ("control-plane-prepare all a:6443", Some(("control-plane-prepare", Some("a:6443")))),
            ("control-plane-prepare certs a:6443", Some(("control-plane-prepare/certs", Some("a:6443")))),
            ("nonsense", None),
            ("kubelet-start a b", None),
        ] {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            let found = phase_and_endpoint(&words).ok();
            let found = found.as_ref().map(|(path, endpoint)| (path.as_str(), endpoint.as_deref()));
            assert_eq!(found, wanted, "{words:?}");
        }
    }
}
