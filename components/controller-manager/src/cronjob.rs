//! CronJobs: a Job at each time of a schedule.

pub mod schedule;

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use kinit_runtime::events::{About, Kind};
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions, PropagationPolicy};
use serde_json::json;

use crate::context::{Actor, Context};
use crate::{pods, write};
use schedule::Schedule;

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Times that were missed are counted up to here; with more the clock or the schedule is wrong.
const MOST_MISSED: usize = 100;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("cronjob-controller").await;
    let (crons, jobs) = (context.caches.cron_jobs.clone(), context.caches.jobs.clone());
    crons.synced().await;
    jobs.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    crons.handle(move |_, cron| keys.add(key_of(cron.as_ref())));
    let keys = queue.clone();
    jobs.handle(move |_, job| {
        if let Some(owner) = pods::controller(&job.metadata).filter(|owner| owner.kind == "CronJob") {
            keys.add(format!("{}/{}", job.metadata.namespace.as_deref().unwrap_or_default(), owner.name));
        }
    });
    work("cronjob", queue, 2, context.shutdown.clone(), move |key: String| {
        let (crons, jobs, actor) = (crons.clone(), jobs.clone(), actor.clone());
        async move {
            let Some(cron) = crons.get(&key).filter(|cron| cron.metadata.deletion_timestamp.is_none()) else {
                return Ok(None);
            };
            let namespace = cron.metadata.namespace.as_deref().unwrap_or_default();
            let uid = cron.metadata.uid.as_deref();
            let own: Vec<Arc<Job>> =
                jobs.list_in(namespace).into_iter().filter(|job| pods::is_controlled_by(&job.metadata, uid)).collect();
            reconcile(&actor, &cron, own).await
        }
    })
    .await;
}

/// How a Job ended, and when; `None` while it has not.
pub fn finished(job: &Job) -> Option<(&str, i64)> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let last =
        conditions.iter().find(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")?;
    Some((last.type_.as_str(), last.last_transition_time.as_ref().map_or(0, |time| time.0.as_second())))
}

/// What the schedule asks for now.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Due {
    /// The latest time that has come and was not served.
    missed: Option<Timestamp>,
    /// How long until the next.
    next: Option<Duration>,
}

/// Looks at the schedule from `earliest` to `now`; a time longer ago than `deadline` seconds is let go. Pure.
fn due(schedule: &Schedule, earliest: &Zoned, now: &Zoned, deadline: Option<i64>) -> Due {
    let mut at = earliest.clone();
    if let Some(seconds) = deadline
        && let Ok(first) = now.checked_sub(jiff::SignedDuration::from_secs(seconds))
        && first > at
    {
        at = first;
    }
    let mut missed = None;
    for count in 0.. {
        let Some(next) = schedule.next(&at) else { return Due { missed, next: None } };
        if next > *now {
            let wait = next.timestamp().as_second() - now.timestamp().as_second();
            return Due { missed, next: Some(Duration::from_secs(wait.max(1) as u64)) };
        }
        missed = Some(next.timestamp());
        at = next;
        if count >= MOST_MISSED {
            // The last one counts; the rest is jumped over.
            at = now.clone();
        }
    }
    Due { missed, next: None }
}

/// The ended Jobs beyond those that are kept, oldest first. Pure.
fn surplus<'a>(ended: &[&'a Arc<Job>], kept: i32) -> Vec<&'a Arc<Job>> {
    let mut all = ended.to_vec();
    all.sort_by_key(|job| job.metadata.creation_timestamp.as_ref().map(|time| time.0));
    all.truncate(all.len().saturating_sub(kept.max(0) as usize));
    all
}

async fn reconcile(actor: &Actor, cron: &CronJob, own: Vec<Arc<Job>>) -> Result<Option<Duration>, kube::Error> {
    let namespace = cron.metadata.namespace.clone().unwrap_or_default();
    let api: Api<Job> = Api::namespaced(actor.client(), &namespace);
    let spec = cron.spec.clone();
    let warn = |reason: &'static str, text: String| actor.events.say(About::object(cron), Kind::Warning, reason, text);
    let ended = |kind: &str| -> Vec<&Arc<Job>> {
        own.iter().filter(|job| finished(job).is_some_and(|(how, _)| how == kind)).collect()
    };
    let (good, bad) = (ended("Complete"), ended("Failed"));
    for job in surplus(&good, spec.successful_jobs_history_limit.unwrap_or(3))
        .into_iter()
        .chain(surplus(&bad, spec.failed_jobs_history_limit.unwrap_or(1)))
    {
        delete(&api, job).await?;
    }
    let mut active: Vec<Arc<Job>> = own.iter().filter(|job| finished(job).is_none()).cloned().collect();
    let mut last = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
    let zone = spec.time_zone.as_deref().filter(|name| !name.is_empty()).map_or(Ok(TimeZone::UTC), TimeZone::get);
    let (zone, schedule) = match (zone, Schedule::parse(&spec.schedule)) {
        (Ok(zone), Ok(schedule)) => (zone, schedule),
        (Err(error), _) => {
            warn("UnknownTimeZone", format!("invalid timeZone: {:?}: {error}", spec.time_zone.unwrap_or_default()));
            return Ok(None);
        }
        (_, Err(error)) => {
            warn("UnparseableSchedule", format!("unparseable schedule: {:?} : {error}", spec.schedule));
            return Ok(None);
        }
    };
    let now = Timestamp::now().to_zoned(zone.clone());
    let made = cron.metadata.creation_timestamp.as_ref().map_or(now.timestamp(), |time| time.0);
    let due = due(&schedule, &last.unwrap_or(made).to_zoned(zone), &now, spec.starting_deadline_seconds);
    if due == Due::default() {
        // Its fields can be read, and no day has them all.
        let text = format!(
            "invalid schedule: {} : time difference between two schedules is less than 1 second",
            spec.schedule
        );
        warn("InvalidSchedule", text);
    }
    if let Some(time) = due.missed.filter(|_| spec.suspend != Some(true) && cron.metadata.deletion_timestamp.is_none())
    {
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if !active.is_empty() => {}
            policy => {
                if policy == Some("Replace") {
                    for job in active.drain(..) {
                        delete(&api, &job).await?;
                    }
                }
                match api.create(&PostParams::default(), &job_of(cron, time)).await {
                    Ok(job) => {
                        let text = format!("Created job {}", job.metadata.name.as_deref().unwrap_or_default());
                        actor.events.say(About::object(cron), Kind::Normal, "SuccessfulCreate", text);
                        active.push(Arc::new(job));
                    }
                    // Another leader made it before.
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    Err(error) => return Err(error),
                }
                last = Some(time);
            }
        }
    }
    report(actor, cron, &active, last, &good).await?;
    Ok(due.next)
}

fn job_of(cron: &CronJob, time: Timestamp) -> Job {
    let template = &cron.spec.job_template;
    let metadata = template.metadata.clone().unwrap_or_default();
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED.into(), time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let name = format!("{}-{}", cron.metadata.name.as_deref().unwrap_or_default(), time.as_second() / 60);
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: cron.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![pods::owner(cron)]),
            ..Default::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

async fn delete(api: &Api<Job>, job: &Job) -> Result<(), kube::Error> {
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: job.metadata.uid.clone(), resource_version: None }),
        ..Default::default()
    };
    match api.delete(job.metadata.name.as_deref().unwrap_or_default(), &params).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn report(
    actor: &Actor,
    cron: &CronJob,
    active: &[Arc<Job>],
    last: Option<Timestamp>,
    good: &[&Arc<Job>],
) -> Result<(), kube::Error> {
    let time = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let references: Vec<ObjectReference> = active
        .iter()
        .map(|job| ObjectReference {
            api_version: Some("batch/v1".into()),
            kind: Some("Job".into()),
            name: job.metadata.name.clone(),
            namespace: job.metadata.namespace.clone(),
            uid: job.metadata.uid.clone(),
            resource_version: job.metadata.resource_version.clone(),
            ..Default::default()
        })
        .collect();
    let done = good.iter().filter_map(|job| job.status.as_ref()?.completion_time.as_ref()).map(|time| time.0).max();
    let before = cron.status.clone().unwrap_or_default();
    let done = done.max(before.last_successful_time.as_ref().map(|time| time.0));
    let uids = |all: &[ObjectReference]| all.iter().filter_map(|one| one.uid.clone()).collect::<Vec<_>>();
    let same = uids(before.active.as_deref().unwrap_or_default()) == uids(&references)
        && before.last_schedule_time.as_ref().map(|time| time.0) == last
        && before.last_successful_time.as_ref().map(|time| time.0) == done;
    if same {
        return Ok(());
    }
    let api: Api<CronJob> = Api::namespaced(actor.client(), cron.metadata.namespace.as_deref().unwrap_or_default());
    let status = json!({"status": {"active": references, "lastScheduleTime": last.map(time),
        "lastSuccessfulTime": done.map(time)}});
    write::status(&api, cron, &status).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC)
    }

    #[test]
    fn the_last_missed_time_counts() {
        let hourly = Schedule::parse("0 * * * *").unwrap();
        let (begin, now) = (at("2027-01-01T00:30:00Z"), at("2027-01-01T03:10:00Z"));
        let all = due(&hourly, &begin, &now, None);
        assert_eq!(all.missed, Some("2027-01-01T03:00:00Z".parse().unwrap()));
        assert_eq!(all.next, Some(Duration::from_secs(50 * 60)));
        assert_eq!(due(&hourly, &begin, &now, Some(60)).missed, None);
        assert_eq!(due(&hourly, &at("2027-01-01T03:00:00Z"), &now, None).missed, None);
        let never = Schedule::parse("59 23 31 2 *").unwrap();
        assert_eq!(due(&never, &begin, &now, None), Due::default());
        let minutely = Schedule::parse("* * * * *").unwrap();
        let long = due(&minutely, &at("2020-01-01T00:00:00Z"), &now, None);
        assert!(long.missed.is_some() && long.next.is_some());
    }

    #[test]
    fn the_oldest_ended_jobs_go() {
        let job = |name: &str, created: &str| -> Arc<Job> {
            Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "creationTimestamp": created}})).unwrap())
        };
        let (a, b, c) =
            (job("a", "2027-01-03T00:00:00Z"), job("b", "2027-01-01T00:00:00Z"), job("c", "2027-01-02T00:00:00Z"));
        let names =
            |kept| surplus(&[&a, &b, &c], kept).iter().filter_map(|job| job.metadata.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(1), ["b", "c"]);
        assert!(names(3).is_empty());
    }
}
