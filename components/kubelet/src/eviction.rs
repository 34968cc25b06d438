//! Eviction: when memory, disk or process ids run short, pods end one by one, those that take more than they asked for
//! first. [`thresholds`] says what is short.

pub mod thresholds;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
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
use thresholds::{Short, Supplies, Supply, Threshold, Watch};

const PERIOD: Duration = Duration::from_secs(10);
/// Seconds that a pod has to end when there is no time to lose.
const AT_ONCE: i64 = 1;

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
pub async fn run(context: Arc<Context>, pods: Pods, thresholds: Vec<Threshold>, shutdown: CancellationToken) {
    let mut watch = Watch::default();
    loop {
        let now = Instant::now();
        let short = watch.look(&thresholds, &observe(&context), now);
        let pressing = watch.pressing(context.config.eviction_pressure_transition_period.0, now);
        *context.pressure.write() = Pressure {
            memory: pressing.contains(&"memory.available"),
            disk: pressing.iter().any(|signal| signal.contains("fs.")),
            pid: pressing.contains(&"pid.available"),
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

fn observe(context: &Context) -> Supplies {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = memory_line(&memory, "MemAvailable:").unwrap_or(context.memory);
    let mut supplies = Supplies::from([("memory.available", Supply { free, all: context.memory })]);
    for (path, space, files) in [
        (context.root.as_path(), "nodefs.available", "nodefs.inodesFree"),
        (Path::new("/var/lib/containerd"), "imagefs.available", "imagefs.inodesFree"),
    ] {
        if let Ok(facts) = nix::sys::statvfs::statvfs(path) {
            let size = facts.fragment_size();
            supplies.insert(space, Supply { free: facts.blocks_available() * size, all: facts.blocks() * size });
            supplies.insert(files, Supply { free: facts.files_free(), all: facts.files() });
        }
    }
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let most = [number("/proc/sys/kernel/pid_max"), number("/proc/sys/kernel/threads-max")];
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    if let (Some(all), Some(used)) = (most.into_iter().flatten().min(), tasks(&load)) {
        supplies.insert("pid.available", Supply { free: all.saturating_sub(used), all });
    }
    supplies
}

/// How many tasks there are, as `/proc/loadavg` has it: `0.1 0.2 0.3 running/all last`.
fn tasks(load: &str) -> Option<u64> {
    load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

/// Bytes of memory by pod.
async fn usage(context: &Context) -> HashMap<String, u64> {
    let answer = context.runtime.runtime.clone().list_container_stats(tonic::Request::new(Empty {})).await;
    let mut all = HashMap::new();
    for stats in answer.map(|answer| answer.into_inner().stats).unwrap_or_default() {
        let uid = stats.attributes.and_then(|of| of.labels.get(POD_UID).cloned()).unwrap_or_default();
        let bytes = stats.memory.and_then(|memory| memory.working_set_bytes).map_or(0, |value| value.value);
        *all.entry(uid).or_default() += bytes;
    }
    all
}

async fn end_one(context: &Context, pods: &Pods, short: &Short) {
    let signal = short.threshold.signal;
    let resource = match signal {
        "memory.available" => "memory",
        "pid.available" => "pids",
        signal if signal.ends_with("inodesFree") => "inodes",
        _ => "ephemeral-storage",
    };
    tracing::warn!(signal, free = short.free, least = short.least, "the node runs short");
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
    let own = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(AT_ONCE);
    let grace =
        short.threshold.grace.map_or(AT_ONCE, |_| soft_grace(context.config.eviction_max_pod_grace_period, own));
    context.fail(facts::uid(pod), Failure { grace: Some(grace), ..Failure::new("Evicted", message) });
}

/// Seconds that a pod has to end of which a node is only softly short; a negative `most` leaves it its own.
fn soft_grace(most: i64, own: i64) -> i64 {
    if most < 0 { own } else { most.min(own) }.max(AT_ONCE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_has_no_more_time_than_its_own() {
        for (most, own, wanted) in [(0, 30, 1), (10, 30, 10), (60, 30, 30), (-1, 30, 30)] {
            assert_eq!(soft_grace(most, own), wanted, "{most} {own}");
        }
        assert_eq!(tasks("0.20 0.18 0.12 1/80 11206\n"), Some(80));
        assert_eq!(tasks(""), None);
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
