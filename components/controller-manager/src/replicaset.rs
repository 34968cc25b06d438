//! ReplicaSets: so many pods of one template.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use serde_json::json;

use crate::context::{Actor, Context};
use crate::pods::{self, Expectations};
use crate::write;

/// Pods made in one go at most.
const BURST: usize = 500;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("replicaset-controller").await;
    let (sets, all) = (context.caches.replica_sets.clone(), context.caches.pods.clone());
    sets.synced().await;
    all.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    sets.handle(move |_, set| keys.add(key_of(set.as_ref())));
    pods::watch_owned(&all, "ReplicaSet", &queue);
    let expectations = Arc::new(Expectations::default());
    work("replicaset", queue, 5, context.shutdown.clone(), move |key: String| {
        let (sets, all, actor, expectations) = (sets.clone(), all.clone(), actor.clone(), expectations.clone());
        async move {
            let Some(set) = sets.get(&key).filter(|set| set.metadata.deletion_timestamp.is_none()) else {
                expectations.forget(&key);
                return Ok(None);
            };
            let namespace = set.metadata.namespace.clone().unwrap_or_default();
            let uid = set.metadata.uid.as_deref();
            let own: Vec<Arc<Pod>> =
                all.list_in(&namespace).into_iter().filter(|pod| pods::is_controlled_by(&pod.metadata, uid)).collect();
            reconcile(&actor, &key, &set, own, &expectations).await
        }
    })
    .await;
}

async fn reconcile(
    actor: &Actor,
    key: &str,
    set: &ReplicaSet,
    own: Vec<Arc<Pod>>,
    expectations: &Expectations,
) -> Result<Option<Duration>, kube::Error> {
    let spec = set.spec.clone().unwrap_or_default();
    let wanted = spec.replicas.unwrap_or(1).max(0) as usize;
    let active: Vec<Arc<Pod>> = own.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let now = Timestamp::now().as_second();
    if expectations.met(key, &own) {
        if active.len() < wanted {
            let count = (wanted - active.len()).min(BURST);
            let template = spec.template.clone().unwrap_or_default();
            let namespace = set.metadata.namespace.clone().unwrap_or_default();
            let name = set.metadata.name.clone().unwrap_or_default();
            let made = (0..count).map(|_| pods::from_template(&template, &namespace, &name, pods::owner(set)));
            expectations.expect(key, &own, count);
            if let Err(error) = pods::create(actor, made.collect()).await {
                expectations.forget(key);
                return Err(error);
            }
        } else if active.len() > wanted {
            pods::delete(actor, &to_delete(active.clone(), active.len() - wanted)).await?;
        }
    }
    let least = spec.min_ready_seconds.unwrap_or(0);
    let labels =
        spec.template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let labeled = active.iter().filter(|pod| {
        labels.iter().all(|(key, value)| pod.metadata.labels.as_ref().and_then(|all| all.get(key)) == Some(value))
    });
    let status = ReplicaSetStatus {
        replicas: active.len() as i32,
        fully_labeled_replicas: Some(labeled.count() as i32),
        ready_replicas: Some(active.iter().filter(|pod| pods::is_ready(pod)).count() as i32),
        available_replicas: Some(active.iter().filter(|pod| pods::is_available(pod, least, now)).count() as i32),
        observed_generation: set.metadata.generation,
        ..set.status.clone().unwrap_or_default()
    };
    let before = set.status.clone().unwrap_or_default();
    if counts(&before) != counts(&status) {
        let api: Api<ReplicaSet> =
            Api::namespaced(actor.client(), set.metadata.namespace.as_deref().unwrap_or_default());
        let patch = json!({"status": status});
        write::status(&api, set, &patch).await?;
    }
    let waits = least > 0 && status.ready_replicas != status.available_replicas;
    Ok(waits.then(|| Duration::from_secs(1)))
}

/// The numbers of a status, absent ones as zero, so that a server that leaves zeros out is no change.
fn counts(status: &ReplicaSetStatus) -> (i32, i32, i32, i32, i64) {
    (
        status.replicas,
        status.fully_labeled_replicas.unwrap_or(0),
        status.ready_replicas.unwrap_or(0),
        status.available_replicas.unwrap_or(0),
        status.observed_generation.unwrap_or(0),
    )
}

/// Which pods go: those without a node, then those that are not ready, then the youngest.
pub fn to_delete(mut active: Vec<Arc<Pod>>, count: usize) -> Vec<Arc<Pod>> {
    active.sort_by_key(|pod| {
        let placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let rank = match pods::phase(pod) {
            "Pending" => 0,
            "Running" => 2,
            _ => 1,
        };
        let age = pod.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second());
        (placed, rank, pods::is_ready(pod), std::cmp::Reverse(age))
    });
    active.truncate(count);
    active
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, phase: &str, ready: bool, created: &str) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "creationTimestamp": created}, "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": status}]}})).unwrap())
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let all = vec![
            pod("old", "Running", true, "2027-01-01T00:00:00Z"),
            pod("young", "Running", true, "2027-01-02T00:00:00Z"),
            pod("unready", "Running", false, "2027-01-01T00:00:00Z"),
            pod("pending", "Pending", false, "2027-01-01T00:00:00Z"),
        ];
        let names: Vec<String> = to_delete(all, 3).iter().filter_map(|pod| pod.metadata.name.clone()).collect();
        assert_eq!(names, ["pending", "unready", "young"]);
    }
}
