//! What every controller that makes pods has in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kinit_runtime::events::{About, Kind};
use kinit_runtime::{Informer, Queue, key_of};
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Resource};

use crate::context::Actor;

/// Pods made or deleted at once at first; doubled with each success, so that a quota is not stormed.
const FIRST_BATCH: usize = 4;

/// Whether a selector matches labels. An empty one matches all.
pub fn matches(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let equal = selector.match_labels.iter().flatten().all(|(key, wanted)| value(key) == Some(wanted));
    equal
        && selector.match_expressions.iter().flatten().all(|one| {
            let among =
                || value(&one.key).is_some_and(|found| one.values.iter().flatten().any(|wanted| wanted == found));
            match one.operator.as_str() {
                "In" => among(),
                "NotIn" => !among(),
                "Exists" => value(&one.key).is_some(),
                "DoesNotExist" => value(&one.key).is_none(),
                _ => false,
            }
        })
}

/// The reference by which an object owns what it makes.
pub fn owner<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: object.meta().name.clone().unwrap_or_default(),
        uid: object.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Who controls an object.
pub fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.as_ref()?.iter().find(|one| one.controller == Some(true))
}

/// Whether the object of this uid controls another.
pub fn is_controlled_by(metadata: &ObjectMeta, uid: Option<&str>) -> bool {
    controller(metadata).is_some_and(|one| Some(one.uid.as_str()) == uid)
}

/// A pod from a template.
pub fn from_template(template: &PodTemplateSpec, namespace: &str, prefix: &str, owner: OwnerReference) -> Pod {
    let metadata = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{prefix}-")),
            namespace: Some(namespace.to_owned()),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![owner]),
            ..Default::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Whether a pod neither ended nor is being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !matches!(phase(pod), "Succeeded" | "Failed") && pod.metadata.deletion_timestamp.is_none()
}

/// The pod's phase.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    ready_since(pod).is_some()
}

/// Since when a pod is ready, in seconds since 1970.
pub fn ready_since(pod: &Pod) -> Option<i64> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|one| one.type_ == "Ready" && one.status == "True")?;
    Some(ready.last_transition_time.as_ref().map_or(0, |time| time.0.as_second()))
}

/// Whether a pod has been ready for long enough.
pub fn is_available(pod: &Pod, seconds: i32, now: i64) -> bool {
    ready_since(pod).is_some_and(|since| seconds <= 0 || now - since >= i64::from(seconds))
}

/// Makes pods in growing batches, until one fails. How many there are, and what went wrong.
async fn create(actor: &Actor, pods: &[Pod]) -> (usize, Result<(), kube::Error>) {
    let (mut left, mut size, mut count) = (pods, FIRST_BATCH, 0);
    while !left.is_empty() {
        let (batch, rest) = left.split_at(size.min(left.len()));
        let jobs = batch.iter().map(|pod| {
            let api: Api<Pod> = Api::namespaced(actor.client(), pod.metadata.namespace.as_deref().unwrap_or("default"));
            async move { (pod, api.create(&PostParams::default(), pod).await) }
        });
        let mut result = Ok(());
        for (pod, made) in futures::future::join_all(jobs).await {
            match made {
                Ok(made) => {
                    count += 1;
                    let name = made.metadata.name.as_deref().unwrap_or_default();
                    tell(actor, pod, Kind::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
                }
                Err(error) => {
                    tell(actor, pod, Kind::Warning, "FailedCreate", format!("Error creating: {error}"));
                    result = Err(error);
                }
            }
        }
        if result.is_err() {
            return (count, result);
        }
        left = rest;
        size *= 2;
    }
    (count, Ok(()))
}

/// Makes pods, and expects the cache to show them beside those that it shows now.
pub async fn create_expected(
    actor: &Actor,
    expectations: &Expectations,
    key: &str,
    present: &[Arc<Pod>],
    pods: Vec<Pod>,
) -> Result<(), kube::Error> {
    if pods.is_empty() {
        return Ok(());
    }
    expectations.expect(key, present, pods.len());
    let (count, result) = create(actor, &pods).await;
    if count < pods.len() {
        expectations.expect(key, present, count);
    }
    result
}

/// Deletes pods; one that is gone is deleted.
pub async fn delete(actor: &Actor, pods: &[Arc<Pod>]) -> Result<(), kube::Error> {
    let jobs = pods.iter().map(|pod| {
        let api: Api<Pod> = Api::namespaced(actor.client(), pod.metadata.namespace.as_deref().unwrap_or("default"));
        let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..Default::default() };
        async move {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            (pod, name, api.delete(name, &params).await)
        }
    });
    for (pod, name, result) in futures::future::join_all(jobs).await {
        match result {
            Ok(_) => tell(actor, pod, Kind::Normal, "SuccessfulDelete", format!("Deleted pod: {name}")),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Says something of the object that controls a pod.
pub fn tell(actor: &Actor, pod: &Pod, kind: Kind, reason: &'static str, message: String) {
    let Some(owner) = controller(&pod.metadata) else { return };
    let about = About {
        api_version: owner.api_version.clone(),
        kind: owner.kind.clone(),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        field: String::new(),
    };
    actor.events.say(about, kind, reason, message);
}

/// Adds the key of a pod's controller of this kind whenever the pod changes.
pub fn watch_owned(pods: &Informer<Pod>, kind: &'static str, queue: &Arc<Queue<String>>) {
    let keys = queue.clone();
    pods.handle(move |_, pod| {
        if let Some(owner) = controller(&pod.metadata).filter(|owner| owner.kind == kind) {
            keys.add(format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), owner.name));
        }
    });
}

/// Adds the keys of those that select a pod whenever one changes that nobody controls: it may be one to take over.
pub fn watch_strays<K>(
    pods: &Informer<Pod>,
    sets: &Arc<Informer<K>>,
    selects: impl Fn(&K, &Pod) -> bool + Send + Sync + 'static,
    queue: &Arc<Queue<String>>,
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let (keys, known) = (queue.clone(), sets.clone());
    pods.handle(move |_, pod| {
        if controller(&pod.metadata).is_none() {
            for set in known.list_in(pod.metadata.namespace.as_deref().unwrap_or_default()) {
                if selects(&set, pod) {
                    keys.add(key_of(set.as_ref()));
                }
            }
        }
    });
}

/// Pods that a controller has made and its cache may not show yet: until it does, nothing is made again.
#[derive(Default)]
pub struct Expectations {
    seen: parking_lot::Mutex<std::collections::HashMap<String, Expected>>,
}

struct Expected {
    uids: std::collections::HashSet<String>,
    pending: usize,
    since: std::time::Instant,
}

impl Expectations {
    /// Notes that pods are being made; `present` are those that the cache shows now.
    pub fn expect(&self, key: &str, present: &[Arc<Pod>], count: usize) {
        let uids = present.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        self.seen.lock().insert(key.to_owned(), Expected { uids, pending: count, since: std::time::Instant::now() });
    }

    /// Whether the cache shows all that was made. After half a minute it is believed in any case.
    pub fn met(&self, key: &str, present: &[Arc<Pod>]) -> bool {
        let mut seen = self.seen.lock();
        let Some(expected) = seen.get(key) else { return true };
        let new = present
            .iter()
            .filter(|pod| pod.metadata.uid.as_ref().is_some_and(|uid| !expected.uids.contains(uid)))
            .count();
        let met = new >= expected.pending || expected.since.elapsed() > std::time::Duration::from_secs(30);
        if met {
            seen.remove(key);
        }
        met
    }

    /// Forgets, as making them failed.
    pub fn forget(&self, key: &str) {
        self.seen.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_match_labels() {
        let labels: BTreeMap<String, String> = [("a".to_owned(), "1".to_owned())].into();
        for (selector, wanted) in [
            (json!({}), true),
            (json!({"matchLabels": {"a": "1"}}), true),
            (json!({"matchLabels": {"a": "2"}}), false),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}), true),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}), false),
            (json!({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}), true),
            (json!({"matchExpressions": [{"key": "b", "operator": "Exists"}]}), false),
            (json!({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}), true),
        ] {
            let parsed: LabelSelector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(matches(&parsed, Some(&labels)), wanted, "{selector}");
        }
    }
}
