//! ResourceQuotas: what a namespace uses of what it may.

pub mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceQuota;
use kinit_api::quantity::{Format, Quantity};
use kinit_runtime::{Change, Informer, Queue, key_of, work};
use kube::Api;
use serde_json::{Value, json};

use crate::context::{Actor, Caches, Context};
use crate::write;
use usage::Amounts;

/// How often each quota is counted again even if nothing happened: not everything that counts is followed.
const RESYNC: Duration = Duration::from_secs(300);

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("resourcequota-controller").await;
    let caches = &context.caches;
    let quotas = caches.quotas.clone();
    quotas.synced().await;
    caches.pods.synced().await;
    caches.services.synced().await;
    caches.claims.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    quotas.handle(move |_, quota| keys.add(key_of(quota.as_ref())));
    let all_of = |namespace: Option<&str>, quotas: &Informer<ResourceQuota>, keys: &Queue<String>| {
        for quota in quotas.list_in(namespace.unwrap_or_default()) {
            keys.add(key_of(quota.as_ref()));
        }
    };
    let (keys, known) = (queue.clone(), quotas.clone());
    caches.pods.handle(move |_, pod| all_of(pod.metadata.namespace.as_deref(), &known, &keys));
    let (keys, known) = (queue.clone(), quotas.clone());
    caches.services.handle(move |_, one| all_of(one.metadata.namespace.as_deref(), &known, &keys));
    let (keys, known) = (queue.clone(), quotas.clone());
    caches.claims.handle(move |_, one| all_of(one.metadata.namespace.as_deref(), &known, &keys));
    let (keys, known) = (queue.clone(), quotas.clone());
    caches.secrets.handle(move |change, one| {
        if change != Change::Updated {
            all_of(one.metadata.namespace.as_deref(), &known, &keys);
        }
    });
    let (keys, known) = (queue.clone(), quotas.clone());
    caches.config_maps.handle(move |change, one| {
        if change != Change::Updated {
            all_of(one.metadata.namespace.as_deref(), &known, &keys);
        }
    });
    let shutdown = context.shutdown.clone();
    work("resourcequota", queue, 2, shutdown, move |key: String| {
        let (context, quotas, actor) = (context.clone(), quotas.clone(), actor.clone());
        async move {
            let Some(quota) = quotas.get(&key) else { return Ok::<_, kube::Error>(None) };
            let used = used(&context.caches, &quota);
            report(&actor, &quota, &used).await?;
            Ok(Some(RESYNC))
        }
    })
    .await;
}

/// What is used of everything that the quota limits.
fn used(caches: &Caches, quota: &ResourceQuota) -> Amounts {
    let namespace = quota.metadata.namespace.as_deref().unwrap_or_default();
    let mut all = Amounts::new();
    for pod in caches.pods.list_in(namespace).iter().filter(|pod| usage::is_about(quota, pod)) {
        usage::add(&mut all, &usage::of_pod(pod));
    }
    for service in caches.services.list_in(namespace) {
        usage::add(&mut all, &usage::of_service(&service));
    }
    for claim in caches.claims.list_in(namespace) {
        usage::add(&mut all, &usage::of_claim(&claim));
    }
    for (names, count) in [
        (["secrets", "count/secrets"], caches.secrets.list_in(namespace).len()),
        (["configmaps", "count/configmaps"], caches.config_maps.list_in(namespace).len()),
        (["resourcequotas", "count/resourcequotas"], caches.quotas.list_in(namespace).len()),
        (
            ["replicationcontrollers", "count/replicationcontrollers"],
            caches.replication_controllers.list_in(namespace).len(),
        ),
        (["count/deployments.apps"; 2], caches.deployments.list_in(namespace).len()),
        (["count/replicasets.apps"; 2], caches.replica_sets.list_in(namespace).len()),
        (["count/statefulsets.apps"; 2], caches.stateful_sets.list_in(namespace).len()),
        (["count/jobs.batch"; 2], caches.jobs.list_in(namespace).len()),
        (["count/cronjobs.batch"; 2], caches.cron_jobs.list_in(namespace).len()),
    ] {
        for name in names {
            all.insert(name.to_owned(), Quantity::new(count as i64, Format::DecimalSi));
        }
    }
    let limited = quota.spec.iter().flat_map(|spec| spec.hard.iter().flatten());
    limited.map(|(name, _)| (name.clone(), all.get(name).copied().unwrap_or(Quantity::ZERO))).collect()
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
