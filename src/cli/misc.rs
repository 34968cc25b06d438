//! The small commands: `version` and `completion`.

use clap::CommandFactory;
use serde_json::json;

use super::output::{Format, emit};
use super::{Cli, print};
use crate::config::settings::KUBERNETES_VERSION;

/// Flags of `kinit version`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit version -o json")]
pub struct VersionArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// Print the version of Kubernetes alone, as scripts for kubeadm ask for it
    #[arg(long, conflicts_with = "output")]
    pub short: bool,
}

/// Runs `kinit version`.
pub fn version(args: &VersionArgs) -> anyhow::Result<()> {
    if args.short {
        return print(&format!("{KUBERNETES_VERSION}\n"));
    }
    let own = env!("CARGO_PKG_VERSION");
    let mut numbers = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    let data = json!({"clientVersion": {
        "major": numbers.next(),
        "minor": numbers.next(),
        "gitVersion": KUBERNETES_VERSION,
        "kinitVersion": own,
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    }});
    emit(args.output, &data, || format!("kinit {own}, Kubernetes {KUBERNETES_VERSION}\n"))
}

/// Runs `kinit completion`.
pub fn completion(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kinit", &mut text);
    print(&String::from_utf8_lossy(&text))
}
