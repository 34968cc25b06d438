//! How long a kubelet may believe what it has read of Secrets and ConfigMaps: the longer, the more nodes there are.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::context::Context;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";
const PERIOD: Duration = Duration::from_secs(10);
/// Up to how many nodes a time in seconds holds. A cluster goes back to a shorter time only well below the bound.
const STEPS: &[(usize, usize, u32)] =
    &[(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("ttl-controller").await;
    let nodes = context.caches.nodes.clone();
    nodes.synced().await;
    let mut step = 0;
    loop {
        let all = nodes.list();
        step = next(step, all.len());
        let wanted = STEPS[step].2.to_string();
        for node in all {
            let annotations = node.metadata.annotations.as_ref();
            if annotations.and_then(|all| all.get(ANNOTATION)) == Some(&wanted) {
                continue;
            }
            let api: Api<Node> = Api::all(actor.client());
            let patch = Patch::Strategic(json!({"metadata": {"annotations": {ANNOTATION: wanted}}}));
            let name = node.metadata.name.as_deref().unwrap_or_default();
            if let Err(error) = api.patch(name, &PatchParams::default(), &patch).await {
                tracing::debug!(node = name, %error, "cannot say how long the node may believe what it read");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}

/// The step for a number of nodes, from the one that held before. Pure.
fn next(mut step: usize, nodes: usize) -> usize {
    while step + 1 < STEPS.len() && nodes > STEPS[step].1 {
        step += 1;
    }
    while step > 0 && nodes < STEPS[step].0 {
        step -= 1;
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_overlap() {
        for (before, nodes, wanted) in [(0, 100, 0), (0, 101, 1), (1, 95, 1), (1, 89, 0), (0, 5000, 4), (4, 1, 0)] {
            assert_eq!(next(before, nodes), wanted, "{before} {nodes}");
        }
    }
}
