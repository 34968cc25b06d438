//! StatefulSets: numbered pods, each with a name and volumes of its own.

pub mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kinit_runtime::events::Kind;
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::claim::{self, Claimant};
use crate::context::{Actor, Caches, Context};
use crate::pods::{self, Expectations};
use crate::write;
use plan::{Counts, Inputs, REVISION};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
/// Old revisions that are kept if the set does not say.
const HISTORY: i32 = 10;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("statefulset-controller").await;
    let caches = &context.caches;
    let (sets, all) = (caches.stateful_sets.clone(), caches.pods.clone());
    sets.synced().await;
    all.synced().await;
    caches.revisions.synced().await;
    caches.claims.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    sets.handle(move |_, set| keys.add(key_of(set.as_ref())));
    pods::watch_owned(&all, "StatefulSet", &queue);
    pods::watch_strays(&all, &sets, selects, &queue);
    let expectations = Arc::new(Expectations::default());
    let shutdown = context.shutdown.clone();
    work("statefulset", queue, 3, shutdown, move |key: String| {
        let (context, sets, actor, expectations) = (context.clone(), sets.clone(), actor.clone(), expectations.clone());
        async move {
            let Some(set) = sets.get(&key) else {
                expectations.forget(&key);
                return Ok(None);
            };
            reconcile(&context.caches, &actor, &key, &set, &expectations).await
        }
    })
    .await;
}

/// Whether a pod is one of the set's by its labels and its name.
fn selects(set: &StatefulSet, pod: &Pod) -> bool {
    let (name, pod_name) = (set.metadata.name.as_deref(), pod.metadata.name.as_deref());
    let member = name.zip(pod_name).is_some_and(|(name, pod)| plan::ordinal(name, pod).is_some());
    member && set.spec.as_ref().is_some_and(|spec| pods::matches(&spec.selector, pod.metadata.labels.as_ref()))
}

/// What a revision keeps of a set: its template, as a patch that puts it back.
fn data_of(set: &StatefulSet) -> Value {
    let mut template = json!(set.spec.as_ref().map(|spec| &spec.template));
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

fn hash(data: &Value) -> String {
    hex::encode(&Sha256::digest(data.to_string())[..5])
}

/// The revision of the set's template as it is now, made if it is not there; the history is cut to its limit.
async fn revise(
    caches: &Caches,
    actor: &Actor,
    set: &StatefulSet,
    in_use: &[&str],
) -> Result<(String, Vec<Arc<ControllerRevision>>), kube::Error> {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let uid = set.metadata.uid.as_deref();
    let own = |one: &Arc<ControllerRevision>| pods::is_controlled_by(&one.metadata, uid);
    let mut all: Vec<_> = caches.revisions.list_in(namespace).into_iter().filter(own).collect();
    all.sort_by_key(|one| one.revision);
    let data = data_of(set);
    let api: Api<ControllerRevision> = Api::namespaced(actor.client(), namespace);
    let last = all.last().map_or(0, |one| one.revision);
    let same = all.iter().find(|one| one.data.as_ref().is_some_and(|found| found.0 == data)).cloned();
    let update = match same {
        Some(found) => {
            if found.revision < last {
                // A set that goes back to an old template makes it its newest revision.
                write::object(&api, found.as_ref(), &json!({"revision": last + 1})).await?;
            }
            found.metadata.name.clone().unwrap_or_default()
        }
        None => {
            let hash = hash(&data);
            let name = format!("{}-{hash}", set.metadata.name.as_deref().unwrap_or_default());
            let template = set.spec.as_ref().and_then(|spec| spec.template.metadata.clone()).unwrap_or_default();
            let mut labels = template.labels.unwrap_or_default();
            labels.insert("controller.kubernetes.io/hash".into(), hash);
            let made = ControllerRevision {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    labels: Some(labels),
                    annotations: template.annotations,
                    owner_references: Some(vec![pods::owner(set)]),
                    ..Default::default()
                },
                data: Some(RawExtension(data)),
                revision: last + 1,
            };
            match api.create(&PostParams::default(), &made).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                other => all.push(Arc::new(other?)),
            }
            name
        }
    };
    let kept = set.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(HISTORY).max(0) as usize;
    let unused: Vec<&Arc<ControllerRevision>> = all
        .iter()
        .filter(|one| one.metadata.name.as_deref().is_some_and(|name| name != update && !in_use.contains(&name)))
        .collect();
    for old in unused.iter().take(unused.len().saturating_sub(kept)) {
        // One that stays is removed the next time.
        let _ = api.delete(old.metadata.name.as_deref().unwrap_or_default(), &Default::default()).await;
    }
    Ok((update, all))
}

async fn reconcile(
    caches: &Caches,
    actor: &Actor,
    key: &str,
    set: &StatefulSet,
    expectations: &Expectations,
) -> Result<Option<Duration>, kube::Error> {
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    let all = caches.pods.list_in(&namespace);
    let own = claim::claim(actor, &Claimant::of(set), all, |pod| selects(set, pod)).await?;
    let before = set.status.clone().unwrap_or_default();
    let used: Vec<&str> =
        own.iter().filter_map(|pod| pod.metadata.labels.as_ref()?.get(REVISION)).map(String::as_str).collect();
    let mut in_use = used.clone();
    in_use.extend(before.current_revision.as_deref());
    let (update, revisions) = revise(caches, actor, set, &in_use).await?;
    let current = before.current_revision.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| update.clone());
    let now = Timestamp::now().as_second();
    let plan = plan::plan(&Inputs { set, pods: &own, current: &current, update: &update, now });
    if set.metadata.deletion_timestamp.is_none() && expectations.met(key, &own) {
        if !plan.create.is_empty() {
            expectations.expect(key, &own, plan.create.len());
        }
        for (ordinal, updated) in &plan.create {
            let name = if *updated { &update } else { &current };
            let made = pod_of(&template_of(set, name, &revisions), *ordinal, name);
            if let Err(error) = make(caches, actor, set, *ordinal, made).await {
                expectations.forget(key);
                return Err(error);
            }
        }
        let gone: Vec<Arc<Pod>> = own
            .iter()
            .filter(|pod| pod.metadata.name.as_ref().is_some_and(|name| plan.delete.contains(name)))
            .cloned()
            .collect();
        pods::delete(actor, &gone).await?;
    }
    report(actor, set, plan.counts, &current, &update).await?;
    let least = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    Ok((least > 0 && plan.counts.ready != plan.counts.available).then(|| Duration::from_secs(1)))
}

/// The set with the template of a revision.
fn template_of(set: &StatefulSet, revision: &str, all: &[Arc<ControllerRevision>]) -> StatefulSet {
    let found = all.iter().find(|one| one.metadata.name.as_deref() == Some(revision));
    let template = found.and_then(|one| one.data.as_ref()).map(|data| data.0["spec"]["template"].clone());
    let mut made = set.clone();
    if let (Some(spec), Some(template)) = (&mut made.spec, template.and_then(|one| serde_json::from_value(one).ok())) {
        spec.template = template;
    }
    made
}

fn name_of(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default())
}

fn claim_name(template: &PersistentVolumeClaim, set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{}", template.metadata.name.as_deref().unwrap_or_default(), name_of(set, ordinal))
}

/// The pod of an ordinal, with its name, its labels and its claims.
fn pod_of(set: &StatefulSet, ordinal: i32, revision: &str) -> Pod {
    let spec = set.spec.clone().unwrap_or_default();
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    let mut pod = pods::from_template(&spec.template, &namespace, "", pods::owner(set));
    let name = name_of(set, ordinal);
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME.into(), name.clone());
    labels.insert(POD_INDEX.into(), ordinal.to_string());
    labels.insert(REVISION.into(), revision.to_owned());
    if let Some(own) = &mut pod.spec {
        own.hostname = Some(name);
        own.subdomain = spec.service_name.clone();
        let claims: BTreeMap<String, String> = spec
            .volume_claim_templates
            .iter()
            .flatten()
            .map(|template| (template.metadata.name.clone().unwrap_or_default(), claim_name(template, set, ordinal)))
            .collect();
        let volumes = own.volumes.get_or_insert_default();
        volumes.retain(|volume| !claims.contains_key(&volume.name));
        volumes.extend(claims.into_iter().map(|(name, claim_name)| Volume {
            name,
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name, read_only: None }),
            ..Default::default()
        }));
    }
    pod
}

async fn make(caches: &Caches, actor: &Actor, set: &StatefulSet, ordinal: i32, pod: Pod) -> Result<(), kube::Error> {
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    let templates = set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
    for template in templates {
        let name = claim_name(template, set, ordinal);
        if caches.claims.get(&format!("{namespace}/{name}")).is_some() {
            continue;
        }
        let mut claim = template.clone();
        claim.metadata.name = Some(name);
        claim.metadata.namespace = Some(namespace.clone());
        let selected = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone()).unwrap_or_default();
        claim.metadata.labels.get_or_insert_default().extend(selected);
        claim.status = None;
        let api: Api<PersistentVolumeClaim> = Api::namespaced(actor.client(), &namespace);
        match api.create(&PostParams::default(), &claim).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => {
                other?;
            }
        }
    }
    let api: Api<Pod> = Api::namespaced(actor.client(), &namespace);
    match api.create(&PostParams::default(), &pod).await {
        // One of that name is still there: its going wakes the set again.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => {
            let of = set.metadata.name.as_deref().unwrap_or_default();
            let text = format!("create Pod {} in StatefulSet {of} failed error: {error}", name_of(set, ordinal));
            pods::tell(actor, &pod, Kind::Warning, "FailedCreate", text);
            Err(error)
        }
        Ok(_) => {
            let of = set.metadata.name.as_deref().unwrap_or_default();
            let text = format!("create Pod {} in StatefulSet {of} successful", name_of(set, ordinal));
            pods::tell(actor, &pod, Kind::Normal, "SuccessfulCreate", text);
            Ok(())
        }
    }
}

async fn report(
    actor: &Actor,
    set: &StatefulSet,
    counts: Counts,
    current: &str,
    update: &str,
) -> Result<(), kube::Error> {
    let before = set.status.clone().unwrap_or_default();
    let complete = plan::is_complete(set, counts);
    let (current, of_current) = if complete { (update, counts.updated) } else { (current, counts.current) };
    let told = Counts {
        replicas: before.replicas,
        ready: before.ready_replicas.unwrap_or(0),
        available: before.available_replicas.unwrap_or(0),
        current: before.current_replicas.unwrap_or(0),
        updated: before.updated_replicas.unwrap_or(0),
    };
    let same = told == Counts { current: of_current, ..counts }
        && before.observed_generation == set.metadata.generation
        && before.current_revision.as_deref() == Some(current)
        && before.update_revision.as_deref() == Some(update);
    if same {
        return Ok(());
    }
    let api: Api<StatefulSet> = Api::namespaced(actor.client(), set.metadata.namespace.as_deref().unwrap_or_default());
    let status = json!({"status": {
        "replicas": counts.replicas,
        "readyReplicas": counts.ready,
        "availableReplicas": counts.available,
        "currentReplicas": of_current,
        "updatedReplicas": counts.updated,
        "currentRevision": current,
        "updateRevision": update,
        "observedGeneration": set.metadata.generation,
        "collisionCount": before.collision_count.unwrap_or(0),
    }});
    write::status(&api, set, &status).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_its_own_name_and_claims() {
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "db", "namespace": "a", "uid": "u"},
            "spec": {"serviceName": "peers", "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [], "volumes": [{"name": "data"}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}}))
        .unwrap();
        let pod = pod_of(&set, 2, "db-x");
        assert_eq!(pod.metadata.name.as_deref(), Some("db-2"));
        assert_eq!(pod.metadata.labels.as_ref().unwrap()[POD_NAME], "db-2");
        let spec = pod.spec.unwrap();
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-2"), Some("peers")));
        let volumes = spec.volumes.unwrap();
        assert_eq!(volumes.len(), 1);
        assert_eq!(volumes[0].persistent_volume_claim.as_ref().unwrap().claim_name, "data-db-2");
        let revision = ControllerRevision {
            metadata: ObjectMeta { name: Some("r".into()), ..Default::default() },
            data: Some(RawExtension(data_of(&set))),
            revision: 1,
        };
        let mut changed = set.clone();
        changed.spec.as_mut().unwrap().template.metadata = None;
        assert_eq!(template_of(&changed, "r", &[Arc::new(revision)]).spec, set.spec);
    }
}
