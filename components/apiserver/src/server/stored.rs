//! How much is stored, told when somebody reads it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use kinit_api::status::qualified;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::cache::Cache;
use crate::registry::Storage;
use crate::storage::Etcd;

/// How long etcd may take to tell its size; upstream's number.
const PATIENCE: Duration = Duration::from_secs(1);

/// The families. Cheap to clone.
#[derive(Clone)]
pub(super) struct Stored {
    cache: Cache,
    /// What etcd's file measured when it was asked last, in bytes; negative where it did not answer.
    size: Arc<AtomicI64>,
}

impl Stored {
    pub fn new(cache: Cache) -> Self {
        Self { cache, size: Arc::new(AtomicI64::new(-1)) }
    }

    pub fn register(&self, families: &mut Registry) {
        families.register_collector(Box::new(self.clone()));
    }

    /// Asks etcd for its size, which is to be told next.
    pub async fn measure(&self, etcd: &Etcd) {
        let asked = tokio::time::timeout(PATIENCE, etcd.size()).await;
        let size = asked.ok().and_then(Result::ok).unwrap_or(-1);
        self.note(size);
    }

    /// Etcd's file measures so many bytes; negative where that is not known.
    pub fn note(&self, size: i64) {
        self.size.store(size, Ordering::Relaxed);
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stored").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Collector for Stored {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let registry = self.cache.registry();
        let rows = registry.rows();
        let mut told = std::collections::BTreeMap::new();
        for spec in rows.iter().filter(|spec| spec.storage == Storage::Own) {
            if let Some((index, _)) = registry.find(spec.group(), spec.version(), spec.resource()) {
                told.entry((spec.group(), spec.resource())).or_insert_with(|| self.cache.list(index).0.len() as i64);
            }
        }
        let help = "Objects of each resource";
        let mut family = encoder.encode_descriptor("apiserver_storage_objects", help, None, MetricType::Gauge)?;
        for ((group, resource), count) in &told {
            let labels = [("resource", qualified(group, resource))];
            ConstGauge::new(*count).encode(family.encode_family(&labels)?)?;
        }
        let help = "Objects of each resource";
        let mut family = encoder.encode_descriptor("apiserver_resource_objects", help, None, MetricType::Gauge)?;
        for ((group, resource), count) in &told {
            let labels = [("group", *group), ("resource", *resource)];
            ConstGauge::new(*count).encode(family.encode_family(&labels)?)?;
        }
        let size = self.size.load(Ordering::Relaxed);
        if size >= 0 {
            let help = "What the database's file measures";
            let mut family =
                encoder.encode_descriptor("apiserver_storage_size_bytes", help, None, MetricType::Gauge)?;
            ConstGauge::new(size).encode(family.encode_family(&[("storage_cluster_id", "etcd-0")])?)?;
        }
        Ok(())
    }
}
