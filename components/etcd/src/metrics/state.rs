//! Figures that are read from the state when somebody asks.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::rpc::Context;

pub struct State(pub Arc<Context>);

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

impl State {
    fn gauges(&self) -> [(&'static str, &'static str, i64); 16] {
        let (machine, standing) = (&self.0.machine, &self.0.standing);
        let meta = machine.store.meta();
        let (watchers, behind) = machine.hub.counts();
        let (alarms, leases) = (machine.alarm_names().len(), machine.lessor.lock().ids().len());
        let (open, most) = descriptors();
        [
            ("etcd_server_has_leader", "Whether this member knows a leader", i64::from(standing.leader() != 0)),
            ("etcd_server_is_leader", "Whether this member is the leader", i64::from(standing.leads())),
            ("etcd_server_is_learner", "Whether this member has no vote", i64::from(self.0.is_learner())),
            ("etcd_server_alarms", "Alarms raised", alarms as i64),
            (
                "etcd_server_quota_backend_bytes",
                "The quota of the store's file",
                self.0.quota.unwrap_or(u64::MAX).cast_signed(),
            ),
            (
                "etcd_mvcc_db_total_size_in_bytes",
                "Bytes of the store's file and of what will be written to it",
                machine.store.size_for_quota().cast_signed(),
            ),
            (
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "Bytes in use within the store's file",
                machine.store.size().1.cast_signed(),
            ),
            (
                "etcd_mvcc_db_open_read_transactions",
                "Snapshots of the store that are being read",
                machine.store.histories() as i64,
            ),
            ("etcd_debugging_store_revision", "The newest revision", meta.revision),
            ("etcd_debugging_mvcc_keys_total", "Keys", machine.store.keys() as i64),
            ("etcd_debugging_mvcc_compact_revision", "The last compaction", meta.compacted.max(0)),
            ("etcd_debugging_mvcc_watcher_total", "Watches", watchers as i64),
            ("etcd_debugging_mvcc_slow_watcher_total", "Watches that read the history to catch up", behind as i64),
            ("etcd_debugging_lease_total", "Leases", leases as i64),
            ("process_open_fds", "Files and connections that are open", open),
            ("process_max_fds", "How many may be", most),
        ]
    }
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, value) in self.gauges() {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let standing = &self.0.standing;
        let counters = [
            ("etcd_server_proposals_applied", "Log entries applied", self.0.machine.store.meta().applied),
            ("etcd_server_proposals_committed", "Log entries committed", standing.committed()),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let own = self.0.identity.member;
        let help = "Whether there is a connection to another member";
        let mut peers = encoder.encode_descriptor("etcd_network_active_peers", help, None, MetricType::Gauge)?;
        for member in self.0.machine.roster.read().list().iter().filter(|member| member.id != own) {
            let connected = ConstGauge::new(i64::from(self.0.cluster.peers.is_connected(member.id)));
            let labels = [("Local", format!("{own:x}")), ("Remote", format!("{:x}", member.id))];
            connected.encode(peers.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Files and connections that are open, and how many may be; zero where that cannot be found out.
fn descriptors() -> (i64, i64) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |found| found.count() as i64);
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    (open, limit.map_or(0, |(soft, _)| i64::try_from(soft).unwrap_or(i64::MAX)))
}
