//! `kinit reset`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::init::Intended;
use super::output::Format;
use crate::config::Documents;
use crate::host::{Host, MemoryHost, RealHost};
use crate::report;
use crate::reset::{self, PHASES};

/// Flags of `kinit reset`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Example:\n  kinit reset -f")]
pub struct ResetArgs {
    /// Run one phase alone
    #[command(subcommand)]
    pub phase: Option<ResetCommand>,
    /// The flags
    #[command(flatten)]
    pub flags: ResetFlags,
}

/// What stands below `reset`.
#[derive(Debug, clap::Subcommand)]
pub enum ResetCommand {
    /// Use this command to invoke single phase of the "reset" workflow
    Phase(ResetPhaseArgs),
}

/// Arguments of `kinit reset phase`.
#[derive(Debug, clap::Args)]
#[command(after_help = phases_help())]
pub struct ResetPhaseArgs {
    /// The phase
    #[arg(value_name = "PHASE", value_parser = PHASES.iter().map(|(name, _)| *name).collect::<Vec<_>>())]
    pub name: String,
    /// The flags
    #[command(flatten)]
    pub flags: ResetFlags,
}

/// The flags themselves.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ResetFlags {
    /// Path to a kinit configuration file with a ResetConfiguration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Reset the node without prompting for confirmation
    #[arg(short, long, visible_alias = "yes", short_alias = 'y')]
    pub force: bool,
    /// The kubeconfig file to use when talking to the cluster [default: admin.conf, on workers kubelet.conf]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Path to the CRI socket to connect
    #[arg(long, value_name = "SOCKET")]
    pub cri_socket: Option<String>,
    /// The path to the directory where the certificates are stored. If specified, clean this directory
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Cleanup the "/etc/kubernetes/tmp" directory
    #[arg(long)]
    pub cleanup_tmp_dir: bool,
    /// Don't apply any changes; just output what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// A list of checks whose errors will be shown as warnings; reset has only IsPrivilegedUser
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub ignore_preflight_errors: Vec<String>,
    /// List of phases to be skipped
    #[arg(long, value_name = "PHASES", value_delimiter = ',')]
    pub skip_phases: Vec<String>,
}

fn phases_help() -> String {
    let lines = PHASES.iter().map(|(name, about)| format!("  {name:<22} {about}\n"));
    format!("Phases:\n{}\nExample:\n  kinit reset phase remove-etcd-member", lines.collect::<String>())
}

/// Runs the command.
pub async fn run(args: ResetArgs, verbose: u8) -> anyhow::Result<ExitCode> {
    let (flags, only) = match args.phase {
        Some(ResetCommand::Phase(phase)) => (phase.flags, Some(phase.name)),
        None => (args.flags, None),
    };
    let documents = Documents::load(flags.config.as_deref())?;
    documents.only("reset", &["ResetConfiguration"])?;
    let file = documents.reset.unwrap_or_default();
    let mut skip_phases = [file.skip_phases, flags.skip_phases].concat();
    if let Some(unknown) = skip_phases.iter().find(|name| !PHASES.iter().any(|(known, _)| known == name)) {
        let known: Vec<&str> = PHASES.iter().map(|(name, _)| *name).collect();
        anyhow::bail!("there is no phase {unknown:?}\nhint: the phases are {}\ncode: PhaseUnknown", known.join(", "));
    }
    if let Some(only) = &only {
        skip_phases.extend(PHASES.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name != only));
    }
    let text = |text: String| if text.is_empty() { None } else { Some(text) };
    let options = reset::Options {
        kubeconfig: flags.kubeconfig,
        cri_socket: flags.cri_socket.or(text(file.cri_socket)),
        certificates_dir: flags.cert_dir.or(text(file.certificates_dir).map(PathBuf::from)),
        cleanup_tmp_dir: flags.cleanup_tmp_dir || file.cleanup_tmp_dir,
        skip_phases,
        unmount_flags: file.unmount_flags,
    };
    reset::unmount_arguments(&options.unmount_flags)?;
    let reporter = report::for_stderr(verbose);
    if flags.dry_run || file.dry_run {
        let host = MemoryHost::dry_run()?;
        reset::run(&host, &options, reporter.as_ref()).await?;
        Intended::print(&host, Format::Text)?;
        return Ok(ExitCode::SUCCESS);
    }
    super::as_root()?;
    if !options.skip_phases.iter().any(|name| name == "preflight") {
        let question = "This takes the node out of its cluster and removes all of its data. Go on?";
        super::ask(flags.force || file.force, question)?;
    }
    let host: Box<dyn Host> = Box::new(RealHost::new()?);
    let failures = reset::run(host.as_ref(), &options, reporter.as_ref()).await?;
    if failures > 0 {
        anyhow::bail!(
            "{failures} steps failed\nhint: mend what the warnings say and run kinit reset again\ncode: ResetIncomplete"
        );
    }
    Ok(ExitCode::SUCCESS)
}
