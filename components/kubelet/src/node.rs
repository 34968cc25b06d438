//! The Node object: registering it, and its status.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeSpec, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kinit_cri::v1::{StatusRequest, VersionRequest};
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::config::Configuration;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::events::Kind;
use crate::options::Options;
use crate::pod::claims::Room;
use crate::pod::facts;

/// How often the status is told if nothing changes.
const STATUS_PERIOD: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(300);
/// How long the API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the Node object be there; tries until it is.
pub async fn register(context: &Context, client: kube::Client, options: &Options) {
    let api: Api<Node> = Api::all(client);
    loop {
        let tried = tokio::time::timeout(PATIENCE, try_register(context, &api, options)).await;
        match tried.unwrap_or(Err(Error::NotConnected)) {
            Ok(uid) => {
                *context.node_uid.write() = Some(uid);
                return;
            }
            Err(error) => tracing::debug!(%error, "the node is not registered yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn try_register(context: &Context, api: &Api<Node>, options: &Options) -> Result<String> {
    let mut labels = own_labels(&context.host_name);
    for label in &options.node_labels {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        labels.insert(key.to_owned(), value.to_owned());
    }
    if let Some(present) = api.get_opt(&context.node_name).await? {
        let patch = json!({"metadata": {"labels": labels}});
        api.patch(&context.node_name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        return Ok(present.metadata.uid.unwrap_or_default());
    }
    let taints: Vec<Taint> = options.register_with_taints.iter().filter_map(|text| parse_taint(text)).collect();
    // With its status from the first: whoever sees a node without room takes it for a full one.
    let status = status(context, &conditions(context, &[]).await).await;
    let node = Node {
        metadata: ObjectMeta { name: Some(context.node_name.clone()), labels: Some(labels), ..Default::default() },
        spec: Some(NodeSpec { taints: (!taints.is_empty()).then_some(taints), ..Default::default() }),
        status: serde_json::from_value(status).map_err(kube::Error::SerdeError)?,
    };
    let made = api.create(&PostParams::default(), &node).await?;
    tracing::info!(node = context.node_name, "registered the node");
    Ok(made.metadata.uid.unwrap_or_default())
}

fn own_labels(host_name: &str) -> BTreeMap<String, String> {
    let architecture = kinit_version::architecture();
    [
        ("kubernetes.io/hostname", host_name),
        ("kubernetes.io/arch", architecture),
        ("kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture),
        ("beta.kubernetes.io/os", "linux"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// `key=value:effect` or `key:effect`.
fn parse_taint(text: &str) -> Option<Taint> {
    let (rest, effect) = text.rsplit_once(':')?;
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    Some(Taint {
        key: key.to_owned(),
        value: (!value.is_empty()).then(|| value.to_owned()),
        effect: effect.to_owned(),
        time_added: None,
    })
}

/// Tells the node's status when it changes, and from time to time, until shutdown.
pub async fn follow_status(context: Arc<Context>, client: kube::Client, shutdown: CancellationToken) {
    let api: Api<Node> = Api::all(client);
    let mut told: Option<(Vec<NodeCondition>, tokio::time::Instant)> = None;
    let mut used: Vec<String> = Vec::new();
    // What an earlier kubelet told goes on: a restart is no transition.
    let earlier = tokio::time::timeout(PATIENCE, api.get_opt(&context.node_name)).await;
    let earlier = earlier.ok().and_then(|answer| answer.ok()?).and_then(|node| node.status?.conditions);
    let earlier = earlier.unwrap_or_default();
    loop {
        let before = told.as_ref().map_or(earlier.as_slice(), |(conditions, _)| conditions.as_slice());
        let conditions = conditions(&context, before).await;
        say_readiness(&context, before, &conditions);
        let same = |old: &[NodeCondition]| {
            old.iter().zip(&conditions).all(|(old, new)| (&old.status, &old.message) == (&new.status, &new.message))
        };
        let using = crate::volumes::csi::in_use(&context);
        let due = told.as_ref().is_none_or(|(old, at)| at.elapsed() >= STATUS_PERIOD || !same(old) || used != using);
        if due {
            let mut status = status(&context, &conditions).await;
            status["volumesInUse"] = json!(using);
            let (params, patch) = (PatchParams::default(), Patch::Strategic(json!({"status": status})));
            let sent = tokio::time::timeout(PATIENCE, api.patch_status(&context.node_name, &params, &patch)).await;
            match sent.map_err(|_| Error::NotConnected).and_then(|answer| Ok(answer?)) {
                Ok(_) => {
                    told = Some((conditions, tokio::time::Instant::now()));
                    used = using;
                }
                Err(error) => tracing::debug!(%error, "the node's status was not taken"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(if told.is_some() { LOOK_PERIOD } else { RETRY }) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Says when the node becomes ready or ceases to be.
fn say_readiness(context: &Context, before: &[NodeCondition], now: &[NodeCondition]) {
    let ready = |all: &[NodeCondition]| all.iter().find(|one| one.type_ == "Ready").map(|one| one.status == "True");
    let (reason, kind) = match (ready(before), ready(now)) {
        (Some(true), Some(false)) => ("NodeNotReady", Kind::Warning),
        (Some(false) | None, Some(true)) => ("NodeReady", Kind::Normal),
        _ => return,
    };
    let text = format!("Node {} status is now: {reason}", context.node_name);
    context.events.node(&context.node_name, kind, reason, text);
}

fn condition(kind: &str, is: bool, reason: &str, message: &str, before: &[NodeCondition]) -> NodeCondition {
    let now = Timestamp::now();
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let status = if is { "True" } else { "False" };
    let old = before.iter().find(|old| old.type_ == kind && old.status == status);
    NodeCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_heartbeat_time: Some(now.clone()),
        last_transition_time: old.and_then(|old| old.last_transition_time.clone()).or(Some(now)),
    }
}

async fn conditions(context: &Context, before: &[NodeCondition]) -> Vec<NodeCondition> {
    let answer = context.runtime.runtime.clone().status(tonic::Request::new(StatusRequest { verbose: false })).await;
    let problem = match answer {
        _ if context.ends.load(Ordering::Relaxed) => Some("node is shutting down".to_owned()),
        Err(status) => Some(format!("container runtime is down: {}", status.message())),
        Ok(answer) => {
            let all = answer.into_inner().status.unwrap_or_default().conditions;
            let bad: Vec<String> = all
                .iter()
                .filter(|one| !one.status && matches!(one.r#type.as_str(), "RuntimeReady" | "NetworkReady"))
                .map(|one| format!("container runtime is not ready: {} is false: {}", one.r#type, one.message))
                .collect();
            (!bad.is_empty()).then(|| bad.join("; "))
        }
    };
    let ready = match &problem {
        None => condition("Ready", true, "KubeletReady", "kubelet is posting ready status", before),
        Some(problem) => condition("Ready", false, "KubeletNotReady", problem, before),
    };
    let pressure = *context.pressure.read();
    let told = |kind, is, yes: (&str, &str), no: (&str, &str)| {
        let (reason, message) = if is { yes } else { no };
        condition(kind, is, reason, message, before)
    };
    vec![
        told(
            "MemoryPressure",
            pressure.memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        told(
            "DiskPressure",
            pressure.disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        told(
            "PIDPressure",
            pressure.pid,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ready,
    ]
}

/// A line of /proc/meminfo in bytes.
pub fn memory_line(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// When the host was started.
pub fn booted() -> Timestamp {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let up: f64 = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default();
    Timestamp::from_second(Timestamp::now().as_second() - up as i64).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Thousandths of a resource that the configuration keeps from pods.
fn reserved(config: &Configuration, name: &str) -> i64 {
    let all = [&config.kube_reserved, &config.system_reserved];
    all.iter().filter_map(|one| facts::milli(one.get(name)?)).sum()
}

fn processors() -> i64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as i64)
}

/// What there is for pods on a host of so many bytes of memory: not what is reserved, nor what the kubelet needs before it
/// would evict anything.
pub fn room(config: &Configuration, memory: u64) -> Room {
    let cpu = (processors() * 1000 - reserved(config, "cpu")).max(0);
    let kept = reserved(config, "memory") / 1000 + (100 << 20);
    let memory = i64::try_from(memory).unwrap_or(i64::MAX).saturating_sub(kept).max(0);
    Room { cpu, memory, pods: i64::from(config.max_pods) }
}

async fn status(context: &Context, conditions: &[NodeCondition]) -> Value {
    let storage = disk(&context.root);
    let capacity = json!({
        "cpu": processors().to_string(),
        "memory": format!("{}Ki", context.memory / 1024),
        "pods": context.config.max_pods.to_string(),
        "ephemeral-storage": format!("{}Ki", storage / 1024),
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
    });
    let reserved = u64::try_from(reserved(&context.config, "ephemeral-storage") / 1000).unwrap_or(0);
    let Room { cpu, memory, pods } = context.room;
    let allocatable = json!({
        "cpu": if cpu % 1000 == 0 { (cpu / 1000).to_string() } else { format!("{cpu}m") },
        "memory": format!("{}Ki", memory / 1024),
        "pods": pods.to_string(),
        "ephemeral-storage": (storage / 10 * 9).saturating_sub(reserved).to_string(),
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
    });
    json!({
        "addresses": [
            {"type": "InternalIP", "address": context.node_ip.to_string()},
            {"type": "Hostname", "address": context.host_name},
        ],
        "capacity": capacity,
        "allocatable": allocatable,
        "conditions": conditions,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": context.config.port}},
        "nodeInfo": node_info(context).await,
        "images": images(context).await,
        "declaredFeatures": DECLARED,
    })
}

/// What this kubelet can do of that which a node has to say of itself, in order. Neither the resources of a pod as a whole nor
/// WebSockets are among it.
const DECLARED: [&str; 1] = ["InPlacePodVerticalScalingInitContainers"];

fn disk(path: &Path) -> u64 {
    nix::sys::statvfs::statvfs(path).map_or(0, |facts| facts.blocks() * facts.fragment_size())
}

async fn node_info(context: &Context) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let release = read("/etc/os-release");
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("Linux")
        .trim_matches('"')
        .to_owned();
    let answer =
        context.runtime.runtime.clone().version(tonic::Request::new(VersionRequest { version: "v1".into() })).await;
    let runtime = answer.map(|answer| {
        let version = answer.into_inner();
        format!("{}://{}", version.runtime_name, version.runtime_version)
    });
    json!({
        "architecture": kinit_version::architecture(),
        "bootID": read("/proc/sys/kernel/random/boot_id"),
        "containerRuntimeVersion": runtime.unwrap_or_default(),
        "kernelVersion": read("/proc/sys/kernel/osrelease"),
        "kubeProxyVersion": "",
        "kubeletVersion": kinit_version::kubernetes(),
        "machineID": read("/etc/machine-id"),
        "operatingSystem": "linux",
        "osImage": name,
        "systemUUID": read("/sys/class/dmi/id/product_uuid"),
    })
}

async fn images(context: &Context) -> Value {
    let request = tonic::Request::new(kinit_cri::v1::Empty {});
    let Ok(answer) = context.runtime.images.clone().list_images(request).await else { return json!([]) };
    let mut all = answer.into_inner().images;
    all.sort_by_key(|image| std::cmp::Reverse(image.size));
    let some = all.into_iter().take(50).map(|image| {
        let names: Vec<String> = image.repo_digests.into_iter().chain(image.repo_tags).collect();
        json!({"names": names, "sizeBytes": image.size})
    });
    some.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_and_memory_are_read() {
        let taint = parse_taint("node-role.kubernetes.io/control-plane:NoSchedule").unwrap();
        assert_eq!((taint.value, taint.effect.as_str()), (None, "NoSchedule"));
        let taint = parse_taint("a=b:NoExecute").unwrap();
        assert_eq!((taint.key.as_str(), taint.value.as_deref()), ("a", Some("b")));
        assert_eq!(memory_line("MemTotal:  2 kB\n", "MemTotal:"), Some(2048));
    }
}
