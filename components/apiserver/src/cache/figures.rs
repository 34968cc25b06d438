//! What came into the cache and what watchers and lists got out of it, by upstream's names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::{Cache, Resource, ring};
use crate::registry::{RESOURCES, ResourceSpec, Storage};
use crate::tally::{Count, Tally, Teller};

/// Upstream's bounds of waits for the cache, in seconds.
const WAITS: [f64; 13] = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0];
/// Upstream's bounds of events' sizes, in bytes.
const EVENTS: [f64; 8] = [1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131_072.0];
/// Upstream's bounds of how long initial events take, in seconds.
const INITIAL: [f64; 17] = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
/// Upstream tells this many digits of a revision, because that is what fits a floating number.
const DIGITS: i64 = 1_000_000_000_000_000;

/// What happened to one resource.
#[derive(Debug)]
pub(super) struct Counts {
    /// Events that etcd's watch brought.
    pub received: Count,
    /// Values that could not be read.
    pub garbled: Count,
    /// Of the events, those that were new and told to who watches.
    pub dispatched: Count,
    pub filled: Count,
    /// Objects and changes that watches began with.
    pub initial: Count,
    /// Watchers that were too slow.
    pub terminated: Count,
    /// Reads that were to see all that had been written: those that did, and those that failed.
    pub consistent: [Count; 2],
    pub waits: Tally,
    pub lists: Lists,
    /// Lists of a state that etcd was asked for.
    pub lists_of_before: Lists,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            received: Count::default(),
            garbled: Count::default(),
            dispatched: Count::default(),
            filled: Count::default(),
            initial: Count::default(),
            terminated: Count::default(),
            consistent: Default::default(),
            waits: Tally::of_times(&WAITS),
            lists: Lists::default(),
            lists_of_before: Lists::default(),
        }
    }
}

/// Lists, and the objects that they looked at and gave.
#[derive(Debug, Default)]
pub(super) struct Lists {
    count: Count,
    fetched: Count,
    returned: Count,
}

impl Lists {
    pub fn note(&self, fetched: usize, returned: usize) {
        self.count.one();
        self.fetched.add(fetched);
        self.returned.add(returned);
    }
}

/// The scopes of watches that begin with what is there, as upstream tells them apart.
const SCOPES: [&str; 3] = ["cluster", "namespace", "resource"];

/// What the watchers of one version of a resource were sent.
#[derive(Debug)]
pub struct Watched {
    /// Events by their sizes.
    events: Tally,
    initial: [Tally; SCOPES.len()],
}

impl Watched {
    /// An event of so many bytes was sent.
    pub fn sent(&self, bytes: usize) {
        self.events.measured(bytes);
    }

    /// All was sent that was there when a watch began.
    pub fn began(&self, scope: Scope, took: std::time::Duration) {
        self.initial[scope as usize].took(took);
    }
}

/// What a watch is over.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    Cluster,
    Namespace,
    Resource,
}

/// Those of all, by group, version and resource. Only what is served is ever watched.
#[derive(Clone, Debug, Default)]
pub(super) struct AllWatched(Arc<RwLock<BTreeMap<[String; 3], Arc<Watched>>>>);

impl AllWatched {
    pub fn of(&self, spec: &ResourceSpec) -> Arc<Watched> {
        let new = || {
            let initial = [(); SCOPES.len()].map(|()| Tally::of_times(&INITIAL));
            Arc::new(Watched { events: Tally::of_sizes(&EVENTS), initial })
        };
        let name = [spec.group(), spec.version(), spec.resource()].map(str::to_owned);
        if let Some(watched) = self.0.read().get(&name) {
            return watched.clone();
        }
        self.0.write().entry(name).or_insert_with(new).clone()
    }
}

/// The families of a cache.
pub(crate) struct Figures(pub Cache);

impl fmt::Debug for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Figures").finish()
    }
}

type Labels<'a> = [(&'static str, &'a str); 2];

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(cache) = self;
        let registry = cache.registry();
        let own = RESOURCES.iter().enumerate().filter(|(_, spec)| spec.storage == Storage::Own);
        let named = own.map(|(index, spec)| (index, spec.group(), spec.resource()));
        let custom = registry.stores().map(|store| (store.index, store.spec.group(), store.spec.resource()));
        let all: Vec<(Labels<'_>, Arc<Resource>)> = named
            .chain(custom)
            .filter_map(|(index, group, resource)| {
                Some(([("group", group), ("resource", resource)], cache.resource(index)?))
            })
            .collect();
        let mut teller = Teller(encoder);
        of_cache(&mut teller, &all)?;
        of_lists(&mut teller, &all)?;
        let revision = cache.revision();
        let filled = || all.iter().filter(|(_, resource)| resource.counts.filled.told() > 0);
        let help = "The revision that the cache has come to";
        let revisions = filled().map(|(labels, _)| (*labels, revision % DIGITS));
        teller.gauges("apiserver_watch_cache_resource_version", help, revisions)?;
        let help = "Changes that the cache keeps at most";
        teller.gauges("watch_cache_capacity", help, filled().map(|(labels, _)| (*labels, ring::MOST as i64)))?;
        of_watches(&mut teller, &cache.watched.0.read())
    }
}

fn of_cache(teller: &mut Teller<'_>, all: &[(Labels<'_>, Arc<Resource>)]) -> fmt::Result {
    type Pick = fn(&Counts) -> &Count;
    let counts: [(&str, &str, Pick); 7] = [
        ("apiserver_storage_events_received", "Events that etcd sent", |counts| &counts.received),
        ("apiserver_storage_decode_errors", "Stored values that cannot be read", |counts| &counts.garbled),
        ("apiserver_watch_cache_events_received", "Events that came into the cache", |counts| &counts.received),
        ("apiserver_watch_cache_events_dispatched", "Events that were told to who watches", |counts| {
            &counts.dispatched
        }),
        ("apiserver_watch_cache_initializations", "How often the cache was filled", |counts| &counts.filled),
        ("apiserver_init_events", "What watches began with", |counts| &counts.initial),
        ("apiserver_terminated_watchers", "Watchers that were closed because they were too slow", |counts| {
            &counts.terminated
        }),
    ];
    for (name, help, pick) in counts {
        let told = all.iter().map(|(labels, resource)| (*labels, pick(&resource.counts).told()));
        teller.counts(name, help, told.filter(|(_, count)| *count > 0))?;
    }
    let waits = all.iter().map(|(labels, resource)| (*labels, &resource.counts.waits));
    let help = "How long reads waited until the cache was fresh";
    teller.tallies("apiserver_watch_cache_read_wait_seconds", help, waits.filter(|(_, tally)| tally.count() > 0))?;
    let consistent = all.iter().flat_map(|(labels, resource)| {
        let told = resource.counts.consistent.iter().zip(["true", "false"]);
        told.map(|(count, success)| ((*labels, [("success", success), ("fallback", "false")]), count.told()))
    });
    let help = "Reads out of the cache that were to see all that had been written";
    teller.counts("apiserver_watch_cache_consistent_read", help, consistent.filter(|(_, count)| *count > 0))
}

fn of_lists(teller: &mut Teller<'_>, all: &[(Labels<'_>, Arc<Resource>)]) -> fmt::Result {
    type Pick = fn(&Lists) -> &Count;
    let of = |pick: fn(&Counts) -> &Lists| {
        let used = all.iter().map(move |(labels, resource)| (*labels, pick(&resource.counts)));
        used.filter(|(_, lists)| lists.count.told() > 0)
    };
    // The cache has no index beside its keys.
    let indexed: [(&str, &str, Pick); 2] = [
        ("apiserver_cache_list", "Lists out of the cache", |lists| &lists.count),
        ("apiserver_cache_list_fetched_objects", "Objects that those looked at", |lists| &lists.fetched),
    ];
    for (name, help, pick) in indexed {
        let told = of(|counts| &counts.lists).map(|(labels, lists)| ((labels, [("index", "")]), pick(lists).told()));
        teller.counts(name, help, told)?;
    }
    let returned = of(|counts| &counts.lists).map(|(labels, lists)| (labels, lists.returned.told()));
    teller.counts("apiserver_cache_list_returned_objects", "Objects that those gave", returned)?;
    let before: [(&str, &str, Pick); 4] = [
        ("apiserver_storage_list", "Lists that etcd was asked for", |lists| &lists.count),
        ("apiserver_storage_list_evaluated_objects", "Objects that were looked at for those", |lists| &lists.fetched),
        ("apiserver_storage_list_fetched_objects", "Objects that were read for those", |lists| &lists.fetched),
        ("apiserver_storage_list_returned_objects", "Objects that were taken for those", |lists| &lists.returned),
    ];
    for (name, help, pick) in before {
        let told = of(|counts| &counts.lists_of_before).map(|(labels, lists)| (labels, pick(lists).told()));
        teller.counts(name, help, told)?;
    }
    Ok(())
}

fn of_watches(teller: &mut Teller<'_>, watched: &BTreeMap<[String; 3], Arc<Watched>>) -> fmt::Result {
    let all = || {
        watched.iter().map(|([group, version, resource], watched)| {
            let labels = [("group", group.as_str()), ("version", version.as_str()), ("resource", resource.as_str())];
            (labels, &**watched)
        })
    };
    let events = || all().map(|(labels, watched)| (labels, &watched.events)).filter(|(_, tally)| tally.count() > 0);
    let help = "Events that watchers were sent";
    teller.counts("apiserver_watch_events", help, events().map(|(labels, tally)| (labels, tally.count())))?;
    teller.tallies("apiserver_watch_events_sizes", "How many bytes those had", events())?;
    let initial = all().flat_map(|(labels, watched)| {
        let scopes = watched.initial.iter().zip(SCOPES);
        scopes.map(move |(tally, scope)| ((labels, [("scope", scope)]), tally))
    });
    let help = "How long watches took to tell all that was there when they began";
    teller.tallies("apiserver_watch_list_duration_seconds", help, initial.filter(|(_, tally)| tally.count() > 0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::super::{Entry, Map};
    use super::*;
    use crate::options::Options;
    use crate::registry;
    use crate::storage::Etcd;
    use crate::tally::tests::lines;

    #[tokio::test]
    async fn what_happens_to_a_resource_is_told() {
        let options = Options::parse_from(["x", "--etcd-servers=http://127.0.0.1:1"]);
        let (cache, _follow) = Cache::new(Etcd::new(&options).unwrap(), CancellationToken::new());
        let (index, spec) = registry::find("apps", "v1", "deployments").unwrap();
        let resource = cache.resource(index).unwrap();
        resource.reset(Map::new(), 3);
        let object = json!({"metadata": {"namespace": "n", "name": "a"}}).to_string();
        let entry = Arc::new(Entry::new(spec, object.as_bytes(), 4).unwrap());
        resource.apply("n/a", 4, Some(entry.clone()));
        resource.apply("n/a", 4, Some(entry));
        cache.listed(index, 7, 5);
        cache.began(index, 6);
        cache.terminated(index);
        cache.reach_for(index, 0).await.unwrap();
        assert!(cache.list_consistent(index).await.is_err(), "there is no etcd");
        let watched = cache.watched(spec);
        watched.sent(1024);
        watched.sent(3000);
        cache.watched(spec).began(Scope::Namespace, Duration::from_millis(60));
        let lines = lines(Figures(cache));
        let of = "group=\"apps\",resource=\"deployments\"";
        let versioned = "group=\"apps\",version=\"v1\",resource=\"deployments\"";
        for line in [
            format!("apiserver_storage_events_received_total{{{of}}} 2"),
            format!("apiserver_watch_cache_events_received_total{{{of}}} 2"),
            format!("apiserver_watch_cache_events_dispatched_total{{{of}}} 1"),
            format!("apiserver_watch_cache_initializations_total{{{of}}} 1"),
            format!("apiserver_init_events_total{{{of}}} 6"),
            format!("apiserver_terminated_watchers_total{{{of}}} 1"),
            format!("apiserver_cache_list_total{{{of},index=\"\"}} 1"),
            format!("apiserver_cache_list_fetched_objects_total{{{of},index=\"\"}} 7"),
            format!("apiserver_cache_list_returned_objects_total{{{of}}} 5"),
            format!("apiserver_watch_cache_consistent_read_total{{{of},success=\"false\",fallback=\"false\"}} 1"),
            format!("apiserver_watch_cache_resource_version{{{of}}} 0"),
            format!("watch_cache_capacity{{{of}}} 102400"),
            format!("apiserver_watch_events_total{{{versioned}}} 2"),
            format!("apiserver_watch_events_sizes_bucket{{le=\"1024.0\",{versioned}}} 1"),
            format!("apiserver_watch_events_sizes_bucket{{le=\"131072.0\",{versioned}}} 2"),
            format!("apiserver_watch_list_duration_seconds_bucket{{le=\"0.1\",{versioned},scope=\"namespace\"}} 1"),
        ] {
            assert!(lines.contains(&line), "{line}\n{}", lines.join("\n"));
        }
        assert!(!lines.iter().any(|line| line.contains("pods")), "nothing happened to others");
    }
}
