//! Claims and volumes find each other; what becomes of a volume whose claim is gone is written in it.
//!
//! Volumes that are made for claims are made by others: here is only said who is to make one, and for classes whose claims
//! wait for their first pod the scheduler says when.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kinit_api::quantity::Quantity;
use kinit_runtime::events::{About, Kind};
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use serde_json::{Value, json};

use crate::context::{Actor, Caches, Context};
use crate::{pods, write};

const COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND: &str = "pv.kubernetes.io/bound-by-controller";

/// Binds claims until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("persistent-volume-binder").await;
    let (claims, volumes) = (context.caches.claims.clone(), context.caches.volumes.clone());
    claims.synced().await;
    volumes.synced().await;
    context.caches.storage_classes.synced().await;
    // A key with a slash is a claim's, one without a volume's.
    let queue = Queue::new();
    let keys = queue.clone();
    claims.handle(move |_, claim| {
        keys.add(key_of(claim.as_ref()));
        if let Some(volume) = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()) {
            keys.add(volume);
        }
    });
    let (keys, known) = (queue.clone(), claims.clone());
    volumes.handle(move |_, volume| {
        keys.add(key_of(volume.as_ref()));
        for claim in known.list().iter().filter(|claim| phase(claim) != "Bound") {
            keys.add(key_of(claim.as_ref()));
        }
    });
    let shutdown = context.shutdown.clone();
    work("persistentvolume-binder", queue, 1, shutdown, move |key: String| {
        let (context, actor) = (context.clone(), actor.clone());
        async move {
            if key.contains('/') {
                bind(&context.caches, &actor, &key).await?;
            } else {
                release(&context.caches, &actor, &key).await?;
            }
            Ok::<_, kube::Error>(None)
        }
    })
    .await;
}

fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn reference(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// Whether a volume is held for a claim: by name, and by uid if the volume says one.
fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    reference(volume).is_some_and(|held| {
        held.name == claim.metadata.name
            && held.namespace == claim.metadata.namespace
            && held.uid.as_ref().is_none_or(|uid| uid.is_empty() || Some(uid) == claim.metadata.uid.as_ref())
    })
}

fn quantity(volume: &PersistentVolume) -> Quantity {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()?.get("storage"));
    capacity.and_then(|amount| amount.0.parse().ok()).unwrap_or(Quantity::ZERO)
}

/// Whether a volume has what a claim asks for.
fn suits(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let (offer, wish) = (volume.spec.clone().unwrap_or_default(), claim.spec.clone().unwrap_or_default());
    let asked = wish.resources.and_then(|all| all.requests).and_then(|all| all.get("storage").cloned());
    let asked: Quantity = asked.and_then(|amount| amount.0.parse().ok()).unwrap_or(Quantity::ZERO);
    let modes = offer.access_modes.unwrap_or_default();
    let mode = |mode: Option<String>| mode.unwrap_or_else(|| "Filesystem".into());
    quantity(volume) >= asked
        && wish.access_modes.iter().flatten().all(|wanted| modes.contains(wanted))
        && offer.storage_class_name.unwrap_or_default() == wish.storage_class_name.unwrap_or_default()
        && offer.volume_attributes_class_name.unwrap_or_default()
            == wish.volume_attributes_class_name.unwrap_or_default()
        && mode(offer.volume_mode) == mode(wish.volume_mode)
        && wish.selector.is_none_or(|selector| pods::matches(&selector, volume.metadata.labels.as_ref()))
        && volume.metadata.deletion_timestamp.is_none()
}

/// The volume for a claim: the one that it names or that is held for it, else the smallest free one that suits. Pure.
fn choose<'a>(
    volumes: &'a [Arc<PersistentVolume>],
    claim: &PersistentVolumeClaim,
) -> Option<&'a Arc<PersistentVolume>> {
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).filter(|name| !name.is_empty());
    if let Some(name) = named {
        let found = volumes.iter().find(|volume| volume.metadata.name.as_deref() == Some(name))?;
        return (reference(found).is_none() || is_for(found, claim)).then_some(found);
    }
    if let Some(held) = volumes.iter().find(|volume| is_for(volume, claim)) {
        return Some(held);
    }
    let free = volumes.iter().filter(|volume| reference(volume).is_none() && suits(volume, claim));
    free.min_by_key(|volume| quantity(volume))
}

fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.storage_class_name.as_deref().filter(|name| !name.is_empty())
}

/// How a claim of a class gets a volume when none is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provision {
    /// Not before a pod needs it.
    Wait,
    /// Somebody makes one by hand.
    Never,
    /// The class's provisioner makes one.
    Now,
}

const SELECTED: &str = "volume.kubernetes.io/selected-node";
const PROVISIONERS: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];

fn provision(claim: &PersistentVolumeClaim, class: &StorageClass) -> Provision {
    let selected = claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(SELECTED));
    match class.volume_binding_mode.as_deref() {
        Some("WaitForFirstConsumer") if !selected => Provision::Wait,
        _ if class.provisioner == "kubernetes.io/no-provisioner" => Provision::Never,
        _ => Provision::Now,
    }
}

/// Says in a claim who is to make its volume, and tells people what it waits for.
async fn ask(
    actor: &Actor,
    api: &Api<PersistentVolumeClaim>,
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    provision: &Provision,
) -> Result<(), kube::Error> {
    let name = &class.provisioner;
    let tell = |reason, text: String| actor.events.say(About::object(claim), Kind::Normal, reason, text);
    match provision {
        Provision::Never => {}
        Provision::Wait => {
            tell("WaitForFirstConsumer", "waiting for first consumer to be created before binding".into());
        }
        Provision::Now => {
            let annotations = claim.metadata.annotations.clone().unwrap_or_default();
            if PROVISIONERS.iter().any(|key| annotations.get(*key) != Some(name)) {
                let own: serde_json::Map<String, Value> =
                    PROVISIONERS.iter().map(|key| ((*key).to_owned(), json!(name))).collect();
                write::object(api, claim, &json!({"metadata": {"annotations": own}})).await?;
            }
            let text = format!(
                "Waiting for a volume to be created either by the external provisioner '{name}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
            );
            tell("ExternalProvisioning", text);
        }
    }
    Ok(())
}

async fn bind(caches: &Caches, actor: &Actor, key: &str) -> Result<(), kube::Error> {
    let Some(claim) = caches.claims.get(key).filter(|claim| claim.metadata.deletion_timestamp.is_none()) else {
        return Ok(());
    };
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(actor.client(), claim.metadata.namespace.as_deref().unwrap_or_default());
    let volumes = caches.volumes.list();
    let class = class_of(&claim).and_then(|name| caches.storage_classes.get(name));
    let provision = class.as_ref().map(|class| provision(&claim, class));
    // A claim that waits for its first pod takes no volume by itself, but one that was held for it or that it names.
    let held = |volume: &&Arc<PersistentVolume>| {
        provision != Some(Provision::Wait)
            || is_for(volume, &claim)
            || claim.spec.as_ref().and_then(|spec| spec.volume_name.as_ref()) == volume.metadata.name.as_ref()
    };
    let Some(volume) = choose(&volumes, &claim).filter(held) else {
        let lost = phase(&claim) == "Bound";
        let wanted = if lost { "Lost" } else { "Pending" };
        if phase(&claim) != wanted {
            write::status(&api, claim.as_ref(), &json!({"status": {"phase": wanted}})).await?;
        } else if let (false, Some(provision), Some(class)) = (lost, provision, &class) {
            ask(actor, &api, &claim, class, &provision).await?;
        }
        return Ok(());
    };
    let name = volume.metadata.name.clone().unwrap_or_default();
    // The volume is taken first: two claims cannot both have written it.
    let mut taken = volume.as_ref().clone();
    if reference(volume).and_then(|held| held.uid.as_ref()) != claim.metadata.uid.as_ref() {
        let held = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": claim.metadata.name,
            "namespace": claim.metadata.namespace, "uid": claim.metadata.uid,
            "resourceVersion": claim.metadata.resource_version});
        let fields = json!({"metadata": {"annotations": {BOUND: "yes"}}, "spec": {"claimRef": held}});
        taken = write::object(&Api::<PersistentVolume>::all(actor.client()), volume.as_ref(), &fields).await?;
    }
    set_phase(actor, &taken, "Bound").await?;
    let done = claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(COMPLETED));
    let mut own = claim.as_ref().clone();
    if !done || own.spec.as_ref().and_then(|spec| spec.volume_name.as_ref()) != Some(&name) {
        let fields =
            json!({"metadata": {"annotations": {COMPLETED: "yes", BOUND: "yes"}}, "spec": {"volumeName": name}});
        own = write::object(&api, claim.as_ref(), &fields).await?;
    }
    if phase(&own) != "Bound" {
        write::status(&api, &own, &bound_to(volume)).await?;
    }
    Ok(())
}

/// What a claim's status says as soon as it has its volume: what that offers.
fn bound_to(volume: &PersistentVolume) -> Value {
    let offer = volume.spec.clone().unwrap_or_default();
    json!({"status": {"phase": "Bound", "accessModes": offer.access_modes, "capacity": offer.capacity,
        "currentVolumeAttributesClassName": offer.volume_attributes_class_name}})
}

async fn set_phase(actor: &Actor, volume: &PersistentVolume, phase: &str) -> Result<(), kube::Error> {
    let present = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    if present == Some(phase) {
        return Ok(());
    }
    let api: Api<PersistentVolume> = Api::all(actor.client());
    write::status(&api, volume, &json!({"status": {"phase": phase, "message": Value::Null}})).await?;
    Ok(())
}

/// Says what a volume is now: free, taken, or given up by a claim that is gone.
async fn release(caches: &Caches, actor: &Actor, key: &str) -> Result<(), kube::Error> {
    // One that is being deleted is told too: what protects it waits for this.
    let Some(volume) = caches.volumes.get(key) else { return Ok(()) };
    let Some(held) = reference(&volume) else { return set_phase(actor, &volume, "Available").await };
    let Some(uid) = held.uid.as_ref().filter(|uid| !uid.is_empty()) else {
        return set_phase(actor, &volume, "Available").await;
    };
    let of = format!("{}/{}", held.namespace.as_deref().unwrap_or_default(), held.name.as_deref().unwrap_or_default());
    let claim = caches.claims.get(&of).filter(|claim| claim.metadata.uid.as_ref() == Some(uid));
    if claim.is_some() {
        return Ok(());
    }
    // Nothing here knows how to remove the files of a volume: it stays until somebody decides.
    set_phase(actor, &volume, "Released").await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, size: &str, class: &str, held: Option<&str>) -> Arc<PersistentVolume> {
        let held = held.map(|name| json!({"name": name, "namespace": "a"}));
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": size},
                "accessModes": ["ReadWriteOnce"], "storageClassName": class, "claimRef": held}}))
            .unwrap(),
        )
    }

    #[test]
    fn a_volume_is_asked_for_when_it_is_wanted() {
        let class = |provisioner: &str, mode: &str| -> StorageClass {
            serde_json::from_value(json!({"metadata": {}, "provisioner": provisioner, "volumeBindingMode": mode}))
                .unwrap()
        };
        let claim = |annotations: Value| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap()
        };
        let later = "WaitForFirstConsumer";
        for (annotations, class, wanted) in [
            (json!({}), class("x", "Immediate"), Provision::Now),
            (json!({}), class("x", later), Provision::Wait),
            (json!({SELECTED: "w1"}), class("x", later), Provision::Now),
            (json!({}), class("kubernetes.io/no-provisioner", "Immediate"), Provision::Never),
            (json!({}), class("kubernetes.io/no-provisioner", later), Provision::Wait),
        ] {
            assert_eq!(provision(&claim(annotations.clone()), &class), wanted, "{annotations} {}", class.provisioner);
        }
    }

    #[test]
    fn a_bound_claim_has_what_its_volume_offers() {
        let mut volume = volume("v", "5Gi", "", None).as_ref().clone();
        let status = bound_to(&volume);
        assert_eq!(status["status"]["capacity"]["storage"], "5Gi");
        assert_eq!(status["status"]["currentVolumeAttributesClassName"], Value::Null);
        volume.spec.as_mut().unwrap().volume_attributes_class_name = Some("gold".to_owned());
        assert_eq!(bound_to(&volume)["status"]["currentVolumeAttributesClassName"], "gold");
    }

    #[test]
    fn the_smallest_that_suits_is_taken() {
        let volumes = [
            volume("large", "10Gi", "", None),
            volume("fits", "5Gi", "", None),
            volume("small", "1Gi", "", None),
            volume("other", "5Gi", "fast", None),
            volume("held", "1Gi", "", Some("mine")),
        ];
        let claim = |name: &str, size: &str, class: &str, mode: &str, volume: Option<&str>| -> PersistentVolumeClaim {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "a", "uid": "u"}, "spec": {
                "accessModes": [mode], "storageClassName": class, "volumeName": volume,
                "resources": {"requests": {"storage": size}}}}))
            .unwrap()
        };
        let (one, many) = ("ReadWriteOnce", "ReadWriteMany");
        for (claim, wanted) in [
            (claim("c", "2Gi", "", one, None), Some("fits")),
            (claim("c", "6Gi", "", one, None), Some("large")),
            (claim("c", "2Gi", "fast", one, None), Some("other")),
            (claim("c", "20Gi", "", one, None), None),
            (claim("c", "1Gi", "", many, None), None),
            (claim("mine", "9Gi", "", one, None), Some("held")),
            (claim("c", "2Gi", "", one, Some("large")), Some("large")),
            (claim("c", "2Gi", "", one, Some("held")), None),
        ] {
            let found = choose(&volumes, &claim).and_then(|volume| volume.metadata.name.as_deref());
            assert_eq!(found, wanted, "{:?}", claim.spec);
        }
    }
}
