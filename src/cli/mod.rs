//! The tree of commands and flags, with kubeadm's words. Data goes to standard output, all else to standard error.

mod certs;
mod init;
mod join;
mod misc;
mod output;
mod reset;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

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
    /// The command
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make this host the control plane of a new cluster
    Init(Box<init::InitArgs>),
    /// Add nodes to the cluster
    Join(Box<join::JoinArgs>),
    /// Take this host out of its cluster and remove what init and join made
    Reset(reset::ResetArgs),
    /// Manage the tokens that nodes join with
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Look after the control plane's certificates
    #[command(subcommand)]
    Certs(certs::CertsCommand),
    /// Make kubeconfig files
    #[command(subcommand)]
    Kubeconfig(certs::KubeconfigCommand),
    /// Look at configuration
    #[command(subcommand)]
    Config(misc::ConfigCommand),
    /// Check whether this host can become a node
    Preflight(misc::PreflightArgs),
    /// Print the version
    Version {
        /// How to print
        #[arg(short, long, value_enum, default_value_t = output::Format::Text)]
        output: output::Format,
    },
    /// Print completion for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
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
    let cli = Cli::parse();
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
        Command::Token(command) => token::run(command).await?,
        Command::Certs(command) => certs::run(command)?,
        Command::Kubeconfig(command) => certs::run_kubeconfig(command)?,
        Command::Config(command) => misc::config(command)?,
        Command::Preflight(args) => return misc::preflight(args).await,
        Command::Version { output } => misc::version(output)?,
        Command::Completion { shell } => misc::completion(shell)?,
        Command::Supervise { background: true } => crate::supervise::background()?,
        Command::Supervise { background: false } => crate::supervise::run().await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    output::error(error);
    ExitCode::FAILURE
}
