//! Deployments: a ReplicaSet per template, and moving from one to the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kinit_runtime::events::{About, Kind};
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::context::{Actor, Context};
use crate::{pods, write};

const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("deployment-controller").await;
    let (deployments, sets) = (context.caches.deployments.clone(), context.caches.replica_sets.clone());
    deployments.synced().await;
    sets.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    deployments.handle(move |_, deployment| keys.add(key_of(deployment.as_ref())));
    let keys = queue.clone();
    sets.handle(move |_, set| {
        if let Some(owner) = pods::controller(&set.metadata).filter(|owner| owner.kind == "Deployment") {
            keys.add(format!("{}/{}", set.metadata.namespace.as_deref().unwrap_or_default(), owner.name));
        }
    });
    work("deployment", queue, 5, context.shutdown.clone(), move |key: String| {
        let (deployments, sets, actor) = (deployments.clone(), sets.clone(), actor.clone());
        async move {
            let Some(deployment) = deployments.get(&key).filter(|one| one.metadata.deletion_timestamp.is_none()) else {
                return Ok(None);
            };
            let uid = deployment.metadata.uid.as_deref();
            let namespace = deployment.metadata.namespace.clone().unwrap_or_default();
            let own: Vec<Arc<ReplicaSet>> =
                sets.list_in(&namespace).into_iter().filter(|set| pods::is_controlled_by(&set.metadata, uid)).collect();
            reconcile(&actor, &deployment, own).await
        }
    })
    .await;
}

async fn reconcile(
    actor: &Actor,
    deployment: &Deployment,
    own: Vec<Arc<ReplicaSet>>,
) -> Result<Option<Duration>, kube::Error> {
    let namespace = deployment.metadata.namespace.clone().unwrap_or_default();
    let api: Api<ReplicaSet> = Api::namespaced(actor.client(), &namespace);
    let spec = deployment.spec.clone().unwrap_or_default();
    let newest = find_new(&own, &spec.template);
    let revision = own.iter().map(|set| revision(set)).max().unwrap_or(0);
    let Some(newest) = newest else {
        if spec.paused == Some(true) {
            return Ok(None);
        }
        let made = new_set(deployment, revision + 1);
        match api.create(&PostParams::default(), &made).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => {
                other?;
            }
        }
        return Ok(None);
    };
    let old: Vec<&Arc<ReplicaSet>> = own.iter().filter(|set| set.metadata.name != newest.metadata.name).collect();
    // Going back to an earlier template makes its set the newest revision.
    let others = old.iter().map(|set| self::revision(set)).max().unwrap_or(0);
    if self::revision(&newest) <= others && !old.is_empty() {
        annotate(&api, &newest, others + 1).await?;
    }
    let current = self::revision(&newest).max(if old.is_empty() { 1 } else { others + 1 });
    if deployment.metadata.annotations.as_ref().and_then(|all| all.get(REVISION)) != Some(&current.to_string()) {
        let deployments: Api<Deployment> = Api::namespaced(actor.client(), &namespace);
        let patch = json!({"metadata": {"annotations": {REVISION: current.to_string()}}});
        write::object(&deployments, deployment, &patch).await?;
        // The rest is done with the object as it is then.
        return Ok(None);
    }
    let wanted = spec.replicas.unwrap_or(1);
    let recreate = spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate");
    let (surge, unavailable) = limits(&spec, wanted);
    let sizes: Vec<Size> = own.iter().map(|set| Size::of(set)).collect();
    let index = own.iter().position(|set| set.metadata.name == newest.metadata.name).unwrap_or(0);
    if spec.paused != Some(true) {
        for (position, replicas) in plan(&sizes, index, wanted, surge, unavailable, recreate) {
            scale(&api, &own[position], replicas, wanted, wanted + surge).await?;
            let (before, name) = (sizes[position].wanted, own[position].metadata.name.as_deref().unwrap_or_default());
            if before != replicas {
                let way = if replicas > before { "up" } else { "down" };
                let text = format!("Scaled {way} replica set {name} from {before} to {replicas}");
                actor.events.say(About::object(deployment), Kind::Normal, "ScalingReplicaSet", text);
            }
        }
    }
    clean(&api, &old, spec.revision_history_limit.unwrap_or(10), &newest).await?;
    report(actor, deployment, &own, &newest, unavailable).await?;
    Ok(None)
}

/// How many pods a set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    /// That it is to have.
    wanted: i32,
    /// That it has.
    present: i32,
    /// That can be used.
    available: i32,
}

impl Size {
    fn of(set: &ReplicaSet) -> Self {
        let status = set.status.clone().unwrap_or_default();
        Self {
            wanted: set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            present: status.replicas,
            available: status.available_replicas.unwrap_or(0),
        }
    }
}

/// Which sets are to have another size: never more than `wanted + surge` pods, never fewer available than
/// `wanted - unavailable`.
fn plan(sizes: &[Size], newest: usize, wanted: i32, surge: i32, unavailable: i32, recreate: bool) -> Vec<(usize, i32)> {
    let old = || (0..sizes.len()).filter(|index| *index != newest);
    let mut changes = Vec::new();
    let new = sizes[newest];
    if recreate {
        changes.extend(old().filter(|index| sizes[*index].wanted > 0).map(|index| (index, 0)));
        let gone = old().all(|index| sizes[index].present == 0 && sizes[index].wanted == 0);
        if gone && new.wanted != wanted {
            changes.push((newest, wanted));
        }
        return changes;
    }
    let total: i32 = sizes.iter().map(|size| size.wanted).sum();
    let room = (wanted + surge - total).max(0);
    let mut new_wanted = new.wanted;
    if new.wanted > wanted {
        new_wanted = wanted;
    } else if new.wanted < wanted {
        new_wanted = (new.wanted + room).min(wanted);
    }
    if new_wanted != new.wanted {
        changes.push((newest, new_wanted));
    }
    // Old pods that cannot be used go first, as they are missed by nobody.
    let least = wanted - unavailable;
    let available: i32 = sizes.iter().map(|size| size.available).sum();
    let starting = (new.wanted - new.available).max(0);
    let mut spare = (total - least - starting).max(0);
    let mut left: Vec<(usize, i32)> =
        old().map(|index| (index, sizes[index].wanted)).filter(|(_, count)| *count > 0).collect();
    for (index, count) in &mut left {
        let broken = (sizes[*index].wanted - sizes[*index].available).clamp(0, spare);
        *count -= broken;
        spare -= broken;
    }
    let mut spare = (available - least).max(0).min(spare);
    for (_, count) in &mut left {
        let less = spare.min(*count);
        *count -= less;
        spare -= less;
    }
    changes.extend(left.into_iter().filter(|(index, count)| sizes[*index].wanted != *count));
    changes
}

/// How many pods more, and how many fewer, there may be while templates change.
fn limits(spec: &k8s_openapi::api::apps::v1::DeploymentSpec, wanted: i32) -> (i32, i32) {
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.clone()).unwrap_or_default();
    let quarter = IntOrString::String("25%".into());
    let surge = part(rolling.max_surge.as_ref().unwrap_or(&quarter), wanted, true);
    let unavailable = part(rolling.max_unavailable.as_ref().unwrap_or(&quarter), wanted, false);
    // With neither nothing could ever move.
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable.min(wanted)) }
}

/// A number, or a percentage of the whole.
pub fn part(value: &IntOrString, whole: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(count) => *count,
        IntOrString::String(text) => {
            let percent: i32 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredfold = percent * whole;
            if up { (hundredfold + 99) / 100 } else { hundredfold / 100 }
        }
    }
}

fn revision(set: &ReplicaSet) -> i64 {
    set.metadata.annotations.as_ref().and_then(|all| all.get(REVISION)?.parse().ok()).unwrap_or(0)
}

/// The set of a template, whatever its hash label says.
fn find_new(own: &[Arc<ReplicaSet>], template: &PodTemplateSpec) -> Option<Arc<ReplicaSet>> {
    let wanted = plain(template);
    let mut found: Vec<_> = own
        .iter()
        .filter(|set| set.spec.as_ref().and_then(|spec| spec.template.as_ref()).map(plain).as_ref() == Some(&wanted))
        .collect();
    found.sort_by_key(|set| set.metadata.creation_timestamp.as_ref().map(|time| time.0));
    found.first().map(|set| (*set).clone())
}

fn plain(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    value
}

/// Ten letters that stand for a template, without those that could make words.
fn hash(template: &PodTemplateSpec) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let digest = Sha256::digest(plain(template).to_string());
    digest.iter().take(10).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

fn new_set(deployment: &Deployment, revision: i64) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let wanted = spec.replicas.unwrap_or(1);
    let (surge, _) = limits(&spec, wanted);
    let hash = hash(&spec.template);
    let mut template = spec.template.clone();
    let with = |labels: &mut Option<BTreeMap<String, String>>| {
        labels.get_or_insert_default().insert(HASH.into(), hash.clone());
    };
    with(&mut template.metadata.get_or_insert_default().labels);
    let mut selector = spec.selector.clone();
    with(&mut selector.match_labels);
    let mut annotations: BTreeMap<String, String> = deployment.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    annotations.insert(REVISION.into(), revision.to_string());
    annotations.insert(DESIRED.into(), wanted.to_string());
    annotations.insert(MAX.into(), (wanted + surge).to_string());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default())),
            namespace: deployment.metadata.namespace.clone(),
            labels: template.metadata.as_ref().and_then(|metadata| metadata.labels.clone()),
            annotations: Some(annotations),
            owner_references: Some(vec![pods::owner(deployment)]),
            ..Default::default()
        },
        spec: Some(ReplicaSetSpec {
            // The plan gives it its size, so that old pods are counted.
            replicas: Some(0),
            selector,
            min_ready_seconds: spec.min_ready_seconds,
            template: Some(template),
        }),
        status: None,
    }
}

async fn annotate(api: &Api<ReplicaSet>, set: &ReplicaSet, revision: i64) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {"annotations": {REVISION: revision.to_string()}}});
    api.patch(set.metadata.name.as_deref().unwrap_or_default(), &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

async fn scale(
    api: &Api<ReplicaSet>,
    set: &ReplicaSet,
    replicas: i32,
    desired: i32,
    max: i32,
) -> Result<(), kube::Error> {
    let patch = json!({
        "metadata": {
            "resourceVersion": set.metadata.resource_version,
            "annotations": {DESIRED: desired.to_string(), MAX: max.to_string()},
        },
        "spec": {"replicas": replicas},
    });
    api.patch(set.metadata.name.as_deref().unwrap_or_default(), &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// Removes the oldest sets that have no pods, beyond the history that is kept.
async fn clean(
    api: &Api<ReplicaSet>,
    old: &[&Arc<ReplicaSet>],
    limit: i32,
    _newest: &ReplicaSet,
) -> Result<(), kube::Error> {
    let mut empty: Vec<_> = old.iter().filter(|set| Size::of(set).wanted == 0 && Size::of(set).present == 0).collect();
    empty.sort_by_key(|set| revision(set));
    let count = empty.len().saturating_sub(limit.max(0) as usize);
    for set in empty.into_iter().take(count) {
        match api.delete(set.metadata.name.as_deref().unwrap_or_default(), &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => {
                other?;
            }
        }
    }
    Ok(())
}

async fn report(
    actor: &Actor,
    deployment: &Deployment,
    own: &[Arc<ReplicaSet>],
    newest: &ReplicaSet,
    unavailable: i32,
) -> Result<(), kube::Error> {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let sum = |count: fn(&Size) -> i32| own.iter().map(|set| count(&Size::of(set))).sum::<i32>();
    let (total, available) = (sum(|size| size.present), sum(|size| size.available));
    let ready: i32 = own.iter().filter_map(|set| set.status.as_ref()?.ready_replicas).sum();
    let updated = Size::of(newest).present;
    let before = deployment.status.clone().unwrap_or_default();
    let enough = available >= wanted - unavailable;
    let complete = updated == wanted && total == wanted && available == wanted;
    let name = newest.metadata.name.as_deref().unwrap_or_default();
    let (reason, message) = if complete {
        ("NewReplicaSetAvailable", format!("ReplicaSet \"{name}\" has successfully progressed."))
    } else {
        ("ReplicaSetUpdated", format!("ReplicaSet \"{name}\" is progressing."))
    };
    let mut conditions = serde_json::to_value(before.conditions.clone().unwrap_or_default()).unwrap_or_default();
    let available_words = if enough {
        ("MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set_condition(&mut conditions, "Available", enough, available_words.0, available_words.1);
    set_condition(&mut conditions, "Progressing", true, reason, &message);
    let status = json!({
        "observedGeneration": deployment.metadata.generation,
        "replicas": total,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": available,
        "unavailableReplicas": (wanted - available).max(0),
        "conditions": conditions,
    });
    let typed: DeploymentStatus = serde_json::from_value(status.clone()).unwrap_or_default();
    if comparable(&typed) == comparable(&before) {
        return Ok(());
    }
    let api: Api<Deployment> =
        Api::namespaced(actor.client(), deployment.metadata.namespace.as_deref().unwrap_or_default());
    let patch = json!({"status": status});
    write::status(&api, deployment, &patch).await?;
    Ok(())
}

type Comparable = (i64, [i32; 5], Vec<(String, String, String, String)>);

/// What counts in a status: absent numbers are zero, and times do not matter.
fn comparable(status: &DeploymentStatus) -> Comparable {
    let number = |value: Option<i32>| value.unwrap_or(0);
    let mut conditions: Vec<_> = status
        .conditions
        .iter()
        .flatten()
        .map(|one| {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            (one.type_.clone(), one.status.clone(), text(&one.reason), text(&one.message))
        })
        .collect();
    conditions.sort();
    let numbers = [
        number(status.replicas),
        number(status.updated_replicas),
        number(status.ready_replicas),
        number(status.available_replicas),
        number(status.unavailable_replicas),
    ];
    (status.observed_generation.unwrap_or(0), numbers, conditions)
}

fn set_condition(conditions: &mut Value, kind: &str, is: bool, reason: &str, message: &str) {
    let Some(list) = conditions.as_array_mut() else { return };
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = if is { "True" } else { "False" };
    let old = list.iter().find(|one| one["type"] == kind).cloned().unwrap_or_default();
    let since = if old["status"] == status { old["lastTransitionTime"].clone() } else { json!(now) };
    let updated =
        if old["reason"] == reason && old["message"] == message { old["lastUpdateTime"].clone() } else { json!(now) };
    list.retain(|one| one["type"] != kind);
    list.push(json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": updated, "lastTransitionTime": since}));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(wanted: i32, present: i32, available: i32) -> Size {
        Size { wanted, present, available }
    }

    #[test]
    fn a_first_set_gets_all_at_once() {
        assert_eq!(plan(&[size(0, 0, 0)], 0, 6, 2, 1, false), [(0, 6)]);
    }

    /// Plays a roll-out to its end, keeping both limits all the way.
    #[test]
    fn a_roll_out_keeps_its_limits_and_ends() {
        for (wanted, surge, unavailable) in [(6, 2, 1), (10, 0, 1), (10, 3, 0), (1, 1, 0), (3, 0, 3)] {
            let mut sizes = [size(wanted, wanted, wanted), size(0, 0, 0)];
            for step in 0.. {
                let changes = plan(&sizes, 1, wanted, surge, unavailable, false);
                for (index, count) in &changes {
                    sizes[*index].wanted = *count;
                }
                // Pods that go are gone at once, one that comes is available a step later.
                for one in &mut sizes {
                    one.available = one.available.min(one.wanted);
                    one.present = one.wanted;
                }
                let total: i32 = sizes.iter().map(|one| one.wanted).sum();
                let available: i32 = sizes.iter().map(|one| one.available).sum();
                assert!(total <= wanted + surge, "{wanted} {surge} {unavailable}: {sizes:?}");
                assert!(available >= wanted - unavailable, "{wanted} {surge} {unavailable}: {sizes:?}");
                if sizes[1].available == wanted && sizes[0].wanted == 0 {
                    break;
                }
                assert!(step < 100, "it never ends: {sizes:?}");
                sizes[1].available = sizes[1].wanted;
            }
        }
    }

    #[test]
    fn recreate_waits_for_the_old_to_be_gone() {
        assert_eq!(plan(&[size(3, 3, 3), size(0, 0, 0)], 1, 3, 1, 1, true), [(0, 0)]);
        assert_eq!(plan(&[size(0, 1, 1), size(0, 0, 0)], 1, 3, 1, 1, true), []);
        assert_eq!(plan(&[size(0, 0, 0), size(0, 0, 0)], 1, 3, 1, 1, true), [(1, 3)]);
    }

    #[test]
    fn percentages_are_rounded_in_favour_of_moving() {
        assert_eq!(part(&IntOrString::String("25%".into()), 6, true), 2);
        assert_eq!(part(&IntOrString::String("25%".into()), 6, false), 1);
        assert_eq!(part(&IntOrString::Int(3), 6, false), 3);
    }
}
