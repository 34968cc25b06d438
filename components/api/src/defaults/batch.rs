//! The group batch.

use serde_json::{Map, Value};

use super::pod;
use super::rules::{Rule, apply as table, bool, int, text, text_or_empty, visit};
use crate::object::Object;

const JOB: &[Rule] = &[
    text("", "completionMode", "NonIndexed"),
    bool("", "suspend", false),
    bool("", "manualSelector", false),
    text_or_empty("podFailurePolicy.rules[].onPodConditions[]", "status", "True"),
];

const CRON_JOB: &[Rule] = &[
    text("spec", "concurrencyPolicy", "Allow"),
    bool("spec", "suspend", false),
    int("spec", "successfulJobsHistoryLimit", 3),
    int("spec", "failedJobsHistoryLimit", 1),
];

pub(super) fn apply(kind: &str, map: &mut Map<String, Value>) {
    match kind {
        "Job" => job(map),
        "CronJob" => {
            table(map, CRON_JOB);
            // A template of a Job has only its Pods' defaults: the Job gets its own when it is made.
            pod::template(map, "spec.jobTemplate.spec.template");
        }
        _ => {}
    }
}

fn job(map: &mut Map<String, Value>) {
    let labels = map.get("spec").and_then(|spec| spec.pointer("/template/metadata/labels")).cloned();
    if let Some(labels) = labels {
        visit(map, "metadata", &mut |metadata| {
            if metadata.get("labels").and_then(Value::as_object).is_none_or(Map::is_empty) {
                metadata.insert("labels".into(), labels.clone());
            }
        });
    }
    visit(map, "spec", &mut |spec| {
        if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
            spec.insert("completions".into(), 1.into());
        }
        let retries = if spec.contains_key("backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
        let replacement = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        table(spec, &[int("", "parallelism", 1), int("", "backoffLimit", retries)]);
        table(spec, &[text("", "podReplacementPolicy", replacement)]);
        table(spec, JOB);
    });
    pod::template(map, "spec.template");
}

/// Gives a new Job, unless it brings its own selector, the labels and the selector that no other Job has. `uid` is the Job's.
pub fn job_selector(job: &mut Object, uid: &str) {
    if job.get(&["spec", "manualSelector"]) == Some(&Value::Bool(true)) {
        return;
    }
    let name = job.name().to_owned();
    let labels = [
        ("job-name", name.as_str()),
        ("batch.kubernetes.io/job-name", name.as_str()),
        ("controller-uid", uid),
        ("batch.kubernetes.io/controller-uid", uid),
    ];
    for (label, value) in labels {
        set_if_absent(job, &["spec", "template", "metadata", "labels", label], value);
    }
    set_if_absent(job, &["spec", "selector", "matchLabels", "batch.kubernetes.io/controller-uid"], uid);
}

// A wrong value of the client's own stays, so that validation refuses it.
fn set_if_absent(job: &mut Object, path: &[&str], value: &str) {
    if job.get(path).is_none() {
        job.set(path, value);
    }
}
