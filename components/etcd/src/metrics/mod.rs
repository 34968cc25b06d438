//! The figures under `/metrics`, by the names that etcd's dashboards and alerts ask for.
//!
//! What happens is counted in [`Figures`] and [`calls`]; what is, is read when somebody asks ([`state`]).

pub mod calls;
mod state;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use self::calls::Calls;
use self::state::State;
use crate::config::{CLUSTER_VERSION, VERSION};
use crate::proto::log::command::Op;
use crate::rpc::Context;

/// Names and values that tell the rows of one family apart.
type Labels = Vec<(&'static str, String)>;

/// Seconds, from a tenth of a millisecond to some.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 17))
}

/// Figures that are counted as things happen.
pub struct Figures {
    pub calls: Calls,
    pub wal_seconds: Histogram,
    pub wal_bytes: Counter,
    pub batch_entries: Histogram,
    pub puts: Counter,
    pub deletes: Counter,
    pub txns: Counter,
    pub ranges: Counter,
    pub leases_granted: Counter,
    pub leases_revoked: Counter,
    pub leases_renewed: Counter,
    pub leader_changes: Counter,
    pub late_heartbeats: Counter,
    pub slow_applies: Counter,
    pub slow_reads: Counter,
    pub failed_reads: Counter,
    pub failed_proposals: Counter,
    pub pending_proposals: Gauge<i64, AtomicI64>,
    pub snapshot_seconds: Histogram,
    pub defragment_seconds: Histogram,
    pub from_clients: Counter,
    pub to_clients: Counter,
    peer_failures: Family<Labels, Counter>,
    peer_seconds: Family<Labels, Histogram>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            calls: Calls::default(),
            wal_seconds: seconds(),
            wal_bytes: Counter::default(),
            batch_entries: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            puts: Counter::default(),
            deletes: Counter::default(),
            txns: Counter::default(),
            ranges: Counter::default(),
            leases_granted: Counter::default(),
            leases_revoked: Counter::default(),
            leases_renewed: Counter::default(),
            leader_changes: Counter::default(),
            late_heartbeats: Counter::default(),
            slow_applies: Counter::default(),
            slow_reads: Counter::default(),
            failed_reads: Counter::default(),
            failed_proposals: Counter::default(),
            pending_proposals: Gauge::default(),
            snapshot_seconds: seconds(),
            defragment_seconds: seconds(),
            from_clients: Counter::default(),
            to_clients: Counter::default(),
            peer_failures: Family::default(),
            peer_seconds: Family::new_with_constructor(seconds),
        }
    }
}

impl Figures {
    /// One batch of the log was written and synced.
    pub fn synced(&self, took: Duration, entries: usize, bytes: usize) {
        self.wal_seconds.observe(took.as_secs_f64());
        self.batch_entries.observe(entries as f64);
        self.wal_bytes.inc_by(bytes as u64);
    }

    /// An entry is about to be applied.
    pub fn applies(&self, op: &Op) {
        let counter = match op {
            Op::Put(_) => &self.puts,
            Op::DeleteRange(_) => &self.deletes,
            Op::Txn(_) => &self.txns,
            Op::LeaseGrant(_) => &self.leases_granted,
            Op::LeaseRevoke(_) => &self.leases_revoked,
            _ => return,
        };
        counter.inc();
    }

    /// A message to another member got lost before it was sent.
    pub fn peer_failed(&self, to: u64) {
        self.peer_failures.get_or_create(&vec![("To", format!("{to:x}"))]).inc();
    }

    /// Another member has answered.
    pub fn peer_answered(&self, to: u64, took: Duration) {
        self.peer_seconds.get_or_create(&vec![("To", format!("{to:x}"))]).observe(took.as_secs_f64());
    }

    fn register(&self, registry: &mut Registry) {
        self.calls.register(registry);
        let histograms = [
            (
                "etcd_disk_wal_fsync_duration_seconds",
                "Seconds that writing and syncing one batch of the log took",
                &self.wal_seconds,
            ),
            ("etcd_server_batch_entries", "Entries that shared one sync of the log", &self.batch_entries),
            (
                "etcd_debugging_snap_save_total_duration_seconds",
                "Seconds that making and sending a snapshot took",
                &self.snapshot_seconds,
            ),
            (
                "etcd_disk_backend_defrag_duration_seconds",
                "Seconds that giving free space back took",
                &self.defragment_seconds,
            ),
        ];
        for (name, help, histogram) in histograms {
            registry.register(name, help, histogram.clone());
        }
        // The text has `_total` behind each.
        let counters = [
            ("etcd_disk_wal_write_bytes", "Bytes of entries written to the log", &self.wal_bytes),
            ("etcd_mvcc_put", "Puts carried out by themselves", &self.puts),
            ("etcd_mvcc_delete", "Deletions carried out by themselves", &self.deletes),
            ("etcd_mvcc_txn", "Transactions that write", &self.txns),
            ("etcd_mvcc_range", "Ranges answered", &self.ranges),
            ("etcd_debugging_lease_granted", "Leases granted", &self.leases_granted),
            ("etcd_debugging_lease_revoked", "Leases revoked, or run out", &self.leases_revoked),
            ("etcd_debugging_lease_renewed", "Leases renewed by this member", &self.leases_renewed),
            ("etcd_server_leader_changes_seen", "Leaders that followed another", &self.leader_changes),
            ("etcd_server_heartbeat_send_failures", "Heartbeats that this leader sent late", &self.late_heartbeats),
            ("etcd_server_slow_apply", "Batches of entries that took over 100 ms to apply", &self.slow_applies),
            ("etcd_server_slow_read_indexes", "Questions before reads that were asked again", &self.slow_reads),
            ("etcd_server_read_indexes_failed", "Reads that were not let through in time", &self.failed_reads),
            (
                "etcd_server_proposals_failed",
                "Proposals that came to nothing, or whose end is not known",
                &self.failed_proposals,
            ),
            ("etcd_network_client_grpc_received_bytes", "Bytes that came from clients by HTTP/2", &self.from_clients),
            ("etcd_network_client_grpc_sent_bytes", "Bytes that went to clients by HTTP/2", &self.to_clients),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("etcd_server_proposals_pending", "Proposals on their way", self.pending_proposals.clone());
        registry.register(
            "etcd_network_peer_sent_failures",
            "Messages lost before they were sent",
            self.peer_failures.clone(),
        );
        registry.register(
            "etcd_network_peer_round_trip_time_seconds",
            "Seconds until another member answered",
            self.peer_seconds.clone(),
        );
    }
}

/// Registers everything.
pub fn register(metrics: &kinit_serving::metrics::Metrics, context: &Arc<Context>) {
    metrics.register(|registry| {
        context.figures.register(registry);
        registry.register(
            "etcd_disk_backend_commit_duration_seconds",
            "Seconds that a commit of the store took",
            context.machine.store.commit_seconds(),
        );
        let minor = CLUSTER_VERSION.rsplit_once('.').map_or(CLUSTER_VERSION, |(minor, _)| minor);
        let facts = [
            ("etcd_server_version", "Which version is running; 1 for this one", "server_version", VERSION.to_owned()),
            (
                "etcd_cluster_version",
                "What all members have in common; 1 for this version",
                "cluster_version",
                minor.to_owned(),
            ),
            (
                "etcd_server_id",
                "Which member this is; 1 for this id",
                "server_id",
                format!("{:x}", context.identity.member),
            ),
        ];
        for (name, help, label, value) in facts {
            let family = Family::<Labels, Gauge>::default();
            family.get_or_create(&vec![(label, value)]).set(1);
            registry.register(name, help, family);
        }
        registry.register_collector(Box::new(State(context.clone())));
    });
}
