//! So many pods of one template: what ReplicaSets and ReplicationControllers have in common.

pub mod rank;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kinit_runtime::{Informer, Queue, key_of, work};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::claim::{self, Claimant};
use crate::context::{Actor, Context};
use crate::pods::{self, Expectations};
use crate::write;

/// Pods made or deleted in one go at most.
const BURST: usize = 500;

/// A kind of object that keeps so many pods.
pub trait Replicated:
    Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The controller's account.
    const ACCOUNT: &'static str;
    /// The name of its queue.
    const QUEUE: &'static str;
    /// Its kind.
    const KIND: &'static str;
    /// Whether the status counts pods that are being deleted.
    const TELLS_TERMINATING: bool;

    /// How many pods are wanted, and how long each has to be ready.
    fn wanted(&self) -> (i32, i32);
    /// What pods are made from.
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// Whether a pod is one of its own.
    fn selects(&self, pod: &Pod) -> bool;
    /// The status as it was written last.
    fn status(&self) -> Value;
}

/// Runs the controller of a kind until shutdown.
pub async fn run<K: Replicated>(context: Arc<Context>, sets: Arc<Informer<K>>) {
    let actor = context.actor(K::ACCOUNT).await;
    let all = context.caches.pods.clone();
    sets.synced().await;
    all.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    sets.handle(move |_, set| keys.add(key_of(set.as_ref())));
    pods::watch_owned(&all, K::KIND, &queue);
    pods::watch_strays(&all, &sets, K::selects, &queue);
    let expectations = Arc::new(Expectations::default());
    work(K::QUEUE, queue, 5, context.shutdown.clone(), move |key: String| {
        let (sets, all, actor, expectations) = (sets.clone(), all.clone(), actor.clone(), expectations.clone());
        async move {
            let Some(set) = sets.get(&key) else {
                expectations.forget(&key);
                return Ok(None);
            };
            let claimant = Claimant::of(set.as_ref());
            let uid = set.meta().uid.as_deref();
            // Strays that have ended are nobody's any more.
            let known = all.list_in(&claimant.namespace).into_iter();
            let known = known.filter(|pod| pods::is_active(pod) || pods::is_controlled_by(&pod.metadata, uid));
            let own = claim::claim(&actor, &claimant, known.collect(), |pod| set.selects(pod)).await?;
            reconcile(&actor, &key, set.as_ref(), own, &expectations).await
        }
    })
    .await;
}

async fn reconcile<K: Replicated>(
    actor: &Actor,
    key: &str,
    set: &K,
    own: Vec<Arc<Pod>>,
    expectations: &Expectations,
) -> Result<Option<Duration>, kube::Error> {
    let (wanted, least) = set.wanted();
    let wanted = wanted.max(0) as usize;
    let active: Vec<Arc<Pod>> = own.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let mut failure = None;
    if set.meta().deletion_timestamp.is_none() && expectations.met(key, &own) {
        if active.len() < wanted {
            let count = (wanted - active.len()).min(BURST);
            let template = set.template().cloned().unwrap_or_default();
            let namespace = set.meta().namespace.clone().unwrap_or_default();
            let name = set.meta().name.clone().unwrap_or_default();
            let pod = pods::from_template(&template, &namespace, &name, pods::owner(set));
            let made = pods::create_expected(actor, expectations, key, &own, vec![pod; count]).await;
            failure = made.err().map(|error| ("FailedCreate", error));
        } else if active.len() > wanted {
            let surplus = (active.len() - wanted).min(BURST);
            let gone = pods::delete(actor, &rank::to_delete(active.clone(), surplus)).await;
            failure = gone.err().map(|error| ("FailedDelete", error));
        }
    }
    let now = Timestamp::now();
    let words = failure.as_ref().map(|(reason, error)| (*reason, error.to_string()));
    let status = status_of(set, &own, &active, words, now);
    if comparable(&status) != comparable(&set.status()) {
        let api: Api<K> = Api::namespaced(actor.client(), set.meta().namespace.as_deref().unwrap_or_default());
        write::status(&api, set, &json!({"status": status})).await?;
    }
    if let Some((_, error)) = failure {
        return Err(error);
    }
    let waits = least > 0 && status["readyReplicas"] != status["availableReplicas"];
    Ok(waits.then(|| Duration::from_secs(1)))
}

/// The status; a condition says what went wrong, for as long as it does.
fn status_of<K: Replicated>(
    set: &K,
    own: &[Arc<Pod>],
    active: &[Arc<Pod>],
    failure: Option<(&str, String)>,
    now: Timestamp,
) -> Value {
    let (_, least) = set.wanted();
    let labels = set.template().and_then(|template| template.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let labeled = |pod: &Pod| {
        labels.iter().all(|(key, value)| pod.metadata.labels.as_ref().and_then(|all| all.get(key)) == Some(value))
    };
    let count = |test: &dyn Fn(&Pod) -> bool| active.iter().filter(|pod| test(pod)).count();
    let ending =
        |pod: &Pod| pod.metadata.deletion_timestamp.is_some() && !matches!(pods::phase(pod), "Succeeded" | "Failed");
    let mut conditions = set.status()["conditions"].as_array().cloned().unwrap_or_default();
    match failure {
        None => conditions.retain(|one| one["type"] != "ReplicaFailure"),
        Some(_) if conditions.iter().any(|one| one["type"] == "ReplicaFailure") => {}
        Some((reason, message)) => conditions
            .push(json!({"type": "ReplicaFailure", "status": "True", "reason": reason,
            "message": message, "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()})),
    }
    let mut status = json!({
        "replicas": active.len(),
        "fullyLabeledReplicas": count(&labeled),
        "readyReplicas": count(&pods::is_ready),
        "availableReplicas": count(&|pod| pods::is_available(pod, least, now.as_second())),
        "observedGeneration": set.meta().generation,
        "conditions": if conditions.is_empty() { Value::Null } else { conditions.into() },
    });
    if K::TELLS_TERMINATING {
        status["terminatingReplicas"] = own.iter().filter(|pod| ending(pod)).count().into();
    }
    status
}

/// What counts in a status: what is absent is as good as zero or empty.
fn comparable(status: &Value) -> Vec<Value> {
    let numbers = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas"];
    let number = |field: &str| json!(status[field].as_i64().unwrap_or(0));
    let mut all: Vec<Value> = numbers.iter().map(|field| number(field)).collect();
    all.push(number("observedGeneration"));
    all.push(status["conditions"].as_array().cloned().unwrap_or_default().into());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::ReplicaSet;

    #[test]
    fn a_failure_is_told_once_and_forgotten() {
        let now = Timestamp::UNIX_EPOCH;
        let pod = |deleted: bool| -> Arc<Pod> {
            let at = deleted.then_some("2027-01-01T00:00:00Z");
            Arc::new(
                serde_json::from_value(json!({"metadata": {"labels": {"a": "b", "c": "d"}, "deletionTimestamp": at},
                    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}))
                .unwrap(),
            )
        };
        let mut set: ReplicaSet =
            serde_json::from_value(json!({"metadata": {"generation": 2}, "spec": {"selector": {},
            "template": {"metadata": {"labels": {"a": "b"}}}}, "status": {"replicas": 0}}))
            .unwrap();
        let (own, active) = ([pod(false), pod(true)], [pod(false)]);
        let failing = status_of(&set, &own, &active, Some(("FailedCreate", "no".into())), now);
        assert_eq!(failing["conditions"][0]["reason"], "FailedCreate");
        let numbers = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas"];
        assert_eq!(numbers.map(|field| failing[field].as_i64()), [Some(1); 5]);
        set.status = serde_json::from_value(failing.clone()).unwrap();
        let still = status_of(&set, &own, &active, Some(("FailedCreate", "another".into())), now);
        assert_eq!(comparable(&still), comparable(&failing));
        let well = status_of(&set, &own, &active, None, now);
        assert_eq!(well["conditions"], Value::Null);
        assert_ne!(comparable(&well), comparable(&failing));
    }
}
