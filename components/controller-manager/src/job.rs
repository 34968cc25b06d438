//! Jobs: pods that run until so many have succeeded.
//!
//! - [`facts`]: the pods counted; [`failure`], [`indexes`], [`backoff`], [`template`]: what they are counted by.
//! - [`outcome`]: whether the Job has succeeded or failed; [`plan`]: what is to be done; [`track`]: how pods get into counters.
//! - [`condition`]: the status' conditions; [`orphan`]: pods that nobody counts any more.

pub mod backoff;
pub mod condition;
pub mod facts;
pub mod failure;
pub mod indexes;
pub mod orphan;
pub mod outcome;
pub mod plan;
pub mod template;
#[cfg(test)]
mod tests;
pub mod track;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kinit_runtime::events::{About, Kind};
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;

use crate::claim::{self, Claimant};
use crate::context::{Actor, Context};
use crate::pods::{self, Expectations};
use backoff::Backoff;
use plan::{Inputs, Plan};
use template::TRACKING;

/// The name by which a Job's `managedBy` means this controller.
const NAME: &str = "kubernetes.io/job-controller";

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("job-controller").await;
    let (jobs, all) = (context.caches.jobs.clone(), context.caches.pods.clone());
    jobs.synced().await;
    all.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    jobs.handle(move |_, job| keys.add(key_of(job.as_ref())));
    pods::watch_owned(&all, "Job", &queue);
    pods::watch_strays(&all, &jobs, selects, &queue);
    tokio::spawn(orphan::run(actor.clone(), jobs.clone(), all.clone(), context.shutdown.clone()));
    let shell = Arc::new(Shell { actor, expectations: Expectations::default(), memories: Mutex::default() });
    work("job", queue, 5, context.shutdown.clone(), move |key: String| {
        let (jobs, all, shell) = (jobs.clone(), all.clone(), shell.clone());
        async move {
            let Some(job) = jobs.get(&key).filter(|job| is_ours(job) && !condition::is_finished(job)) else {
                shell.expectations.forget(&key);
                shell.memories.lock().remove(&key);
                return Ok(None);
            };
            let namespace = job.metadata.namespace.clone().unwrap_or_default();
            shell.reconcile(&key, &job, all.list_in(&namespace)).await
        }
    })
    .await;
}

/// Whether a Job is not managed by somebody else.
fn is_ours(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref()).is_none_or(|name| name == NAME)
}

fn selects(job: &Job, pod: &Pod) -> bool {
    let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| pods::matches(selector, pod.metadata.labels.as_ref()))
}

/// What is known of a Job and neither its status nor the cache shows.
#[derive(Debug, Clone, Default)]
struct Memory {
    uid: Option<String>,
    backoff: Backoff,
    /// Pods that were taken their finalizer from.
    untracked: HashSet<String>,
    /// The version of the Job that was written last.
    version: u64,
}

struct Shell {
    actor: Actor,
    expectations: Expectations,
    memories: Mutex<HashMap<String, Memory>>,
}

impl Shell {
    async fn reconcile(&self, key: &str, job: &Job, all: Vec<Arc<Pod>>) -> Result<Option<Duration>, kube::Error> {
        let mut memory = self.memories.lock().get(key).cloned().unwrap_or_default();
        if memory.uid != job.metadata.uid {
            memory = Memory { uid: job.metadata.uid.clone(), ..Memory::default() };
        }
        if version(job) < memory.version {
            // From an older Job, pods would be counted twice. The newer one comes through the cache.
            return Ok(None);
        }
        let claimant = Claimant { finalizer: Some(TRACKING), ..Claimant::of(job) };
        let own = claim::claim(&self.actor, &claimant, all, |pod| selects(job, pod)).await?;
        memory
            .untracked
            .retain(|uid| own.iter().any(|pod| template::is_tracked(pod) && pod.metadata.uid.as_ref() == Some(uid)));
        let plan = plan::plan(&Inputs {
            job,
            pods: &own,
            untracked: &memory.untracked,
            backoff: memory.backoff,
            synced: self.expectations.met(key, &own),
            now: Timestamp::now(),
        });
        let result = self.execute(key, job, &own, plan, &mut memory).await;
        self.memories.lock().insert(key.to_owned(), memory);
        result
    }

    async fn execute(
        &self,
        key: &str,
        job: &Job,
        own: &[Arc<Pod>],
        mut plan: Plan,
        memory: &mut Memory,
    ) -> Result<Option<Duration>, kube::Error> {
        self.untrack(&plan.discard, memory, &mut plan.tracked).await?;
        pods::delete(&self.actor, &plan.discard).await?;
        pods::delete(&self.actor, &plan.delete).await?;
        let mut failure = None;
        if !plan.create.is_empty() {
            let count = plan.create.len();
            if let Err(error) = pods::create_expected(&self.actor, &self.expectations, key, own, plan.create).await {
                plan.status.active = plan.status.active.map(|active| active - count as i32);
                failure = Some(error);
            }
        }
        let before = job.status.clone().unwrap_or_default();
        let mut job = job.clone();
        if track::plain(&before) != track::plain(&plan.status) {
            job = self.write(job, &plan.status, memory).await?;
        }
        memory.backoff = plan.backoff;
        self.untrack(&plan.untrack, memory, &mut plan.tracked).await?;
        let counted = track::count(&mut plan.status, &plan.tracked);
        let end = plan.end.filter(|end| track::end(&mut plan.status, end));
        if counted || end.is_some() {
            job = self.write(job, &plan.status, memory).await?;
        }
        if let Some(suspended) = plan.suspended {
            let (reason, message) = if suspended { ("Suspended", "Job suspended") } else { ("Resumed", "Job resumed") };
            self.actor.events.say(About::object(&job), Kind::Normal, reason, message);
        }
        if let Some(end) = end {
            self.say_end(&job, &end.type_, end.reason.as_deref(), end.message.as_deref());
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(plan.again.map(|pause| pause.max(jiff::SignedDuration::from_millis(10)).unsigned_abs())),
        }
    }

    /// Takes the finalizer from pods.
    async fn untrack(
        &self,
        pods: &[Arc<Pod>],
        memory: &mut Memory,
        tracked: &mut HashSet<String>,
    ) -> Result<(), kube::Error> {
        let done = pods.iter().map(|pod| async move { (pod, claim::unfinalize(&self.actor, pod, TRACKING).await) });
        let mut result = Ok(());
        for (pod, done) in futures::future::join_all(done).await {
            match done {
                Ok(()) => {
                    let uid = pod.metadata.uid.clone().unwrap_or_default();
                    tracked.remove(&uid);
                    memory.untracked.insert(uid);
                }
                Err(error) => result = Err(error),
            }
        }
        result
    }

    async fn write(&self, mut job: Job, status: &JobStatus, memory: &mut Memory) -> Result<Job, kube::Error> {
        let api: Api<Job> = Api::namespaced(self.actor.client(), job.metadata.namespace.as_deref().unwrap_or_default());
        job.status = Some(status.clone());
        let name = job.metadata.name.clone().unwrap_or_default();
        let written = api.replace_status(&name, &PostParams::default(), &job).await?;
        memory.version = version(&written);
        Ok(written)
    }

    fn say_end(&self, job: &Job, kind: &str, reason: Option<&str>, message: Option<&str>) {
        let say = |kind, reason, message: &str| self.actor.events.say(About::object(job), kind, reason, message);
        if kind == "Complete" {
            let wanted = job.spec.as_ref().and_then(|spec| spec.completions);
            let succeeded = job.status.as_ref().and_then(|status| status.succeeded);
            if wanted.zip(succeeded).is_some_and(|(wanted, succeeded)| succeeded > wanted) {
                let message = "Too many succeeded pods running after completion count reached";
                say(Kind::Warning, "TooManySucceededPods", message);
            }
            return say(Kind::Normal, "Completed", "Job completed");
        }
        let known = condition::FAILURES.iter().find(|one| Some(**one) == reason);
        say(Kind::Warning, known.copied().unwrap_or("Failed"), message.unwrap_or_default());
    }
}

fn version(job: &Job) -> u64 {
    job.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}
