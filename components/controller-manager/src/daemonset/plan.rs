//! Which pods of a daemon are made and which go. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::nodes::{HASH, Place};
use crate::pods;

/// What a decision is made from.
pub struct Inputs<'a> {
    /// The set.
    pub set: &'a DaemonSet,
    /// What each node is to the set.
    pub places: &'a BTreeMap<String, Place>,
    /// The set's pods on each node, the oldest first; those on nodes that are gone as well.
    pub pods: &'a BTreeMap<String, Vec<Arc<Pod>>>,
    /// The hash of the template as it is now.
    pub hash: &'a str,
    /// How many more pods there may be on nodes, and how many nodes without one, while templates change.
    pub limits: (usize, usize),
    /// Now, in seconds since 1970.
    pub now: i64,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// Nodes that get a pod.
    pub create: Vec<String>,
    /// Pods that go.
    pub delete: Vec<Arc<Pod>>,
    /// Pods that go because they have ended, by their nodes.
    pub ended: Vec<(String, Arc<Pod>)>,
}

fn is_ending(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn has_ended(pod: &Pod) -> bool {
    matches!(pods::phase(pod), "Failed" | "Succeeded")
}

/// Whether a pod is of the template as it is now.
pub fn is_new(pod: &Pod, hash: &str) -> bool {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(HASH)).is_some_and(|found| found == hash)
}

/// Decides: first each node gets its one pod, then, if nothing is missing, old pods make room for new ones.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let mut plan = Plan::default();
    for (node, place) in inputs.places {
        let there = inputs.pods.get(node).map(Vec::as_slice).unwrap_or_default();
        settle(inputs, node, *place, there, &mut plan);
    }
    // What is meant for a node that is gone goes as well.
    let lost = inputs.pods.iter().filter(|(node, _)| !inputs.places.contains_key(*node)).flat_map(|(_, pods)| pods);
    plan.delete.extend(lost.filter(|pod| !is_ending(pod)).cloned());
    let strategy = inputs.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref()?.type_.as_deref());
    if strategy != Some("OnDelete") {
        roll(inputs, &mut plan);
    }
    plan
}

/// One pod on a node that is to have one, and none on one that is not.
fn settle(inputs: &Inputs<'_>, node: &str, place: Place, there: &[Arc<Pod>], plan: &mut Plan) {
    let surges = inputs.limits.0 > 0;
    if place == Place::Leave {
        plan.delete.extend(there.iter().filter(|pod| !is_ending(pod)).cloned());
        return;
    }
    let (ended, alive): (Vec<_>, Vec<_>) = there.iter().filter(|pod| !is_ending(pod)).partition(|pod| has_ended(pod));
    plan.ended.extend(ended.into_iter().map(|pod| (node.to_owned(), pod.clone())));
    // Without surge, the next one waits until the one before is gone.
    let left = there.iter().any(|pod| !surges || !is_ending(pod) && !has_ended(pod));
    if !left && place == Place::Run {
        plan.create.push(node.to_owned());
    }
    if !surges {
        plan.delete.extend(alive.into_iter().skip(1).cloned());
        return;
    }
    let (new, old): (Vec<_>, Vec<_>) = alive.into_iter().partition(|pod| is_new(pod, inputs.hash));
    plan.delete.extend(new.iter().skip(1).chain(old.iter().skip(1)).map(|pod| (*pod).clone()));
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!pods::is_ready(old) || is_available(inputs, new))
    {
        plan.delete.push((*old).clone());
    }
}

fn is_available(inputs: &Inputs<'_>, pod: &Pod) -> bool {
    let least = inputs.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    pods::is_available(pod, least, inputs.now)
}

/// Replaces old pods: without surge, no more nodes than allowed are without a pod that can be used; with surge, no more
/// nodes than allowed have one that is not yet ready beside the old one.
fn roll(inputs: &Inputs<'_>, plan: &mut Plan) {
    let (surge, unavailable) = inputs.limits;
    let (mut busy, mut broken, mut candidates) = (0, Vec::new(), Vec::new());
    for (node, place) in inputs.places {
        let there = inputs.pods.get(node).map(Vec::as_slice).unwrap_or_default();
        let alive = there.iter().filter(|pod| !is_ending(pod));
        let (new, old): (Vec<_>, Vec<_>) = alive.partition(|pod| is_new(pod, inputs.hash));
        if *place == Place::Leave || there.is_empty() && *place == Place::Keep {
            continue;
        }
        match (new.as_slice(), old.as_slice()) {
            ([], [old]) if has_ended(old) => busy += 1,
            ([], [old]) if !is_available(inputs, old) => broken.push((node, *old)),
            ([], [old]) => candidates.push((node, *old)),
            ([new], []) if is_available(inputs, new) => {}
            ([], []) if surge > 0 => {}
            ([_], []) if surge > 0 => {}
            _ => busy += 1,
        }
    }
    if surge == 0 {
        busy += broken.len();
    }
    let room = if surge > 0 { surge } else { unavailable }.saturating_sub(busy);
    let chosen = broken.into_iter().chain(candidates.into_iter().take(room));
    if surge > 0 {
        let runs = |node: &String| inputs.places.get(node) == Some(&Place::Run);
        plan.create.extend(chosen.map(|(node, _)| node.clone()).filter(runs));
    } else {
        plan.delete.extend(chosen.map(|(_, pod)| pod.clone()));
    }
}

/// The counts of the status.
pub fn status(inputs: &Inputs<'_>) -> DaemonSetStatus {
    let mut status =
        DaemonSetStatus { observed_generation: inputs.set.metadata.generation, ..DaemonSetStatus::default() };
    let (mut available, mut updated) = (0, 0);
    for (node, place) in inputs.places {
        // One that is being deleted and has ended is as good as gone.
        let there = inputs.pods.get(node).into_iter().flatten().find(|pod| !(is_ending(pod) && has_ended(pod)));
        if *place != Place::Run {
            status.number_misscheduled += i32::from(there.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = there else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pods::is_ready(pod));
        available += i32::from(is_available(inputs, pod));
        updated += i32::from(is_new(pod, inputs.hash));
    }
    status.number_available = Some(available);
    status.number_unavailable = Some(status.desired_number_scheduled - available);
    status.updated_number_scheduled = Some(updated);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `n:a` is a ready pod of hash a on node n, `n:a!` one that is not ready, `n:a-` one that is ending, `n:aX` a failed one.
    fn pods_of(text: &str) -> BTreeMap<String, Vec<Arc<Pod>>> {
        let mut all: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for word in text.split_whitespace() {
            let (node, rest) = word.split_once(':').unwrap();
            let ready = if rest.len() == 1 { "True" } else { "False" };
            let phase = if rest.ends_with('X') { "Failed" } else { "Running" };
            let deleted = rest.ends_with('-').then_some("2027-01-01T00:00:00Z");
            let pod = json!({"metadata": {"name": word, "deletionTimestamp": deleted, "labels": {HASH: &rest[..1]}},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
            all.entry(node.to_owned()).or_default().push(Arc::new(serde_json::from_value(pod).unwrap()));
        }
        all
    }

    fn places() -> BTreeMap<String, Place> {
        [("k", Place::Keep), ("l", Place::Leave), ("m", Place::Run), ("n", Place::Run)]
            .map(|(node, place)| (node.to_owned(), place))
            .into()
    }

    #[test]
    fn each_node_has_one_pod_and_old_ones_make_room() {
        let set: DaemonSet = serde_json::from_value(json!({"spec": {"selector": {}, "template": {}}})).unwrap();
        let places = places();
        for (limits, pods, create, delete, ended) in [
            ((0, 1), "", "m n", "", ""),
            ((0, 1), "m:a n:a", "", "", ""),
            ((0, 1), "m:a n:a n:a", "", "n:a", ""),
            ((0, 1), "k:a l:a m:a n:a o:a", "", "l:a o:a", ""),
            ((0, 1), "m:a n:aX", "", "", "n:aX"),
            ((0, 1), "m:a n:a-", "", "", ""),
            ((0, 1), "m:b n:b", "", "m:b", ""),
            ((0, 2), "m:b n:b", "", "m:b n:b", ""),
            ((0, 1), "m:b n:b!", "", "n:b!", ""),
            ((0, 1), "m:b n:a!", "", "", ""),
            ((0, 1), "m:b n:a", "", "m:b", ""),
            ((1, 0), "m:b n:b", "m", "", ""),
            ((1, 0), "m:b m:a! n:b", "", "", ""),
            ((1, 0), "m:b m:a n:b", "", "m:b", ""),
            ((1, 0), "m:a n:b", "n", "", ""),
            ((1, 0), "m:a n:a-", "n", "", ""),
        ] {
            let pods = pods_of(pods);
            let plan = plan(&Inputs { set: &set, places: &places, pods: &pods, hash: "a", limits, now: 0 });
            let name = |pod: &Arc<Pod>| pod.metadata.name.clone().unwrap();
            let told = [
                plan.create.join(" "),
                plan.delete.iter().map(name).collect::<Vec<_>>().join(" "),
                plan.ended.iter().map(|(_, pod)| name(pod)).collect::<Vec<_>>().join(" "),
            ];
            assert_eq!(told, [create, delete, ended], "{limits:?} {pods:?}");
        }
    }

    #[test]
    fn the_status_counts_nodes() {
        let set: DaemonSet = serde_json::from_value(json!({"spec": {"selector": {}, "template": {}}})).unwrap();
        let (places, pods) = (places(), pods_of("k:a m:a n:b!"));
        let status = status(&Inputs { set: &set, places: &places, pods: &pods, hash: "a", limits: (0, 1), now: 0 });
        assert_eq!((status.desired_number_scheduled, status.current_number_scheduled), (2, 2));
        assert_eq!((status.number_ready, status.number_misscheduled, status.number_available), (1, 1, Some(1)));
        assert_eq!((status.number_unavailable, status.updated_number_scheduled), (Some(1), Some(1)));
    }
}
