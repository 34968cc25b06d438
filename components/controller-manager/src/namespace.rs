//! Namespaces that are deleted: all in them is deleted first, then they are let go.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kinit_runtime::{Change, Queue, key_of, work};
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, ResourceExt};

use crate::context::{Actor, Context};

const AGAIN: Duration = Duration::from_secs(1);
const FINALIZER: &str = "kubernetes";

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("namespace-controller").await;
    let namespaces = context.caches.namespaces.clone();
    namespaces.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    namespaces.handle(move |change, namespace| {
        if change != Change::Deleted && namespace.metadata.deletion_timestamp.is_some() {
            keys.add(key_of(namespace.as_ref()));
        }
    });
    work("namespace", queue, 2, context.shutdown.clone(), move |key: String| {
        let (namespaces, actor) = (namespaces.clone(), actor.clone());
        async move {
            let Some(namespace) = namespaces.get(&key).filter(|one| one.metadata.deletion_timestamp.is_some()) else {
                return Ok(None);
            };
            if empty(&actor, &key).await? > 0 {
                return Ok(Some(AGAIN));
            }
            finalize(&actor, &namespace).await?;
            Ok::<_, kube::Error>(None)
        }
    })
    .await;
}

/// Deletes what is in a namespace; gives how much is still there.
async fn empty(actor: &Actor, namespace: &str) -> Result<usize, kube::Error> {
    let client = actor.client();
    let discovery = Discovery::new(client.clone()).run().await?;
    let mut left = 0;
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let usable = capabilities.supports_operation(verbs::LIST) && capabilities.supports_operation(verbs::DELETE);
            if capabilities.scope != Scope::Namespaced || !usable {
                continue;
            }
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            for object in api.list(&ListParams::default()).await?.items {
                left += 1;
                if object.metadata.deletion_timestamp.is_none() {
                    let params = DeleteParams::background();
                    match api.delete(&object.name_any(), &params).await {
                        Err(kube::Error::Api(status)) if status.code == 404 => {}
                        other => {
                            other?;
                        }
                    }
                }
            }
        }
    }
    Ok(left)
}

/// Lets the namespace go.
async fn finalize(actor: &Actor, namespace: &Namespace) -> Result<(), kube::Error> {
    let mut changed = namespace.clone();
    if let Some(finalizers) = changed.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|name| name != FINALIZER);
    }
    changed.metadata.managed_fields = None;
    let name = namespace.name_any();
    let body = serde_json::to_vec(&changed).map_err(kube::Error::SerdeError)?;
    let request = http::Request::put(format!("/api/v1/namespaces/{name}/finalize"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    match actor.client().request::<serde_json::Value>(request).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}
