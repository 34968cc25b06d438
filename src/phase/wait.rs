//! Waiting: for the control plane, and for the node to be ready.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::init::InitContext;
use super::{Outcome, Phase};
use crate::api::{self, Api, Verb};

const PAUSE: Duration = Duration::from_millis(50);

/// Phase `wait-control-plane`.
pub const CONTROL_PLANE: Phase<InitContext> =
    Phase::leaf("wait-control-plane", "waits until the API server is ready", |context| {
        async move {
            if !context.host.is_real() {
                return Ok(Outcome::Skipped("in a dry run".into()));
            }
            api_ready(context.super_api.as_ref(), context.settings.timeouts.control_plane).await?;
            Ok(Outcome::Changed)
        }
        .boxed()
    });

/// Phase `wait-node`.
pub const NODE: Phase<InitContext> = Phase::leaf("wait-node", "waits until this node is ready", |context| {
    async move {
        if !context.host.is_real() {
            return Ok(Outcome::Skipped("in a dry run".into()));
        }
        node_ready(context.api.as_ref(), &context.settings.node.name, context.settings.timeouts.kubelet).await?;
        Ok(Outcome::Changed)
    }
    .boxed()
});

/// Waits until an API server is ready.
pub async fn api_ready(api: &dyn Api, patience: Duration) -> anyhow::Result<()> {
    until(patience, || async {
        match api.call(Verb::Get, "/readyz", None).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .map_err(|last| {
        anyhow::anyhow!(
            "the API server is not ready after {}s: {last}\nhint: `journalctl -u kubelet` and `crictl ps -a` tell why; \
             the logs of its containers are under /var/log/pods\ncode: ApiNotReady",
            patience.as_secs()
        )
    })
}

/// Waits until the node `name` is ready.
pub async fn node_ready(api: &dyn Api, name: &str, patience: Duration) -> anyhow::Result<()> {
    let path = format!("/api/v1/nodes/{name}");
    until(patience, || async {
        match api::get(api, &path).await {
            Ok(Some(node)) => readiness(&node),
            Ok(None) => Err("it is not registered yet".into()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .map_err(|last| anyhow::anyhow!("node {name} is not ready after {}s: {last}\nhint: `kubectl describe node {name}` and `journalctl -u kubelet` there tell why\ncode: NodeNotReady", patience.as_secs()))
}

/// Whether a Node object says that it is ready.
pub fn is_ready(node: &Value) -> bool {
    readiness(node).is_ok()
}

/// Whether a Node object says that it is ready, or what it says instead.
fn readiness(node: &Value) -> std::result::Result<(), String> {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    match ready {
        Some(condition) if condition["status"] == "True" => Ok(()),
        Some(condition) => Err(condition["message"].as_str().unwrap_or("it says no reason").to_owned()),
        None => Err("its kubelet has not reported yet".into()),
    }
}

/// Tries until it works or `patience` ends; then gives the last reason.
pub async fn until<F, Fut>(patience: Duration, mut attempt: F) -> std::result::Result<(), String>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = std::result::Result<(), String>>,
{
    let end = Instant::now() + patience;
    loop {
        match attempt().await {
            Ok(()) => return Ok(()),
            Err(reason) if Instant::now() >= end => return Err(reason),
            Err(_) => sleep(PAUSE).await,
        }
    }
}
