//! What a Job's pods amount to. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::backoff;
use super::failure::{self, Verdict};
use super::indexes::Indexes;
use super::template::{all_failures_before, failures_before, index_of, is_indexed, is_tracked};
use crate::pods;

/// A Job and its pods, counted.
pub struct Facts<'a> {
    /// The Job.
    pub job: &'a Job,
    /// What is wanted.
    pub spec: JobSpec,
    /// Its pods, by their indexes.
    pub pods: Vec<Arc<Pod>>,
    /// Those that neither ended nor are being deleted.
    pub active: Vec<Arc<Pod>>,
    /// Uids of those that are still to be counted.
    pub tracked: HashSet<String>,
    /// Those that succeeded and are not noted in the status.
    pub new_succeeded: Vec<Arc<Pod>>,
    /// Those that failed and are not noted in the status.
    pub new_failed: Vec<Arc<Pod>>,
    /// All successes, those that the status does not show yet as well.
    pub succeeded: i32,
    /// All failures that count.
    pub failed: i32,
    /// Indexes that succeeded as the status shows them.
    pub told: Indexes,
    /// Indexes that succeeded.
    pub done: Indexes,
    /// Indexes that have failed for good, if each has a limit of its own.
    pub lost: Option<Indexes>,
    /// Failed pods that stay until another of their index is made, which takes over the count of failures.
    pub held: BTreeMap<i32, Arc<Pod>>,
}

impl<'a> Facts<'a> {
    /// Counts. Of the pods in `untracked`, the finalizer is gone although the cache may show it.
    pub fn new(job: &'a Job, all: &[Arc<Pod>], untracked: &HashSet<String>) -> Self {
        let spec = job.spec.clone().unwrap_or_default();
        let status = job.status.clone().unwrap_or_default();
        let mut pods = all.to_vec();
        pods.sort_by_key(|pod| index_of(pod));
        let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        let tracked: HashSet<String> = pods
            .iter()
            .filter(|pod| is_tracked(pod))
            .map(|pod| uid(pod))
            .filter(|uid| !untracked.contains(uid))
            .collect();
        let mut facts = Self {
            active: pods.iter().filter(|pod| pods::is_active(pod)).cloned().collect(),
            job,
            spec,
            pods,
            tracked,
            new_succeeded: Vec::new(),
            new_failed: Vec::new(),
            succeeded: 0,
            failed: 0,
            told: Indexes::default(),
            done: Indexes::default(),
            lost: None,
            held: BTreeMap::new(),
        };
        let noted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        let (noted_succeeded, noted_failed) = (noted.succeeded.unwrap_or_default(), noted.failed.unwrap_or_default());
        let countable: Vec<Arc<Pod>> = facts.pods.iter().filter(|pod| facts.is_countable(pod)).cloned().collect();
        let unnoted = |noted: &[String], pod: &Arc<Pod>| !noted.contains(&uid(pod));
        facts.new_succeeded = countable
            .iter()
            .filter(|pod| pods::phase(pod) == "Succeeded" && unnoted(&noted_succeeded, pod))
            .cloned()
            .collect();
        facts.new_failed = countable
            .iter()
            .filter(|pod| failure::is_failed(&facts.spec, pod) && unnoted(&noted_failed, pod))
            .cloned()
            .collect();
        let counting =
            facts.new_failed.iter().filter(|pod| failure::judge(&facts.spec, pod) != Verdict::Ignore).count();
        facts.succeeded = status.succeeded.unwrap_or(0) + (facts.new_succeeded.len() + noted_succeeded.len()) as i32;
        facts.failed = status.failed.unwrap_or(0) + (counting + noted_failed.len()) as i32;
        if is_indexed(&facts.spec) {
            facts.count_indexes(&status);
        }
        facts
    }

    fn count_indexes(&mut self, status: &JobStatus) {
        let end = self.completions();
        let of = |pod: &Arc<Pod>| index_of(pod).filter(|index| *index < end && is_tracked(pod));
        self.told = Indexes::parse(status.completed_indexes.as_deref().unwrap_or_default(), end);
        self.done = self.told.with(self.pods.iter().filter(|pod| pods::phase(pod) == "Succeeded").filter_map(of));
        self.succeeded = self.done.total();
        let Some(limit) = self.spec.backoff_limit_per_index else { return };
        let before = Indexes::parse(status.failed_indexes.as_deref().unwrap_or_default(), end);
        let failed = self.pods.iter().filter(|pod| failure::is_failed(&self.spec, pod));
        let for_good = failed.clone().filter(|pod| match failure::judge(&self.spec, pod) {
            Verdict::FailIndex => true,
            Verdict::Ignore => false,
            _ => failures_before(pod) >= limit,
        });
        let lost = before.with(for_good.filter_map(of));
        let busy = Indexes::default().with(self.active.iter().filter_map(|pod| index_of(pod)));
        let mut held: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
        for pod in failed.filter(|pod| self.is_countable(pod)) {
            let Some(index) = index_of(pod) else { continue };
            if self.done.has(index) || lost.has(index) || busy.has(index) {
                continue;
            }
            let rank = |pod: &Pod| (all_failures_before(pod), backoff::finished_at(pod));
            if held.get(&index).is_none_or(|other| rank(other) <= rank(pod)) {
                held.insert(index, pod.clone());
            }
        }
        self.held = held;
        self.lost = Some(lost);
    }

    /// How many successes are wanted, if that was said.
    pub fn completions(&self) -> i32 {
        self.spec.completions.unwrap_or(0)
    }

    /// Whether a pod is still tracked.
    pub fn is_tracked(&self, pod: &Pod) -> bool {
        pod.metadata.uid.as_ref().is_some_and(|uid| self.tracked.contains(uid))
    }

    /// Whether a pod has an index that it may have, or needs none.
    pub fn has_place(&self, pod: &Pod) -> bool {
        !is_indexed(&self.spec) || index_of(pod).is_some_and(|index| index < self.completions())
    }

    fn is_countable(&self, pod: &Pod) -> bool {
        self.is_tracked(pod) && self.has_place(pod)
    }

    /// Pods that are being deleted and have not ended.
    pub fn terminating(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter().filter(|pod| {
            pod.metadata.deletion_timestamp.is_some() && !matches!(pods::phase(pod), "Succeeded" | "Failed")
        })
    }

    /// Whether pods are to be stopped until further notice.
    pub fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }
}
