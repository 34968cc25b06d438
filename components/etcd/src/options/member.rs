//! Flags of one member, and of its place in the cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// What is this member's own.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Member")]
pub struct Member {
    /// A name for this member, as `--initial-cluster` has it.
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Where this member keeps everything [default: NAME.etcd].
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Where the write-ahead log is kept instead of the data directory.
    #[arg(long)]
    pub wal_dir: Option<PathBuf>,
    /// URLs on which other members are served.
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2380")]
    pub listen_peer_urls: Vec<String>,
    /// URLs on which clients are served.
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2379")]
    pub listen_client_urls: Vec<String>,
    /// URLs on which clients are served over plain HTTP, without gRPC; the others are then for gRPC alone.
    #[arg(long, value_delimiter = ',')]
    pub listen_client_http_urls: Vec<String>,
    /// Log entries kept for members that are behind; who is further behind gets a snapshot.
    #[arg(long, default_value_t = 10_000)]
    pub snapshot_count: u64,
    /// The same, where it is to be other than `--snapshot-count`.
    #[arg(long, aliases = ["experimental-snapshot-catchup-entries", "experimental-snapshot-catch-up-entries"])]
    pub snapshot_catchup_entries: Option<u64>,
    /// Milliseconds between a leader's heartbeats.
    #[arg(long, default_value_t = 100)]
    pub heartbeat_interval: u64,
    /// Milliseconds without a leader before an election.
    #[arg(long, default_value_t = 1000)]
    pub election_timeout: u64,
    /// Bytes of the store before writes are refused; 0 means 2 GiB, a negative number no limit.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub quota_backend_bytes: i64,
    /// Operations in one transaction at most.
    #[arg(long, default_value_t = 128)]
    pub max_txn_ops: u32,
    /// Bytes of one request at most.
    #[arg(long, default_value_t = 1_572_864)]
    pub max_request_bytes: u32,
    /// Requests that one connection may have under way.
    #[arg(long, default_value_t = u32::MAX)]
    pub max_concurrent_streams: u32,
    /// How often a quiet client is asked whether it is there; 0 means never.
    #[arg(long, default_value = "2h", value_parser = kinit_duration::flag)]
    pub grpc_keepalive_interval: Duration,
    /// How long its answer may take before the connection is closed; 0 means as long as it takes.
    #[arg(long, default_value = "20s", value_parser = kinit_duration::flag)]
    pub grpc_keepalive_timeout: Duration,
    /// Listen on ports that another process listens on as well.
    #[arg(long)]
    pub socket_reuse_port: bool,
    /// Listen on addresses whose last connections are not over yet.
    #[arg(long)]
    pub socket_reuse_address: bool,
    /// Serve gRPC as JSON under /v3/, too.
    #[arg(long, default_value_t = true)]
    pub enable_grpc_gateway: bool,
    /// Keep all of the process in memory, never in swap.
    #[arg(long, alias = "experimental-memory-mlock")]
    pub memory_mlock: bool,
    /// Give the store's free space back at start if it is at least so many megabytes; 0 means never.
    #[arg(long, default_value_t = 0, alias = "experimental-bootstrap-defrag-threshold-megabytes")]
    pub bootstrap_defrag_threshold_megabytes: u64,
    /// How often idle watches that ask for it are told of progress.
    #[arg(
        long,
        alias = "experimental-watch-progress-notify-interval",
        default_value = "10m",
        value_parser = kinit_duration::flag
    )]
    pub watch_progress_notify_interval: Duration,
}

/// What all members have in common, and how they become a cluster.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Clustering")]
pub struct Clustering {
    /// URLs that other members are told of.
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: Vec<String>,
    /// The members that the cluster begins with, as NAME=URL [default: this one].
    #[arg(long, value_delimiter = ',')]
    pub initial_cluster: Vec<String>,
    /// Whether the cluster is begun or joined.
    #[arg(long, default_value = "new")]
    pub initial_cluster_state: ClusterState,
    /// Tells clusters with the same members apart.
    #[arg(long, default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// URLs that clients are told of.
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2379")]
    pub advertise_client_urls: Vec<String>,
    /// Refuse changes of members that would leave the cluster without a quorum.
    #[arg(long, default_value_t = true)]
    pub strict_reconfig_check: bool,
    /// Ask whether an election would be won before one is held, so that a member that comes back disturbs nobody.
    #[arg(long, default_value_t = true)]
    pub pre_vote: bool,
    /// How linearizable reads make sure that the leader leads: by asking a quorum, or by a lease, which spares the question
    /// and counts on no two members' clocks differing by a tenth in their speed. Members may be given different ones.
    #[arg(long, default_value = "safe")]
    pub experimental_read_only_option: ReadOnly,
    /// Learners that the cluster may have at once.
    #[arg(long, default_value_t = 1, alias = "experimental-max-learners")]
    pub max_learners: usize,
    /// How much history automatic compactions leave: a duration or hours, or a number of revisions; 0 means all.
    #[arg(long, default_value = "0")]
    pub auto_compaction_retention: String,
    /// What the retention of automatic compactions counts.
    #[arg(long, default_value = "periodic")]
    pub auto_compaction_mode: CompactionMode,
}

/// See [`Clustering::initial_cluster_state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClusterState {
    New,
    Existing,
}

/// See [`Clustering::experimental_read_only_option`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReadOnly {
    Safe,
    LeaseBased,
}

/// See [`Clustering::auto_compaction_mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompactionMode {
    Periodic,
    Revision,
}
