//! What etcd was asked and how long that took, by upstream's names for both.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::registry::{self, RESOURCES};
use crate::tally::{Count, Tally, Teller};

/// Upstream's bounds, in seconds.
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// What is asked of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Delete,
    Get,
    List,
    Update,
}

/// Their names, in their order.
const OPERATIONS: [&str; 5] = ["create", "delete", "get", "list", "update"];

/// Keys that are of no resource that is served, and what upstream counts them as; all others are the last.
const OTHER: [(&str, &str); 4] = [
    ("masterleases/", "apiServerIPInfo"),
    ("ranges/serviceips", "serviceipallocations"),
    ("ranges/servicenodeports", "servicenodeportallocations"),
    ("", ""),
];

/// All that was asked about one resource.
#[derive(Debug, Default)]
struct Row([OnceLock<Box<Asked>>; OPERATIONS.len()]);

#[derive(Debug)]
struct Asked {
    took: Tally,
    failed: Count,
}

impl Row {
    fn note(&self, operation: Operation, began: Instant, failed: bool) {
        let new = || Box::new(Asked { took: Tally::of_times(&SECONDS), failed: Count::default() });
        let asked = self.0[operation as usize].get_or_init(new);
        asked.took.took(began.elapsed());
        if failed {
            asked.failed.one();
        }
    }
}

/// The families. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Figures(Arc<Rows>);

#[derive(Debug)]
struct Rows {
    /// In the table's order.
    resources: Vec<Row>,
    other: [Row; OTHER.len()],
    /// By group and plural, as keys have them. Only what is defined is ever asked for.
    custom: RwLock<HashMap<String, Arc<Row>>>,
}

impl Default for Figures {
    fn default() -> Self {
        let resources = RESOURCES.iter().map(|_| Row::default()).collect();
        Self(Arc::new(Rows { resources, other: Default::default(), custom: RwLock::default() }))
    }
}

impl Figures {
    /// An operation ended that was about a key, or a range that begins with it, without the registry's own prefix.
    pub(super) fn note(&self, key: &str, operation: Operation, began: Instant, failed: bool) {
        if let Some((at, _)) = registry::of_key(key) {
            return self.0.resources[at].note(operation, began, failed);
        }
        let other = OTHER.iter().position(|(prefix, _)| key.starts_with(prefix)).unwrap_or_default();
        let Some(name) = custom(key).filter(|_| OTHER[other].0.is_empty()) else {
            return self.0.other[other].note(operation, began, failed);
        };
        if let Some(row) = self.0.custom.read().get(name) {
            return row.note(operation, began, failed);
        }
        let row = self.0.custom.write().entry(name.to_owned()).or_default().clone();
        row.note(operation, began, failed);
    }
}

/// The group and the plural of a custom resource's key; groups have a dot.
fn custom(key: &str) -> Option<&str> {
    let (end, _) = key.match_indices('/').nth(1)?;
    key.find('.').filter(|dot| *dot < key.find('/').unwrap_or_default())?;
    Some(&key[..end])
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Rows { resources, other, custom } = &*self.0;
        let custom = custom.read().clone();
        let own = RESOURCES.iter().zip(resources).map(|(spec, row)| (spec.group(), spec.resource(), row));
        let other = OTHER.iter().zip(other).map(|((_, name), row)| ("", *name, row));
        let custom = custom.iter().map(|(name, row)| {
            let (group, plural) = name.split_once('/').unwrap_or_default();
            (group, plural, &**row)
        });
        let rows: Vec<(&str, &str, &Row)> = own.chain(other).chain(custom).collect();
        let asked = || {
            rows.iter().flat_map(|(group, resource, row)| {
                let asked = row.0.iter().zip(OPERATIONS).filter_map(|(asked, name)| Some((asked.get()?, name)));
                asked.map(|(asked, name)| ([("operation", name), ("group", *group), ("resource", *resource)], &**asked))
            })
        };
        let mut teller = Teller(encoder);
        let help = "How long etcd took, by what it was asked and about which resource";
        teller.tallies("etcd_request_duration_seconds", help, asked().map(|(labels, asked)| (labels, &asked.took)))?;
        let help = "What etcd was asked, and about which resource";
        teller.counts("etcd_requests", help, asked().map(|(labels, asked)| (labels, asked.took.count())))?;
        let failed = asked().map(|(labels, asked)| (labels, asked.failed.told())).filter(|(_, count)| *count > 0);
        teller.counts("etcd_request_errors", "Of those, what it did not answer", failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::tests::lines;

    #[test]
    fn what_etcd_is_asked_is_told_by_resource() {
        let figures = Figures::default();
        for (key, operation, failed) in [
            ("pods/a/b", Operation::Create, false),
            ("pods/a/b", Operation::Update, true),
            ("pods/", Operation::List, false),
            ("services/specs/a/b", Operation::Get, false),
            ("apiregistration.k8s.io/apiservices/v1.apps", Operation::Get, false),
            ("example.com/foos/a/b", Operation::Delete, false),
            ("example.com/foos/c/d", Operation::Delete, false),
            ("masterleases/10.0.0.1", Operation::Update, false),
            ("masterleases/1.2/3", Operation::Update, false),
            ("ranges/servicenodeports", Operation::Get, false),
            ("some/thing/else", Operation::Get, false),
        ] {
            figures.note(key, operation, Instant::now(), failed);
        }
        let lines = lines(figures);
        let of = |family: &str| {
            let start = format!("{family}{{");
            let mut of: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(&start)).collect();
            of.sort_unstable();
            of
        };
        let requests = [
            "operation=\"create\",group=\"\",resource=\"pods\"} 1",
            "operation=\"delete\",group=\"example.com\",resource=\"foos\"} 2",
            "operation=\"get\",group=\"\",resource=\"\"} 1",
            "operation=\"get\",group=\"\",resource=\"servicenodeportallocations\"} 1",
            "operation=\"get\",group=\"\",resource=\"services\"} 1",
            "operation=\"get\",group=\"apiregistration.k8s.io\",resource=\"apiservices\"} 1",
            "operation=\"list\",group=\"\",resource=\"pods\"} 1",
            "operation=\"update\",group=\"\",resource=\"apiServerIPInfo\"} 2",
            "operation=\"update\",group=\"\",resource=\"pods\"} 1",
        ];
        assert_eq!(of("etcd_requests_total"), requests);
        assert_eq!(of("etcd_request_duration_seconds_count"), requests);
        assert_eq!(of("etcd_request_errors_total"), ["operation=\"update\",group=\"\",resource=\"pods\"} 1"]);
    }
}
