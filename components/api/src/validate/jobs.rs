//! The group batch.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, immutable, job_policies, metadata, not_negative, one_of, pod, same, str_of, text, workloads};
use crate::object::Object;

pub(super) fn whole(kind: &str, object: &Object) -> Errors {
    match kind {
        "Job" => {
            let path = Path::new("spec");
            let mut errors = job(object, &["spec"], &path);
            let spec = object.get(&["spec"]).unwrap_or(&Value::Null);
            if spec["selector"].is_null() {
                errors.push(Error::required(&path.child("selector"), ""));
            } else {
                metadata::selector(&spec["selector"], &path.child("selector"), &mut errors);
            }
            workloads::matches(spec, &path, &mut errors);
            errors
        }
        "CronJob" => cron_job(object),
        _ => Errors::new(),
    }
}

fn job(object: &Object, at: &[&str], path: &Path) -> Errors {
    let mut errors = Errors::new();
    let spec = object.get(at).cloned().unwrap_or(Value::Null);
    let numbers = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    for field in numbers {
        not_negative(&spec, field, path, &mut errors);
    }
    if !spec["maxFailedIndexes"].is_null() && spec["backoffLimitPerIndex"].is_null() {
        let text = "when maxFailedIndexes is specified";
        errors.push(Error::required(&path.child("backoffLimitPerIndex"), text));
    }
    if let Some(name) = spec["managedBy"].as_str() {
        domain_path(name, &path.child("managedBy"), &mut errors);
        if name.len() > 63 {
            errors.push(Error::too_long(&path.child("managedBy"), 63));
        }
    }
    let mode = str_of(&spec, "completionMode");
    if spec["completionMode"].is_string() && !matches!(mode, "NonIndexed" | "Indexed") {
        errors.push(Error::not_supported(&path.child("completionMode"), mode, &["NonIndexed", "Indexed"]));
    }
    if mode == "Indexed" {
        indexed(&spec, path, &mut errors);
    }
    if spec["completionMode"].is_null() || mode == "NonIndexed" {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(number) = spec[field].as_i64() {
                errors.push(Error::invalid(&path.child(field), number, "requires indexed completion mode"));
            }
        }
    }
    if spec["podFailurePolicy"].is_object() {
        job_policies::failure(&spec, path, &mut errors);
    }
    if spec["successPolicy"].is_object() {
        if mode == "Indexed" {
            job_policies::success(&spec, path, &mut errors);
        } else {
            let value = spec["successPolicy"].clone();
            errors.push(Error::invalid(&path.child("successPolicy"), value, "requires indexed completion mode"));
        }
    }
    if let Some(policy) = spec["podReplacementPolicy"].as_str() {
        let known: &[&str] =
            if spec["podFailurePolicy"].is_object() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        if !known.contains(&policy) {
            errors.push(Error::not_supported(&path.child("podReplacementPolicy"), policy, known));
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

/// What a Job whose Pods have indexes needs, and what would be too many of them.
fn indexed(spec: &Value, path: &Path, errors: &mut Errors) {
    const MANY: i64 = 100_000;
    const FEWER: i64 = 10_000;
    let of = |field: &str| spec[field].as_i64();
    let (completions, parallelism, failed) = (of("completions"), of("parallelism"), of("maxFailedIndexes"));
    if completions.is_none() {
        errors.push(Error::required(&path.child("completions"), "when completion mode is Indexed"));
    }
    if let Some(number) = parallelism.filter(|number| *number > MANY) {
        let text = format!("must be less than or equal to {MANY} when completion mode is Indexed");
        errors.push(Error::invalid(&path.child("parallelism"), number, text));
    }
    if let (Some(completions), Some(failed)) = (completions, failed)
        && failed > completions
    {
        let text = "must be less than or equal to completions";
        errors.push(Error::invalid(&path.child("maxFailedIndexes"), failed, text));
    }
    if let Some(number) = failed.filter(|number| *number > MANY) {
        let text = format!("must be less than or equal to {MANY}");
        errors.push(Error::invalid(&path.child("maxFailedIndexes"), number, text));
    }
    if completions.is_none_or(|completions| completions <= MANY) || of("backoffLimitPerIndex").is_none() {
        return;
    }
    if failed.is_none() {
        let text = format!("must be specified when completions is above {MANY}");
        errors.push(Error::required(&path.child("maxFailedIndexes"), &text));
    }
    for (field, number) in [("parallelism", parallelism), ("maxFailedIndexes", failed)] {
        if let Some(number) = number.filter(|number| *number > FEWER) {
            let text = format!(
                "must be less than or equal to {FEWER} when completions are above {MANY} and used with backoff limit per \
                 index"
            );
            errors.push(Error::invalid(&path.child(field), number, text));
        }
    }
}

/// A path whose first part is a domain.
pub(super) fn domain_path(text: &str, path: &Path, errors: &mut Errors) {
    if text.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let Some((host, rest)) = text.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty()) else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.push(Error::invalid(path, text, why));
        return;
    };
    complain(text::dns_subdomain(host), host, path, errors);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !rest.bytes().all(legal) {
        let why = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.push(Error::invalid(path, rest, why));
    }
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
        schedule => {
            if let Err(why) = super::cron::check(schedule) {
                errors.push(Error::invalid(&path.child("schedule"), schedule, why));
            }
        }
    }
    time_zone(&spec, &path.child("timeZone"), &mut errors);
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        not_negative(&spec, field, &path, &mut errors);
    }
    one_of(&spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], &path, &mut errors);
    errors.extend(job(object, &["spec", "jobTemplate", "spec"], &path.child("jobTemplate").child("spec")));
    let (of_job, path) = (&spec["jobTemplate"]["spec"], path.child("jobTemplate.spec"));
    if of_job["selector"].is_object() {
        let text = "`selector` will be auto-generated";
        errors.push(Error::invalid(&path.child("selector"), of_job["selector"].clone(), text));
    }
    if of_job["manualSelector"] == true {
        errors.push(Error::not_supported(&path.child("manualSelector"), true, &["nil", "false"]));
    }
    errors
}

/// A new CronJob's name has to leave room for what its Jobs' names have more.
pub(super) fn created(object: &Object) -> Errors {
    let name = object.name();
    if name.len() <= 52 {
        return Errors::new();
    }
    vec![Error::invalid(&Path::new("metadata.name"), name, "must be no more than 52 characters")]
}

fn time_zone(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(zone) = spec["timeZone"].as_str() else { return };
    let legal = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.starts_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte))
    };
    if zone.is_empty() {
        errors.push(Error::invalid(path, zone, "timeZone must be nil or non-empty string"));
    } else if !zone.split('/').all(legal) {
        errors.push(Error::invalid(path, zone, format!("unknown time zone {zone}")));
    } else if zone.eq_ignore_ascii_case("local") {
        let text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(Error::invalid(path, zone, text));
    } else if jiff::tz::TimeZone::get(zone).is_err() {
        errors.push(Error::invalid(path, zone, format!("unknown time zone {zone}")));
    }
}

/// A Job keeps its template and its selector; how many of it run may change.
pub(super) fn changed(kind: &str, old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    if kind != "Job" {
        return errors;
    }
    let path = ["spec", "completions"];
    if new.str(&["spec", "completionMode"]) != "Indexed" {
        immutable(old, new, &path, &mut errors);
    } else if old.get(&path) != new.get(&path)
        && let Some(completions) = new.get(&path).filter(|number| Some(*number) != new.get(&["spec", "parallelism"]))
    {
        let text = "can only be modified in tandem with spec.parallelism";
        errors.push(Error::invalid(&Path::new(&path.join(".")), completions.clone(), text));
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
