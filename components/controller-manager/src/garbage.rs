//! Garbage: objects whose owners are all gone are deleted.
//!
//! All objects that have owners are looked at from time to time, and those of an owner that was just deleted at once. What
//! is deleted is checked against the API first, never against a cache alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kinit_runtime::Change;
use kube::api::{DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::discovery::{ApiResource, Discovery, Scope, verbs};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::sync::Notify;

use crate::context::{Actor, Context};

/// Finalizers by which deletions say what becomes of what an object owns.
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
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
    caches.replication_controllers.handle(move |change, one| tell(change, one.metadata.deletion_timestamp.is_some()));
    let tell = notify(&wake);
    caches.stateful_sets.handle(move |change, one| tell(change, one.metadata.deletion_timestamp.is_some()));
    let tell = notify(&wake);
    caches.cron_jobs.handle(move |change, one| tell(change, one.metadata.deletion_timestamp.is_some()));
    let tell = notify(&wake);
    caches.config_maps.handle(move |_, one| tell(Change::Updated, is_held(&one.metadata)));
    let tell = notify(&wake);
    let waiting = Arc::new(AtomicBool::new(false));
    let waits = waiting.clone();
    caches.pods.handle(move |change, one| {
        // Pods come and go all the time; they matter here if an owner waits for them, or if they are owners themselves.
        let awaited = change == Change::Deleted && waits.load(Ordering::Relaxed);
        tell(Change::Updated, awaited || is_held(&one.metadata));
    });
    let tell = notify(&wake);
    caches.nodes.handle(move |change, one| tell(change, one.metadata.deletion_timestamp.is_some()));
    loop {
        match sweep(&actor).await {
            Ok(waits) => waiting.store(waits, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, "garbage stays for now"),
        }
        tokio::select! {
            () = wake.notified() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(PACE) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}

/// Whether an object waits for what is to be done here before it goes.
fn is_held(metadata: &ObjectMeta) -> bool {
    let ours = |name: &String| name == ORPHAN || name == FOREGROUND;
    metadata.deletion_timestamp.is_some() && metadata.finalizers.iter().flatten().any(ours)
}

/// What an owner is to an object that it owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// It stays.
    Solid,
    /// It goes when those that it owns are gone.
    Waiting,
    /// It is gone.
    Absent,
}

/// What becomes of an object with these owners. Pure.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    /// It loses the references to owners that do not stay.
    Cut,
    Delete,
}

fn fate(owners: &[Owner]) -> Fate {
    let solid = owners.contains(&Owner::Solid);
    match () {
        () if owners.is_empty() => Fate::Keep,
        () if !solid => Fate::Delete,
        () if owners.iter().all(|one| *one == Owner::Solid) => Fate::Keep,
        () => Fate::Cut,
    }
}

/// An object as it matters here.
struct Found {
    resource: ApiResource,
    namespaced: bool,
    object: PartialObjectMeta<DynamicObject>,
}

/// Looks at all objects once. Whether an owner waits for others.
async fn sweep(actor: &Actor) -> Result<bool, kube::Error> {
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
    let living: HashMap<&str, &Found> =
        all.iter().filter_map(|found| Some((found.object.metadata.uid.as_deref()?, found))).collect();
    let mut absent: HashMap<(String, Option<String>), bool> = HashMap::new();
    let mut waits = false;
    for found in &all {
        waits |= release(&client, found, &all).await?;
        let owners = found.object.metadata.owner_references.as_deref().unwrap_or_default();
        if owners.is_empty() || found.object.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let mut kinds = Vec::new();
        for owner in owners {
            kinds.push(match living.get(owner.uid.as_str()).filter(|one| may_own(one, found)) {
                Some(one) if is_held_for_children(one) => Owner::Waiting,
                Some(_) => Owner::Solid,
                None if is_gone(&client, found, owner, &mut absent).await? => Owner::Absent,
                None => Owner::Solid,
            });
        }
        match fate(&kinds) {
            Fate::Keep => {}
            Fate::Delete => delete(&client, found).await?,
            Fate::Cut => {
                let solid = owners.iter().zip(&kinds).filter(|(_, kind)| **kind == Owner::Solid);
                cut(&client, found, solid.map(|(owner, _)| owner).collect()).await?;
            }
        }
    }
    Ok(waits)
}

/// Owners are of the same namespace, or of none.
fn may_own(owner: &Found, found: &Found) -> bool {
    !owner.namespaced || owner.object.metadata.namespace == found.object.metadata.namespace
}

fn is_held_for_children(owner: &Found) -> bool {
    let metadata = &owner.object.metadata;
    metadata.deletion_timestamp.is_some() && metadata.finalizers.iter().flatten().any(|name| name == FOREGROUND)
}

/// Gives an object other owners.
async fn cut(client: &kube::Client, found: &Found, owners: Vec<&OwnerReference>) -> Result<(), kube::Error> {
    let metadata = &found.object.metadata;
    let fields = json!({"uid": metadata.uid, "ownerReferences": owners});
    let patch = Patch::Merge(json!({"metadata": fields}));
    gone(api_of(client, found).patch(&found.object.name_any(), &PatchParams::default(), &patch).await)
}

/// Whether an owner is really gone: asked of the API, once in a sweep.
async fn is_gone(
    client: &kube::Client,
    found: &Found,
    owner: &OwnerReference,
    known: &mut HashMap<(String, Option<String>), bool>,
) -> Result<bool, kube::Error> {
    let key = (owner.uid.clone(), found.object.metadata.namespace.clone());
    if let Some(gone) = known.get(&key) {
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
    known.insert(key, gone);
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

/// Does what the finalizers for deletion ask: what an owner leaves behind is let go, or is gone before the owner goes. What
/// is to be deleted for it is found by looking at its owners. Whether it waits.
async fn release(client: &kube::Client, found: &Found, all: &[Found]) -> Result<bool, kube::Error> {
    let metadata = &found.object.metadata;
    let finalizers = metadata.finalizers.clone().unwrap_or_default();
    let ours = finalizers.iter().find(|name| *name == ORPHAN || *name == FOREGROUND).cloned();
    let (Some(finalizer), true) = (ours, metadata.deletion_timestamp.is_some()) else { return Ok(false) };
    let uid = metadata.uid.clone().unwrap_or_default();
    let mut waits = false;
    for child in all.iter().filter(|child| may_own(found, child)) {
        let owners = child.object.metadata.owner_references.iter().flatten();
        let Some(own) = owners.clone().find(|one| one.uid == uid) else { continue };
        if finalizer == ORPHAN {
            cut(client, child, owners.filter(|one| one.uid != uid).collect()).await?;
        } else {
            waits |= own.block_owner_deletion == Some(true);
        }
    }
    if waits {
        return Ok(true);
    }
    let left: Vec<_> = finalizers.into_iter().filter(|name| *name != finalizer).collect();
    let patch = json!({"metadata": {"resourceVersion": metadata.resource_version, "finalizers": left}});
    gone(api_of(client, found).patch(&found.object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await)?;
    Ok(false)
}

fn gone<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_that_stays_is_enough() {
        use Owner::{Absent, Solid, Waiting};
        for (owners, wanted) in [
            (vec![], Fate::Keep),
            (vec![Solid], Fate::Keep),
            (vec![Absent], Fate::Delete),
            (vec![Waiting], Fate::Delete),
            (vec![Absent, Waiting], Fate::Delete),
            (vec![Solid, Absent], Fate::Cut),
            (vec![Waiting, Solid], Fate::Cut),
        ] {
            assert_eq!(fate(&owners), wanted, "{owners:?}");
        }
    }
}
