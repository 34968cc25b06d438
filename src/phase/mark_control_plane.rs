//! Phase `mark-control-plane`: labels and taints of this node.

use futures::FutureExt;
use serde_json::{Value, json};

use super::init::InitContext;
use super::{Outcome, Phase, Result};
use crate::api::{self, Verb};
use crate::config::settings::CONTROL_PLANE_KEY;

/// The phase.
pub const PHASE: Phase<InitContext> =
    Phase::leaf("mark-control-plane", "labels this node as a control plane and taints it", |context| {
        async move { mark(context).await }.boxed()
    });

/// Labels and taints the node of `context`.
pub async fn mark(context: &InitContext) -> Result {
    let node = &context.settings.node;
    let path = format!("/api/v1/nodes/{}", node.name);
    let labels = json!({"metadata": {"labels": {
        CONTROL_PLANE_KEY: "",
        "node.kubernetes.io/exclude-from-external-load-balancers": "",
    }}});
    // The kubelet registers the node at about this time: the patch waits for it.
    let before = api::patch(context.api.as_ref(), &path, Verb::MergePatch, &labels).await?;
    let present = before.pointer("/spec/taints").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut wanted = present.clone();
    for taint in &node.taints {
        let same = |other: &Value| other["key"] == taint.key.as_str() && other["effect"] == taint.effect.as_str();
        if !wanted.iter().any(same) {
            wanted.push(serde_json::to_value(taint)?);
        }
    }
    if wanted != present {
        let version = before.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
        let taints = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": wanted}});
        match context.api.call(Verb::MergePatch, &path, Some(&taints)).await {
            // Somebody else changed the node in between: begin again from what it is now.
            Err(error) if error.code() == Some(409) => return Box::pin(mark(context)).await,
            other => other?,
        };
    }
    Ok(Outcome::Changed)
}
