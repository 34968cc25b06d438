//! The command line, environment and file: etcd's flags under etcd's names.
//!
//! Each flag can be given as `ETCD_` and its name in capitals, too, or all of them by a file instead ([`source`]). What
//! is given is checked and turned into [`crate::config::Config`]. Flags that mean nothing here are in [`foreign`].

mod foreign;
mod member;
mod security;
mod source;
mod tool;
mod watching;

use std::path::PathBuf;

use clap::{Command, CommandFactory, FromArgMatches, Parser};

pub use foreign::Foreign;
pub use member::{ClusterState, Clustering, CompactionMode, Member, ReadOnly};
pub use security::{Auth, Security, TlsVersion};
pub use source::SourceError;
pub use tool::{SnapshotTool, Tool};
pub use watching::{Features, LogFormat, LogLevel, LogOutput, Logging, Monitoring};

use crate::config::VERSION;

/// A durable, versioned key-value store with watches and leases, speaking the etcd v3 protocol.
#[derive(Clone, Debug, Parser)]
#[command(name = "etcd", about, max_term_width = 120, args_conflicts_with_subcommands = true)]
#[command(version = version())]
pub struct Options {
    /// Something to do instead of serving.
    #[command(subcommand)]
    pub tool: Option<Tool>,

    /// A file in YAML with the other flags' names as keys; flags and environment beside it are passed over.
    #[arg(long)]
    pub config_file: Option<PathBuf>,
    #[command(flatten)]
    pub member: Member,
    #[command(flatten)]
    pub clustering: Clustering,
    #[command(flatten)]
    pub security: Security,
    #[command(flatten)]
    pub auth: Auth,
    #[command(flatten)]
    pub monitoring: Monitoring,
    #[command(flatten)]
    pub logging: Logging,
    #[command(flatten)]
    pub features: Features,
    #[command(flatten)]
    pub foreign: Foreign,

    /// What is to be said of how the flags came together, once there is a log.
    #[arg(skip)]
    pub notes: Vec<String>,
}

/// As etcd says it, whose words scripts look for.
fn version() -> String {
    format!(
        "Version: {VERSION}\nGit SHA: none\nGo Version: none, this is kinit's own\nGo OS/Arch: {}/{}",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// The flags. Switches may stand alone or have a value, as Go's do.
fn command() -> Command {
    kinit_flags::go::switches(Options::command())
}

impl Options {
    /// Brings the process' command line, environment and file together; ends the process where they make no sense.
    pub fn of_process() -> Self {
        let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        let collected = source::collect(&command(), arguments.collect(), environment.collect(), |path| {
            std::fs::read_to_string(path)
        });
        let outcome = collected
            .map_err(|error| command().error(clap::error::ErrorKind::ValueValidation, error))
            .and_then(|given| Ok(Self { notes: given.notes, ..Self::of(given.arguments)? }));
        outcome.unwrap_or_else(|error| error.exit())
    }

    /// From a command line alone, which begins with the program's name.
    pub fn of<A: Into<std::ffi::OsString> + Clone>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(arguments)?;
        Self::from_arg_matches(&matches)
    }
}

impl kinit_serving::process::LogOptions for Options {
    fn verbosity(&self) -> u8 {
        if self.logging.log_level == LogLevel::Debug { 4 } else { 2 }
    }

    fn json(&self) -> bool {
        self.logging.log_format == LogFormat::Json
    }

    fn least(&self) -> Option<&'static str> {
        match self.logging.log_level {
            LogLevel::Debug | LogLevel::Info => None,
            LogLevel::Warn => Some("warn"),
            LogLevel::Error => Some("error"),
        }
    }

    fn to_stdout(&self) -> bool {
        self.logging.log_outputs == [LogOutput::Stdout]
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::of(["etcd"]).expect("no flag has to be given")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn switches_take_values_and_stand_alone() {
        let strict = |arguments: &[&str]| {
            let arguments = std::iter::once("etcd").chain(arguments.iter().copied());
            Options::of(arguments).map(|options| options.clustering.strict_reconfig_check).ok()
        };
        let table = [
            (&[][..], Some(true)),
            (&["--strict-reconfig-check"], Some(true)),
            (&["--strict-reconfig-check=false"], Some(false)),
            (&["--strict-reconfig-check=0"], Some(false)),
            (&["--strict-reconfig-check=maybe"], None),
        ];
        for (arguments, expected) in table {
            assert_eq!(strict(arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn the_version_is_said_as_etcd_says_it() {
        let error = Options::of(["etcd", "--version"]).expect_err("it ends there");
        assert_eq!(error.to_string().lines().next(), Some(format!("etcd Version: {VERSION}").as_str()));
    }
}
