//! The small commands: `version`, `completion` and `man`.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use serde_json::json;

use super::output::{Format, emit};
use super::{Cli, print};

/// How the version is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum VersionFormat {
    /// For people
    Text,
    /// The version of Kubernetes alone
    Short,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// Flags of `kinit version`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit version -o json")]
pub struct VersionArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = VersionFormat::Text)]
    pub output: VersionFormat,
    /// Print the version of Kubernetes alone, as scripts for kubeadm ask for it
    #[arg(long, conflicts_with = "output")]
    pub short: bool,
}

/// Runs `kinit version`.
pub fn version(args: &VersionArgs) -> anyhow::Result<()> {
    let kubernetes = kinit_version::kubernetes();
    let format = match args.output {
        VersionFormat::Json => Format::Json,
        VersionFormat::Yaml => Format::Yaml,
        VersionFormat::Text | VersionFormat::Short => Format::Text,
    };
    if args.short || args.output == VersionFormat::Short {
        return print(&format!("{kubernetes}\n"));
    }
    let own = env!("CARGO_PKG_VERSION");
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let data = json!({"clientVersion": {
        "major": numbers.next(),
        "minor": numbers.next(),
        "gitVersion": kubernetes,
        "kinitVersion": own,
        "platform": kinit_version::platform(),
    }});
    emit(format, &data, || format!("kinit {own}, Kubernetes {kubernetes}\n"))
}

/// Runs `kinit completion`.
pub fn completion(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kinit", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// Runs `kinit man`: one page for each command, named as man(1) looks for them.
pub fn manual(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    clap_mangen::generate_to(Cli::command(), folder).with_context(|| folder.display().to_string())?;
    print(&format!("The pages are in {}; `man kinit` begins with the first\n", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        manual(folder.path()).unwrap();
        for (name, part) in
            [("kinit", "SUBCOMMANDS"), ("kinit-init-phase", "control-plane"), ("kinit-etcd-snapshot-save", "keep")]
        {
            let page = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
            assert!(page.contains(part) || page.contains(&part.replace('-', "\\-")), "{name}: {page}");
        }
        assert!(!folder.path().join("kinit-agent.1").exists());
    }

    /// Every command that does something tells by an example how.
    #[test]
    fn every_command_has_an_example() {
        fn look(command: &clap::Command, path: &str, without: &mut Vec<String>) {
            let inner: Vec<_> = command.get_subcommands().filter(|one| !one.is_hide_set()).collect();
            let has = command.get_after_help().is_some_and(|text| text.to_string().contains("Example"));
            if inner.is_empty() && !has {
                without.push(path.to_owned());
            }
            for one in inner {
                look(one, &format!("{path} {}", one.get_name()), without);
            }
        }
        let mut without = Vec::new();
        look(&Cli::command(), "kinit", &mut without);
        assert_eq!(without, Vec::<String>::new());
    }
}
