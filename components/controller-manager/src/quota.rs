//! ResourceQuotas: what a namespace uses of what it may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use k8s_openapi::api::resource::v1::ResourceClaim;
use kinit_api::quantity::Quantity;
use kinit_api::quota::{self as usage, Amounts};
use kinit_runtime::{Change, Informer, Queue, key_of, work};
use kube::Api;
use serde::Serialize;
use serde_json::{Value, json};

use crate::context::{Actor, Caches, Context};
use crate::{pods, write};

/// How often each quota is counted again even if nothing happened: not everything that counts is followed.
const RESYNC: Duration = Duration::from_secs(300);
/// The same for a quota that counts what is not followed.
const RECOUNT: Duration = Duration::from_secs(10);

/// Counts the quotas of a namespace again when one of these informers' objects changes in a way that may give something
/// back. What a new object takes was charged before it was stored; it is not counted again on its arrival, because others
/// that were charged may not have been seen yet.
macro_rules! follow {
    ($quotas:expr, $queue:expr, $caches:expr, [$($informer:ident),*], $frees:expr) => {$(
        let (keys, known) = ($queue.clone(), $quotas.clone());
        $caches.$informer.handle(move |change, one| {
            if change == Change::Deleted || change == Change::Updated && $frees(&one) {
                all_of(one.metadata.namespace.as_deref(), &known, &keys);
            }
        });
    )*};
}

fn all_of(namespace: Option<&str>, quotas: &Informer<ResourceQuota>, keys: &Queue<String>) {
    for quota in quotas.list_in(namespace.unwrap_or_default()) {
        keys.add(key_of(quota.as_ref()));
    }
}

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("resourcequota-controller").await;
    let caches = &context.caches;
    let quotas = caches.quotas.clone();
    quotas.synced().await;
    caches.pods.synced().await;
    caches.services.synced().await;
    caches.claims.synced().await;
    caches.device_claims.synced().await;
    let queue = Queue::new();
    follow!(quotas, queue, caches, [pods], |pod: &Pod| matches!(pods::phase(pod), "Succeeded" | "Failed"));
    follow!(quotas, queue, caches, [services], |_: &Service| true);
    follow!(quotas, queue, caches, [claims], |_: &PersistentVolumeClaim| true);
    follow!(quotas, queue, caches, [device_claims], |_: &ResourceClaim| true);
    follow!(quotas, queue, caches, [secrets, config_maps, replication_controllers, replica_sets], |_: &_| false);
    follow!(quotas, queue, caches, [deployments, stateful_sets, daemon_sets, jobs, cron_jobs], |_: &_| false);
    let (keys, known) = (queue.clone(), quotas.clone());
    quotas.handle(move |change, quota| match change {
        Change::Deleted => all_of(quota.metadata.namespace.as_deref(), &known, &keys),
        // Charges change the status; only another limit asks for a new count.
        Change::Updated if !is_new(quota.as_ref()) => {}
        _ => keys.add(key_of(quota.as_ref())),
    });
    let shutdown = context.shutdown.clone();
    work("resourcequota", queue, 2, shutdown, move |key: String| {
        let (context, quotas, actor) = (context.clone(), quotas.clone(), actor.clone());
        async move {
            let Some(quota) = quotas.get(&key) else { return Ok::<_, kube::Error>(None) };
            let (mut used, others) = used(&context.caches, &quota);
            for name in &others {
                if let Some(count) = counted(&actor, &quota, name).await? {
                    used.insert(name.clone(), usage::count(count));
                }
            }
            report(&actor, &quota, &used).await?;
            Ok(Some(if others.is_empty() { RESYNC } else { RECOUNT }))
        }
    })
    .await;
}

/// Whether the quota's status does not speak of its limits yet.
fn is_new(quota: &ResourceQuota) -> bool {
    let wanted = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let told = quota.status.as_ref().and_then(|status| status.hard.as_ref());
    wanted.filter(|all| !all.is_empty()) != told.filter(|all| !all.is_empty())
}

fn tree(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// What is used of everything that the quota limits, and the limited counts of what is not followed.
fn used(caches: &Caches, quota: &ResourceQuota) -> (Amounts, BTreeSet<String>) {
    let namespace = quota.metadata.namespace.as_deref().unwrap_or_default();
    let limits = tree(quota);
    let mut all = Amounts::new();
    let mut take = |group: &str, resource: &str, object: Value| {
        if usage::in_scopes(&limits, resource, &object) {
            usage::add(&mut all, &usage::of(group, resource, &object));
        }
    };
    caches.pods.list_in(namespace).iter().for_each(|pod| take("", "pods", tree(pod.as_ref())));
    caches.services.list_in(namespace).iter().for_each(|service| take("", "services", tree(service.as_ref())));
    caches.claims.list_in(namespace).iter().for_each(|claim| take("", "persistentvolumeclaims", tree(claim.as_ref())));
    let device_claims = caches.device_claims.list_in(namespace);
    device_claims.iter().for_each(|claim| take("resource.k8s.io", "resourceclaims", tree(claim.as_ref())));
    let counts = [
        ("", "secrets", caches.secrets.list_in(namespace).len()),
        ("", "configmaps", caches.config_maps.list_in(namespace).len()),
        ("", "resourcequotas", caches.quotas.list_in(namespace).len()),
        ("", "replicationcontrollers", caches.replication_controllers.list_in(namespace).len()),
        ("apps", "deployments", caches.deployments.list_in(namespace).len()),
        ("apps", "replicasets", caches.replica_sets.list_in(namespace).len()),
        ("apps", "statefulsets", caches.stateful_sets.list_in(namespace).len()),
        ("apps", "daemonsets", caches.daemon_sets.list_in(namespace).len()),
        ("batch", "jobs", caches.jobs.list_in(namespace).len()),
        ("batch", "cronjobs", caches.cron_jobs.list_in(namespace).len()),
    ];
    let mut followed: BTreeSet<String> =
        ["pods", "services", "persistentvolumeclaims", "resourceclaims.resource.k8s.io"].map(count_of).into();
    for (group, resource, count) in counts {
        let names: Vec<String> = usage::of_object(group, resource).into_keys().collect();
        followed.extend(names.iter().cloned());
        // A quota with scopes is about none of these.
        if usage::in_scopes(&limits, resource, &Value::Null) {
            all.extend(names.into_iter().map(|name| (name, usage::count(count))));
        }
    }
    let limited = quota.spec.iter().flat_map(|spec| spec.hard.iter().flatten()).map(|(name, _)| name);
    let used = limited.clone().map(|name| (name.clone(), all.get(name).copied().unwrap_or(Quantity::ZERO)));
    let others = limited.filter(|name| name.starts_with("count/") && !followed.contains(*name));
    (used.collect(), others.cloned().collect())
}

fn count_of(resource: &str) -> String {
    format!("count/{resource}")
}

/// How many there are of what `count/PLURAL.GROUP` names; nothing where the API has no such resource.
async fn counted(actor: &Actor, quota: &ResourceQuota, name: &str) -> Result<Option<usize>, kube::Error> {
    let resource = name.trim_start_matches("count/");
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let root = if group.is_empty() {
        "/api/v1".to_owned()
    } else {
        match get(actor, &format!("/apis/{group}")).await? {
            Some(known) => {
                let version = known["preferredVersion"]["groupVersion"].as_str().unwrap_or_default();
                format!("/apis/{version}")
            }
            None => return Ok(None),
        }
    };
    let namespace = quota.metadata.namespace.as_deref().unwrap_or_default();
    let list = get(actor, &format!("{root}/namespaces/{namespace}/{resource}")).await?;
    Ok(list.map(|list| list["items"].as_array().map_or(0, Vec::len)))
}

/// A document of the API's, with objects' metadata alone; nothing where there is none.
async fn get(actor: &Actor, path: &str) -> Result<Option<Value>, kube::Error> {
    const ACCEPT: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1, application/json";
    let request = Request::get(path).header("accept", ACCEPT).body(Vec::new()).map_err(kube::Error::HttpError)?;
    match actor.client().request::<Value>(request).await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

async fn report(actor: &Actor, quota: &ResourceQuota, used: &Amounts) -> Result<(), kube::Error> {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
    let before = quota.status.clone().unwrap_or_default();
    let told: Amounts = before
        .used
        .iter()
        .flatten()
        .filter_map(|(name, amount)| Some((name.clone(), amount.0.parse().ok()?)))
        .collect();
    if told == *used && before.hard.unwrap_or_default() == hard {
        return Ok(());
    }
    let used: BTreeMap<String, String> = used.iter().map(|(name, amount)| (name.clone(), amount.to_string())).collect();
    // What is limited no more goes: a merge would keep it.
    let mut whole = json!({"status": {"hard": Value::Null, "used": Value::Null}});
    let cleared = {
        let mut tree = json!(quota);
        json_patch::merge(&mut tree, &whole);
        serde_json::from_value::<ResourceQuota>(tree).map_err(kube::Error::SerdeError)?
    };
    whole["status"] = json!({"hard": hard, "used": used});
    let api: Api<ResourceQuota> =
        Api::namespaced(actor.client(), quota.metadata.namespace.as_deref().unwrap_or_default());
    write::status(&api, &cleared, &whole).await?;
    Ok(())
}
