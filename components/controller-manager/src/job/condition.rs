//! The conditions of a Job's status. Pure.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The condition that says that a Job is going to fail.
pub const FAILURE_TARGET: &str = "FailureTarget";
/// The condition that says that a Job is going to be complete.
pub const SUCCESS: &str = "SuccessCriteriaMet";
/// Reasons that a Job fails for; they are reasons of events as well.
pub const FAILURES: &[&str] =
    &["BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy", "MaxFailedIndexesExceeded", "FailedIndexes"];

/// A condition that is true from now on.
pub fn new(kind: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    // The API's times are whole seconds.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    JobCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// A condition that is true.
pub fn find<'a>(all: Option<&'a Vec<JobCondition>>, kind: &str) -> Option<&'a JobCondition> {
    all?.iter().find(|one| one.type_ == kind && one.status == "True")
}

/// Whether a Job has ended.
pub fn is_finished(job: &Job) -> bool {
    let all = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    ["Complete", "Failed"].iter().any(|kind| find(all, kind).is_some())
}

/// Sets a condition. One that is not there is as good as false. Whether anything changed.
pub fn set(all: &mut Option<Vec<JobCondition>>, condition: JobCondition) -> bool {
    let list = all.get_or_insert_default();
    let same = |one: &JobCondition| {
        (&one.status, &one.reason, &one.message) == (&condition.status, &condition.reason, &condition.message)
    };
    match list.iter_mut().find(|one| one.type_ == condition.type_) {
        Some(found) if same(found) => false,
        Some(found) => {
            *found = condition;
            true
        }
        None if condition.status == "False" => false,
        None => {
            list.push(condition);
            true
        }
    }
}

/// A condition for the same reason as another.
pub fn again(kind: &str, other: &JobCondition, now: Timestamp) -> JobCondition {
    new(kind, other.reason.as_deref().unwrap_or_default(), other.message.as_deref().unwrap_or_default(), now)
}
