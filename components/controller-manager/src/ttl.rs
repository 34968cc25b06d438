//! Jobs that are deleted some time after they ended.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};

use crate::context::Context;
use crate::cronjob::finished;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("ttl-after-finished-controller").await;
    let jobs = context.caches.jobs.clone();
    jobs.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    jobs.handle(move |_, job| {
        if left(job, 0).is_some() {
            keys.add(key_of(job.as_ref()));
        }
    });
    work("ttl-after-finished", queue, 2, context.shutdown.clone(), move |key: String| {
        let (jobs, actor) = (jobs.clone(), actor.clone());
        async move {
            let Some(job) = jobs.get(&key) else { return Ok(None) };
            let Some(left) = left(&job, Timestamp::now().as_second()) else { return Ok(None) };
            if left > 0 {
                return Ok(Some(Duration::from_secs(left as u64)));
            }
            let api: Api<Job> = Api::namespaced(actor.client(), job.metadata.namespace.as_deref().unwrap_or_default());
            let params = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Foreground),
                preconditions: Some(Preconditions {
                    uid: job.metadata.uid.clone(),
                    resource_version: job.metadata.resource_version.clone(),
                }),
                ..Default::default()
            };
            match api.delete(job.metadata.name.as_deref().unwrap_or_default(), &params).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                other => other.map(|_| None),
            }
        }
    })
    .await;
}

/// Seconds that an ended Job is still kept; `None` for one that is kept for good, runs, or is being deleted. Pure.
fn left(job: &Job, now: i64) -> Option<i64> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let (_, at) = finished(job)?;
    Some(at + i64::from(seconds) - now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_ended_jobs_with_a_limit_go() {
        let job = |ttl: Option<i32>, condition: &str| -> Job {
            serde_json::from_value(
                json!({"spec": {"ttlSecondsAfterFinished": ttl, "template": {}}, "status": {"conditions": [
                {"type": condition, "status": "True", "lastTransitionTime": "1970-01-01T00:01:40Z"}]}}),
            )
            .unwrap()
        };
        assert_eq!(left(&job(Some(10), "Complete"), 105), Some(5));
        assert_eq!(left(&job(Some(10), "Failed"), 200), Some(-90));
        assert_eq!(left(&job(None, "Complete"), 105), None);
        assert_eq!(left(&job(Some(10), "Suspended"), 105), None);
    }
}
