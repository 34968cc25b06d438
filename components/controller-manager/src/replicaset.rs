//! ReplicaSets: so many pods of one template.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use serde_json::Value;

use crate::context::Context;
use crate::pods;
use crate::replicas::{self, Replicated};

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let sets = context.caches.replica_sets.clone();
    replicas::run(context, sets).await;
}

impl Replicated for ReplicaSet {
    const ACCOUNT: &'static str = "replicaset-controller";
    const QUEUE: &'static str = "replicaset";
    const KIND: &'static str = "ReplicaSet";
    const TELLS_TERMINATING: bool = true;

    fn wanted(&self) -> (i32, i32) {
        let spec = self.spec.as_ref();
        (spec.and_then(|spec| spec.replicas).unwrap_or(1), spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0))
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn selects(&self, pod: &Pod) -> bool {
        self.spec.as_ref().is_some_and(|spec| pods::matches(&spec.selector, pod.metadata.labels.as_ref()))
    }

    fn status(&self) -> Value {
        serde_json::to_value(&self.status).unwrap_or_default()
    }
}
