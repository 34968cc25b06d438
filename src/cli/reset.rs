//! `kinit reset`.

use std::io::IsTerminal;
use std::process::ExitCode;

use crate::host::{Host, MemoryHost, RealHost};
use crate::report;
use crate::reset;

use super::init::shown;
use super::print;

/// Flags of `kinit reset`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit reset -f")]
pub struct ResetArgs {
    /// Do not ask
    #[arg(short, long, visible_alias = "yes", short_alias = 'y')]
    pub force: bool,
    /// Socket of the container runtime
    #[arg(long, value_name = "SOCKET")]
    pub cri_socket: Option<String>,
    /// Show what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the command.
pub async fn run(args: ResetArgs, verbose: u8) -> anyhow::Result<ExitCode> {
    let reporter = report::for_stderr(verbose);
    if args.dry_run {
        let host = MemoryHost::dry_run()?;
        reset::run(&host, args.cri_socket.as_deref(), reporter.as_ref()).await?;
        print(&shown(&host)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !nix::unistd::geteuid().is_root() {
        anyhow::bail!("the user is not root\nhint: run this as root, for example with sudo");
    }
    if !args.force && !confirmed()? {
        anyhow::bail!("nothing was changed");
    }
    let host: Box<dyn Host> = Box::new(RealHost::new()?);
    let failures = reset::run(host.as_ref(), args.cri_socket.as_deref(), reporter.as_ref()).await?;
    if failures > 0 {
        anyhow::bail!("{failures} steps failed\nhint: mend what the warnings say and run kinit reset again");
    }
    Ok(ExitCode::SUCCESS)
}

fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        anyhow::bail!(
            "reset takes the node out of its cluster and removes all of its data, and there is no terminal to ask at\nhint: add --force"
        );
    }
    let prompt = "This takes the node out of its cluster and removes all of its data. Go on?";
    Ok(dialoguer::Confirm::new().with_prompt(prompt).default(false).interact()?)
}
