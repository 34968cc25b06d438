//! Garbage: objects whose owners are all gone are deleted.
//!
//! All objects that have owners are looked at from time to time, and those of an owner that was just deleted at once. What
//! is deleted is checked against the API first, never against a cache alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kinit_runtime::Change;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::discovery::{ApiResource, Discovery, Scope, verbs};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::sync::Notify;

use crate::context::{Actor, Context};

const PACE: Duration = Duration::from_secs(30);
/// Changes that come together are treated together.
const SETTLE: Duration = Duration::from_millis(300);

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("generic-garbage-collector").await;
    let caches = &context.caches;
    let wake = Arc::new(Notify::new());
    let notify = |wake: &Arc<Notify>| {
        let wake = wake.clone();
        move |change: Change, deleting: bool| {
            if change == Change::Deleted || deleting {
                wake.notify_one();
            }
        }
    };
    let tell = notify(&wake);
    caches.deployments.handle(move |change, one| tell(change, one.metadata.deletion_timestamp.is_some()));
    let tell = notify(&wake);
    caches.replica_sets.handle(move |change, one| tell(change, one.metadata.deletion_timestamp.is_some()));
    let tell = notify(&wake);
    caches.daemon_sets.handle(move |change, one| tell(change, one.metadata.deletion_timestamp.is_some()));
    let tell = notify(&wake);
    caches.jobs.handle(move |change, one| tell(change, one.metadata.deletion_timestamp.is_some()));
    let tell = notify(&wake);
    caches.services.handle(move |change, one| tell(change, one.metadata.deletion_timestamp.is_some()));
    let tell = notify(&wake);
    caches.nodes.handle(move |change, one| tell(change, one.metadata.deletion_timestamp.is_some()));
    loop {
        if let Err(error) = sweep(&actor).await {
            tracing::debug!(%error, "garbage stays for now");
        }
        tokio::select! {
            () = wake.notified() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(PACE) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}

/// An object as it matters here.
struct Found {
    resource: ApiResource,
    namespaced: bool,
    object: PartialObjectMeta<DynamicObject>,
}

async fn sweep(actor: &Actor) -> Result<(), kube::Error> {
    let client = actor.client();
    let discovery = Discovery::new(client.clone()).run().await?;
    let mut all: Vec<Found> = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let usable = capabilities.supports_operation(verbs::LIST) && capabilities.supports_operation(verbs::DELETE);
            if !usable || resource.kind == "Event" || resource.kind == "Lease" {
                continue;
            }
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let Ok(list) = api.list_metadata(&ListParams::default()).await else { continue };
            let namespaced = capabilities.scope == Scope::Namespaced;
            all.extend(list.items.into_iter().map(|object| Found { resource: resource.clone(), namespaced, object }));
        }
    }
    let living: HashSet<String> = all.iter().filter_map(|found| found.object.metadata.uid.clone()).collect();
    let mut absent: HashMap<String, bool> = HashMap::new();
    for found in &all {
        release(&client, found, &all).await?;
        let owners = found.object.metadata.owner_references.as_deref().unwrap_or_default();
        if owners.is_empty() || found.object.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let mut all_gone = true;
        for owner in owners {
            if living.contains(&owner.uid) || !is_gone(&client, found, owner, &mut absent).await? {
                all_gone = false;
                break;
            }
        }
        if all_gone {
            delete(&client, found).await?;
        }
    }
    Ok(())
}

/// Whether an owner is really gone: asked of the API, once in a sweep.
async fn is_gone(
    client: &kube::Client,
    found: &Found,
    owner: &OwnerReference,
    known: &mut HashMap<String, bool>,
) -> Result<bool, kube::Error> {
    if let Some(gone) = known.get(&owner.uid) {
        return Ok(*gone);
    }
    let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
    let kind = kube::core::GroupVersionKind::gvk(group, version, &owner.kind);
    let gone = match kube::discovery::pinned_kind(client, &kind).await {
        Ok((resource, capabilities)) => {
            let api: Api<DynamicObject> = match (capabilities.scope, found.object.metadata.namespace.as_deref()) {
                (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), namespace, &resource),
                _ => Api::all_with(client.clone(), &resource),
            };
            api.get_metadata_opt(&owner.name)
                .await?
                .is_none_or(|present| present.metadata.uid.as_ref() != Some(&owner.uid))
        }
        // A kind that is not served now may be again.
        Err(_) => false,
    };
    known.insert(owner.uid.clone(), gone);
    Ok(gone)
}

fn api_of(client: &kube::Client, found: &Found) -> Api<DynamicObject> {
    match found.object.metadata.namespace.as_deref() {
        Some(namespace) if found.namespaced => Api::namespaced_with(client.clone(), namespace, &found.resource),
        _ => Api::all_with(client.clone(), &found.resource),
    }
}

async fn delete(client: &kube::Client, found: &Found) -> Result<(), kube::Error> {
    let name = found.object.name_any();
    tracing::debug!(kind = found.resource.kind, name, "deletes an object whose owners are gone");
    let preconditions = Preconditions { uid: found.object.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    match api_of(client, found).delete(&name, &params).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Does what the finalizers for deletion ask: what an owner leaves behind is let go, or deleted before the owner is.
async fn release(client: &kube::Client, found: &Found, all: &[Found]) -> Result<(), kube::Error> {
    let metadata = &found.object.metadata;
    let finalizers = metadata.finalizers.clone().unwrap_or_default();
    let ours = finalizers.iter().find(|name| *name == "orphan" || *name == "foregroundDeletion").cloned();
    let (Some(finalizer), true) = (ours, metadata.deletion_timestamp.is_some()) else { return Ok(()) };
    let uid = metadata.uid.clone().unwrap_or_default();
    let owns = |other: &&Found| other.object.metadata.owner_references.iter().flatten().any(|one| one.uid == uid);
    let mut waits = false;
    for child in all.iter().filter(owns) {
        if finalizer == "orphan" {
            let owners: Vec<_> =
                child.object.metadata.owner_references.iter().flatten().filter(|one| one.uid != uid).cloned().collect();
            let patch = json!({"metadata": {"uid": child.object.metadata.uid, "ownerReferences": owners}});
            let name = child.object.name_any();
            gone(api_of(client, child).patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await)?;
        } else {
            let blocks = child
                .object
                .metadata
                .owner_references
                .iter()
                .flatten()
                .any(|one| one.uid == uid && one.block_owner_deletion == Some(true));
            waits |= blocks;
            if child.object.metadata.deletion_timestamp.is_none() {
                delete(client, child).await?;
            }
        }
    }
    if waits {
        return Ok(());
    }
    let left: Vec<_> = finalizers.into_iter().filter(|name| *name != finalizer).collect();
    let patch = json!({"metadata": {"resourceVersion": metadata.resource_version, "finalizers": left}});
    gone(api_of(client, found).patch(&found.object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await)
}

fn gone<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map(|_| ()),
    }
}
