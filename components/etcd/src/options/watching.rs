//! Flags of looking at a member: its figures, its log, and whether it has what the others have.

use std::time::Duration;

use clap::{Args, ValueEnum};

/// What is shown of a member, and what it checks of itself.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Monitoring")]
pub struct Monitoring {
    /// URLs on which health and metrics alone are served.
    #[arg(long, value_delimiter = ',')]
    pub listen_metrics_urls: Vec<String>,
    /// How often the leader compares all members' data; 0 means never.
    #[arg(long, default_value = "0s", value_parser = kinit_duration::flag, alias = "experimental-corrupt-check-time")]
    pub corrupt_check_time: Duration,
    /// How often it compares what compactions left, where the feature CompactHashCheck is on.
    #[arg(long, default_value = "1m", value_parser = kinit_duration::flag, alias = "experimental-compact-hash-check-time")]
    pub compact_hash_check_time: Duration,
}

/// Features of etcd that are not for everybody.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Features")]
pub struct Features {
    /// Features to switch, as NAME=true or NAME=false: CompactHashCheck, InitialCorruptCheck, LeaseCheckpoint,
    /// LeaseCheckpointPersist, SetMemberLocalAddr, StopGRPCServiceOnDefrag, TxnModeWriteWithSharedBuffer.
    #[arg(long, value_delimiter = ',')]
    pub feature_gates: Vec<String>,
    #[arg(long, hide = true)]
    pub experimental_compact_hash_check_enabled: Option<bool>,
    #[arg(long, hide = true)]
    pub experimental_enable_lease_checkpoint: Option<bool>,
    #[arg(long, hide = true)]
    pub experimental_enable_lease_checkpoint_persist: Option<bool>,
    #[arg(long, hide = true)]
    pub experimental_initial_corrupt_check: Option<bool>,
    #[arg(long, hide = true)]
    pub experimental_stop_grpc_service_on_defrag: Option<bool>,
    #[arg(long, hide = true)]
    pub experimental_txn_mode_write_with_shared_buffer: Option<bool>,
}

impl Features {
    /// What the flags of 3.5 say, under the features' names.
    pub fn experimental(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let flags = [
            ("CompactHashCheck", self.experimental_compact_hash_check_enabled),
            ("InitialCorruptCheck", self.experimental_initial_corrupt_check),
            ("LeaseCheckpoint", self.experimental_enable_lease_checkpoint),
            ("LeaseCheckpointPersist", self.experimental_enable_lease_checkpoint_persist),
            ("StopGRPCServiceOnDefrag", self.experimental_stop_grpc_service_on_defrag),
            ("TxnModeWriteWithSharedBuffer", self.experimental_txn_mode_write_with_shared_buffer),
        ];
        flags.into_iter().filter_map(|(name, on)| Some((name, on?)))
    }
}

/// What is logged.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct Logging {
    /// How much is logged.
    #[arg(long, default_value = "info")]
    pub log_level: LogLevel,
    /// How it is logged.
    #[arg(long, default_value = "json")]
    pub log_format: LogFormat,
    /// Where it is logged.
    #[arg(long, value_delimiter = ',', default_value = "default")]
    pub log_outputs: Vec<LogOutput>,
}

/// See [`Logging::log_level`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    #[value(aliases = ["dpanic", "panic", "fatal"])]
    Error,
}

/// See [`Logging::log_format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Console,
}

/// See [`Logging::log_outputs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogOutput {
    #[value(alias = "stderr")]
    Default,
    Stdout,
}
