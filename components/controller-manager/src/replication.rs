//! ReplicationControllers: what ReplicaSets were before there were any.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, ReplicationController};
use serde_json::Value;

use crate::context::Context;
use crate::replicas::{self, Replicated};

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let sets = context.caches.replication_controllers.clone();
    replicas::run(context, sets).await;
}

impl Replicated for ReplicationController {
    const ACCOUNT: &'static str = "replication-controller";
    const QUEUE: &'static str = "replicationcontroller";
    const KIND: &'static str = "ReplicationController";
    const TELLS_TERMINATING: bool = false;

    fn wanted(&self) -> (i32, i32) {
        let spec = self.spec.as_ref();
        (spec.and_then(|spec| spec.replicas).unwrap_or(1), spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0))
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    /// Unlike that of newer kinds, an empty selector selects nothing.
    fn selects(&self, pod: &Pod) -> bool {
        let selector = self.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let value = |key: &String| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        selector.is_some_and(|selector| {
            !selector.is_empty() && selector.iter().all(|(key, wanted)| value(key) == Some(wanted))
        })
    }

    fn status(&self) -> Value {
        serde_json::to_value(&self.status).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_selector_selects_nothing() {
        let set = |selector: serde_json::Value| -> ReplicationController {
            serde_json::from_value(json!({"spec": {"selector": selector}})).unwrap()
        };
        let pod: Pod = serde_json::from_value(json!({"metadata": {"labels": {"a": "1", "b": "2"}}})).unwrap();
        assert!(set(json!({"a": "1"})).selects(&pod));
        assert!(!set(json!({"a": "2"})).selects(&pod));
        assert!(!set(json!({})).selects(&pod));
    }
}
