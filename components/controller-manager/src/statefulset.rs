//! StatefulSets: numbered pods, each with a name and volumes of its own.

pub mod claims;
pub mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume};
use kinit_runtime::events::Kind;
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::claim::{self, Claimant};
use crate::context::{Actor, Caches, Context};
use crate::pods::{self, Expectations};
use crate::revisions::{self, Source};
use crate::write;
use plan::{Counts, Inputs, REVISION};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
/// Label of a revision that tells the hash of its template.
const REVISION_HASH: &str = "controller.kubernetes.io/hash";

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
    let spec = set.spec.clone().unwrap_or_default();
    let source = Source { selector: &spec.selector, template: &spec.template, label: REVISION_HASH };
    let history = revisions::revise(caches, actor, set, &source).await?;
    let update = history.newest.metadata.name.clone().unwrap_or_default();
    let known = |name: &String| history.all.iter().any(|one| one.metadata.name.as_ref() == Some(name));
    let current = before.current_revision.clone().filter(known).unwrap_or_else(|| update.clone());
    let now = Timestamp::now().as_second();
    let plan = plan::plan(&Inputs { set, pods: &own, current: &current, update: &update, now });
    if set.metadata.deletion_timestamp.is_none() && expectations.met(key, &own) {
        claims::retain(caches, actor, set, &own).await?;
        if !plan.create.is_empty() {
            expectations.expect(key, &own, plan.create.len());
        }
        for (ordinal, updated) in &plan.create {
            let name = if *updated { &update } else { &current };
            let made = pod_of(&with_revision(set, name, &history.all), *ordinal, name);
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
    let used: Vec<&String> = own.iter().filter_map(|pod| pod.metadata.labels.as_ref()?.get(REVISION)).collect();
    let in_use = |one: &ControllerRevision| {
        one.metadata.name.as_ref().is_some_and(|name| *name == current || used.contains(&name))
    };
    revisions::trim(actor, &history, spec.revision_history_limit, in_use).await?;
    let least = spec.min_ready_seconds.unwrap_or(0);
    Ok((least > 0 && plan.counts.ready != plan.counts.available).then(|| Duration::from_secs(1)))
}

/// The set with the template of a revision.
fn with_revision(set: &StatefulSet, name: &str, all: &[Arc<ControllerRevision>]) -> StatefulSet {
    let found = all.iter().find(|one| one.metadata.name.as_deref() == Some(name));
    let mut made = set.clone();
    if let (Some(spec), Some(template)) = (&mut made.spec, found.and_then(|one| revisions::template_of(one))) {
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
        claim.metadata.owner_references = claims::first_owners(set);
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
    use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
    use kube::api::ObjectMeta;

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
            data: Some(RawExtension(revisions::data_of(&set.spec.as_ref().unwrap().template))),
            revision: 1,
        };
        let mut changed = set.clone();
        changed.spec.as_mut().unwrap().template.metadata = None;
        assert_eq!(with_revision(&changed, "r", &[Arc::new(revision)]).spec, set.spec);
    }
}
