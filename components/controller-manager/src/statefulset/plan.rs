//! What is to be done next for a StatefulSet. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::pods;

/// Label with the revision that a pod was made from.
pub const REVISION: &str = "controller-revision-hash";

/// What the set is at, and what it goes to.
pub struct Inputs<'a> {
    /// The set.
    pub set: &'a StatefulSet,
    /// Its pods.
    pub pods: &'a [Arc<Pod>],
    /// Revision of pods below the partition.
    pub current: &'a str,
    /// Revision of the others.
    pub update: &'a str,
    /// Now, in seconds since 1970.
    pub now: i64,
}

/// What is to be done; all of it may be done at once.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Pods to make: ordinal, and whether of the update revision.
    pub create: Vec<(i32, bool)>,
    /// Pods to delete, by name.
    pub delete: Vec<String>,
    /// The counts of the status.
    pub counts: Counts,
}

/// Numbers of pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub replicas: i32,
    /// Ready ones.
    pub ready: i32,
    /// Those that have been ready for long enough.
    pub available: i32,
    /// Those of the current revision.
    pub current: i32,
    /// Those of the update revision.
    pub updated: i32,
}

/// The number at the end of a pod's name, if the rest is the set's.
pub fn ordinal(set: &str, pod: &str) -> Option<i32> {
    pod.strip_prefix(set)?.strip_prefix('-')?.parse().ok()
}

/// The first ordinal.
pub fn first(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.ordinals.as_ref()?.start).unwrap_or(0)
}

fn revision(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION)).map_or("", String::as_str)
}

/// Plans the next step. One at a time in order, unless pods are managed in parallel.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let Inputs { set, pods: all, current, update, now } = *inputs;
    let spec = set.spec.clone().unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let (start, replicas) = (first(set), spec.replicas.unwrap_or(1).max(0));
    let end = start + replicas;
    let parallel = spec.pod_management_policy.as_deref() == Some("Parallel");
    let least = spec.min_ready_seconds.unwrap_or(0);
    let by_ordinal: BTreeMap<i32, &Arc<Pod>> =
        all.iter().filter_map(|pod| Some((ordinal(name, pod.metadata.name.as_deref()?)?, pod))).collect();
    let mut plan = Plan { counts: counts(all, current, update, least, now), ..Plan::default() };
    let ending = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    let healthy = |pod: &Pod| pods::phase(pod) == "Running" && pods::is_available(pod, least, now) && !ending(pod);

    for ordinal in start..end {
        let settled = match by_ordinal.get(&ordinal) {
            None => {
                plan.create.push((ordinal, ordinal >= first_updated(set)));
                false
            }
            Some(pod) if matches!(pods::phase(pod), "Failed" | "Succeeded") => {
                if !ending(pod) {
                    plan.delete.push(pod.metadata.name.clone().unwrap_or_default());
                }
                false
            }
            Some(pod) => healthy(pod),
        };
        if !settled && !parallel {
            return plan;
        }
    }
    let surplus = || by_ordinal.iter().filter(|(ordinal, _)| !(start..end).contains(*ordinal)).map(|(_, pod)| *pod);
    let unhealthy = surplus().find(|pod| !healthy(pod));
    for pod in surplus().rev() {
        // In order, one that is unhealthy goes only if none below it is: that one is to be mended first.
        let waits = ending(pod) || !healthy(pod) && unhealthy.is_some_and(|first| !Arc::ptr_eq(first, pod));
        if waits && !parallel {
            return plan;
        }
        if !ending(pod) {
            plan.delete.push(pod.metadata.name.clone().unwrap_or_default());
            if !parallel {
                return plan;
            }
        }
    }
    let strategy = spec.update_strategy.unwrap_or_default();
    if strategy.type_.as_deref() == Some("OnDelete") {
        return plan;
    }
    // The update goes from the last to the first, each after the one before it is healthy.
    let rolling = strategy.rolling_update.unwrap_or_default();
    let partition = rolling.partition.unwrap_or(0);
    if let Some(most) = &rolling.max_unavailable {
        let missing = (start..end).filter(|one| !by_ordinal.get(one).is_some_and(|pod| healthy(pod))).count();
        let room = (most_unavailable(most, replicas) as usize).saturating_sub(missing);
        let old = (start.saturating_add(partition)..end).rev().filter_map(|one| by_ordinal.get(&one));
        let old = old.filter(|pod| !ending(pod) && revision(pod) != update).take(room);
        plan.delete.extend(old.filter_map(|pod| pod.metadata.name.clone()));
        return plan;
    }
    for ordinal in (start.saturating_add(partition)..end).rev() {
        let Some(pod) = by_ordinal.get(&ordinal).filter(|pod| !ending(pod)) else { return plan };
        if revision(pod) != update {
            let name = pod.metadata.name.clone().unwrap_or_default();
            if !plan.delete.contains(&name) {
                plan.delete.push(name);
            }
            return plan;
        }
        if !healthy(pod) {
            return plan;
        }
    }
    plan
}

/// How many pods may be away during an update: a number, or a part of all rounded down, but one at least.
fn most_unavailable(value: &IntOrString, replicas: i32) -> i32 {
    let number = match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i32 = text.strip_suffix('%').and_then(|text| text.parse().ok()).unwrap_or(0);
            replicas.saturating_mul(percent) / 100
        }
    };
    number.max(1)
}

/// The first ordinal whose pod is made of the update revision.
fn first_updated(set: &StatefulSet) -> i32 {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.clone()).unwrap_or_default();
    let current = set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0);
    let kept = match strategy.rolling_update {
        Some(rolling) => rolling.partition.unwrap_or(0),
        None if strategy.type_.as_deref() == Some("OnDelete") => 0,
        None => current,
    };
    first(set).saturating_add(kept)
}

fn counts(all: &[Arc<Pod>], current: &str, update: &str, least: i32, now: i64) -> Counts {
    let mut counts = Counts::default();
    for pod in all {
        counts.replicas += 1;
        if pods::phase(pod) == "Running" && pods::is_ready(pod) {
            counts.ready += 1;
            counts.available += i32::from(pods::is_available(pod, least, now));
        }
        if pod.metadata.deletion_timestamp.is_none() {
            counts.current += i32::from(revision(pod) == current);
            counts.updated += i32::from(revision(pod) == update);
        }
    }
    counts
}

/// Whether the update revision is everywhere that it should be, so that it becomes the current one.
pub fn is_complete(set: &StatefulSet, counts: Counts) -> bool {
    let spec = set.spec.clone().unwrap_or_default();
    let strategy = spec.update_strategy.unwrap_or_default();
    let replicas = spec.replicas.unwrap_or(1);
    strategy.type_.as_deref() != Some("OnDelete")
        && counts.updated == replicas
        && counts.replicas == replicas
        && counts.ready == replicas
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set(spec: Value) -> StatefulSet {
        let mut whole = json!({"metadata": {"name": "s"}, "spec": {"replicas": 3, "selector": {}, "serviceName": "s",
            "template": {}}});
        json_patch::merge(&mut whole["spec"], &spec);
        serde_json::from_value(whole).unwrap()
    }

    /// `0:a` is a ready pod of revision a, `0:a!` one that is not ready, `0:a-` one that is ending, `0:aX` a failed one.
    fn pods_of(text: &str) -> Vec<Arc<Pod>> {
        let one = |word: &str| {
            let (ordinal, rest) = word.split_once(':').unwrap();
            let ready = if rest.len() == 1 { "True" } else { "False" };
            let phase = if rest.ends_with('X') { "Failed" } else { "Running" };
            let deleted = rest.ends_with('-').then_some("2027-01-01T00:00:00Z");
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": format!("s-{ordinal}"),
                "deletionTimestamp": deleted, "labels": {REVISION: &rest[..1]}},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}}))
                .unwrap(),
            )
        };
        text.split_whitespace().map(one).collect()
    }

    fn steps(spec: Value, pods: &str, update: &str) -> (Vec<(i32, bool)>, Vec<String>) {
        let (set, pods) = (set(spec), pods_of(pods));
        let plan = plan(&Inputs { set: &set, pods: &pods, current: "a", update, now: 0 });
        (plan.create, plan.delete)
    }

    #[test]
    fn pods_come_one_by_one_and_go_from_the_last() {
        let names = |all: &[i32]| all.iter().map(|n| format!("s-{n}")).collect::<Vec<_>>();
        let none = json!({});
        let parallel = json!({"podManagementPolicy": "Parallel"});
        let partition = json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}});
        let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
        let two = json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}});
        let third = json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": "40%"}}});
        for (spec, pods, update, create, delete) in [
            (&none, "", "a", vec![(0, true)], vec![]),
            (&none, "0:a!", "a", vec![], vec![]),
            (&none, "0:a", "a", vec![(1, true)], vec![]),
            (&none, "0:a 1:a 2:a", "a", vec![], vec![]),
            (&none, "0:a 1:aX 2:a", "a", vec![], vec![1]),
            (&none, "0:a 1:a- 2:a", "a", vec![], vec![]),
            (&none, "0:a 1:a 2:a 3:a 4:a", "a", vec![], vec![4]),
            (&none, "0:a 1:a 2:a 3:a! 4:a!", "a", vec![], vec![]),
            (&none, "0:a 1:a 2:a 3:a 4:a!", "a", vec![], vec![4]),
            (&none, "0:a 1:a 2:a 3:a! 4:a", "a", vec![], vec![4]),
            (&none, "0:a! 1:a 2:a 3:a", "b", vec![], vec![]),
            (&json!({"replicas": 0}), "0:a! 1:a! 2:a!", "a", vec![], vec![]),
            (&parallel, "0:a! 1:a 2:a 3:a!", "a", vec![], vec![3]),
            (&parallel, "0:a! 1:a 2:a", "b", vec![], vec![2]),
            (&parallel, "", "a", vec![(0, true), (1, true), (2, true)], vec![]),
            (&parallel, "0:a 1:a 2:a 3:a 4:a", "a", vec![], vec![4, 3]),
            (&none, "0:a 1:a 2:a", "b", vec![], vec![2]),
            (&none, "0:a 1:a", "b", vec![(2, true)], vec![]),
            (&none, "0:a 1:a 2:b!", "b", vec![], vec![]),
            (&none, "0:a 1:a 2:b", "b", vec![], vec![1]),
            (&none, "0:a 2:b", "b", vec![(1, true)], vec![]),
            (&partition, "0:a 1:a 2:b", "b", vec![], vec![]),
            (&partition, "0:a 1:a", "b", vec![(2, true)], vec![]),
            (&partition, "", "b", vec![(0, false)], vec![]),
            (&partition, "0:a 2:b", "b", vec![(1, false)], vec![]),
            (&on_delete, "0:a 1:a 2:a", "b", vec![], vec![]),
            (&two, "0:a 1:a 2:a", "b", vec![], vec![2, 1]),
            (&third, "0:a 1:a 2:a", "b", vec![], vec![2]),
            (&on_delete, "0:a 1:a", "b", vec![(2, true)], vec![]),
        ] {
            assert_eq!(steps(spec.clone(), pods, update), (create, names(&delete)), "{spec} {pods} {update}");
        }
    }

    #[test]
    fn an_update_is_complete_when_all_are_of_it() {
        let set = set(json!({}));
        let counts = |text: &str| counts(&pods_of(text), "a", "b", 0, 0);
        assert!(is_complete(&set, counts("0:b 1:b 2:b")));
        assert!(!is_complete(&set, counts("0:a 1:b 2:b")));
        assert!(!is_complete(&set, counts("0:b 1:b 2:b!")));
        assert_eq!((ordinal("s", "s-12"), ordinal("s", "s-x"), ordinal("s", "t-1")), (Some(12), None, None));
    }
}
