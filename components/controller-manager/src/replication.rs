//! ReplicationControllers: what ReplicaSets were before there were any.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::context::{Actor, Context};
use crate::pods::{self, Expectations};
use crate::{replicaset, write};

/// Pods made in one go at most.
const BURST: usize = 500;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("replication-controller").await;
    let (sets, all) = (context.caches.replication_controllers.clone(), context.caches.pods.clone());
    sets.synced().await;
    all.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    sets.handle(move |_, set| keys.add(key_of(set.as_ref())));
    pods::watch_owned(&all, "ReplicationController", &queue);
    let (keys, known) = (queue.clone(), sets.clone());
    all.handle(move |_, pod| {
        // A pod that nobody controls may be one to take over.
        if pods::controller(&pod.metadata).is_none() {
            for set in known.list_in(pod.metadata.namespace.as_deref().unwrap_or_default()) {
                if selects(&set, pod) {
                    keys.add(key_of(set.as_ref()));
                }
            }
        }
    });
    let expectations = Arc::new(Expectations::default());
    work("replicationcontroller", queue, 2, context.shutdown.clone(), move |key: String| {
        let (sets, all, actor, expectations) = (sets.clone(), all.clone(), actor.clone(), expectations.clone());
        async move {
            let Some(set) = sets.get(&key).filter(|set| set.metadata.deletion_timestamp.is_none()) else {
                expectations.forget(&key);
                return Ok(None);
            };
            let namespace = set.metadata.namespace.clone().unwrap_or_default();
            let own = claim(&actor, &set, all.list_in(&namespace)).await?;
            reconcile(&actor, &key, &set, own, &expectations).await
        }
    })
    .await;
}

fn selects(set: &ReplicationController, pod: &Pod) -> bool {
    let selector = set.spec.as_ref().and_then(|spec| spec.selector.as_ref()).filter(|selector| !selector.is_empty());
    let value = |key: &String| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    selector.is_some_and(|selector| selector.iter().all(|(key, wanted)| value(key) == Some(wanted)))
}

/// The set's pods: strays that it selects become its own, and those that it no longer selects are let go.
async fn claim(actor: &Actor, set: &ReplicationController, all: Vec<Arc<Pod>>) -> Result<Vec<Arc<Pod>>, kube::Error> {
    let uid = set.metadata.uid.as_deref();
    let api: Api<Pod> = Api::namespaced(actor.client(), set.metadata.namespace.as_deref().unwrap_or_default());
    let mut own = Vec::new();
    for pod in all {
        let (ours, selected) = (pods::is_controlled_by(&pod.metadata, uid), selects(set, &pod));
        let stray = pods::controller(&pod.metadata).is_none() && pods::is_active(&pod);
        match (ours, selected) {
            (true, true) => own.push(pod),
            (true, false) => {
                let rest: Vec<_> = pod
                    .metadata
                    .owner_references
                    .iter()
                    .flatten()
                    .filter(|one| Some(one.uid.as_str()) != uid)
                    .collect();
                own_by(&api, &pod, &json!(rest)).await?;
            }
            (false, true) if stray => {
                let mut references = pod.metadata.owner_references.clone().unwrap_or_default();
                references.push(pods::owner(set));
                let taken = own_by(&api, &pod, &json!(references)).await?;
                own.push(Arc::new(taken));
            }
            _ => {}
        }
    }
    Ok(own)
}

/// Gives a pod other owners. The controller's role lets it patch pods, and not update them.
async fn own_by(api: &Api<Pod>, pod: &Pod, references: &Value) -> Result<Pod, kube::Error> {
    let metadata = json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version,
        "ownerReferences": references});
    let patch = Patch::Merge(json!({"metadata": metadata}));
    api.patch(pod.metadata.name.as_deref().unwrap_or_default(), &PatchParams::default(), &patch).await
}

async fn reconcile(
    actor: &Actor,
    key: &str,
    set: &ReplicationController,
    own: Vec<Arc<Pod>>,
    expectations: &Expectations,
) -> Result<Option<Duration>, kube::Error> {
    let spec = set.spec.clone().unwrap_or_default();
    let wanted = spec.replicas.unwrap_or(1).max(0) as usize;
    let active: Vec<Arc<Pod>> = own.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let mut failure = None;
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
                failure = Some(error);
            }
        } else if active.len() > wanted {
            pods::delete(actor, &replicaset::to_delete(active.clone(), active.len() - wanted)).await?;
        }
    }
    report(actor, set, &active, failure.as_ref()).await?;
    failure.map_or(Ok(None), Err)
}

async fn report(
    actor: &Actor,
    set: &ReplicationController,
    active: &[Arc<Pod>],
    failure: Option<&kube::Error>,
) -> Result<(), kube::Error> {
    let spec = set.spec.clone().unwrap_or_default();
    let now = Timestamp::now();
    let labels =
        spec.template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let labeled = active.iter().filter(|pod| {
        labels.iter().all(|(key, value)| pod.metadata.labels.as_ref().and_then(|all| all.get(key)) == Some(value))
    });
    let least = spec.min_ready_seconds.unwrap_or(0);
    let counts = (
        active.len() as i32,
        labeled.count() as i32,
        active.iter().filter(|pod| pods::is_ready(pod)).count() as i32,
        active.iter().filter(|pod| pods::is_available(pod, least, now.as_second())).count() as i32,
    );
    let before = set.status.clone().unwrap_or_default();
    let told = (
        before.replicas,
        before.fully_labeled_replicas.unwrap_or(0),
        before.ready_replicas.unwrap_or(0),
        before.available_replicas.unwrap_or(0),
    );
    let failing = before.conditions.iter().flatten().any(|one| one.type_ == "ReplicaFailure");
    if counts == told && before.observed_generation == set.metadata.generation && failing == failure.is_some() {
        return Ok(());
    }
    let conditions = failure.map(|error| {
        json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": error.to_string(),
            "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}])
    });
    let (replicas, labeled, ready, available) = counts;
    let patch = json!({"status": {"replicas": replicas, "fullyLabeledReplicas": labeled, "readyReplicas": ready,
        "availableReplicas": available, "observedGeneration": set.metadata.generation, "conditions": conditions}});
    let api: Api<ReplicationController> =
        Api::namespaced(actor.client(), set.metadata.namespace.as_deref().unwrap_or_default());
    write::status(&api, set, &patch).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_selector_selects_nothing() {
        let set = |selector: serde_json::Value| -> ReplicationController {
            serde_json::from_value(json!({"spec": {"selector": selector}})).unwrap()
        };
        let pod: Pod = serde_json::from_value(json!({"metadata": {"labels": {"a": "1", "b": "2"}}})).unwrap();
        assert!(selects(&set(json!({"a": "1"})), &pod));
        assert!(!selects(&set(json!({"a": "2"})), &pod));
        assert!(!selects(&set(json!({})), &pod));
    }
}
