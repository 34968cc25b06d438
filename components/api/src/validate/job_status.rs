//! What a Job's controller may say of it: a finished Job stays finished, and its counts and conditions agree.
//!
//! Most rules are asked only where what they are about has changed, because a change of the spec may break one until the
//! controller has seen it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::job_policies::{self, indexes};
use super::list;
use crate::object::Object;

/// A Job as its status tells it.
struct Told<'a> {
    spec: &'a Value,
    status: &'a Value,
}

impl<'a> Told<'a> {
    fn of(job: &'a Object) -> Self {
        let part = |field: &str| job.get(&[field]).unwrap_or(&Value::Null);
        Self { spec: part("spec"), status: part("status") }
    }

    fn condition(&self, kind: &str, value: &str) -> bool {
        list(self.status, "conditions").iter().any(|one| one["type"] == kind && one["status"] == value)
    }

    fn has(&self, kind: &str) -> bool {
        self.condition(kind, "True")
    }

    fn finished(&self) -> bool {
        self.has("Complete") || self.has("Failed")
    }

    fn count(&self, field: &str) -> i64 {
        self.status[field].as_i64().unwrap_or(0)
    }

    fn text(&self, field: &str) -> Option<&'a str> {
        self.status[field].as_str()
    }
}

/// A write of a Job's status.
pub(super) fn status(old: &Object, new: &Object) -> Errors {
    let (old, new) = (Told::of(old), Told::of(new));
    let mut errors = Errors::new();
    let path = Path::new("status");
    uncounted(&new, &path.child("uncountedTerminatedPods"), &mut errors);
    completion(&old, &new, &path, &mut errors);
    finished(&old, &new, &path, &mut errors);
    completed_indexes(&old, &new, &path, &mut errors);
    if let Some(ready) = new.status["ready"].as_i64()
        && changed(&old, &new, &["ready", "active"])
        && ready > new.count("active")
    {
        errors.push(Error::invalid(&path.child("ready"), ready, "cannot set more ready pods than active"));
    }
    success(&new, &path.child("conditions"), &mut errors);
    transition(&old, &new, &path, &mut errors);
    errors
}

/// Whether one of these fields of the status is another than before.
fn changed(old: &Told<'_>, new: &Told<'_>, fields: &[&str]) -> bool {
    fields.iter().any(|field| !super::same(old.status.get(*field), new.status.get(*field)))
}

/// Whether one of these conditions holds now and did not, or the other way around.
fn turned(old: &Told<'_>, new: &Told<'_>, kinds: &[&str]) -> bool {
    kinds.iter().any(|kind| old.has(kind) != new.has(kind))
}

/// Pods that are still to be counted, each once.
fn uncounted(new: &Told<'_>, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for field in ["succeeded", "failed"] {
        for (at, uid) in list(&new.status["uncountedTerminatedPods"], field).iter().enumerate() {
            let (uid, path) = (uid.as_str().unwrap_or_default(), path.child(field).index(at));
            if uid.is_empty() {
                errors.push(Error::invalid(&path, uid, "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(Error::duplicate(&path, uid));
            }
        }
    }
}

/// What completion goes with, and what it excludes.
fn completion(old: &Told<'_>, new: &Told<'_>, path: &Path, errors: &mut Errors) {
    let (conditions, of_end) = (path.child("conditions"), path.child("completionTime"));
    let complete = new.has("Complete");
    let (start, end) = (new.text("startTime"), new.text("completionTime"));
    let of_complete = turned(old, new, &["Complete"]);
    if (of_complete || turned(old, new, &["Failed"])) && complete && new.has("Failed") {
        errors.push(Error::invalid_whole(&conditions, "cannot set Complete=True and Failed=true conditions"));
    }
    if (of_complete || turned(old, new, &["FailureTarget"])) && complete && new.has("FailureTarget") {
        errors.push(Error::invalid_whole(&conditions, "cannot set Complete=True and FailureTarget=true conditions"));
    }
    if of_complete || changed(old, new, &["completionTime"]) {
        match end {
            Some(end) if !complete => {
                let text = "cannot set completionTime when there is no Complete=True condition";
                errors.push(Error::invalid(&of_end, end, text));
            }
            None if complete => {
                errors.push(Error::required(&of_end, "completionTime is required for Complete jobs"));
            }
            _ => {}
        }
    }
    if changed(old, new, &["startTime", "completionTime"])
        && let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        errors.push(Error::invalid(&of_end, end, "must be equal to or after `startTime`"));
    }
    let of_failure = turned(old, new, &["Failed"]) || changed(old, new, &["failedIndexes"]);
    if of_failure && new.has("Failed") && !new.has("FailureTarget") {
        let text = "cannot set Failed=True condition without the FailureTarget=true condition";
        errors.push(Error::invalid_whole(&conditions, text));
    }
    if turned(old, new, &["Complete", "SuccessCriteriaMet"]) && complete && !new.has("SuccessCriteriaMet") {
        let text = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        errors.push(Error::invalid_whole(&conditions, text));
    }
}

/// A finished Job has begun, and has no Pods that run or are still to be counted.
fn finished(old: &Told<'_>, new: &Told<'_>, path: &Path, errors: &mut Errors) {
    if !new.finished() {
        return;
    }
    let ended = !old.finished();
    let of = |field: &str| ended || changed(old, new, &[field]);
    if of("active") && new.count("active") > 0 {
        errors.push(Error::invalid(&path.child("active"), new.count("active"), "active>0 is invalid for finished job"));
    }
    let nothing_to_do = new.spec["suspend"] == true && new.spec["completions"] == 0;
    if of("startTime") && !nothing_to_do && new.text("startTime").is_none() {
        errors.push(Error::required(&path.child("startTime"), "startTime is required for finished job"));
    }
    let waiting = &new.status["uncountedTerminatedPods"];
    let waits = ["succeeded", "failed"].iter().any(|field| !list(waiting, field).is_empty());
    if of("uncountedTerminatedPods") && waits {
        let path = path.child("uncountedTerminatedPods");
        errors.push(Error::invalid(&path, waiting.clone(), "must be empty for finished job"));
    }
    if of("terminating") && new.count("terminating") > 0 {
        let text = "terminating>0 is invalid for finished job";
        errors.push(Error::invalid(&path.child("terminating"), new.count("terminating"), text));
    }
}

/// The indexes that are done and those that failed, which exclude each other.
fn completed_indexes(old: &Told<'_>, new: &Told<'_>, path: &Path, errors: &mut Errors) {
    let completions = new.spec["completions"].as_i64();
    let per_index = !new.spec["backoffLimitPerIndex"].is_null();
    let (completed, failed) = (new.text("completedIndexes").unwrap_or_default(), new.text("failedIndexes"));
    let (of_completed, of_failed) = (path.child("completedIndexes"), path.child("failedIndexes"));
    if changed(old, new, &["completedIndexes"]) {
        if let Some(Err(why)) = completions.map(|completions| indexes(completed, completions)) {
            let text = format!("error parsing completedIndexes: {why}");
            errors.push(Error::invalid(&of_completed, completed, text));
        }
        if !completed.is_empty() && new.spec["completionMode"] != "Indexed" {
            let text = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.push(Error::invalid(&of_completed, completed, text));
        }
    }
    let Some(failed) = failed else { return };
    if changed(old, new, &["failedIndexes"]) {
        if let Some(Err(why)) = completions.filter(|_| per_index).map(|completions| indexes(failed, completions)) {
            errors.push(Error::invalid(&of_failed, failed, format!("error parsing failedIndexes: {why}")));
        }
        if !per_index {
            let text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            errors.push(Error::invalid(&of_failed, failed, text));
        }
    }
    if changed(old, new, &["failedIndexes", "completedIndexes"])
        && let Some(completions) = completions
        && let Some(at) = job_policies::overlap(completed, failed, completions)
    {
        let text = format!("failedIndexes and completedIndexes overlap at index: {at}");
        errors.push(Error::invalid(&of_failed, failed, text));
    }
}

/// What goes with success that was declared early.
fn success(new: &Told<'_>, conditions: &Path, errors: &mut Errors) {
    let met = new.has("SuccessCriteriaMet");
    let wrong = [
        (met && new.has("Failed"), "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (met && new.has("FailureTarget"), "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
        (
            !met && new.has("Complete") && new.spec["successPolicy"].is_object(),
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ),
    ];
    errors.extend(wrong.iter().filter(|(wrong, _)| *wrong).map(|(_, text)| Error::invalid_whole(conditions, text)));
}

/// What cannot be taken back.
fn transition(old: &Told<'_>, new: &Told<'_>, path: &Path, errors: &mut Errors) {
    let conditions = path.child("conditions");
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if old.has(kind) && !new.has(kind) {
            let text = format!("cannot disable the terminal {kind}=True condition");
            errors.push(Error::invalid_whole(&conditions, text));
        }
    }
    // What is scaled together with its parallelism may lose indexes that were done.
    let elastic = new.spec["completionMode"] == "Indexed" && new.spec["completions"] == new.spec["parallelism"];
    for (field, fixed) in [("failed", true), ("succeeded", !elastic)] {
        if fixed && new.count(field) < old.count(field) {
            let text = format!("cannot decrease the {field} counter");
            errors.push(Error::invalid(&path.child(field), new.count(field), text));
        }
    }
    if let (Some(before), Some(after)) = (old.text("completionTime"), new.text("completionTime"))
        && before != after
    {
        errors.push(Error::invalid(&path.child("completionTime"), after, super::IMMUTABLE));
    }
    let resumes = old.has("Suspended") && new.condition("Suspended", "False");
    if old.text("startTime").is_some()
        && old.text("startTime") != new.text("startTime")
        && !resumes
        && new.spec["suspend"] != true
    {
        let value = new.status["startTime"].clone();
        let text = "field is immutable for unsuspended job once set";
        errors.push(Error::invalid(&path.child("startTime"), value, text));
    }
    match (old.has("SuccessCriteriaMet"), new.has("SuccessCriteriaMet")) {
        (true, false) => {
            errors.push(Error::invalid_whole(&conditions, "cannot disable the SuccessCriteriaMet=True condition"));
        }
        (false, true) if old.has("Complete") => {
            let text = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
            errors.push(Error::invalid_whole(&conditions, text));
        }
        _ => {}
    }
}
