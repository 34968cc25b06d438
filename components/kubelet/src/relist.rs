//! Noticing what happens in the runtime: all containers are listed every second and compared with the last time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kinit_cri::Runtime;
use kinit_cri::v1::{ListContainersRequest, ListPodSandboxRequest, SandboxId};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::pod::source::Pods;
use crate::pod::state::POD_UID;

const PERIOD: Duration = Duration::from_secs(1);

/// Wakes the workers of pods that changed, until shutdown.
pub async fn run(context: Arc<Context>, pods: Pods, shutdown: CancellationToken) {
    let mut before: HashMap<String, (String, i32)> = HashMap::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.cancelled() => return,
        }
        let Some(now) = list(&context.runtime).await else { continue };
        for (id, (uid, state)) in &now {
            if before.get(id).is_none_or(|(_, old)| old != state) {
                pods.wake(uid);
            }
        }
        for (id, (uid, _)) in &before {
            if !now.contains_key(id) {
                pods.wake(uid);
            }
        }
        if pods.complete() {
            remove_orphans(&context, &pods, &now).await;
            remove_folders(&context, &pods, &now).await;
        }
        before = now;
    }
}

/// State of every sandbox and container by id, with the uid of its pod; `None` when the runtime does not answer.
async fn list(runtime: &Runtime) -> Option<HashMap<String, (String, i32)>> {
    let mut all = HashMap::new();
    let uid = |labels: &HashMap<String, String>| labels.get(POD_UID).cloned().unwrap_or_default();
    let request = tonic::Request::new(ListPodSandboxRequest::default());
    for sandbox in runtime.runtime.clone().list_pod_sandbox(request).await.ok()?.into_inner().items {
        all.insert(sandbox.id, (uid(&sandbox.labels), 100 + sandbox.state));
    }
    let request = tonic::Request::new(ListContainersRequest::default());
    for container in runtime.runtime.clone().list_containers(request).await.ok()?.into_inner().containers {
        all.insert(container.id, (uid(&container.labels), container.state));
    }
    Some(all)
}

/// Removes the files of pods that nobody knows, not even the runtime.
async fn remove_folders(context: &Context, pods: &Pods, now: &HashMap<String, (String, i32)>) {
    let known: HashSet<String> = pods.all().iter().map(|pod| crate::pod::facts::uid(pod).to_owned()).collect();
    for entry in std::fs::read_dir(context.root.join("pods")).into_iter().flatten().flatten() {
        let uid = entry.file_name().to_string_lossy().into_owned();
        if known.contains(&uid) || now.values().any(|(of, _)| *of == uid) {
            continue;
        }
        match crate::volumes::remove(context, &uid).await {
            Ok(()) => tracing::info!(uid, "removed the files of a pod that is gone"),
            Err(error) => tracing::debug!(uid, %error, "the files of a pod that is gone stay"),
        }
    }
}

async fn remove_orphans(context: &Context, pods: &Pods, now: &HashMap<String, (String, i32)>) {
    for (id, (uid, state)) in now {
        let known = uid.is_empty() || pods.all().iter().any(|pod| crate::pod::facts::uid(pod) == uid);
        if known || *state < 100 {
            continue;
        }
        tracing::info!(sandbox = id, uid, "removes a sandbox of a pod that is gone");
        let mut runtime = context.runtime.runtime.clone();
        let stopped = runtime.stop_pod_sandbox(tonic::Request::new(SandboxId { pod_sandbox_id: id.clone() })).await;
        if stopped.is_ok() {
            // What fails is tried again a second later.
            let _ = runtime.remove_pod_sandbox(tonic::Request::new(SandboxId { pod_sandbox_id: id.clone() })).await;
            let _ = crate::volumes::remove(context, uid).await;
        }
    }
}
