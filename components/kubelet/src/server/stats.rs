//! Figures: the summary that autoscaling and people look at, and metrics for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;

use http::StatusCode;
use jiff::Timestamp;
use kinit_cri::v1::{ContainerStats, Empty};
use kinit_serving::metrics::Metrics;
use kinit_serving::text;
use serde_json::{Value, json};

use super::{Answer, Refusal, internal};
use crate::context::Context;
use crate::node;
use crate::pod::facts;
use crate::pod::source::Pods;
use crate::pod::state::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID};

/// What the runtime says of one container.
struct Sample {
    namespace: String,
    pod: String,
    uid: String,
    container: String,
    id: String,
    /// Nanoseconds of CPU time used, and when that was read, in nanoseconds since 1970.
    cpu: u64,
    at: i64,
    memory: u64,
}

impl Sample {
    fn new(stats: ContainerStats) -> Option<Self> {
        let of = stats.attributes?;
        let label = |name: &str| of.labels.get(name).cloned().unwrap_or_default();
        let cpu = stats.cpu.unwrap_or_default();
        Some(Self {
            namespace: label(POD_NAMESPACE),
            pod: label(POD_NAME),
            uid: label(POD_UID),
            container: label(CONTAINER_NAME),
            cpu: cpu.usage_core_nano_seconds.map_or(0, |value| value.value),
            at: cpu.timestamp,
            memory: stats.memory.and_then(|memory| memory.working_set_bytes).map_or(0, |value| value.value),
            id: of.id,
        })
    }
}

async fn samples(context: &Context) -> Result<Vec<Sample>, Refusal> {
    let answer = context.runtime.runtime.clone().list_container_stats(tonic::Request::new(Empty {})).await;
    let all = answer.map_err(|status| internal(status.message()))?.into_inner().stats;
    // Containers that have ended are listed without figures.
    Ok(all.into_iter().filter_map(Sample::new).filter(|sample| sample.at > 0).collect())
}

/// Nanoseconds of CPU time that the host has used, out of /proc/stat's first line.
fn host_cpu(stat: &str) -> u64 {
    const TICK: u64 = 10_000_000;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // User, nice, system, irq and softirq: idling and waiting are no use.
    [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum::<u64>() * TICK
}

/// The received and sent bytes of an interface, out of /proc/net/dev.
fn traffic(devices: &str, interface: &str) -> Option<(u64, u64)> {
    let line = devices.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'))?;
    let words: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    Some((*words.first()?, *words.get(8)?))
}

fn time(nanoseconds: i64) -> String {
    let at = Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_else(|_| Timestamp::now());
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn file_system(path: &std::path::Path) -> Value {
    let Ok(facts) = nix::sys::statvfs::statvfs(path) else { return json!({"time": now()}) };
    let size = facts.fragment_size();
    json!({
        "time": now(),
        "availableBytes": facts.blocks_available() * size,
        "capacityBytes": facts.blocks() * size,
        "usedBytes": (facts.blocks() - facts.blocks_free()) * size,
        "inodesFree": facts.files_free(),
        "inodes": facts.files(),
        "inodesUsed": facts.files() - facts.files_free(),
    })
}

/// `/stats/summary`.
pub async fn summary(context: &Context, pods: &Pods) -> Result<Value, Refusal> {
    let mut by_pod: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    for sample in samples(context).await? {
        by_pod.entry(sample.uid.clone()).or_default().push(sample);
    }
    let started: BTreeMap<String, String> = pods
        .all()
        .iter()
        .filter_map(|pod| {
            let start = pod.status.as_ref()?.start_time.as_ref()?;
            Some((crate::pod::facts::uid(pod).to_owned(), start.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
        })
        .collect();
    let pods: Vec<Value> = by_pod
        .iter()
        .filter_map(|(uid, all)| {
            let first = all.first()?;
            let at = all.iter().map(|one| one.at).max().unwrap_or_default();
            let start = started.get(uid).cloned().unwrap_or_else(now);
            Some(json!({
                "podRef": {"name": first.pod, "namespace": first.namespace, "uid": uid},
                "startTime": start,
                "containers": all.iter().map(|one| container(one, &start)).collect::<Vec<_>>(),
                "cpu": {"time": time(at), "usageCoreNanoSeconds": all.iter().map(|one| one.cpu).sum::<u64>()},
                "memory": {"time": time(at), "workingSetBytes": all.iter().map(|one| one.memory).sum::<u64>()},
            }))
        })
        .collect();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = node::memory_line(&memory, "MemAvailable:").unwrap_or(0);
    let used = context.memory.saturating_sub(available);
    let cpu = host_cpu(&std::fs::read_to_string("/proc/stat").unwrap_or_default());
    let devices = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let network = traffic(&devices, "eth0").map(|(received, sent)| {
        json!({"time": now(), "name": "eth0", "rxBytes": received, "txBytes": sent,
            "interfaces": [{"name": "eth0", "rxBytes": received, "txBytes": sent}]})
    });
    let disk = file_system(&context.root);
    Ok(json!({
        "node": {
            "nodeName": context.node_name,
            "startTime": time(i64::try_from(node::booted().as_nanosecond()).unwrap_or_default()),
            "cpu": {"time": now(), "usageCoreNanoSeconds": cpu},
            "memory": {"time": now(), "availableBytes": available, "usageBytes": used, "workingSetBytes": used},
            "network": network,
            "fs": disk,
            "runtime": {"imageFs": disk, "containerFs": disk},
        },
        "pods": pods,
    }))
}

fn container(sample: &Sample, start: &str) -> Value {
    json!({
        "name": sample.container,
        "startTime": start,
        "cpu": {"time": time(sample.at), "usageCoreNanoSeconds": sample.cpu},
        "memory": {"time": time(sample.at), "workingSetBytes": sample.memory},
    })
}

/// A family of metrics in Prometheus' text format.
fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string does not fail.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn metrics_answer(out: String) -> Answer {
    Ok(text(StatusCode::OK, out))
}

/// `/metrics`.
pub async fn metrics(process: &Metrics, context: &Context, pods: &Pods) -> Answer {
    let mut out = process.process();
    family(&mut out, "kubelet_node_name", "gauge", "The node's name. The count is always 1.");
    let _ = writeln!(out, "kubelet_node_name{{node={:?}}} 1", context.node_name);
    family(&mut out, "kubelet_active_pods", "gauge", "The number of pods the kubelet considers active.");
    let _ = writeln!(out, "kubelet_active_pods {}", pods.all().len());
    let all = samples(context).await.unwrap_or_default();
    family(&mut out, "kubelet_running_containers", "gauge", "Number of containers currently running.");
    let _ = writeln!(out, "kubelet_running_containers{{container_state=\"running\"}} {}", all.len());
    let running: std::collections::HashSet<&str> = all.iter().map(|one| one.uid.as_str()).collect();
    family(&mut out, "kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox.");
    let _ = writeln!(out, "kubelet_running_pods {}", running.len());
    metrics_answer(out)
}

/// `/metrics/probes`.
pub fn probe_metrics(context: &Context) -> Answer {
    let mut out = String::new();
    family(&mut out, "prober_probe_total", "counter", "Cumulative number of probes for a container by result.");
    for ((_, kind), count) in context.probes.counts() {
        for (result, answers) in ["successful", "failed"].into_iter().zip(count.answers).filter(|(_, count)| *count > 0)
        {
            let (namespace, pod, uid) = (facts::namespace(&count.pod), facts::name(&count.pod), facts::uid(&count.pod));
            let _ = writeln!(
                out,
                "prober_probe_total{{container={:?},namespace={namespace:?},pod={pod:?},pod_uid={uid:?},\
                 probe_type=\"{kind:?}\",result={result:?}}} {answers}",
                count.container
            );
        }
    }
    metrics_answer(out)
}

/// `/metrics/resource`.
pub async fn resource_metrics(context: &Context) -> Answer {
    let all = samples(context).await?;
    let mut out = String::new();
    let of = |one: &Sample| format!("container={:?},namespace={:?},pod={:?}", one.container, one.namespace, one.pod);
    family(
        &mut out,
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    for one in &all {
        let _ = writeln!(
            out,
            "container_cpu_usage_seconds_total{{{}}} {} {}",
            of(one),
            seconds(one.cpu),
            one.at / 1_000_000
        );
    }
    family(&mut out, "container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes");
    for one in &all {
        let _ =
            writeln!(out, "container_memory_working_set_bytes{{{}}} {} {}", of(one), one.memory, one.at / 1_000_000);
    }
    let mut pods: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for one in &all {
        let sum = pods.entry((&one.namespace, &one.pod)).or_default();
        *sum = (sum.0 + one.cpu, sum.1 + one.memory);
    }
    family(
        &mut out,
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
    );
    for ((namespace, pod), (cpu, _)) in &pods {
        let _ = writeln!(out, "pod_cpu_usage_seconds_total{{namespace={namespace:?},pod={pod:?}}} {}", seconds(*cpu));
    }
    family(&mut out, "pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes");
    for ((namespace, pod), (_, memory)) in &pods {
        let _ = writeln!(out, "pod_memory_working_set_bytes{{namespace={namespace:?},pod={pod:?}}} {memory}");
    }
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let used = context.memory.saturating_sub(node::memory_line(&memory, "MemAvailable:").unwrap_or(0));
    let cpu = host_cpu(&std::fs::read_to_string("/proc/stat").unwrap_or_default());
    family(
        &mut out,
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
    );
    let _ = writeln!(out, "node_cpu_usage_seconds_total {}", seconds(cpu));
    family(&mut out, "node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes");
    let _ = writeln!(out, "node_memory_working_set_bytes {used}");
    family(
        &mut out,
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    out.push_str("resource_scrape_error 0\n");
    metrics_answer(out)
}

/// `/metrics/cadvisor`: those of its families that the runtime has figures for.
pub async fn container_metrics(context: &Context) -> Answer {
    let all = samples(context).await?;
    let mut out = String::new();
    let of = |one: &Sample| {
        let Sample { container, id, namespace, pod, .. } = one;
        format!(
            "container={container:?},id=\"/kubepods/pod{}/{id}\",name={id:?},namespace={namespace:?},pod={pod:?}",
            one.uid
        )
    };
    family(&mut out, "container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.");
    for one in &all {
        let _ = writeln!(out, "container_cpu_usage_seconds_total{{{},cpu=\"total\"}} {}", of(one), seconds(one.cpu));
    }
    family(&mut out, "container_memory_working_set_bytes", "gauge", "Current working set in bytes.");
    for one in &all {
        let _ = writeln!(out, "container_memory_working_set_bytes{{{}}} {}", of(one), one.memory);
    }
    family(&mut out, "container_last_seen", "gauge", "Last time a container was seen by the exporter");
    for one in &all {
        let _ = writeln!(out, "container_last_seen{{{}}} {}", of(one), one.at / 1_000_000_000);
    }
    family(&mut out, "machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    let _ = writeln!(out, "machine_memory_bytes {}", context.memory);
    metrics_answer(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_figures_are_read() {
        assert_eq!(host_cpu("cpu  1 2 3 100 50 4 5 0 0 0\ncpu0 9 9 9 9\n"), 15 * 10_000_000);
        let devices = "Inter-|\n face |\n    lo: 1 2 3\n  eth0: 10 1 0 0 0 0 0 0 20 2 0\n";
        assert_eq!(traffic(devices, "eth0"), Some((10, 20)));
        assert_eq!(traffic(devices, "eth1"), None);
        assert_eq!(time(1_800_000_000_000_000_000), "2027-01-15T08:00:00Z");
    }

    #[test]
    fn samples_are_labelled_by_their_pods() {
        use kinit_cri::v1::{ContainerAttributes, CpuUsage, UInt64Value};
        let labels = [(POD_NAME, "p"), (POD_UID, "u"), (CONTAINER_NAME, "c")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let attributes = Some(ContainerAttributes { id: "i".into(), labels, ..Default::default() });
        let cpu = Some(CpuUsage { timestamp: 5, usage_core_nano_seconds: Some(UInt64Value { value: 7 }) });
        let sample = Sample::new(ContainerStats { attributes, cpu, memory: None }).unwrap();
        assert_eq!((sample.pod.as_str(), sample.cpu, sample.at, sample.memory), ("p", 7, 5, 0));
    }
}
