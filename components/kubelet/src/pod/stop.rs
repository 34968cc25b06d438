//! Stopping containers and sandboxes, and removing what nobody will ask about.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kinit_cri::Error as CriError;
use kinit_cri::v1::{ContainerId, SandboxId, StopContainerRequest};

use super::hooks::{self, Target};
use super::state::{Instance, PodState};
use super::{container, facts};
use crate::context::Context;
use crate::error::Result;
use crate::events::Kind;

/// What the runtime takes beyond the time that a container is given.
const SLACK: Duration = Duration::from_secs(120);
/// A container whose hook has used all its time up is given this long still.
const LEAST: i64 = 2;

/// Stops a container; one that is gone is stopped.
pub async fn container(context: &Context, id: &str, grace: i64) -> Result<()> {
    let mut request = tonic::Request::new(StopContainerRequest { container_id: id.to_owned(), timeout: grace });
    request.set_timeout(Duration::from_secs(grace.max(0) as u64) + SLACK);
    match context.runtime.runtime.clone().stop_container(request).await {
        Err(status) if status.code() != tonic::Code::NotFound => {
            Err(CriError::new(format!("stopping container {id}"), status).into())
        }
        _ => Ok(()),
    }
}

/// Removes a container, whatever it does; one that is gone is removed.
pub async fn discard(context: &Context, id: &str) -> Result<()> {
    let request = tonic::Request::new(ContainerId { container_id: id.to_owned() });
    match context.runtime.runtime.clone().remove_container(request).await {
        Err(status) if status.code() != tonic::Code::NotFound => {
            Err(CriError::new(format!("removing container {id}"), status).into())
        }
        _ => Ok(()),
    }
}

/// Stops a container of a pod after its hook, and says so. `why` ends the event's message.
pub async fn instance(
    context: &Context,
    pod: &Pod,
    instance: &Instance,
    ip: Option<&str>,
    grace: i64,
    why: &str,
) -> Result<()> {
    let name = instance.name.as_str();
    let text = if why.is_empty() { format!("Stopping container {name}") } else { format!("Container {name} {why}") };
    context.events.pod(pod, Some(name), Kind::Normal, "Killing", text);
    let mut left = grace;
    let wanted = container::find(pod, name);
    let hook = wanted.as_ref().and_then(|one| one.lifecycle.as_ref()?.pre_stop.as_ref());
    if let (Some(wanted), Some(hook), true) = (&wanted, hook, grace > 0) {
        let begin = tokio::time::Instant::now();
        let ip = if facts::host_network(pod) { Some(context.node_ip) } else { ip.and_then(|ip| ip.parse().ok()) };
        let target = Target { container: wanted, id: &instance.status.id, ip };
        if let Err(reason) = hooks::run(context, &target, hook, Duration::from_secs(grace as u64)).await {
            tracing::warn!(pod = facts::full_name(pod), container = name, reason, "the preStop hook failed");
            context.events.pod(
                pod,
                Some(name),
                Kind::Warning,
                "FailedPreStopHook",
                format!("PreStopHook failed: {reason}"),
            );
        }
        left = (grace - begin.elapsed().as_secs() as i64).max(LEAST);
    }
    self::container(context, &instance.status.id, left).await
}

/// Stops all containers at once, sidecars after the others, and then the sandboxes.
pub async fn all(context: &Context, pod: &Pod, state: &PodState, grace: i64) -> Result<()> {
    let ip = state.sandbox().and_then(|sandbox| sandbox.ips.first()).map(String::as_str);
    let sidecar = |name: &str| container::find(pod, name).is_some_and(|one| facts::is_sidecar(&one));
    let begin = tokio::time::Instant::now();
    for last in [false, true] {
        let left = (grace - begin.elapsed().as_secs() as i64).max(grace.min(LEAST));
        let running = state.containers.iter().filter(|one| one.is_running() && sidecar(&one.name) == last);
        let stops = running.map(|one| instance(context, pod, one, ip, left, ""));
        for result in futures::future::join_all(stops).await {
            result?;
        }
    }
    for sandbox in state.sandboxes.iter().filter(|sandbox| sandbox.ready) {
        let request = tonic::Request::new(SandboxId { pod_sandbox_id: sandbox.id.clone() });
        match context.runtime.runtime.clone().stop_pod_sandbox(request).await {
            Err(status) if status.code() != tonic::Code::NotFound => {
                return Err(CriError::new(format!("stopping sandbox {}", sandbox.id), status).into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes the sandboxes of a pod that is over, and with them their containers.
pub async fn remove(context: &Context, state: &PodState) -> Result<()> {
    for sandbox in &state.sandboxes {
        let request = tonic::Request::new(SandboxId { pod_sandbox_id: sandbox.id.clone() });
        let fail = |status| CriError::new(format!("removing sandbox {}", sandbox.id), status);
        context.runtime.runtime.clone().remove_pod_sandbox(request).await.map_err(fail)?;
    }
    Ok(())
}

/// Removes sandboxes and containers that nobody will ask about: the newest two of each container stay.
pub async fn collect(context: &Context, state: &PodState) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for instance in &state.containers {
        let count = seen.entry(instance.name.as_str()).or_default();
        *count += 1;
        if *count > 2 && instance.is_exited() {
            let request = tonic::Request::new(ContainerId { container_id: instance.status.id.clone() });
            // It is tried again at the next look.
            let _ = context.runtime.runtime.clone().remove_container(request).await;
        }
    }
    for sandbox in state.sandboxes.iter().skip(1).filter(|sandbox| !sandbox.ready) {
        if !state.containers.iter().any(|instance| instance.sandbox == sandbox.id) {
            let request = tonic::Request::new(SandboxId { pod_sandbox_id: sandbox.id.clone() });
            let _ = context.runtime.runtime.clone().remove_pod_sandbox(request).await;
        }
    }
}
