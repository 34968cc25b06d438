//! What the binary does besides serving.

use std::path::PathBuf;

use clap::Subcommand;

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
