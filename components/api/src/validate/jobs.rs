//! The group batch.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{immutable, not_negative, one_of, pod, same, str_of, workloads};
use crate::object::Object;

pub(super) fn whole(kind: &str, object: &Object) -> Errors {
    match kind {
        "Job" => {
            let path = Path::new("spec");
            let mut errors = job(object, &["spec"], &path);
            if let Some(spec) = object.get(&["spec"]) {
                workloads::selects(spec, "job", &path, &mut errors);
            }
            errors
        }
        "CronJob" => cron_job(object),
        _ => Errors::new(),
    }
}

fn job(object: &Object, at: &[&str], path: &Path) -> Errors {
    let mut errors = Errors::new();
    let spec = object.get(at).cloned().unwrap_or(Value::Null);
    let numbers = ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"];
    for field in numbers {
        not_negative(&spec, field, path, &mut errors);
    }
    if str_of(&spec, "completionMode") == "Indexed" && spec["completions"].is_null() {
        let text = "when completion mode is Indexed";
        errors.push(Error::required(&path.child("completions"), text));
    }
    if str_of(&spec, "completionMode") != "Indexed" {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(number) = spec[field].as_i64() {
                errors.push(Error::invalid(&path.child(field), number, "requires indexed completion mode"));
            }
        }
    }
    errors.extend(pod::template(object, &[at, &["template"]].concat(), &path.child("template")));
    let path = path.child("template").child("spec").child("restartPolicy");
    match str_of(&spec["template"]["spec"], "restartPolicy") {
        "" | "Always" => errors.push(Error::required(&path, "valid values: \"OnFailure\", \"Never\"")),
        "Never" | "OnFailure" if spec["podFailurePolicy"].is_null() => {}
        "Never" => {}
        policy @ "OnFailure" => {
            let text = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(Error::invalid(&path, policy, text));
        }
        other => errors.push(Error::not_supported(&path, other, &["OnFailure", "Never"])),
    }
    errors
}

fn cron_job(object: &Object) -> Errors {
    let path = Path::new("spec");
    let mut errors = Errors::new();
    let spec = object.get(&["spec"]).cloned().unwrap_or(Value::Null);
    match str_of(&spec, "schedule") {
        "" => errors.push(Error::required(&path.child("schedule"), "")),
        schedule if schedule.contains("TZ") => {
            let text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.push(Error::invalid(&path.child("schedule"), schedule, text));
        }
        schedule if !schedule.starts_with('@') && schedule.split_whitespace().count() != 5 => {
            let found = schedule.split_whitespace().count();
            let fields: Vec<&str> = schedule.split_whitespace().collect();
            let text = format!("expected exactly 5 fields, found {found}: [{}]", fields.join(" "));
            errors.push(Error::invalid(&path.child("schedule"), schedule, text));
        }
        _ => {}
    }
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        not_negative(&spec, field, &path, &mut errors);
    }
    one_of(&spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], &path, &mut errors);
    errors.extend(job(object, &["spec", "jobTemplate", "spec"], &path.child("jobTemplate").child("spec")));
    errors
}

/// A Job keeps its template and its selector; how many of it run may change.
pub(super) fn changed(kind: &str, old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    if kind != "Job" {
        return errors;
    }
    if str_of(old.get(&["spec"]).unwrap_or(&Value::Null), "completionMode") != "Indexed" {
        immutable(old, new, &["spec", "completions"], &mut errors);
    }
    let fields =
        ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];
    for field in fields {
        immutable(old, new, &["spec", field], &mut errors);
    }
    template(old, new, &mut errors);
    errors
}

/// While a Job is suspended and nothing of it has started, where its Pods go may still be decided.
fn template(old: &Object, new: &Object, errors: &mut Errors) {
    let suspended = old.get(&["spec", "suspend"]) == Some(&Value::Bool(true));
    let started = old.get(&["status", "startTime"]).is_some_and(|time| !time.is_null());
    let fixed = |object: &Object| {
        let mut template = object.get(&["spec", "template"]).cloned().unwrap_or(Value::Null);
        if suspended && !started {
            for field in ["nodeSelector", "tolerations", "schedulingGates"] {
                template["spec"][field] = Value::Null;
            }
            if template["spec"]["affinity"].is_object() {
                template["spec"]["affinity"]["nodeAffinity"] = Value::Null;
            }
            for field in ["labels", "annotations"] {
                template["metadata"][field] = Value::Null;
            }
        }
        template
    };
    if !same(Some(&fixed(old)), Some(&fixed(new))) {
        let value = new.get(&["spec", "template"]).cloned().unwrap_or(Value::Null);
        errors.push(Error::invalid(&Path::new("spec.template"), value, super::IMMUTABLE));
    }
}
