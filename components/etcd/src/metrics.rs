//! The figures under `/metrics`, by the names that etcd's dashboards and alerts ask for.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::apply::Machine;
use crate::node::standing::Standing;

/// Figures that are counted as things happen.
pub struct Figures {
    sync_seconds: Histogram,
    batch_entries: Histogram,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            sync_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            batch_entries: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
        }
    }
}

impl Figures {
    /// One batch of the log was written and synced.
    pub fn synced(&self, took: Duration, entries: usize) {
        self.sync_seconds.observe(took.as_secs_f64());
        self.batch_entries.observe(entries as f64);
    }
}

/// Registers everything. `quota` is in bytes.
pub fn register(
    metrics: &kinit_serving::metrics::Metrics,
    figures: &Figures,
    machine: Arc<Machine>,
    standing: Arc<Standing>,
    quota: u64,
) {
    metrics.register(|registry| {
        registry.register(
            "etcd_disk_wal_fsync_duration_seconds",
            "Seconds that writing and syncing one batch of the log took",
            figures.sync_seconds.clone(),
        );
        registry.register(
            "etcd_server_batch_entries",
            "Entries that shared one sync of the log",
            figures.batch_entries.clone(),
        );
        registry.register_collector(Box::new(State { machine, standing, quota }));
    });
}

/// What is read from the state when somebody asks.
struct State {
    machine: Arc<Machine>,
    standing: Arc<Standing>,
    quota: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let meta = self.machine.store.meta();
        let (watchers, behind) = self.machine.hub.counts();
        let (alarms, leases) = (self.machine.alarm_names().len(), self.machine.lessor.lock().ids().len());
        let rows: [(&str, &str, i64); 12] = [
            ("etcd_server_has_leader", "Whether this member knows a leader", i64::from(self.standing.leader() != 0)),
            ("etcd_server_is_leader", "Whether this member is the leader", i64::from(self.standing.leads())),
            ("etcd_server_proposals_applied_total", "Log entries applied", meta.applied.cast_signed()),
            ("etcd_server_proposals_committed_total", "Log entries committed", self.standing.committed().cast_signed()),
            ("etcd_server_alarms", "Alarms raised", alarms as i64),
            ("etcd_server_quota_backend_bytes", "The quota of the store's file", self.quota.cast_signed()),
            (
                "etcd_mvcc_db_total_size_in_bytes",
                "Bytes of the store's file and of what will be written to it",
                self.machine.store.size_for_quota().cast_signed(),
            ),
            ("etcd_debugging_store_revision", "The newest revision", meta.revision),
            ("etcd_debugging_mvcc_compact_revision", "The last compaction", meta.compacted.max(0)),
            ("etcd_debugging_mvcc_watcher_total", "Watches", watchers as i64),
            ("etcd_debugging_mvcc_slow_watcher_total", "Watches that read the history to catch up", behind as i64),
            ("etcd_debugging_lease_total", "Leases", leases as i64),
        ];
        for (name, help, value) in rows {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
