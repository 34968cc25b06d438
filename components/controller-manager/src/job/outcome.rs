//! Whether a Job has succeeded or failed. Pure.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{JobCondition, SuccessPolicyRule};

use super::condition::{self, FAILURE_TARGET, SUCCESS};
use super::facts::Facts;
use super::failure::{self, Verdict};
use super::indexes::Indexes;

/// What the Job comes to, if that is certain although it may have active pods. What was decided once stays.
pub fn verdict(facts: &Facts<'_>, started: Option<Timestamp>, now: Timestamp) -> Option<JobCondition> {
    let told = facts.job.status.as_ref().and_then(|status| status.conditions.as_ref());
    if let Some(found) = condition::find(told, SUCCESS) {
        return Some(found.clone());
    }
    if let Some(found) = condition::find(told, FAILURE_TARGET) {
        return Some(condition::again("Failed", found, now));
    }
    let failure = |(reason, message): (&str, String)| condition::new(FAILURE_TARGET, reason, &message, now);
    let success = |at| condition::new(SUCCESS, "SuccessPolicy", &format!("Matched rules at index {at}"), now);
    failed(facts, started, now).map(failure).or_else(|| succeeded(facts).map(success))
}

fn failed(facts: &Facts<'_>, started: Option<Timestamp>, now: Timestamp) -> Option<(&'static str, String)> {
    let spec = &facts.spec;
    let judged = facts.pods.iter().filter(|pod| failure::is_failed(spec, pod)).map(|pod| failure::judge(spec, pod));
    for verdict in judged {
        if let Verdict::FailJob(message) = verdict {
            return Some(("PodFailurePolicy", message));
        }
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    if facts.failed > limit || failure::restarts_exceed(spec, &facts.pods, limit) {
        return Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit".into()));
    }
    let deadline = spec.active_deadline_seconds.zip(started);
    if deadline.is_some_and(|(seconds, started)| now.duration_since(started).as_secs() >= seconds) {
        return Some(("DeadlineExceeded", "Job was active longer than specified deadline".into()));
    }
    let lost = facts.lost.as_ref()?.total();
    if spec.max_failed_indexes.is_some_and(|most| lost > most) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(("MaxFailedIndexesExceeded", message.into()));
    }
    let over = lost > 0 && lost + facts.done.total() >= facts.completions();
    over.then(|| ("FailedIndexes", "Job has failed indexes".into()))
}

/// The first rule of the success policy that is met.
fn succeeded(facts: &Facts<'_>) -> Option<usize> {
    if facts.done.total() == 0 {
        return None;
    }
    let policy = facts.spec.success_policy.as_ref()?;
    policy.rules.iter().position(|rule| is_met(rule, &facts.done, facts.completions()))
}

fn is_met(rule: &SuccessPolicyRule, done: &Indexes, completions: i32) -> bool {
    let Some(listed) = &rule.succeeded_indexes else {
        return rule.succeeded_count.is_some_and(|count| done.total() >= count);
    };
    let required = Indexes::parse(listed, completions);
    let met = required.shared(done);
    required.total() > 0 && (met == required.total() || rule.succeeded_count.is_some_and(|count| met >= count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_of_success() {
        for (rule, done, wanted) in [
            (json!({"succeededCount": 2}), "0,5", true),
            (json!({"succeededCount": 3}), "0,5", false),
            (json!({"succeededIndexes": "0-2"}), "0,2", false),
            (json!({"succeededIndexes": "0-2"}), "0-3", true),
            (json!({"succeededIndexes": "0-2", "succeededCount": 1}), "2,9", true),
            (json!({"succeededIndexes": "0-2", "succeededCount": 1}), "9", false),
            (json!({"succeededIndexes": "x"}), "9", false),
        ] {
            let parsed: SuccessPolicyRule = serde_json::from_value(rule.clone()).unwrap();
            assert_eq!(is_met(&parsed, &Indexes::parse(done, 10), 10), wanted, "{rule} {done}");
        }
    }
}
