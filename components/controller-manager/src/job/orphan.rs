//! Pods that have lost their Job, or whose Job ended, lose its finalizer: nobody is left to count them.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kinit_runtime::{Change, Informer, Queue, key_of, work};
use tokio_util::sync::CancellationToken;

use super::condition::is_finished;
use super::is_ours;
use super::template::{TRACKING, is_tracked};
use crate::context::Actor;
use crate::{claim, pods};

/// Runs until shutdown.
pub async fn run(actor: Actor, jobs: Arc<Informer<Job>>, all: Arc<Informer<Pod>>, shutdown: CancellationToken) {
    let queue = Queue::new();
    let (keys, known) = (queue.clone(), jobs.clone());
    all.handle(move |change, pod| {
        if !matches!(change, Change::Deleted) && is_orphan(&known, pod) {
            keys.add(key_of(pod.as_ref()));
        }
    });
    let (keys, known) = (queue.clone(), all.clone());
    jobs.handle(move |change, job| {
        if matches!(change, Change::Deleted) || is_finished(job) {
            let uid = job.metadata.uid.as_deref();
            let of_job = known.list_in(job.metadata.namespace.as_deref().unwrap_or_default()).into_iter();
            for pod in of_job.filter(|pod| is_tracked(pod) && pods::is_controlled_by(&pod.metadata, uid)) {
                keys.add(key_of(pod.as_ref()));
            }
        }
    });
    work("job-orphan-pod", queue, 3, shutdown, move |key: String| {
        let (actor, jobs, all) = (actor.clone(), jobs.clone(), all.clone());
        async move {
            if let Some(pod) = all.get(&key).filter(|pod| is_orphan(&jobs, pod)) {
                claim::unfinalize(&actor, &pod, TRACKING).await?;
            }
            Ok::<_, kube::Error>(None)
        }
    })
    .await;
}

fn is_orphan(jobs: &Informer<Job>, pod: &Pod) -> bool {
    if !is_tracked(pod) {
        return false;
    }
    let Some(owner) = pods::controller(&pod.metadata) else { return true };
    if owner.kind != "Job" || !owner.api_version.starts_with("batch/") {
        return false;
    }
    let key = format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), owner.name);
    let job = jobs.get(&key).filter(|job| job.metadata.uid.as_deref() == Some(&owner.uid));
    job.is_none_or(|job| is_ours(&job) && is_finished(&job))
}
