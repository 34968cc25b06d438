//! What the server does for CustomResourceDefinitions by itself: it gives them their names, which makes them served, and
//! lets them go once nothing is left of what they define. Each server does so; who comes second finds it done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_crd::definition::has_condition;
use kinit_crd::status::{self, Taken};
use tokio_util::sync::CancellationToken;

use crate::authn::User;
use crate::fields::Manager;
use crate::handlers::{Api, now};
use crate::registry::{self, Registry};
use crate::request::{self, ResourceRequest};
use crate::strategy::DeleteOptions;

const GROUP: &str = "apiextensions.k8s.io";
const PLURAL: &str = "customresourcedefinitions";
/// How soon what failed or waits is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// Serves definitions until `shutdown`.
pub async fn run(api: Api, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = serve(&api) => {}
    }
}

async fn serve(api: &Api) {
    api.cache.wait_until_synced().await;
    let index = registry::position(GROUP, PLURAL).expect("definitions have a row");
    loop {
        let (objects, _, mut changes) = api.cache.list_and_subscribe(index);
        let mut waiting: BTreeSet<String> = objects.keys().map(|name| name.to_string()).collect();
        loop {
            // One after the other: two definitions must not be given one name.
            let mut left = BTreeSet::new();
            for name in std::mem::take(&mut waiting) {
                match settle(api, &name).await {
                    Ok(true) => {}
                    Ok(false) => drop(left.insert(name)),
                    Err(error) => {
                        tracing::debug!(%error, name, "a definition waits");
                        left.insert(name);
                    }
                }
            }
            let idle = if left.is_empty() { Duration::from_secs(600) } else { AGAIN };
            let change = tokio::time::timeout(idle, changes.recv()).await;
            waiting = left;
            let Ok(change) = change else { continue };
            let Ok(change) = change else { break };
            waiting.extend(change.old.iter().chain(&change.new).map(|entry| entry.name().to_owned()));
            // A name that is given up may be what others wait for.
            waiting.extend(refused(api));
        }
    }
}

/// The definitions whose names are not all theirs.
fn refused(api: &Api) -> Vec<String> {
    let all = api.cache.all(GROUP, PLURAL);
    let accepted = |object: &Object| has_condition(object, "NamesAccepted");
    all.iter()
        .filter(|(_, entry)| entry.object().is_some_and(|it| !accepted(&it)))
        .map(|(name, _)| name.to_string())
        .collect()
}

/// Does what is to be done for a definition; says whether it is done.
async fn settle(api: &Api, name: &str) -> Result<bool, Status> {
    let Some(object) = api.cache.find(GROUP, PLURAL, "", name).and_then(|entry| entry.object()) else {
        return Ok(true);
    };
    let finalizers = object.get(&["metadata", "finalizers"]).and_then(serde_json::Value::as_array);
    let ours = finalizers.into_iter().flatten().any(|own| own == status::FINALIZER);
    if object.is_being_deleted() {
        return if ours { clean(api, name, &object).await } else { Ok(true) };
    }
    let group = object.str(&["spec", "group"]);
    let mut taken = Taken::default();
    for other in api.cache.all(GROUP, PLURAL).values().filter(|other| other.name() != name) {
        if let Some(other) = other.object().filter(|other| other.str(&["spec", "group"]) == group) {
            taken.add(&other);
        }
    }
    let settle = |object: &Object| {
        let mut object = object.clone();
        status::approve(&mut object, &now());
        status::accept(&mut object, &taken, &now());
        object
    };
    let settled = settle(&object);
    if settled == object {
        return Ok(true);
    }
    write(api, name, settle).await?;
    // What has just been written is what the next definition has to see.
    Ok(has_condition(&settled, "NamesAccepted"))
}

/// Deletes what a definition defines, and lets the definition go when it is gone.
async fn clean(api: &Api, name: &str, object: &Object) -> Result<bool, Status> {
    let registry = api.cache.registry();
    let Some(store) = registry.store(name).filter(|_| has_condition(object, "Established")) else {
        return release(api, name).await;
    };
    let (objects, _) = api.cache.list_consistent(store.index).await?;
    if objects.is_empty() {
        return release(api, name).await;
    }
    let in_progress = |live: &Object| {
        let mut live = live.clone();
        let message = "CustomResource deletion is in progress";
        status::condition(&mut live, "Terminating", "True", "InstanceDeletionInProgress", message, &now());
        live
    };
    write(api, name, in_progress).await?;
    let mut request = definition_request(name)?;
    (request.index, request.spec) = (store.index, store.spec.clone());
    request.subresource.clear();
    for entry in objects.values() {
        entry.namespace().clone_into(&mut request.namespace);
        entry.name().clone_into(&mut request.name);
        match api.delete_one(&request, entry.name(), &DeleteOptions::default()).await {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    Ok(false)
}

async fn release(api: &Api, name: &str) -> Result<bool, Status> {
    let released = |live: &Object| {
        let mut live = live.clone();
        status::release(&mut live, &now());
        live
    };
    write(api, name, released).await?;
    Ok(true)
}

/// Writes a definition's status and finalizers; one that is gone needs nothing.
async fn write(api: &Api, name: &str, make: impl Fn(&Object) -> Object) -> Result<(), Status> {
    let request = definition_request(name)?;
    match api.change(&request, |live| Ok(make(live))).await {
        Err(status) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}

/// The request, by the server itself, that a write of a definition is. It is of no subresource that clients know, because
/// it changes status and finalizers together.
fn definition_request(name: &str) -> Result<ResourceRequest, Status> {
    let path = format!("/apis/{GROUP}/v1/{PLURAL}/{name}");
    let request = request::parse(&Registry::default(), &http::Method::PUT, &path, None)?;
    let mut request = request.ok_or_else(Status::no_such_path)?;
    request.subresource = "cleanup".into();
    request.user = Arc::new(User::server());
    request.internal = true;
    // What the server does of itself is noted as done to the status.
    request.manager = Some(Manager { name: "kube-apiserver".into(), subresource: "status".into() });
    Ok(request)
}
