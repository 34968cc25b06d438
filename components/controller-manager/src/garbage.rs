//! Garbage: objects whose owners are all gone are deleted.
//!
//! - [`graph`]: who owns whom, pure. [`watch`]: having all objects in it.
//!
//! What is deleted is checked against the API first, never against the graph alone: that an owner is absent counts only if
//! its end was seen or the API says so, and the object must still be the one, in the version, that was judged.

pub mod graph;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kinit_runtime::work;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::discovery::Scope;
use serde_json::json;

use crate::context::{Actor, Context};
use graph::{FOREGROUND, Fate, Node, ORPHAN, Owner};
use watch::Monitors;

const WORKERS: usize = 20;
/// How long to wait until all objects were seen.
const INCOMPLETE: Duration = Duration::from_millis(300);
/// When to look again at an object whose owner the API has and no watch tells of.
const LATER: Duration = Duration::from_secs(30);

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("generic-garbage-collector").await;
    let monitors = Monitors::default();
    let known = monitors.share_caches(&context).await;
    let follow = monitors.clone().follow(context.clone(), actor.clone(), known);
    let queue = monitors.queue.clone();
    let working = work("garbagecollector", queue, WORKERS, context.shutdown.clone(), move |uid: String| {
        let (monitors, actor) = (monitors.clone(), actor.clone());
        async move { look(&monitors, &actor, &uid).await }
    });
    tokio::join!(follow, working);
}

/// Does what is to be done for one object.
async fn look(monitors: &Monitors, actor: &Actor, uid: &str) -> Result<Option<Duration>, kube::Error> {
    let (node, owned) = {
        let graph = monitors.graph.lock();
        let Some(node) = graph.get(uid).cloned() else { return Ok(None) };
        let owned = if node.deleting { graph.owned_by(uid) } else { Vec::new() };
        (node, owned)
    };
    let client = actor.client();
    if node.deleting {
        let waits = node.waits_for(ORPHAN) || node.waits_for(FOREGROUND);
        if waits && !monitors.complete() {
            return Ok(Some(INCOMPLETE));
        }
        return release(&client, uid, &node, &owned).await.map(|()| None);
    }
    let mut kinds = Vec::new();
    let mut again = None;
    for owner in &node.owners {
        let kind = match known(monitors, &node, owner) {
            Some(kind) => kind,
            None if is_gone(&client, &node, owner).await? => {
                note_gone(monitors, owner);
                Owner::Absent
            }
            None => {
                again = Some(LATER);
                Owner::Solid
            }
        };
        kinds.push(kind);
    }
    match graph::fate(&kinds) {
        Fate::Keep => {}
        Fate::Delete => {
            // Who waits for this one waits for those that it owns too.
            let owned = if kinds.contains(&Owner::Waiting) { monitors.graph.lock().owned_by(uid) } else { Vec::new() };
            // One that it owns may wait for it in a circle, which is opened here: the next look deletes it.
            if owned.iter().any(|(_, child)| child.waits_for(FOREGROUND)) && node.blocks_any() {
                return unblock(&client, uid, &node).await.map(|()| again);
            }
            delete(&client, uid, &node, !owned.is_empty()).await?;
        }
        Fate::Cut => {
            let solid = node.owners.iter().zip(&kinds).filter(|(_, kind)| **kind == Owner::Solid);
            cut(&client, uid, &node, solid.map(|(owner, _)| owner).collect()).await?;
        }
    }
    Ok(again)
}

/// What the graph knows of an owner.
fn known(monitors: &Monitors, node: &Node, owner: &OwnerReference) -> Option<Owner> {
    let graph = monitors.graph.lock();
    match graph.get(&owner.uid) {
        Some(found) if found.may_own(node) && found.waits_for(FOREGROUND) => Some(Owner::Waiting),
        Some(found) if found.may_own(node) => Some(Owner::Solid),
        None if graph.is_gone(&owner.uid) => Some(Owner::Absent),
        _ => None,
    }
}

/// Remembers that an owner is gone, unless it is one that only cannot own what names it.
fn note_gone(monitors: &Monitors, owner: &OwnerReference) {
    let mut graph = monitors.graph.lock();
    if graph.get(&owner.uid).is_none() {
        graph.note_gone(&owner.uid);
    }
}

/// Whether an owner is really gone: asked of the API.
async fn is_gone(client: &kube::Client, node: &Node, owner: &OwnerReference) -> Result<bool, kube::Error> {
    let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
    let kind = kube::core::GroupVersionKind::gvk(group, version, &owner.kind);
    let Ok((resource, capabilities)) = kube::discovery::pinned_kind(client, &kind).await else {
        // A kind that is not served now may be again.
        return Ok(false);
    };
    let api: Api<DynamicObject> = match (capabilities.scope, node.namespace.as_deref()) {
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), namespace, &resource),
        // What is in no namespace cannot have such an owner, and nobody can say whether it is there.
        (Scope::Namespaced, None) => return Ok(false),
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    };
    let present = api.get_metadata_opt(&owner.name).await?;
    Ok(present.is_none_or(|present| present.metadata.uid.as_ref() != Some(&owner.uid)))
}

fn api_of(client: &kube::Client, node: &Node) -> Api<DynamicObject> {
    match node.namespace.as_deref() {
        Some(namespace) if node.kind.namespaced => Api::namespaced_with(client.clone(), namespace, &node.kind.resource),
        _ => Api::all_with(client.clone(), &node.kind.resource),
    }
}

/// Lets an object's owners go before it.
async fn unblock(client: &kube::Client, uid: &str, node: &Node) -> Result<(), kube::Error> {
    let free = |owner: &OwnerReference| OwnerReference { block_owner_deletion: Some(false), ..owner.clone() };
    let owners: Vec<_> = node.owners.iter().map(free).collect();
    cut(client, uid, node, owners.iter().collect()).await
}

/// Gives an object other owners.
async fn cut(client: &kube::Client, uid: &str, node: &Node, owners: Vec<&OwnerReference>) -> Result<(), kube::Error> {
    let patch = Patch::Merge(json!({"metadata":
        {"uid": uid, "resourceVersion": node.version, "ownerReferences": owners}}));
    gone(api_of(client, node).patch(&node.name, &PatchParams::default(), &patch).await)
}

async fn delete(client: &kube::Client, uid: &str, node: &Node, has_own: bool) -> Result<(), kube::Error> {
    tracing::debug!(kind = node.kind.resource.kind, name = node.name, "deletes an object whose owners are gone");
    let policy = if has_own { PropagationPolicy::Foreground } else { PropagationPolicy::Background };
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: node.version.clone() }),
        propagation_policy: Some(policy),
        ..DeleteParams::default()
    };
    gone(api_of(client, node).delete(&node.name, &params).await)
}

/// Does what the finalizers for deletion ask: what an owner leaves behind is let go, or is gone before the owner goes.
/// What is to be deleted for it is found by looking at its owners.
async fn release(client: &kube::Client, uid: &str, node: &Node, owned: &[(String, Node)]) -> Result<(), kube::Error> {
    if node.waits_for(ORPHAN) {
        for (child_uid, child) in owned {
            let left = child.owners.iter().filter(|one| one.uid != uid).collect();
            cut(client, child_uid, child, left).await?;
        }
        return drop_finalizer(client, uid, node, ORPHAN).await;
    }
    if node.waits_for(FOREGROUND) && !owned.iter().any(|(_, child)| child.blocks(uid)) {
        return drop_finalizer(client, uid, node, FOREGROUND).await;
    }
    Ok(())
}

async fn drop_finalizer(client: &kube::Client, uid: &str, node: &Node, name: &str) -> Result<(), kube::Error> {
    let left: Vec<_> = node.finalizers.iter().filter(|one| *one != name).collect();
    let patch = Patch::Merge(json!({"metadata": {"uid": uid, "resourceVersion": node.version, "finalizers": left}}));
    gone(api_of(client, node).patch(&node.name, &PatchParams::default(), &patch).await)
}

/// What is gone needs nothing more. A conflict means that the watch is behind: it is tried again.
fn gone<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}
