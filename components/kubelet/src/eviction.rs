//! Eviction: when memory or disk run short, pods end one by one, those that take more than they asked for first.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kinit_cri::Runtime;
use kinit_cri::v1::Empty;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::events::Kind;
use crate::node::memory_line;
use crate::pod::facts;
use crate::pod::source::Pods;
use crate::pod::state::POD_UID;
use crate::pod::status::{Failure, is_terminal};

const PERIOD: Duration = Duration::from_secs(10);
/// A shortage counts as over when it has not been seen this long.
const TRANSITION: Duration = Duration::from_secs(300);

/// Thresholds if the configuration has none, with the most that a part of the whole may be: a tenth of a large disk, which
/// a node may well share with others, is no shortage.
const DEFAULTS: &[(&str, &str, u64)] = &[
    ("memory.available", "100Mi", u64::MAX),
    ("nodefs.available", "10%", 1 << 30),
    ("nodefs.inodesFree", "5%", 100_000),
    ("imagefs.available", "15%", 1 << 30),
    ("imagefs.inodesFree", "5%", 100_000),
];

/// What the node is short of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Memory.
    pub memory: bool,
    /// Disk space or files.
    pub disk: bool,
    /// Process ids.
    pub pid: bool,
}

/// What there is of something, and how much of that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Supply {
    free: u64,
    all: u64,
}

/// What runs short, by the configuration's names.
type Signals = BTreeMap<&'static str, Supply>;

/// A signal that is below its threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Short {
    signal: &'static str,
    least: u64,
    free: u64,
}

/// An amount in the configuration: a quantity, or a part of the whole.
fn amount(text: &str, all: u64) -> Option<u64> {
    match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok().map(|percent| (all as f64 * percent / 100.0) as u64),
        None => facts::milli(text).and_then(|milli| u64::try_from(milli / 1000).ok()),
    }
}

/// The signals below their thresholds. Pure.
fn short_of(signals: &Signals, configured: Option<&BTreeMap<String, String>>) -> Vec<Short> {
    let below = signals.iter().filter_map(|(signal, supply)| {
        let (threshold, most) = match configured {
            Some(thresholds) => (thresholds.get(*signal)?.clone(), u64::MAX),
            None => DEFAULTS
                .iter()
                .find(|(name, ..)| name == signal)
                .map(|(_, amount, most)| ((*amount).to_owned(), *most))?,
        };
        let least = amount(&threshold, supply.all)?.min(most);
        (supply.all > 0 && supply.free < least).then_some(Short { signal, least, free: supply.free })
    });
    below.collect()
}

/// A pod that could be ended for the others.
struct Candidate<'a> {
    pod: &'a Arc<Pod>,
    /// Bytes of memory beyond what it asked for.
    excess: i64,
    priority: i32,
}

/// The pod to end first: one that uses more than it asked for, of low priority, the greediest first. Pure.
fn victim<'a>(pods: &'a [Arc<Pod>], usage: &HashMap<String, u64>) -> Option<&'a Arc<Pod>> {
    let candidates = pods.iter().filter(|pod| may_end(pod)).map(|pod| {
        let used = usage.get(facts::uid(pod)).copied().unwrap_or(0) as i64;
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        Candidate { pod, excess: used - requested(pod), priority }
    });
    candidates.min_by_key(|one| (one.excess <= 0, one.priority, std::cmp::Reverse(one.excess))).map(|one| one.pod)
}

fn may_end(pod: &Pod) -> bool {
    !(facts::is_critical(pod) || is_terminal(pod.status.as_ref()) || pod.metadata.deletion_timestamp.is_some())
}

fn requested(pod: &Pod) -> i64 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let requests = containers.filter_map(|one| {
        let memory = one.resources.as_ref()?.requests.as_ref()?.get("memory")?;
        facts::milli(&memory.0)
    });
    requests.sum::<i64>() / 1000
}

/// Looks until shutdown.
pub async fn run(context: Arc<Context>, pods: Pods, shutdown: CancellationToken) {
    let mut seen: HashMap<&'static str, Instant> = HashMap::new();
    loop {
        let short = short_of(&observe(&context), context.config.eviction_hard.as_ref());
        let now = Instant::now();
        seen.extend(short.iter().map(|one| (one.signal, now)));
        seen.retain(|_, at| now.duration_since(*at) < TRANSITION);
        *context.pressure.write() = Pressure {
            memory: seen.contains_key("memory.available"),
            disk: seen.keys().any(|signal| signal.contains("fs.")),
            pid: seen.contains_key("pid.available"),
        };
        if let Some(short) = short.first() {
            end_one(&context, &pods, short).await;
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

fn observe(context: &Context) -> Signals {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = memory_line(&memory, "MemAvailable:").unwrap_or(context.memory);
    let mut signals = Signals::from([("memory.available", Supply { free, all: context.memory })]);
    for (path, space, files) in [
        (context.root.as_path(), "nodefs.available", "nodefs.inodesFree"),
        (Path::new("/var/lib/containerd"), "imagefs.available", "imagefs.inodesFree"),
    ] {
        if let Ok(facts) = nix::sys::statvfs::statvfs(path) {
            let size = facts.fragment_size();
            signals.insert(space, Supply { free: facts.blocks_available() * size, all: facts.blocks() * size });
            signals.insert(files, Supply { free: facts.files_free(), all: facts.files() });
        }
    }
    signals
}

/// Bytes of memory by pod.
async fn usage(context: &Context) -> HashMap<String, u64> {
    let answer = context.runtime.runtime.clone().list_container_stats(Runtime::request(Empty {})).await;
    let mut all = HashMap::new();
    for stats in answer.map(|answer| answer.into_inner().stats).unwrap_or_default() {
        let uid = stats.attributes.and_then(|of| of.labels.get(POD_UID).cloned()).unwrap_or_default();
        let bytes = stats.memory.and_then(|memory| memory.working_set_bytes).map_or(0, |value| value.value);
        *all.entry(uid).or_default() += bytes;
    }
    all
}

async fn end_one(context: &Context, pods: &Pods, short: &Short) {
    let resource = if short.signal == "memory.available" { "memory" } else { "ephemeral-storage" };
    tracing::warn!(signal = short.signal, free = short.free, least = short.least, "the node runs short");
    let all = pods.all();
    let ending = |pod: &Arc<Pod>| context.failures.lock().contains_key(facts::uid(pod));
    let all: Vec<Arc<Pod>> = all.into_iter().filter(|pod| !ending(pod)).collect();
    let usage = usage(context).await;
    let Some(pod) = victim(&all, &usage) else { return };
    let message = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}Ki. ",
        short.least,
        short.free / 1024
    );
    context.events.pod(pod, None, Kind::Warning, "Evicted", message.clone());
    tracing::warn!(pod = facts::full_name(pod), message, "evicts a pod");
    context.fail(facts::uid(pod), Failure { reason: "Evicted", message });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn thresholds_are_amounts_or_parts() {
        let signals = Signals::from([
            ("memory.available", Supply { free: 99 << 20, all: 1 << 30 }),
            ("nodefs.available", Supply { free: 11, all: 100 }),
            ("nodefs.inodesFree", Supply { free: 0, all: 0 }),
        ]);
        let thresholds = [("memory.available", "100Mi"), ("nodefs.available", "10%"), ("nodefs.inodesFree", "5%")];
        let thresholds = thresholds.map(|(signal, amount)| (signal.to_owned(), amount.to_owned())).into();
        let short = short_of(&signals, Some(&thresholds));
        assert_eq!(short.iter().map(|one| one.signal).collect::<Vec<_>>(), ["memory.available"]);
        let large = |free| Signals::from([("nodefs.available", Supply { free, all: 1 << 40 })]);
        assert!(short_of(&large(20 << 30), None).is_empty());
        assert_eq!(short_of(&large(1 << 29), None).len(), 1);
        let tenth = [("nodefs.available".to_owned(), "10%".to_owned())].into();
        assert_eq!(short_of(&large(20 << 30), Some(&tenth)).len(), 1);
    }

    #[test]
    fn the_greediest_of_the_least_goes_first() {
        let pod = |name: &str, priority: i32, request: &str| -> Arc<Pod> {
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": {"priority": priority,
                "containers": [{"name": "a", "resources": {"requests": {"memory": request}}}]}}))
                .unwrap(),
            )
        };
        let pods = [
            pod("modest", 0, "100"),
            pod("greedy", 0, "10"),
            pod("worse", 0, "0"),
            pod("high", 5, "0"),
            pod("own", 2_000_000_000, "0"),
        ];
        let usage = |all: &[(&str, u64)]| all.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect();
        let found = |all: &[(&str, u64)]| victim(&pods, &usage(all)).map(|pod| facts::name(pod).to_owned());
        assert_eq!(found(&[("modest", 50), ("greedy", 50), ("worse", 60), ("high", 500)]).as_deref(), Some("worse"));
        assert_eq!(found(&[("modest", 50), ("high", 500), ("own", 900)]).as_deref(), Some("high"));
        assert!(victim(&pods[4..], &HashMap::new()).is_none());
    }
}
