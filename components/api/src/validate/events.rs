//! Events. Those of the older group are checked as they always were; the newer group asks for more, in the names that an
//! event has as it is stored.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, immutable, same, text};
use crate::object::Object;

/// The longest texts of an event by its fields.
const LONGEST: [(&str, usize); 4] = [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)];
/// What an event of the newer group says of itself once.
const FIXED: [&str; 14] = [
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    // Upstream looks twice.
    "reason",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingController",
    "reportingInstance",
];

/// As the newer group names the fields of what reports.
fn stored(field: &str) -> &str {
    if field == "reportingController" { "reportingComponent" } else { field }
}

fn has_time(event: &Object) -> bool {
    event.get(&["eventTime"]).is_some_and(|time| !time.is_null())
}

/// What any event is asked for. `newer` is whether the request is one of the newer group.
pub(super) fn whole(event: &Object, newer: bool) -> Errors {
    let mut errors = Errors::new();
    let (namespace, about) = (event.namespace(), event.str(&["involvedObject", "namespace"]));
    let path = Path::new("involvedObject.namespace");
    let elsewhere = match (has_time(event), about) {
        (false, "") => !matches!(namespace, "" | "default"),
        (false, about) => about != namespace,
        (true, about) => about.is_empty() && !matches!(namespace, "default" | "kube-system"),
    };
    if elsewhere {
        errors.push(Error::invalid(&path, about, "does not match event.namespace"));
    }
    if has_time(event) {
        said(event, newer, &mut errors);
    }
    complain(text::dns_subdomain(namespace), namespace, &Path::new("namespace"), &mut errors);
    errors
}

/// What an event with a time of its own says.
fn said(event: &Object, newer: bool, errors: &mut Errors) {
    let reporter = event.str(&["reportingComponent"]);
    let path = Path::new(if newer { "reportingController" } else { "reportingComponent" });
    if reporter.is_empty() {
        errors.push(Error::required(&path, ""));
    }
    complain(text::qualified_name(reporter), reporter, &path, errors);
    for (field, longest) in LONGEST {
        let (said, path) = (event.str(&[field]), Path::new(field));
        if said.is_empty() && field != "message" {
            errors.push(Error::required(&path, ""));
        }
        if said.len() > longest {
            errors.push(Error::invalid(&path, "", format!("can have at most {longest} characters")));
        }
    }
}

fn series(event: &Object, errors: &mut Errors) {
    let Some(series) = event.get(&["series"]).filter(|series| series.is_object()) else { return };
    if series["count"].as_i64().unwrap_or(0) < 2 {
        errors.push(Error::invalid(&Path::new("series.count"), "", "should be at least 2"));
    }
    if series["lastObservedTime"].is_null() {
        errors.push(Error::required(&Path::new("series.lastObservedTime"), ""));
    }
}

/// What a new event of the newer group has, and has no more.
pub(super) fn created(event: &Object) -> Errors {
    let mut errors = Errors::new();
    series(event, &mut errors);
    if !has_time(event) {
        errors.push(Error::required(&Path::new("eventTime"), ""));
    }
    let kind = event.str(&["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(Error::invalid(&Path::new("type"), "", format!("has invalid value: {kind}")));
    }
    let unset = |field: &str| match event.get(&[field]) {
        None | Some(Value::Null) => true,
        Some(Value::Object(source)) => ["component", "host"].iter().all(|field| source.get(*field).is_none()),
        Some(value) => value == 0,
    };
    for field in ["firstTimestamp", "lastTimestamp", "count", "source"].into_iter().filter(|field| !unset(field)) {
        errors.push(Error::invalid(&Path::new(field), "", "needs to be unset"));
    }
    errors
}

/// What a change of the newer group may touch: the series.
pub(super) fn changed(old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    if !same(old.get(&["series"]), new.get(&["series"])) {
        series(new, &mut errors);
    }
    for field in FIXED {
        if field == "involvedObject" {
            let of = |event: &Object| event.get(&[field]).cloned().unwrap_or_else(|| serde_json::json!({}));
            if !same(Some(&of(old)), Some(&of(new))) {
                let error = Error::invalid(&Path::new(field), of(new), super::IMMUTABLE);
                errors.push(error.of_type("core/v1", "ObjectReference"));
            }
        } else if stored(field) == field {
            immutable(old, new, &[field], &mut errors);
        } else if !same(old.get(&[stored(field)]), new.get(&[stored(field)])) {
            let value = new.get(&[stored(field)]).cloned().unwrap_or_else(|| "".into());
            errors.push(Error::invalid(&Path::new(field), value, super::IMMUTABLE));
        }
    }
    errors
}
