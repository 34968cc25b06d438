//! How long to wait before a failed pod is replaced. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// The pause after the first failure; it doubles with each further one.
const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LONGEST: SignedDuration = SignedDuration::from_secs(600);

/// Failures of a Job since its last success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: i32,
    last: Option<Timestamp>,
}

impl Backoff {
    /// With the pods that ended since.
    pub fn after(self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let success = succeeded.iter().map(|pod| finished_at(pod)).max();
        let later: Vec<Timestamp> = failed
            .iter()
            .map(|pod| finished_at(pod))
            .filter(|at| success.is_none_or(|success| *at > success))
            .collect();
        let before = if success.is_some() { Self::default() } else { self };
        Self { failures: before.failures + later.len() as i32, last: later.into_iter().max().or(before.last) }
    }

    /// What is left of the pause.
    pub fn left(self, now: Timestamp) -> SignedDuration {
        match self.last {
            Some(last) => left(self.failures, last, now),
            None => SignedDuration::ZERO,
        }
    }
}

/// What is left of the pause after so many failures, the last of which was at this time.
pub fn left(failures: i32, last: Timestamp, now: Timestamp) -> SignedDuration {
    if failures <= 0 {
        return SignedDuration::ZERO;
    }
    let doubled = 2i32.checked_pow(failures as u32 - 1).and_then(|times| FIRST.checked_mul(times));
    let pause = doubled.unwrap_or(LONGEST).min(LONGEST);
    (pause - now.duration_since(last)).max(SignedDuration::ZERO)
}

/// When a pod ended: its last container, else since when it is not ready, else when it was deleted, else when it was made.
pub fn finished_at(pod: &Pod) -> Timestamp {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let unready = || {
        conditions
            .filter(|one| one.type_ == "Ready" && one.status == "False")
            .find_map(|one| one.last_transition_time.as_ref())
            .map(|time| time.0)
    };
    let deleted = || {
        let at = pod.metadata.deletion_timestamp.as_ref()?.0;
        Some(at - SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0)))
    };
    let made = || pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    of_containers(pod).or_else(unready).or_else(deleted).or_else(made).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn of_containers(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let sidecars: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .filter(|one| one.restart_policy.as_deref() == Some("Always"))
        .map(|one| one.name.as_str())
        .collect();
    let beside = status.init_container_statuses.iter().flatten().filter(|one| sidecars.contains(&one.name.as_str()));
    let all: Vec<&ContainerStatus> = status.container_statuses.iter().flatten().chain(beside).collect();
    let ends: Option<Vec<Timestamp>> =
        all.iter().map(|one| Some(one.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0)).collect();
    ends?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ended(second: i64) -> Arc<Pod> {
        let at = Timestamp::from_second(second).unwrap();
        Arc::new(
            serde_json::from_value(json!({"status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "",
                "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 1, "finishedAt": at}}}]}}))
            .unwrap(),
        )
    }

    #[test]
    fn the_pause_doubles_and_ends_with_a_success() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let none = Backoff::default();
        assert_eq!(none.left(at(0)).as_secs(), 0);
        let one = none.after(&[], &[ended(100)]);
        assert_eq!([100, 105, 110, 200].map(|now| one.left(at(now)).as_secs()), [10, 5, 0, 0]);
        let three = one.after(&[], &[ended(150), ended(120)]);
        assert_eq!(three.left(at(150)).as_secs(), 40);
        assert_eq!(three.after(&[ended(160)], &[]), none);
        assert_eq!(three.after(&[ended(160)], &[ended(155), ended(170)]).left(at(170)).as_secs(), 10);
        assert_eq!(left(20, at(0), at(0)).as_secs(), 600);
        assert_eq!(left(i32::MAX, at(0), at(0)).as_secs(), 600);
    }

    #[test]
    fn a_pod_without_containers_ended_when_it_was_deleted() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"deletionTimestamp": "1970-01-01T00:01:00Z",
            "deletionGracePeriodSeconds": 30, "creationTimestamp": "1970-01-01T00:00:10Z"}}))
        .unwrap();
        assert_eq!(finished_at(&pod).as_second(), 30);
    }
}
