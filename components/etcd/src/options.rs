//! The command line and environment: etcd's own flags, as far as they mean something here or kubeadm writes them.
//!
//! Each flag can be given as `ETCD_` and its name in capitals instead. What is typed here is checked and turned into
//! [`crate::config::Config`].

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

/// A durable, versioned key-value store with watches and leases, speaking the etcd v3 protocol.
#[derive(Clone, Debug, Parser)]
#[command(name = "etcd", version = crate::config::VERSION, about, max_term_width = 120)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    /// Something to do instead of serving.
    #[command(subcommand)]
    pub tool: Option<Tool>,

    /// A name for this member, as `--initial-cluster` has it.
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub name: String,
    /// Where this member keeps everything [default: NAME.etcd].
    #[arg(long, env = "ETCD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the write-ahead log is kept instead of the data directory.
    #[arg(long, env = "ETCD_WAL_DIR")]
    pub wal_dir: Option<PathBuf>,

    /// URLs on which clients are served.
    #[arg(long, env = "ETCD_LISTEN_CLIENT_URLS", value_delimiter = ',', default_value = "http://localhost:2379")]
    pub listen_client_urls: Vec<String>,
    /// URLs on which health and metrics alone are served.
    #[arg(long, env = "ETCD_LISTEN_METRICS_URLS", value_delimiter = ',')]
    pub listen_metrics_urls: Vec<String>,
    /// URLs on which other members are served.
    #[arg(long, env = "ETCD_LISTEN_PEER_URLS", value_delimiter = ',', default_value = "http://localhost:2380")]
    pub listen_peer_urls: Vec<String>,
    /// URLs that clients are told of.
    #[arg(long, env = "ETCD_ADVERTISE_CLIENT_URLS", value_delimiter = ',', default_value = "http://localhost:2379")]
    pub advertise_client_urls: Vec<String>,
    /// URLs that other members are told of.
    #[arg(
        long,
        env = "ETCD_INITIAL_ADVERTISE_PEER_URLS",
        value_delimiter = ',',
        default_value = "http://localhost:2380"
    )]
    pub initial_advertise_peer_urls: Vec<String>,
    /// The members that the cluster begins with, as NAME=URL [default: this one].
    #[arg(long, env = "ETCD_INITIAL_CLUSTER", value_delimiter = ',')]
    pub initial_cluster: Vec<String>,
    /// Whether the cluster is begun or joined.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", default_value = "new")]
    pub initial_cluster_state: ClusterState,
    /// Tells clusters with the same members apart.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_TOKEN", default_value = "etcd-cluster")]
    pub initial_cluster_token: String,

    /// This server's certificate for clients.
    #[arg(long, env = "ETCD_CERT_FILE")]
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    #[arg(long, env = "ETCD_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// Refuse clients without a certificate of the trusted CA.
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = false)]
    pub client_cert_auth: bool,
    /// The CA of clients' certificates.
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE")]
    pub trusted_ca_file: Option<PathBuf>,
    /// This server's certificate for other members.
    #[arg(long, env = "ETCD_PEER_CERT_FILE")]
    pub peer_cert_file: Option<PathBuf>,
    /// Its private key.
    #[arg(long, env = "ETCD_PEER_KEY_FILE")]
    pub peer_key_file: Option<PathBuf>,
    /// Refuse members without a certificate of the trusted CA.
    #[arg(long, env = "ETCD_PEER_CLIENT_CERT_AUTH", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = false)]
    pub peer_client_cert_auth: bool,
    /// The CA of other members' certificates.
    #[arg(long, env = "ETCD_PEER_TRUSTED_CA_FILE")]
    pub peer_trusted_ca_file: Option<PathBuf>,

    /// Bytes of one request at most.
    #[arg(long, env = "ETCD_MAX_REQUEST_BYTES", default_value_t = 1_572_864)]
    pub max_request_bytes: u32,
    /// Operations in one transaction at most.
    #[arg(long, env = "ETCD_MAX_TXN_OPS", default_value_t = 128)]
    pub max_txn_ops: u32,
    /// Requests that one connection may have under way.
    #[arg(long, env = "ETCD_MAX_CONCURRENT_STREAMS", default_value_t = u32::MAX)]
    pub max_concurrent_streams: u32,
    /// Bytes of the store before writes are refused; 0 means 2 GiB, a negative number no limit.
    #[arg(long, env = "ETCD_QUOTA_BACKEND_BYTES", default_value_t = 0, allow_negative_numbers = true)]
    pub quota_backend_bytes: i64,
    /// What the retention of automatic compactions counts.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_MODE", default_value = "periodic")]
    pub auto_compaction_mode: CompactionMode,
    /// How much history automatic compactions leave: a duration or hours, or a number of revisions; 0 means all.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_RETENTION", default_value = "0")]
    pub auto_compaction_retention: String,
    /// How often idle watches that ask for it are told of progress.
    #[arg(
        long,
        env = "ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL",
        alias = "experimental-watch-progress-notify-interval",
        default_value = "10m"
    )]
    pub watch_progress_notify_interval: String,
    /// Log entries kept for members that are behind; who is further behind gets a snapshot.
    #[arg(long, env = "ETCD_SNAPSHOT_COUNT", default_value_t = 10_000)]
    pub snapshot_count: u64,
    /// Milliseconds between a leader's heartbeats.
    #[arg(long, env = "ETCD_HEARTBEAT_INTERVAL", default_value_t = 100)]
    pub heartbeat_interval: u64,
    /// Milliseconds without a leader before an election.
    #[arg(long, env = "ETCD_ELECTION_TIMEOUT", default_value_t = 1000)]
    pub election_timeout: u64,
    /// Ask whether an election would be won before one is held, so that a member that comes back disturbs nobody.
    #[arg(long, env = "ETCD_PRE_VOTE", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = true)]
    pub pre_vote: bool,
    /// Refuse changes of members that would leave the cluster without a quorum.
    #[arg(long, env = "ETCD_STRICT_RECONFIG_CHECK", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = true)]
    pub strict_reconfig_check: bool,
    /// Features to switch, as NAME=true or NAME=false.
    #[arg(long, env = "ETCD_FEATURE_GATES", value_delimiter = ',')]
    pub feature_gates: Vec<String>,

    /// How much is logged.
    #[arg(long, env = "ETCD_LOG_LEVEL", default_value = "info")]
    pub log_level: LogLevel,
    /// How it is logged.
    #[arg(long, env = "ETCD_LOG_FORMAT", default_value = "console")]
    pub log_format: LogFormat,
}

/// What the binary does besides serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Tool {
    /// Looks into saved snapshots, or makes data directories of them.
    #[command(subcommand)]
    Snapshot(SnapshotTool),
}

/// See [`Tool::Snapshot`].
#[derive(Clone, Debug, Subcommand)]
pub enum SnapshotTool {
    /// Says what is in a snapshot, as JSON.
    Status {
        file: PathBuf,
        /// Accept a file without a checksum, as copied from a data directory.
        #[arg(long)]
        skip_hash_check: bool,
    },
    /// Makes a data directory of a snapshot; the server started on it begins a new cluster.
    Restore {
        file: PathBuf,
        /// The directory to make.
        #[arg(long, default_value = "default.etcd")]
        data_dir: PathBuf,
        /// The member that is to be started on it.
        #[arg(long, default_value = "default")]
        name: String,
        /// The members of the new cluster, as NAME=URL; each restores the same snapshot [default: this one].
        #[arg(long, value_delimiter = ',')]
        initial_cluster: Vec<String>,
        /// Tells the new cluster from others with the same members.
        #[arg(long, default_value = "etcd-cluster")]
        initial_cluster_token: String,
        /// URLs that the other members are told of.
        #[arg(long, value_delimiter = ',', default_value = "http://localhost:2380")]
        initial_advertise_peer_urls: Vec<String>,
        /// Accept a file without a checksum, as copied from a data directory.
        #[arg(long)]
        skip_hash_check: bool,
    },
}

/// See [`Options::initial_cluster_state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClusterState {
    New,
    Existing,
}

/// See [`Options::auto_compaction_mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompactionMode {
    Periodic,
    Revision,
}

/// See [`Options::log_level`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// See [`Options::log_format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Console,
}

impl kinit_serving::process::LogOptions for Options {
    fn verbosity(&self) -> u8 {
        if self.log_level == LogLevel::Debug { 4 } else { 2 }
    }

    fn json(&self) -> bool {
        self.log_format == LogFormat::Json
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::parse_from(["etcd"])
    }
}
