//! Plans, told by Jobs and pods in short.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::backoff::Backoff;
use super::plan::{Inputs, Plan, plan};
use super::template::{self, TRACKING};
use super::track;

const START: &str = "1970-01-01T00:00:00Z";

fn job(spec: Value, status: Value) -> Job {
    let mut whole = json!({"metadata": {"name": "j", "namespace": "a", "uid": "u"},
        "spec": {"backoffLimit": 6, "parallelism": 1, "completions": 1, "template": {}}, "status": {"startTime": START}});
    json_patch::merge(&mut whole["spec"], &spec);
    json_patch::merge(&mut whole["status"], &status);
    serde_json::from_value(whole).unwrap()
}

/// `p:R` is a running pod p, `S` one that succeeded, `F` one that failed, `D` one that is being deleted; `p:R3` has index 3,
/// and one with `-` at the end has no finalizer.
fn pods_of(text: &str) -> Vec<Arc<Pod>> {
    let one = |word: &str| {
        let (name, rest) = word.split_once(':').unwrap();
        let (state, index) = (&rest[..1], rest[1..].trim_end_matches('-'));
        let phase = match state {
            "S" => "Succeeded",
            "F" => "Failed",
            _ => "Running",
        };
        let deleted = (state == "D").then_some("1970-01-01T00:00:10Z");
        let finalizers = if rest.ends_with('-') { json!([]) } else { json!([TRACKING]) };
        let ended = matches!(state, "S" | "F").then(|| json!({"terminated": {"exitCode": 1, "finishedAt": START}}));
        let annotations =
            if index.is_empty() { json!({}) } else { json!({"batch.kubernetes.io/job-completion-index": index}) };
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "uid": name, "namespace": "a", "finalizers": finalizers,
                "annotations": annotations, "deletionTimestamp": deleted},
                "status": {"phase": phase, "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
                    "restartCount": 0, "state": ended}]}}))
            .unwrap(),
        )
    };
    text.split_whitespace().map(one).collect()
}

fn step(job: &Job, pods: &str) -> Plan {
    let (pods, untracked) = (pods_of(pods), HashSet::new());
    let now = Timestamp::from_second(100).unwrap();
    plan(&Inputs { job, pods: &pods, untracked: &untracked, backoff: Backoff::default(), synced: true, now })
}

fn names(pods: &[Arc<Pod>]) -> String {
    let mut names: Vec<&str> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
    names.sort_unstable();
    names.join(" ")
}

/// What a plan does, in short: pods made, discarded, deleted and untracked, and the reason that ends the Job.
fn told(plan: &Plan) -> (String, String, String, String, String) {
    let index = |pod: &Pod| template::index_of(pod).map_or("+".to_owned(), |index| index.to_string());
    let made: Vec<String> = plan.create.iter().map(index).collect();
    let end = plan.end.as_ref().map(|end| format!("{}:{}", end.type_, end.reason.as_deref().unwrap_or_default()));
    (made.join(" "), names(&plan.discard), names(&plan.delete), names(&plan.untrack), end.unwrap_or_default())
}

#[test]
fn pods_are_made_counted_and_replaced() {
    let none = json!({});
    let many = json!({"parallelism": 2, "completions": 3});
    let open = json!({"parallelism": 2, "completions": null});
    let strict = json!({"podReplacementPolicy": "Failed"});
    for (spec, status, pods, wanted) in [
        (&none, &none, "", ("+", "", "", "", "")),
        (&none, &none, "p:R", ("", "", "", "", "")),
        (&none, &none, "p:S", ("", "", "", "p", "Complete:CompletionsReached")),
        (&none, &none, "p:F", ("+", "", "", "p", "")),
        (&none, &none, "p:D", ("+", "", "", "p", "")),
        (&strict, &none, "p:D", ("", "", "", "", "")),
        (&many, &none, "", ("+ +", "", "", "", "")),
        (&many, &none, "p:S q:S", ("+", "", "", "p q", "")),
        (&many, &json!({"succeeded": 2}), "p:S- q:S-", ("+", "", "", "", "")),
        (&many, &json!({"succeeded": 2}), "p:R q:R", ("", "p", "", "", "")),
        (&open, &none, "p:R", ("+", "", "", "", "")),
        (&open, &none, "p:S q:R", ("", "", "", "p", "")),
        (&open, &json!({"succeeded": 1}), "q:S", ("", "", "", "q", "Complete:CompletionsReached")),
        (&json!({"suspend": true}), &none, "p:R", ("", "p", "", "", "")),
        (&json!({"parallelism": 0}), &none, "p:R", ("", "p", "", "", "")),
        (&json!({"backoffLimit": 0}), &none, "p:F q:R", ("", "", "q", "p q", "Failed:BackoffLimitExceeded")),
        (&json!({"activeDeadlineSeconds": 100}), &none, "q:R", ("", "", "q", "q", "Failed:DeadlineExceeded")),
    ] {
        let (made, discarded, deleted, untracked, end) = wanted;
        let wanted = (made.to_owned(), discarded.to_owned(), deleted.to_owned(), untracked.to_owned(), end.to_owned());
        assert_eq!(told(&step(&job(spec.clone(), status.clone()), pods)), wanted, "{spec} {status} {pods}");
    }
}

#[test]
fn indexes_are_made_once_and_ended_once() {
    let none = json!({});
    let indexed = json!({"completionMode": "Indexed", "parallelism": 2, "completions": 3});
    let with = |more: Value| {
        let mut spec = indexed.clone();
        json_patch::merge(&mut spec, &more);
        spec
    };
    let limited = with(json!({"backoffLimitPerIndex": 0}));
    let retried = with(json!({"backoffLimitPerIndex": 1}));
    let success = with(json!({"successPolicy": {"rules": [{"succeededIndexes": "1"}]}}));
    for (spec, status, pods, wanted) in [
        (&indexed, &none, "", ("0 1", "", "", "", "")),
        (&indexed, &none, "p:R0 q:S1", ("2", "", "", "q", "")),
        (&indexed, &none, "p:R0 q:R0", ("", "p", "", "", "")),
        (&indexed, &none, "p:R q:R0 r:R7", ("", "p r", "", "", "")),
        (
            &indexed,
            &json!({"completedIndexes": "0,1", "succeeded": 2}),
            "p:S2",
            ("", "", "", "p", "Complete:CompletionsReached"),
        ),
        (&limited, &none, "p:F0", ("1 2", "", "", "p", "")),
        (&limited, &json!({"completedIndexes": "1,2"}), "p:F0", ("", "", "", "p", "Failed:FailedIndexes")),
        (
            &with(json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 0})),
            &none,
            "p:F0 q:R1",
            ("", "", "q", "p q", "Failed:MaxFailedIndexesExceeded"),
        ),
        // The failed pod stays until the one that takes over its count is there.
        (&retried, &none, "p:F0 q:R1", ("0", "", "", "", "")),
        (&retried, &none, "p:F0 q:R1 r:R0", ("", "", "", "p", "")),
        (&success, &none, "p:R0 q:S1", ("", "", "p", "p q", "Complete:SuccessPolicy")),
    ] {
        let (made, discarded, deleted, untracked, end) = wanted;
        let wanted = (made.to_owned(), discarded.to_owned(), deleted.to_owned(), untracked.to_owned(), end.to_owned());
        assert_eq!(told(&step(&job(spec.clone(), status.clone()), pods)), wanted, "{spec} {status} {pods}");
    }
    let plan = step(&job(limited, json!({})), "p:F0 q:S1");
    assert_eq!(
        (plan.status.failed_indexes.as_deref(), plan.status.completed_indexes.as_deref()),
        (Some("0"), Some("1"))
    );
}

#[test]
fn every_pod_is_counted_once() {
    let wanted = job(json!({"completions": 2}), json!({}));
    let mut plan = step(&wanted, "p:S q:F r:R");
    let noted = plan.status.uncounted_terminated_pods.clone().unwrap();
    assert_eq!((noted.succeeded.unwrap(), noted.failed.unwrap()), (vec!["p".to_owned()], vec!["q".to_owned()]));
    assert_eq!((plan.status.succeeded, plan.status.failed, plan.status.active), (None, None, Some(1)));
    // Noted already, it is not noted again; without its finalizer, it is counted.
    let again =
        job(json!({"completions": 2}), json!({"uncountedTerminatedPods": {"succeeded": ["p"], "failed": ["q"]}}));
    let next = step(&again, "p:S q:F- r:R");
    assert_eq!((next.status.succeeded, next.status.failed), (None, Some(1)));
    assert_eq!(next.status.uncounted_terminated_pods.unwrap().succeeded.unwrap(), ["p"]);
    plan.tracked.remove("p");
    assert!(track::count(&mut plan.status, &plan.tracked));
    assert_eq!(plan.status.succeeded, Some(1));
    assert!(!track::count(&mut plan.status, &plan.tracked));
}

#[test]
fn a_job_ends_when_its_pods_have_ended() {
    let failing = job(json!({"backoffLimit": 0}), json!({}));
    let mut plan = step(&failing, "p:F q:R");
    let kinds =
        |plan: &Plan| -> Vec<String> { plan.status.conditions.iter().flatten().map(|one| one.type_.clone()).collect() };
    assert_eq!((kinds(&plan), plan.status.terminating), (vec!["FailureTarget".to_owned()], Some(1)));
    let end = plan.end.clone().unwrap();
    track::count(&mut plan.status, &HashSet::new());
    assert_eq!(plan.status.failed, Some(2));
    assert!(!track::end(&mut plan.status, &end));
    let mut failing = failing;
    failing.status = Some(plan.status);
    let mut last = step(&failing, "");
    assert!(last.create.is_empty());
    let end = last.end.clone().unwrap();
    assert!(track::end(&mut last.status, &end));
    assert_eq!(kinds(&last), ["FailureTarget", "Failed"]);
    assert_eq!(last.status.completion_time, None);
}

#[test]
fn time_stands_still_while_a_job_is_suspended() {
    let suspended = step(&job(json!({"suspend": true, "activeDeadlineSeconds": 1}), json!({})), "p:R");
    assert_eq!((suspended.suspended, &suspended.status.start_time), (Some(true), &None));
    let mut resumed = job(json!({"activeDeadlineSeconds": 1}), json!({}));
    resumed.status = Some(suspended.status);
    let resumed = step(&resumed, "");
    assert_eq!(resumed.status.start_time.map(|time| time.0.as_second()), Some(100));
    assert_eq!((resumed.create.len(), resumed.suspended), (1, Some(false)));
    assert_eq!(resumed.again.map(|pause| pause.as_secs()), Some(1));
}

#[test]
fn a_replacement_waits_for_the_pause() {
    let failing = job(json!({}), json!({}));
    let (pods, untracked) = (pods_of("p:F"), HashSet::new());
    let now = Timestamp::from_second(4).unwrap();
    let plan = plan(&Inputs {
        job: &failing,
        pods: &pods,
        untracked: &untracked,
        backoff: Backoff::default(),
        synced: true,
        now,
    });
    assert!(plan.create.is_empty());
    assert_eq!(plan.again.map(|pause| pause.as_secs()), Some(6));
}
