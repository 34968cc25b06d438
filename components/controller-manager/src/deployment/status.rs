//! The status of a Deployment: counts, and whether it gets anywhere. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::plan::{Goal, Size};

/// Reasons of the condition that says how it goes.
const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// The next status, made from the sets and, if it is there, the one of the template as it is now. With it, when to look
/// again whether the deadline has passed.
pub fn next(
    deployment: &Deployment,
    sets: &[&ReplicaSet],
    newest: Option<&ReplicaSet>,
    goal: Goal,
    now: Timestamp,
) -> (DeploymentStatus, Option<Duration>) {
    let before = deployment.status.clone().unwrap_or_default();
    let sum = |count: &dyn Fn(&ReplicaSet) -> i32| Some(sets.iter().map(|set| count(set)).sum::<i32>());
    let available = sum(&|set| Size::of(set).available).unwrap_or(0);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: sum(&|set| Size::of(set).present),
        updated_replicas: Some(newest.map_or(0, |set| Size::of(set).present)),
        ready_replicas: sum(&|set| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)),
        available_replicas: Some(available),
        unavailable_replicas: sum(&|set| Size::of(set).wanted).map(|all| (all - available).max(0)),
        terminating_replicas: sum(&|set| Size::of(set).terminating),
        collision_count: before.collision_count,
        conditions: before.conditions.clone(),
    };
    let conditions = status.conditions.get_or_insert_default();
    let (is, reason, message) = if available >= goal.wanted - goal.unavailable {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(conditions, "Available", is, reason, message.into(), now);
    match newest.into_iter().chain(sets.iter().copied()).find_map(failure) {
        Some((reason, message)) => set(conditions, "ReplicaFailure", "True", &reason, message, now),
        None => conditions.retain(|one| one.type_ != "ReplicaFailure"),
    }
    let again = progress(deployment, newest, goal, &mut status, now);
    (status, again)
}

fn failure(set: &ReplicaSet) -> Option<(String, String)> {
    let conditions = set.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|one| one.type_ == "ReplicaFailure" && one.status == "True")?;
    Some((found.reason.clone().unwrap_or_default(), found.message.clone().unwrap_or_default()))
}

/// Says how it goes, and how long it may still take.
fn progress(
    deployment: &Deployment,
    newest: Option<&ReplicaSet>,
    goal: Goal,
    status: &mut DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let spec = deployment.spec.clone().unwrap_or_default();
    let deadline = spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX);
    let conditions = status.conditions.get_or_insert_default();
    let Some(deadline) = deadline else {
        conditions.retain(|one| one.type_ != "Progressing");
        return None;
    };
    let found = conditions.iter().find(|one| one.type_ == "Progressing").cloned();
    let reason = found.as_ref().and_then(|one| one.reason.as_deref()).unwrap_or_default();
    if spec.paused == Some(true) {
        if reason != PAUSED && reason != TIMED_OUT {
            set(conditions, "Progressing", "Unknown", PAUSED, "Deployment is paused".into(), now);
        }
        return None;
    }
    if reason == PAUSED {
        set(conditions, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed".into(), now);
        return Some(Duration::from_secs(deadline.max(0) as u64));
    }
    let numbers = |status: &DeploymentStatus| {
        [status.replicas, status.updated_replicas, status.ready_replicas, status.available_replicas]
            .map(|number| number.unwrap_or(0))
    };
    let [replicas, updated, ready, available] = numbers(status);
    if reason == AVAILABLE && replicas == updated {
        return None;
    }
    let name = newest.and_then(|set| set.metadata.name.as_deref()).unwrap_or_default();
    let conditions = status.conditions.get_or_insert_default();
    if updated == goal.wanted && replicas == goal.wanted && available == goal.wanted {
        let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
        set(conditions, "Progressing", "True", AVAILABLE, message, now);
        return None;
    }
    let [old_replicas, old_updated, old_ready, old_available] = numbers(&deployment.status.clone().unwrap_or_default());
    // After one that is complete, this is a new one.
    let moved = reason == AVAILABLE
        || updated > old_updated
        || replicas - updated < old_replicas - old_updated
        || ready > old_ready
        || available > old_available;
    let Some(found) = found.filter(|_| !moved) else {
        let message = format!("ReplicaSet \"{name}\" is progressing.");
        conditions.retain(|one| one.type_ != "Progressing" || one.status == "True");
        set(conditions, "Progressing", "True", "ReplicaSetUpdated", message.clone(), now);
        if let Some(condition) = conditions.iter_mut().find(|one| one.type_ == "Progressing") {
            condition.last_update_time = Some(Time(whole(now)));
            condition.message = Some(message);
        }
        return Some(Duration::from_secs(deadline.max(0) as u64));
    };
    if found.reason.as_deref() == Some(TIMED_OUT) {
        return None;
    }
    let since = found.last_update_time.map_or(now, |time| time.0);
    let left = SignedDuration::from_secs(i64::from(deadline)) - now.duration_since(since);
    if left.is_positive() {
        return Some(left.unsigned_abs() + Duration::from_millis(10));
    }
    let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
    set(conditions, "Progressing", "False", TIMED_OUT, message, now);
    None
}

/// The API's times are whole seconds.
fn whole(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Sets a condition; as long as status and reason stay, so does all of it.
fn set(all: &mut Vec<DeploymentCondition>, kind: &str, is: &str, reason: &str, message: String, now: Timestamp) {
    let old = all.iter().find(|one| one.type_ == kind);
    if old.is_some_and(|old| old.status == is && old.reason.as_deref() == Some(reason)) {
        return;
    }
    let now = Some(Time(whole(now)));
    let since = old.filter(|old| old.status == is).map_or(now.clone(), |old| old.last_transition_time.clone());
    all.retain(|one| one.type_ != kind);
    all.push(DeploymentCondition {
        type_: kind.to_owned(),
        status: is.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: now,
        last_transition_time: since,
    });
}

/// A status as it is compared: what is zero or empty is as good as absent.
pub fn plain(status: &DeploymentStatus) -> DeploymentStatus {
    let mut status = status.clone();
    for number in [
        &mut status.replicas,
        &mut status.updated_replicas,
        &mut status.ready_replicas,
        &mut status.available_replicas,
        &mut status.unavailable_replicas,
        &mut status.terminating_replicas,
        &mut status.collision_count,
    ] {
        *number = number.filter(|number| *number != 0);
    }
    status.conditions = status.conditions.filter(|all| !all.is_empty());
    if let Some(all) = &mut status.conditions {
        all.sort_by(|one, other| one.type_.cmp(&other.type_));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set_of(wanted: i32, available: i32) -> ReplicaSet {
        serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {"replicas": wanted, "selector": {}},
            "status": {"replicas": wanted, "readyReplicas": available, "availableReplicas": available}}))
        .unwrap()
    }

    #[test]
    fn a_roll_out_progresses_and_times_out_or_ends() {
        let mut deployment: Deployment = serde_json::from_value(json!({"metadata": {"generation": 1},
            "spec": {"replicas": 2, "progressDeadlineSeconds": 60, "selector": {}, "template": {}}}))
        .unwrap();
        let goal = super::super::plan::goal(deployment.spec.as_ref().unwrap());
        let reason = |status: &DeploymentStatus| {
            let conditions = status.conditions.iter().flatten();
            conditions.filter(|one| one.type_ == "Progressing").find_map(|one| one.reason.clone()).unwrap_or_default()
        };
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        for (second, available, paused, wanted, again) in [
            (0, 0, false, "ReplicaSetUpdated", Some(60)),
            (30, 0, false, "ReplicaSetUpdated", Some(30)),
            (40, 1, false, "ReplicaSetUpdated", Some(60)),
            (50, 1, true, "DeploymentPaused", None),
            (55, 1, false, "DeploymentResumed", Some(60)),
            (200, 1, false, "ProgressDeadlineExceeded", None),
            (300, 1, false, "ProgressDeadlineExceeded", None),
            (310, 2, false, "NewReplicaSetAvailable", None),
            (320, 1, false, "NewReplicaSetAvailable", None),
        ] {
            deployment.spec.as_mut().unwrap().paused = Some(paused);
            let newest = set_of(2, available);
            let (status, pause) = next(&deployment, &[&newest], Some(&newest), goal, at(second));
            assert_eq!((reason(&status).as_str(), pause.map(|pause| pause.as_secs())), (wanted, again), "{second}");
            deployment.status = Some(status);
        }
    }

    #[test]
    fn failures_of_sets_are_told_and_forgotten() {
        let deployment: Deployment =
            serde_json::from_value(json!({"spec": {"replicas": 1, "selector": {}, "template": {}}})).unwrap();
        let goal = super::super::plan::goal(deployment.spec.as_ref().unwrap());
        let mut newest = set_of(1, 0);
        let conditions =
            json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no"}]);
        newest.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
        let (status, _) = next(&deployment, &[&newest], Some(&newest), goal, Timestamp::UNIX_EPOCH);
        let kinds = |status: &DeploymentStatus| -> Vec<String> {
            status.conditions.iter().flatten().map(|one| one.type_.clone()).collect()
        };
        assert_eq!(kinds(&status), ["Available", "ReplicaFailure"]);
        let (status, _) =
            next(&Deployment { status: Some(status), ..deployment }, &[], None, goal, Timestamp::UNIX_EPOCH);
        assert_eq!(kinds(&status), ["Available"]);
    }
}
