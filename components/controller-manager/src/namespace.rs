//! Namespaces that are deleted: the pods in them go first, then all else, then they are let go.

pub mod condition;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kinit_runtime::{Change, Queue, key_of, work};
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::discovery::{ApiResource, Discovery, Scope, verbs};
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
            let held = |namespace: &Namespace| {
                let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
                finalizers.is_some_and(|all| all.iter().any(|name| name == FINALIZER))
            };
            if !held(&namespace) {
                return Ok(None);
            }
            let left = empty(&actor, &key).await?;
            let told = tell(&actor, &namespace, &left).await?;
            if !left.is_empty() {
                return Ok(Some(AGAIN));
            }
            finalize(&actor, &told).await?;
            Ok::<_, kube::Error>(None)
        }
    })
    .await;
}

/// What is still in a namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Objects by resource.
    pub objects: BTreeMap<String, usize>,
    /// Objects by the finalizers that they wait for.
    pub finalizers: BTreeMap<String, usize>,
    /// What could not be deleted, and why.
    pub failures: Vec<String>,
}

impl Left {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.failures.is_empty()
    }
}

/// Deletes what is in a namespace; gives what is still there. As long as there are pods, which may need the rest, it stays.
async fn empty(actor: &Actor, namespace: &str) -> Result<Left, kube::Error> {
    let client = actor.client();
    let discovery = Discovery::new(client.clone()).run().await?;
    let mut resources: Vec<ApiResource> = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let usable = capabilities.supports_operation(verbs::LIST) && capabilities.supports_operation(verbs::DELETE);
            if capabilities.scope == Scope::Namespaced && usable {
                resources.push(resource);
            }
        }
    }
    let (pods, rest): (Vec<_>, Vec<_>) =
        resources.into_iter().partition(|one| one.group.is_empty() && one.plural == "pods");
    let mut left = Left::default();
    for resource in pods {
        empty_of(&client, namespace, &resource, &mut left).await?;
    }
    if left.is_empty() {
        for resource in rest {
            empty_of(&client, namespace, &resource, &mut left).await?;
        }
    }
    Ok(left)
}

async fn empty_of(
    client: &kube::Client,
    namespace: &str,
    resource: &ApiResource,
    left: &mut Left,
) -> Result<(), kube::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
    for object in api.list(&ListParams::default()).await?.items {
        let at_once = resource.plural != "pods" && object.metadata.finalizers.as_ref().is_none_or(Vec::is_empty);
        if object.metadata.deletion_timestamp.is_none() {
            match api.delete(&object.name_any(), &DeleteParams::background()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(kube::Error::Api(status)) => left.failures.push(status.message.clone()),
                Ok(_) if at_once => continue,
                other => {
                    other?;
                }
            }
        }
        *left.objects.entry(condition::name_of(&resource.plural, &resource.group)).or_default() += 1;
        for finalizer in object.metadata.finalizers.iter().flatten() {
            *left.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }
    Ok(())
}

/// Says in the status what is left. The namespace as it is then.
async fn tell(actor: &Actor, namespace: &Namespace, left: &Left) -> Result<Namespace, kube::Error> {
    let mut changed = namespace.clone();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    // What was emptied at once leaves without a word.
    if left.is_empty() && conditions.is_empty() || !condition::update(conditions, left, Timestamp::now()) {
        return Ok(namespace.clone());
    }
    let api: Api<Namespace> = Api::all(actor.client());
    api.replace_status(&namespace.name_any(), &PostParams::default(), &changed).await
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
