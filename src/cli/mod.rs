//! The tree of commands and flags, with kubeadm's words. Data goes to standard output, all else to standard error.

mod arguments;
mod certs;
mod config;
mod etcd;
mod explain;
mod init;
mod join;
mod misc;
mod output;
mod preflight;
mod readdress;
mod reset;
mod status;
mod token;
mod upgrade;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};

pub use output::print;

/// kinit starts a Kubernetes cluster out of its own components.
#[derive(Debug, Parser)]
#[command(name = "kinit", version, about, max_term_width = 110, propagate_version = true, disable_version_flag = true)]
#[command(
    after_help = "Example:\n  On the first host:        kinit init\n  There, for two workers:   kinit join --ssh root@w1 --ssh root@w2"
)]
pub struct Cli {
    /// Say more; twice for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// The path to the 'real' host root filesystem. This will cause kinit to chroot into the provided path
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub rootfs: Option<PathBuf>,
    /// The command
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run this command in order to set up the Kubernetes control plane
    Init(Box<init::InitArgs>),
    /// Run this on any machine you wish to join an existing cluster
    Join(Box<join::JoinArgs>),
    /// Performs a best effort revert of changes made to this host by 'kinit init' or 'kinit join'
    Reset(reset::ResetArgs),
    /// Manage bootstrap tokens
    Token(token::TokenArgs),
    /// Commands related to handling Kubernetes certificates
    #[command(subcommand)]
    Certs(certs::CertsCommand),
    /// Kubeconfig file utilities
    #[command(subcommand)]
    Kubeconfig(certs::KubeconfigCommand),
    /// Manage configuration for a cluster
    Config(config::ConfigArgs),
    /// Upgrade your cluster smoothly to a newer version with this command
    #[command(subcommand)]
    Upgrade(Box<upgrade::UpgradeCommand>),
    /// Check whether this host can become a node
    Preflight(preflight::PreflightArgs),
    /// Show how the cluster is doing
    Status(status::StatusArgs),
    /// Take over another address of this host
    Readdress(readdress::ReaddressArgs),
    /// Look after etcd
    #[command(subcommand)]
    Etcd(etcd::EtcdCommand),
    /// Explain the code of an error, or what preflight found
    Explain(explain::ExplainArgs),
    /// Print the version of kinit
    Version(misc::VersionArgs),
    /// Output shell completion code for the specified shell (bash, zsh or fish)
    #[command(after_help = "Example:\n  source <(kinit completion bash)")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write a manual page for each command
    #[command(after_help = "Example:\n  kinit man /usr/local/share/man/man1")]
    Man {
        /// The folder to write into
        folder: PathBuf,
    },
    /// Do what goes on on a node beside the kubelet
    #[command(hide = true)]
    Agent,
    /// Run the kubelet where systemd does not
    #[command(hide = true)]
    Supervise {
        /// Return at once
        #[arg(long)]
        background: bool,
    },
}

/// Flags that several commands have.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CommonArgs {
    /// Folder of the components' binaries [default: beside kinit, or /usr/local/lib/kinit]
    #[arg(long, env = "KINIT_BIN_DIR", value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
}

/// The program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(arguments::plain(std::env::args_os(), &arguments::switches(&Cli::command()))) {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    if let Some(folder) = &cli.rootfs
        && let Err(error) = enter(folder)
    {
        return failed(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let result = runtime.block_on(run(cli));
    // A blocking read of an answer nobody waits for must not hold the program up.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let verbose = cli.verbose;
    match cli.command {
        Command::Init(args) => init::run(*args, verbose).await?,
        Command::Join(args) => return join::run(*args, verbose).await,
        Command::Reset(args) => return reset::run(args, verbose).await,
        Command::Token(args) => token::run(args).await?,
        Command::Certs(command) => certs::run(command)?,
        Command::Kubeconfig(command) => certs::run_kubeconfig(command)?,
        Command::Config(args) => config::run(args.command, verbose).await?,
        Command::Upgrade(command) => upgrade::run(*command, verbose).await?,
        Command::Preflight(args) => return preflight::run(args, verbose).await,
        Command::Status(args) => return status::run(args).await,
        Command::Readdress(args) => readdress::run(args, verbose).await?,
        Command::Etcd(command) => etcd::run(command, verbose).await?,
        Command::Explain(args) => explain::run(&args)?,
        Command::Version(args) => misc::version(&args)?,
        Command::Completion { shell } => misc::completion(shell)?,
        Command::Man { folder } => misc::manual(&folder)?,
        Command::Agent => crate::agent::run(crate::report::for_stderr(verbose)).await?,
        Command::Supervise { background: true } => crate::supervise::background()?,
        Command::Supervise { background: false } => crate::supervise::run().await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes `folder` the root of all paths from here on.
fn enter(folder: &Path) -> anyhow::Result<()> {
    as_root()?;
    let change = || -> nix::Result<()> {
        nix::unistd::chroot(folder)?;
        nix::unistd::chdir("/")
    };
    change().map_err(|error| {
        let folder = folder.display();
        anyhow::anyhow!(
            "--rootfs {folder}: {error}\nhint: name the folder that the host's root is mounted at\ncode: Usage"
        )
    })
}

fn failed(error: &anyhow::Error) -> ExitCode {
    output::error(error);
    ExitCode::FAILURE
}

/// Refuses users who may not change the host.
fn as_root() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        anyhow::bail!("the user is not root\nhint: run this as root, for example with sudo\ncode: NotRoot");
    }
    Ok(())
}

/// Asks before something that cannot be undone, unless that was allowed by a flag.
fn ask(allowed: bool, question: &str) -> anyhow::Result<()> {
    use std::io::IsTerminal;
    if allowed {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("{question} There is no terminal to ask at\nhint: add --yes\ncode: NotConfirmed");
    }
    if !dialoguer::Confirm::new().with_prompt(question).default(false).interact()? {
        anyhow::bail!("nothing was changed\ncode: NotConfirmed");
    }
    Ok(())
}
