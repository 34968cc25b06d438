//! Jobs: pods that run until so many have succeeded.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kinit_runtime::events::{About, Kind};
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use serde_json::json;

use crate::context::{Actor, Context};
use crate::pods::{self, Expectations};
use crate::write;

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
    let expectations = Arc::new(Expectations::default());
    work("job", queue, 3, context.shutdown.clone(), move |key: String| {
        let (jobs, all, actor, expectations) = (jobs.clone(), all.clone(), actor.clone(), expectations.clone());
        async move {
            let Some(job) = jobs.get(&key).filter(|job| job.metadata.deletion_timestamp.is_none()) else {
                expectations.forget(&key);
                return Ok(None);
            };
            let namespace = job.metadata.namespace.clone().unwrap_or_default();
            let uid = job.metadata.uid.as_deref();
            let own: Vec<Arc<Pod>> =
                all.list_in(&namespace).into_iter().filter(|pod| pods::is_controlled_by(&pod.metadata, uid)).collect();
            reconcile(&actor, &key, &job, own, &expectations).await
        }
    })
    .await;
}

/// What is to be done for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Todo {
    /// So many more pods are made.
    Create(usize),
    /// It is done.
    Complete,
    /// It failed, and why.
    Fail(&'static str),
    /// Nothing now.
    Wait,
}

/// Numbers that a decision is made from.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    active: usize,
    succeeded: usize,
    failed: usize,
    parallelism: usize,
    /// `None`: one success is enough, and no more are made after it.
    completions: Option<usize>,
    limit: usize,
    overdue: bool,
}

fn decide(numbers: Numbers) -> Todo {
    let Numbers { active, succeeded, failed, parallelism, completions, limit, overdue } = numbers;
    if overdue {
        return Todo::Fail("DeadlineExceeded");
    }
    if failed > limit {
        return Todo::Fail("BackoffLimitExceeded");
    }
    let left = match completions {
        Some(wanted) if succeeded >= wanted => return Todo::Complete,
        Some(wanted) => wanted - succeeded,
        None if succeeded > 0 => return if active == 0 { Todo::Complete } else { Todo::Wait },
        None => parallelism,
    };
    match parallelism.min(left).saturating_sub(active) {
        0 => Todo::Wait,
        count => Todo::Create(count),
    }
}

async fn reconcile(
    actor: &Actor,
    key: &str,
    job: &Job,
    own: Vec<Arc<Pod>>,
    expectations: &Expectations,
) -> Result<Option<Duration>, kube::Error> {
    let spec = job.spec.clone().unwrap_or_default();
    let before = job.status.clone().unwrap_or_default();
    let ended = before
        .conditions
        .iter()
        .flatten()
        .any(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True");
    if ended || spec.suspend == Some(true) {
        return Ok(None);
    }
    let now = Timestamp::now();
    let start = before.start_time.as_ref().map_or(now, |time| time.0);
    let active: Vec<Arc<Pod>> = own.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let count = |phase: &str| own.iter().filter(|pod| pods::phase(pod) == phase).count();
    let age = now.as_second() - start.as_second();
    let numbers = Numbers {
        active: active.len(),
        succeeded: count("Succeeded"),
        failed: count("Failed"),
        parallelism: spec.parallelism.unwrap_or(1).max(0) as usize,
        completions: spec.completions.map(|count| count.max(0) as usize),
        limit: spec.backoff_limit.unwrap_or(6).max(0) as usize,
        overdue: spec.active_deadline_seconds.is_some_and(|seconds| age >= seconds),
    };
    let todo = decide(numbers);
    let mut again = spec.active_deadline_seconds.map(|seconds| Duration::from_secs((seconds - age).max(1) as u64));
    if let Todo::Create(count) = todo
        && expectations.met(key, &own)
    {
        let pause = Duration::from_secs(10) * 2u32.saturating_pow(numbers.failed.saturating_sub(1).min(6) as u32);
        let last = own.iter().filter(|pod| pods::phase(pod) == "Failed").filter_map(|pod| {
            Some(
                pod.status
                    .as_ref()?
                    .container_statuses
                    .as_ref()?
                    .first()?
                    .state
                    .as_ref()?
                    .terminated
                    .as_ref()?
                    .finished_at
                    .as_ref()?
                    .0
                    .as_second(),
            )
        });
        let due = last.max().map_or(0, |at| at + pause.as_secs() as i64);
        if numbers.failed > 0 && now.as_second() < due {
            again = Some(Duration::from_secs((due - now.as_second()) as u64));
        } else {
            let namespace = job.metadata.namespace.clone().unwrap_or_default();
            let name = job.metadata.name.clone().unwrap_or_default();
            let made = (0..count).map(|_| pods::from_template(&spec.template, &namespace, &name, pods::owner(job)));
            expectations.expect(key, &own, count);
            if let Err(error) = pods::create(actor, made.collect()).await {
                expectations.forget(key);
                return Err(error);
            }
        }
    }
    if let Todo::Fail(_) = todo {
        pods::delete(actor, &active).await?;
    }
    report(actor, job, numbers, todo, &active, start, now).await?;
    Ok(again)
}

async fn report(
    actor: &Actor,
    job: &Job,
    numbers: Numbers,
    todo: Todo,
    active: &[Arc<Pod>],
    start: Timestamp,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let time = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let before = job.status.clone().unwrap_or_default();
    let left = if matches!(todo, Todo::Fail(_)) { 0 } else { numbers.active as i32 };
    let ready = active.iter().filter(|pod| pods::is_ready(pod)).count() as i32;
    let mut status = json!({
        "startTime": time(start),
        "active": left,
        "ready": ready,
        "succeeded": numbers.succeeded as i32,
        "failed": numbers.failed as i32,
        "terminating": 0,
    });
    let same = (
        before.active.unwrap_or(0),
        before.ready.unwrap_or(0),
        before.succeeded.unwrap_or(0),
        before.failed.unwrap_or(0),
    ) == (left, ready, numbers.succeeded as i32, numbers.failed as i32);
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": "True", "reason": reason, "message": message,
            "lastProbeTime": time(now), "lastTransitionTime": time(now)})
    };
    match todo {
        Todo::Complete => {
            let message = "Reached expected number of succeeded pods";
            status["conditions"] = json!([
                condition("SuccessCriteriaMet", "CompletionsReached", message),
                condition("Complete", "CompletionsReached", message),
            ]);
            status["completionTime"] = json!(time(now));
            actor.events.say(About::object(job), Kind::Normal, "Completed", "Job completed");
        }
        Todo::Fail(reason) => {
            let message = if reason == "DeadlineExceeded" {
                "Job was active longer than specified deadline"
            } else {
                "Job has reached the specified backoff limit"
            };
            status["conditions"] =
                json!([condition("FailureTarget", reason, message), condition("Failed", reason, message)]);
            actor.events.say(About::object(job), Kind::Warning, reason, message);
        }
        _ if same && before.start_time.is_some() => return Ok(()),
        _ => {}
    }
    let api: Api<Job> = Api::namespaced(actor.client(), job.metadata.namespace.as_deref().unwrap_or_default());
    let patch = json!({"status": status});
    write::status(&api, job, &patch).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_makes_what_is_left_and_ends() {
        let base = Numbers {
            active: 0,
            succeeded: 0,
            failed: 0,
            parallelism: 2,
            completions: Some(3),
            limit: 6,
            overdue: false,
        };
        for (numbers, wanted) in [
            (base, Todo::Create(2)),
            (Numbers { active: 2, ..base }, Todo::Wait),
            (Numbers { succeeded: 2, ..base }, Todo::Create(1)),
            (Numbers { succeeded: 3, ..base }, Todo::Complete),
            (Numbers { failed: 7, ..base }, Todo::Fail("BackoffLimitExceeded")),
            (Numbers { overdue: true, ..base }, Todo::Fail("DeadlineExceeded")),
            (Numbers { completions: None, succeeded: 1, ..base }, Todo::Complete),
            (Numbers { completions: None, succeeded: 1, active: 1, ..base }, Todo::Wait),
        ] {
            assert_eq!(decide(numbers), wanted, "{numbers:?}");
        }
    }
}
