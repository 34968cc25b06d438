//! How ended pods get into a Job's counters, each exactly once. Pure.
//!
//! A pod that ended is noted in the status by its uid, then it loses its finalizer, then the counter grows and the note goes.
//! Whatever happens in between, either the finalizer or the note says that the pod is not counted yet.

use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::condition::{self, FAILURE_TARGET, SUCCESS};
use super::facts::Facts;
use super::failure::{self, Verdict};
use super::plan::Plan;
use super::template::{index_of, is_indexed};
use crate::pods;

/// Pods noted at once at most, so that a status stays small.
const MOST: usize = 500;

/// Notes the pods that ended and how the Job ends.
pub fn note(facts: &Facts<'_>, verdict: Option<JobCondition>, plan: &mut Plan, now: Timestamp) {
    let status = &mut plan.status;
    count(status, &facts.tracked);
    let failing = verdict.as_ref().is_some_and(|verdict| verdict.type_ != SUCCESS);
    let indexed = is_indexed(&facts.spec);
    let mut indexes = Vec::new();
    let mut full = false;
    for pod in facts.pods.iter().filter(|pod| facts.is_tracked(pod)) {
        let failed = failure::is_failed(&facts.spec, pod);
        if !may_go(facts, verdict.is_some(), failed, pod) {
            continue;
        }
        plan.untrack.push(pod.clone());
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let noted = status.uncounted_terminated_pods.get_or_insert_default();
        let (succeeded, lost) = (noted.succeeded.get_or_insert_default(), noted.failed.get_or_insert_default());
        if pods::phase(pod) == "Succeeded" && !lost.contains(&uid) {
            match index_of(pod) {
                _ if !indexed && !succeeded.contains(&uid) => succeeded.push(uid),
                // An index is a note by itself.
                Some(index) if indexed && facts.has_place(pod) && !facts.told.has(index) => indexes.push(index),
                _ => {}
            }
        } else if (failed || failing)
            && facts.has_place(pod)
            && !lost.contains(&uid)
            && failure::judge(&facts.spec, pod) != Verdict::Ignore
        {
            lost.push(uid);
        }
        full = indexes.len() + succeeded.len() + lost.len() >= MOST;
        if full {
            break;
        }
    }
    if indexed {
        let done = facts.done.with(indexes);
        status.succeeded = Some(done.total());
        status.completed_indexes = Some(done.to_string());
        status.failed_indexes = facts.lost.as_ref().map(ToString::to_string);
    }
    let Some(verdict) = verdict else { return };
    let last = match verdict.type_.as_str() {
        SUCCESS => condition::again("Complete", &verdict, now),
        FAILURE_TARGET => condition::again("Failed", &verdict, now),
        _ => verdict.clone(),
    };
    if matches!(verdict.type_.as_str(), SUCCESS | FAILURE_TARGET) {
        condition::set(&mut status.conditions, verdict);
    }
    plan.end = (!full).then_some(last);
}

/// Whether a pod may lose its finalizer.
fn may_go(facts: &Facts<'_>, ending: bool, failed: bool, pod: &Pod) -> bool {
    if facts.job.metadata.deletion_timestamp.is_some() || ending || pods::phase(pod) == "Succeeded" {
        return true;
    }
    let held = index_of(pod).and_then(|index| facts.held.get(&index));
    failed && held.is_none_or(|held| held.metadata.uid != pod.metadata.uid)
}

/// Moves noted pods that have lost their finalizer into the counters. Whether there were any.
pub fn count(status: &mut JobStatus, tracked: &HashSet<String>) -> bool {
    let Some(noted) = &mut status.uncounted_terminated_pods else { return false };
    let mut moved = false;
    for (uids, counter) in [(&mut noted.succeeded, &mut status.succeeded), (&mut noted.failed, &mut status.failed)] {
        let uids = uids.get_or_insert_default();
        let before = uids.len();
        uids.retain(|uid| tracked.contains(uid));
        let gone = before - uids.len();
        if gone > 0 {
            *counter = Some(counter.unwrap_or(0) + gone as i32);
            moved = true;
        }
    }
    moved
}

/// Ends the Job, if all of its pods have ended and are counted. Whether it does.
pub fn end(status: &mut JobStatus, end: &JobCondition) -> bool {
    let noted = status.uncounted_terminated_pods.as_ref();
    let left = noted
        .map_or(0, |noted| noted.succeeded.as_ref().map_or(0, Vec::len) + noted.failed.as_ref().map_or(0, Vec::len));
    if left > 0 || status.terminating.unwrap_or(0) > 0 {
        return false;
    }
    if end.type_ == "Complete" {
        status.completion_time = end.last_transition_time.clone();
    }
    condition::set(&mut status.conditions, end.clone())
}

/// A status as it is compared: what is empty or zero is as good as absent.
pub fn plain(status: &JobStatus) -> JobStatus {
    let mut status = status.clone();
    for number in [&mut status.active, &mut status.succeeded, &mut status.failed] {
        *number = number.filter(|number| *number != 0);
    }
    status.completed_indexes = status.completed_indexes.filter(|list| !list.is_empty());
    status.conditions = status.conditions.filter(|list| !list.is_empty());
    let noted = status.uncounted_terminated_pods.get_or_insert_default();
    for list in [&mut noted.succeeded, &mut noted.failed] {
        *list = list.take().filter(|list| !list.is_empty());
    }
    status
}
