//! PodDisruptionBudgets: how many pods of a selection may be evicted now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use serde_json::json;

use crate::context::{Actor, Caches, Context};
use crate::{pods, write};

/// A pod whose eviction was granted is expected to be going within this time.
const EVICTION_WAIT: i64 = 120;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("disruption-controller").await;
    let caches = &context.caches;
    let budgets = caches.budgets.clone();
    budgets.synced().await;
    caches.pods.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    budgets.handle(move |_, budget| keys.add(key_of(budget.as_ref())));
    let (keys, known) = (queue.clone(), budgets.clone());
    caches.pods.handle(move |_, pod| {
        for budget in known.list_in(pod.metadata.namespace.as_deref().unwrap_or_default()) {
            if selects(&budget, pod) {
                keys.add(key_of(budget.as_ref()));
            }
        }
    });
    let shutdown = context.shutdown.clone();
    work("disruption", queue, 2, shutdown, move |key: String| {
        let (context, budgets, actor) = (context.clone(), budgets.clone(), actor.clone());
        async move {
            let Some(budget) = budgets.get(&key).filter(|one| one.metadata.deletion_timestamp.is_none()) else {
                return Ok(None);
            };
            reconcile(&context.caches, &actor, &budget).await
        }
    })
    .await;
}

fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| pods::matches(selector, pod.metadata.labels.as_ref()))
}

/// What a budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowance {
    expected: i32,
    desired: i32,
    healthy: i32,
    allowed: i32,
}

/// A number, or a part of `all` rounded up.
fn scaled(value: &IntOrString, all: i32) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i32 = text.strip_suffix('%').and_then(|text| text.parse().ok()).unwrap_or(0);
            (all * percent + 99) / 100
        }
    }
}

/// What is allowed: `expected` pods are wanted in all, `selected` are there, `healthy` of them are well. Pure.
fn allowance(
    max_unavailable: Option<&IntOrString>,
    min_available: Option<&IntOrString>,
    expected: i32,
    selected: i32,
    healthy: i32,
) -> Allowance {
    let (expected, desired) = match (max_unavailable, min_available) {
        (Some(most), _) => (expected, (expected - scaled(most, expected)).max(0)),
        // A plain number needs nobody who says how many there should be.
        (None, Some(IntOrString::Int(least))) => (selected, *least),
        (None, Some(least)) => (expected, scaled(least, expected)),
        (None, None) => (expected, expected),
    };
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    Allowance { expected, desired, healthy, allowed }
}

/// How many pods those who control the selected ones want; pods without a controller want themselves.
fn expected(caches: &Caches, namespace: &str, selected: &[Arc<Pod>]) -> i32 {
    let mut owners: BTreeMap<String, i32> = BTreeMap::new();
    let mut alone = 0;
    for pod in selected {
        let Some(owner) = pods::controller(&pod.metadata) else {
            alone += 1;
            continue;
        };
        let key = format!("{namespace}/{}", owner.name);
        let (uid, wanted) = match owner.kind.as_str() {
            "ReplicaSet" => {
                let Some(set) = caches.replica_sets.get(&key) else { continue };
                match pods::controller(&set.metadata).filter(|owner| owner.kind == "Deployment") {
                    Some(above) => {
                        let deployment = caches.deployments.get(&format!("{namespace}/{}", above.name));
                        let wanted = deployment.and_then(|one| one.spec.as_ref()?.replicas);
                        (above.uid.clone(), wanted)
                    }
                    None => (owner.uid.clone(), set.spec.as_ref().and_then(|spec| spec.replicas)),
                }
            }
            "StatefulSet" => {
                let set = caches.stateful_sets.get(&key);
                (owner.uid.clone(), set.and_then(|set| set.spec.as_ref()?.replicas))
            }
            "ReplicationController" => {
                let one = caches.replication_controllers.get(&key);
                (owner.uid.clone(), one.and_then(|one| one.spec.as_ref()?.replicas))
            }
            _ => continue,
        };
        owners.insert(uid, wanted.unwrap_or(1));
    }
    owners.values().sum::<i32>() + alone
}

async fn reconcile(
    caches: &Caches,
    actor: &Actor,
    budget: &PodDisruptionBudget,
) -> Result<Option<Duration>, kube::Error> {
    let namespace = budget.metadata.namespace.clone().unwrap_or_default();
    let selected: Vec<Arc<Pod>> =
        caches.pods.list_in(&namespace).into_iter().filter(|pod| selects(budget, pod) && !has_ended(pod)).collect();
    let now = Timestamp::now();
    let before = budget.status.clone().unwrap_or_default();
    // Evictions that were granted and are not seen yet count as taken.
    let granted: BTreeMap<String, Timestamp> = before
        .disrupted_pods
        .iter()
        .flatten()
        .filter(|(name, at)| {
            let there = selected
                .iter()
                .any(|pod| pod.metadata.name.as_ref() == Some(*name) && pod.metadata.deletion_timestamp.is_none());
            there && now.as_second() - at.0.as_second() < EVICTION_WAIT
        })
        .map(|(name, at)| (name.clone(), at.0))
        .collect();
    let healthy = selected.iter().filter(|pod| {
        pods::is_ready(pod)
            && pod.metadata.deletion_timestamp.is_none()
            && !pod.metadata.name.as_ref().is_some_and(|name| granted.contains_key(name))
    });
    let healthy = healthy.count() as i32;
    let spec = budget.spec.clone().unwrap_or_default();
    let allowance = allowance(
        spec.max_unavailable.as_ref(),
        spec.min_available.as_ref(),
        expected(caches, &namespace, &selected),
        selected.len() as i32,
        healthy,
    );
    let again = granted.values().map(|at| (at.as_second() + EVICTION_WAIT - now.as_second()).max(1)).min();
    report(actor, budget, allowance, &granted, now).await?;
    Ok(again.map(|seconds| Duration::from_secs(seconds as u64)))
}

fn has_ended(pod: &Pod) -> bool {
    matches!(pods::phase(pod), "Succeeded" | "Failed")
}

async fn report(
    actor: &Actor,
    budget: &PodDisruptionBudget,
    allowance: Allowance,
    granted: &BTreeMap<String, Timestamp>,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let time = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let before = budget.status.clone().unwrap_or_default();
    let same = (before.expected_pods, before.desired_healthy, before.current_healthy, before.disruptions_allowed)
        == (Some(allowance.expected), Some(allowance.desired), Some(allowance.healthy), Some(allowance.allowed))
        && before.observed_generation == budget.metadata.generation
        && before.disrupted_pods.as_ref().map_or(0, BTreeMap::len) == granted.len()
        && before.conditions.iter().flatten().any(|one| one.type_ == "DisruptionAllowed");
    if same {
        return Ok(());
    }
    let (status, reason) =
        if allowance.allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let since = before.conditions.iter().flatten().find(|one| one.type_ == "DisruptionAllowed" && one.status == status);
    let since = since.map_or(now, |one| one.last_transition_time.0);
    let disrupted: serde_json::Map<String, serde_json::Value> =
        granted.iter().map(|(name, at)| (name.clone(), time(*at).into())).collect();
    let mut patch = json!({"status": {
        "expectedPods": allowance.expected,
        "desiredHealthy": allowance.desired,
        "currentHealthy": allowance.healthy,
        "disruptionsAllowed": allowance.allowed,
        "observedGeneration": budget.metadata.generation,
        "conditions": [{"type": "DisruptionAllowed", "status": status, "reason": reason, "message": "",
            "observedGeneration": budget.metadata.generation, "lastTransitionTime": time(since)}],
    }});
    // A merge keeps names that are not told to go.
    let mut names: serde_json::Map<String, serde_json::Value> =
        before.disrupted_pods.iter().flatten().map(|(name, _)| (name.clone(), serde_json::Value::Null)).collect();
    names.extend(disrupted);
    patch["status"]["disruptedPods"] = names.into();
    let api: Api<PodDisruptionBudget> =
        Api::namespaced(actor.client(), budget.metadata.namespace.as_deref().unwrap_or_default());
    write::status(&api, budget, &patch).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go_is_what_is_beyond_the_least() {
        let number = |number| Some(IntOrString::Int(number));
        let part = |text: &str| Some(IntOrString::String(text.into()));
        for (most, least, expected, healthy, desired, allowed) in [
            (number(1), None, 3, 3, 2, 1),
            (number(1), None, 3, 2, 2, 0),
            (part("50%"), None, 3, 3, 1, 2),
            (None, number(2), 3, 3, 2, 1),
            (None, part("50%"), 3, 3, 2, 1),
            (number(0), None, 3, 3, 3, 0),
            (number(5), None, 3, 3, 0, 3),
            (None, None, 3, 3, 3, 0),
            (number(1), None, 0, 0, 0, 0),
        ] {
            let found = allowance(most.as_ref(), least.as_ref(), expected, expected, healthy);
            assert_eq!((found.desired, found.allowed), (desired, allowed), "{most:?} {least:?} {expected} {healthy}");
        }
    }
}
