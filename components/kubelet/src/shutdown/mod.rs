//! The end of the host: pods are ended in the order of their importance while the host waits. [`logind`] tells of it.

mod logind;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Configuration;
use crate::context::Context;
use crate::pod::facts;
use crate::pod::source::Pods;
use crate::pod::state::PodState;
use crate::pod::status::{Failure, is_terminal};
use logind::{Logind, News};

/// Priority from which pods are critical.
const CRITICAL: i32 = 2_000_000_000;
/// How often it is looked whether all have ended.
const LOOK: Duration = Duration::from_millis(500);
/// How long to wait until logind is asked again that did not answer.
const RETRY: Duration = Duration::from_secs(30);
const MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";

/// Pods from a priority on, up to the next group's, and the time that they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    from: i32,
    time: Duration,
}

/// The groups of a configuration, least important first; none if the host does not wait. Errors name the field. Pure.
pub fn groups(config: &Configuration) -> Result<Vec<Group>, String> {
    let (all, critical) = (config.shutdown_grace_period.0, config.shutdown_grace_period_critical_pods.0);
    let mut groups: Vec<Group> = config
        .shutdown_grace_period_by_pod_priority
        .iter()
        .map(|one| Group { from: one.priority, time: Duration::from_secs(one.shutdown_grace_period_seconds) })
        .collect();
    if !groups.is_empty() {
        if !all.is_zero() || !critical.is_zero() {
            return Err("shutdownGracePeriodByPodPriority stands alone, without shutdownGracePeriod".into());
        }
        groups.sort_by_key(|group| group.from);
        return Ok(groups);
    }
    if critical > all {
        return Err("shutdownGracePeriodCriticalPods is part of shutdownGracePeriod, and must not be longer".into());
    }
    if all.is_zero() {
        return Ok(Vec::new());
    }
    Ok(vec![Group { from: 0, time: all - critical }, Group { from: CRITICAL, time: critical }])
}

/// The place of a pod's group; pods of less importance than all groups are in the first.
fn place(groups: &[Group], pod: &Pod) -> usize {
    let own = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    let own = if facts::is_static(pod) { own.max(CRITICAL) } else { own };
    groups.iter().rposition(|group| group.from <= own).unwrap_or(0)
}

/// Has the host wait for its pods, until the kubelet's own end.
pub async fn run(context: Arc<Context>, pods: Pods, groups: Vec<Group>, shutdown: CancellationToken) {
    let time = groups.iter().map(|group| group.time).sum::<Duration>();
    if time.is_zero() {
        return;
    }
    loop {
        let watched = tokio::select! {
            watched = watch(&context, &pods, &groups, time) => watched,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = watched {
            tracing::warn!(%error, "the host would not wait for its pods if it were shut down");
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn watch(context: &Arc<Context>, pods: &Pods, groups: &[Group], time: Duration) -> std::io::Result<()> {
    logind::allow(time).await?;
    let mut logind = Logind::watch()?;
    let mut delay = Some(logind::Delay::take()?);
    while let Some(news) = logind.next().await? {
        match news {
            News::Begins => {
                tracing::warn!("the host is being shut down");
                context.ends.store(true, Ordering::Relaxed);
                end(context, pods, groups).await;
                // The host goes on when nobody holds it up.
                delay = None;
            }
            News::CalledOff => {
                tracing::info!("the host is not shut down after all");
                context.ends.store(false, Ordering::Relaxed);
                delay = Some(logind::Delay::take()?);
            }
        }
    }
    drop(delay);
    Ok(())
}

/// Ends all pods, group by group.
async fn end(context: &Arc<Context>, pods: &Pods, groups: &[Group]) {
    for (index, group) in groups.iter().enumerate() {
        let all = pods.all();
        let own: Vec<&Arc<Pod>> = all.iter().filter(|pod| place(groups, pod) == index).collect();
        let begin = Instant::now();
        let most = i64::try_from(group.time.as_secs()).unwrap_or(i64::MAX);
        for pod in own.iter().filter(|pod| !is_terminal(pod.status.as_ref())) {
            let grace = facts::grace_period(pod).min(most).max(1);
            let failure = Failure { grace: Some(grace), ..Failure::new("Terminated", MESSAGE) };
            context.fail(facts::uid(pod), failure);
        }
        while begin.elapsed() < group.time && any_runs(context, &own).await {
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn any_runs(context: &Context, pods: &[&Arc<Pod>]) -> bool {
    for pod in pods {
        let state = PodState::read(&context.runtime, facts::uid(pod)).await;
        if state.is_ok_and(|state| state.containers.iter().any(|one| one.is_running())) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(text: &str) -> Configuration {
        Configuration::parse(&format!("kind: KubeletConfiguration\n{text}")).unwrap()
    }

    #[test]
    fn time_is_shared_out_by_importance() {
        let group = |from, seconds| Group { from, time: Duration::from_secs(seconds) };
        let list = "shutdownGracePeriodByPodPriority: [{priority: 100, shutdownGracePeriodSeconds: 5}, \
                    {priority: 0, shutdownGracePeriodSeconds: 7}]\n";
        for (text, wanted) in [
            ("", vec![]),
            (
                "shutdownGracePeriod: 30s\nshutdownGracePeriodCriticalPods: 10s\n",
                vec![group(0, 20), group(CRITICAL, 10)],
            ),
            (list, vec![group(0, 7), group(100, 5)]),
        ] {
            assert_eq!(groups(&config(text)).unwrap(), wanted, "{text}");
        }
        for bad in ["shutdownGracePeriodCriticalPods: 10s\n".to_owned(), format!("{list}shutdownGracePeriod: 30s\n")] {
            assert!(groups(&config(&bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn pods_are_in_the_group_of_their_priority() {
        let groups = [Group { from: 10, time: Duration::ZERO }, Group { from: CRITICAL, time: Duration::ZERO }];
        for (priority, source, wanted) in [(0, "api", 0), (10, "api", 0), (CRITICAL, "api", 1), (0, "file", 1)] {
            let pod = json!({"metadata": {"annotations": {facts::SOURCE: source}},
                "spec": {"containers": [], "priority": priority}});
            assert_eq!(place(&groups, &serde_json::from_value(pod).unwrap()), wanted, "{priority} {source}");
        }
    }
}
