//! Volumes and claims that are in use are not removed: a finalizer holds them until nobody uses them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::ObjectMeta;
use serde_json::json;

use crate::context::Context;
use crate::{pods, write};

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";
const ATTRIBUTES: &str = "kubernetes.io/vac-protection";

/// The finalizers as they should be; `None` when they are. Pure.
fn corrected(metadata: &ObjectMeta, finalizer: &str, in_use: bool) -> Option<Vec<String>> {
    let mut all = metadata.finalizers.clone().unwrap_or_default();
    let has = all.iter().any(|one| one == finalizer);
    match (metadata.deletion_timestamp.is_some(), has) {
        (false, false) => all.push(finalizer.to_owned()),
        (true, true) if !in_use => all.retain(|one| one != finalizer),
        _ => return None,
    }
    Some(all)
}

/// The claims that a pod uses.
fn claims(pod: &Pod) -> impl Iterator<Item = String> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).filter_map(move |volume| {
        if volume.ephemeral.is_some() {
            return Some(format!("{name}-{}", volume.name));
        }
        volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone())
    })
}

/// Holds claims, until shutdown.
pub async fn claims_in_use(context: Arc<Context>) {
    let actor = context.actor("pvc-protection-controller").await;
    let (all, pods_cache) = (context.caches.claims.clone(), context.caches.pods.clone());
    all.synced().await;
    pods_cache.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    all.handle(move |_, claim| keys.add(key_of(claim.as_ref())));
    let keys = queue.clone();
    pods_cache.handle(move |_, pod| {
        for name in claims(pod) {
            keys.add(format!("{}/{name}", pod.metadata.namespace.as_deref().unwrap_or_default()));
        }
    });
    work("persistentvolumeclaim-protection", queue, 2, context.shutdown.clone(), move |key: String| {
        let (all, pods_cache, actor) = (all.clone(), pods_cache.clone(), actor.clone());
        async move {
            let Some(claim) = all.get(&key) else { return Ok::<_, kube::Error>(None) };
            let (namespace, name) = key.split_once('/').unwrap_or(("", &key));
            let uses = |pod: &Arc<Pod>| {
                !matches!(pods::phase(pod), "Succeeded" | "Failed") && claims(pod).any(|used| used == name)
            };
            let in_use = pods_cache.list_in(namespace).iter().any(uses);
            if let Some(finalizers) = corrected(&claim.metadata, CLAIM, in_use) {
                let api: Api<PersistentVolumeClaim> = Api::namespaced(actor.client(), namespace);
                write::object(&api, claim.as_ref(), &json!({"metadata": {"finalizers": finalizers}})).await?;
            }
            Ok(None)
        }
    })
    .await;
}

/// Holds volumes, until shutdown.
pub async fn volumes_in_use(context: Arc<Context>) {
    let actor = context.actor("pv-protection-controller").await;
    let all = context.caches.volumes.clone();
    all.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    all.handle(move |_, volume| keys.add(key_of(volume.as_ref())));
    work("persistentvolume-protection", queue, 2, context.shutdown.clone(), move |key: String| {
        let (all, actor) = (all.clone(), actor.clone());
        async move {
            let Some(volume) = all.get(&key) else { return Ok::<_, kube::Error>(None) };
            let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
            if let Some(finalizers) = corrected(&volume.metadata, VOLUME, phase == Some("Bound")) {
                let api: Api<PersistentVolume> = Api::all(actor.client());
                write::object(&api, volume.as_ref(), &json!({"metadata": {"finalizers": finalizers}})).await?;
            }
            Ok(None)
        }
    })
    .await;
}

/// Holds classes of volume attributes, until shutdown.
pub async fn attributes_in_use(context: Arc<Context>) {
    let actor = context.actor("volumeattributesclass-protection-controller").await;
    let caches = &context.caches;
    let (all, claims, volumes) = (caches.attributes_classes.clone(), caches.claims.clone(), caches.volumes.clone());
    all.synced().await;
    claims.synced().await;
    volumes.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    all.handle(move |_, class| keys.add(key_of(class.as_ref())));
    let keys = queue.clone();
    claims.handle(move |_, claim| classes_of_claim(claim).for_each(|name| keys.add(name.to_owned())));
    let keys = queue.clone();
    volumes.handle(move |_, volume| class_of_volume(volume).into_iter().for_each(|name| keys.add(name.to_owned())));
    work("volumeattributesclass-protection", queue, 1, context.shutdown.clone(), move |name: String| {
        let (all, claims, volumes, actor) = (all.clone(), claims.clone(), volumes.clone(), actor.clone());
        async move {
            let Some(class) = all.get(&name) else { return Ok::<_, kube::Error>(None) };
            let in_use = claims.list().iter().any(|claim| classes_of_claim(claim).any(|used| used == name))
                || volumes.list().iter().any(|volume| class_of_volume(volume) == Some(&name));
            if let Some(finalizers) = corrected(&class.metadata, ATTRIBUTES, in_use) {
                let api: Api<VolumeAttributesClass> = Api::all(actor.client());
                write::object(&api, class.as_ref(), &json!({"metadata": {"finalizers": finalizers}})).await?;
            }
            Ok(None)
        }
    })
    .await;
}

/// The classes that a claim asks for, has, and is on its way to.
fn classes_of_claim(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &str> {
    let asked = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let status = claim.status.as_ref();
    let has = status.and_then(|status| status.current_volume_attributes_class_name.as_deref());
    let next =
        status.and_then(|status| status.modify_volume_status.as_ref()?.target_volume_attributes_class_name.as_deref());
    [asked, has, next].into_iter().flatten()
}

fn class_of_volume(volume: &PersistentVolume) -> Option<&str> {
    volume.spec.as_ref()?.volume_attributes_class_name.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_held() {
        let metadata = |finalizers: &[&str], deleted: bool| -> ObjectMeta {
            let deleted = deleted.then_some("2027-01-01T00:00:00Z");
            serde_json::from_value(json!({"finalizers": finalizers, "deletionTimestamp": deleted})).unwrap()
        };
        assert_eq!(corrected(&metadata(&["x"], false), CLAIM, false), Some(vec!["x".into(), CLAIM.into()]));
        assert_eq!(corrected(&metadata(&[CLAIM], false), CLAIM, false), None);
        assert_eq!(corrected(&metadata(&[CLAIM], true), CLAIM, true), None);
        assert_eq!(corrected(&metadata(&[CLAIM], true), CLAIM, false), Some(vec![]));
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [], "volumes": [
            {"name": "a", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "b", "ephemeral": {}}, {"name": "d"}]}}))
        .unwrap();
        assert_eq!(claims(&pod).collect::<Vec<_>>(), ["c", "p-b"]);
    }
}
