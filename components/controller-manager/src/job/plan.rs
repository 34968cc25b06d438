//! What is to be done next for a Job. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::backoff::{self, Backoff};
use super::condition;
use super::facts::Facts;
use super::failure;
use super::template::{self, index_of, is_indexed};
use super::{outcome, track};
use crate::pods;
use crate::replicas::rank;

/// Pods made or deleted in one go at most.
const BURST: usize = 500;

/// What a decision is made from.
pub struct Inputs<'a> {
    /// The Job.
    pub job: &'a Job,
    /// Its pods.
    pub pods: &'a [Arc<Pod>],
    /// Uids of pods whose finalizer is gone although the cache may show it.
    pub untracked: &'a HashSet<String>,
    /// Failures so far.
    pub backoff: Backoff,
    /// Whether the cache shows all pods that were made.
    pub synced: bool,
    /// Now.
    pub now: Timestamp,
}

/// What is to be done, in this order.
#[derive(Debug, Default)]
pub struct Plan {
    /// Pods to delete that are still to be counted.
    pub delete: Vec<Arc<Pod>>,
    /// Pods to delete that count for nothing: they lose their finalizer first.
    pub discard: Vec<Arc<Pod>>,
    /// Pods to make.
    pub create: Vec<Pod>,
    /// The status, to be written before pods lose their finalizers.
    pub status: JobStatus,
    /// Pods to take the finalizer from.
    pub untrack: Vec<Arc<Pod>>,
    /// Uids of pods that have it until then.
    pub tracked: HashSet<String>,
    /// The condition that ends the Job, once no pod is left to be counted.
    pub end: Option<JobCondition>,
    /// Whether the Job was just suspended, or resumed.
    pub suspended: Option<bool>,
    /// Failures, for the next time.
    pub backoff: Backoff,
    /// When to look again.
    pub again: Option<SignedDuration>,
}

impl Plan {
    fn look_after(&mut self, pause: SignedDuration) {
        self.again = Some(self.again.map_or(pause, |before| before.min(pause)));
    }
}

/// Decides.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let Inputs { job, pods: all, untracked, backoff, synced, now } = *inputs;
    let facts = Facts::new(job, all, untracked);
    let mut plan = Plan {
        status: job.status.clone().unwrap_or_default(),
        backoff: backoff.after(&facts.new_succeeded, &facts.new_failed),
        tracked: facts.tracked.clone(),
        ..Plan::default()
    };
    let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
    if plan.status.start_time.is_none() && !facts.is_suspended() {
        plan.status.start_time = Some(Time(seconds));
    }
    let started = plan.status.start_time.as_ref().map(|time| time.0).filter(|_| !facts.is_suspended());
    let mut verdict = outcome::verdict(&facts, started, now);
    if let (None, Some(limit), Some(started)) = (&verdict, facts.spec.active_deadline_seconds, started) {
        plan.look_after(SignedDuration::from_secs(limit) - now.duration_since(started));
    }
    if verdict.is_some() {
        plan.delete = facts.active.clone();
        if !synced {
            // Pods that the cache does not show yet are still to be deleted and counted.
            verdict = None;
        }
    } else {
        let managed = synced && job.metadata.deletion_timestamp.is_none();
        if managed {
            manage(&facts, &mut plan, now);
        }
        let left = facts.active.len() + plan.create.len() - plan.discard.len();
        let enough = match facts.spec.completions {
            None => facts.succeeded > 0,
            Some(wanted) => facts.succeeded >= wanted,
        };
        if enough && left == 0 {
            let message = "Reached expected number of succeeded pods";
            verdict = Some(condition::new(condition::SUCCESS, "CompletionsReached", message, now));
        } else if managed {
            suspend(&facts, &mut plan, seconds);
        }
    }
    let gone = || plan.delete.iter().chain(&plan.discard);
    let ready = |pods: &mut dyn Iterator<Item = &Arc<Pod>>| pods.filter(|pod| pods::is_ready(pod)).count();
    let active = facts.active.len() + plan.create.len() - gone().count();
    let ready = ready(&mut facts.active.iter()) - ready(&mut gone());
    let terminating = facts.terminating().count() + gone().count();
    plan.status.active = Some(active as i32);
    plan.status.ready = Some(ready as i32);
    plan.status.terminating = Some(terminating as i32);
    track::note(&facts, verdict, &mut plan, now);
    plan
}

/// How many pods are wanted, and which are made or go to get there.
fn manage(facts: &Facts<'_>, plan: &mut Plan, now: Timestamp) {
    let active = facts.active.len();
    let parallelism = facts.spec.parallelism.unwrap_or(1);
    let wanted = match facts.spec.completions {
        _ if facts.is_suspended() => 0,
        None if facts.succeeded > 0 => active as i32,
        None => parallelism,
        Some(completions) => (completions - facts.succeeded).min(parallelism).max(0),
    };
    plan.discard = surplus(facts, active.saturating_sub(wanted as usize));
    if !facts.is_suspended() {
        plan.discard.truncate(BURST);
    }
    if !plan.discard.is_empty() || facts.is_suspended() {
        return;
    }
    let ending = if failure::replaces_only_ended(&facts.spec) { facts.terminating().count() } else { 0 };
    let missing = (wanted as usize).saturating_sub(active + ending).min(BURST);
    if missing == 0 {
        return;
    }
    if facts.spec.backoff_limit_per_index.is_none() {
        let pause = plan.backoff.left(now);
        if pause.is_positive() {
            return plan.look_after(pause);
        }
    }
    if !is_indexed(&facts.spec) {
        plan.create = vec![template::plain(facts.job); missing];
        return;
    }
    let mut longest = None;
    for index in pending(facts, missing) {
        let replaced = facts.held.get(&index);
        let pause = replaced.map_or(SignedDuration::ZERO, |pod| {
            backoff::left(template::all_failures_before(pod) + 1, backoff::finished_at(pod), now)
        });
        if pause.is_positive() {
            longest = Some(longest.map_or(pause, |other: SignedDuration| other.min(pause)));
        } else {
            plan.create.push(template::indexed(facts.job, index, replaced.map(Arc::as_ref)));
        }
    }
    if let Some(pause) = longest {
        plan.look_after(pause);
    }
}

/// The first indexes that have neither ended nor a pod.
fn pending(facts: &Facts<'_>, count: usize) -> Vec<i32> {
    let mut taken = facts.done.with(facts.active.iter().filter_map(|pod| index_of(pod)));
    if failure::replaces_only_ended(&facts.spec) {
        taken = taken.with(facts.terminating().filter_map(|pod| index_of(pod)));
    }
    if let Some(lost) = &facts.lost {
        taken = taken.union(lost);
    }
    taken.missing(facts.completions(), count)
}

/// Active pods that go: those whose index is wrong or taken, then the least useful ones.
fn surplus(facts: &Facts<'_>, least: usize) -> Vec<Arc<Pod>> {
    let (mut gone, mut rest) = (Vec::new(), Vec::new());
    if is_indexed(&facts.spec) {
        // The pods are in the order of their indexes, those without one first.
        for group in facts.active.chunk_by(|one, other| index_of(one) == index_of(other)) {
            let excess = if facts.has_place(&group[0]) { group.len() - 1 } else { group.len() };
            let out = rank::to_delete(group.to_vec(), excess);
            rest.extend(group.iter().filter(|pod| !out.iter().any(|other| Arc::ptr_eq(pod, other))).cloned());
            gone.extend(out);
        }
    } else {
        rest = facts.active.clone();
    }
    let more = least.saturating_sub(gone.len());
    gone.extend(rank::to_delete(rest, more));
    gone
}

fn suspend(facts: &Facts<'_>, plan: &mut Plan, now: Timestamp) {
    let suspended = facts.is_suspended();
    let (reason, message) = if suspended { ("JobSuspended", "Job suspended") } else { ("JobResumed", "Job resumed") };
    let mut condition = condition::new("Suspended", reason, message, now);
    if !suspended {
        condition.status = "False".to_owned();
    }
    if condition::set(&mut plan.status.conditions, condition) {
        // The time that a Job may take begins when it is resumed.
        plan.status.start_time = (!suspended).then_some(Time(now));
        plan.suspended = Some(suspended);
    }
}
