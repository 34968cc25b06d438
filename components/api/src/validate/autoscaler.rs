//! HorizontalPodAutoscalers.

use serde_json::Value;

use super::containers::quantity;
use super::field::{Error, Errors, Path};
use super::{amounts, complain, list, str_of, text};
use crate::object::Object;
use crate::quantity::Quantity;

/// The longest window, and the longest period of a policy.
const LONGEST_WINDOW: i64 = 3600;
const LONGEST_PERIOD: i64 = 1800;
/// What metrics are of, and the field that each has for that.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

pub(super) fn spec(spec: &Value, path: &Path, errors: &mut Errors) {
    let least = spec["minReplicas"].as_i64();
    let most = spec["maxReplicas"].as_i64().unwrap_or_default();
    if let Some(least) = least.filter(|least| *least < 1) {
        errors.push(Error::invalid(&path.child("minReplicas"), least, "must be greater than or equal to 1"));
    }
    let of_most = path.child("maxReplicas");
    match most {
        0 => errors.push(Error::required(&of_most, "must be set and greater than 0")),
        ..0 => errors.push(Error::invalid(&of_most, most, "must be greater than or equal to 1")),
        _ => {}
    }
    if least.is_some_and(|least| most < least) {
        errors.push(Error::invalid(&of_most, most, "must be greater than or equal to `minReplicas`"));
    }
    reference(&spec["scaleTargetRef"], &path.child("scaleTargetRef"), errors);
    for (at, metric) in list(spec, "metrics").iter().enumerate() {
        self::metric(metric, &path.child("metrics").index(at), errors);
    }
    let wakes = |metric: &Value| matches!(str_of(metric, "type"), "Object" | "External");
    if least == Some(0) && !list(spec, "metrics").iter().any(wakes) {
        let text = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(Error::forbidden(&path.child("metrics"), text));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][direction];
        if rules.is_object() {
            self::rules(rules, &path.child("behavior").child(direction), errors);
        }
    }
}

/// What is scaled by the autoscaler, in a group with its name: only a ReplicationController is of the core group.
pub(super) fn target(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let target = object.get(&["spec", "scaleTargetRef"]).unwrap_or(&Value::Null);
    let may_be_core = target["kind"] == "ReplicationController";
    version(target, may_be_core, &Path::new("spec.scaleTargetRef"), &mut errors);
    errors
}

/// As [`target`], where another kind is to be scaled than before.
pub(super) fn changed(old: &Object, new: &Object) -> Errors {
    let same = |field: &str| {
        let path = ["spec", "scaleTargetRef", field];
        old.str(&path) == new.str(&path)
    };
    if same("apiVersion") && same("kind") { Errors::new() } else { target(new) }
}

/// An object of a kind that need not be of this version.
fn reference(reference: &Value, path: &Path, errors: &mut Errors) {
    for field in ["kind", "name"] {
        match str_of(reference, field) {
            "" => errors.push(Error::required(&path.child(field), "")),
            text => complain(text::path_segment(text), text, &path.child(field), errors),
        }
    }
}

/// The version of a reference. `may_be_core` says whether it may be of the core group.
fn version(reference: &Value, may_be_core: bool, path: &Path, errors: &mut Errors) {
    let version = str_of(reference, "apiVersion");
    let path = path.child("apiVersion");
    if version.matches('/').count() > 1 {
        errors.push(Error::invalid(&path, version, format!("unexpected GroupVersion string: {version}")));
    } else if !may_be_core && version.split_once('/').is_none_or(|(group, _)| group.is_empty()) {
        errors.push(Error::invalid(&path, version, "apiVersion must specify API group"));
    }
}

fn metric(metric: &Value, path: &Path, errors: &mut Errors) {
    const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
    let kind = str_of(metric, "type");
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), "must specify a metric source type"));
    }
    let own = SOURCES.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    let unknown = || Error::not_supported(&path.child("type"), kind, TYPES);
    errors.extend(own.is_none().then(unknown));
    let given: Vec<&str> = SOURCES.iter().map(|(_, field)| *field).filter(|field| metric[*field].is_object()).collect();
    if let Some(field) = given.first() {
        source(field, &metric[*field], &path.child(field), errors);
    }
    match own {
        Some(field) if metric[field].is_null() => {
            let text = "must populate information for the given metric source";
            errors.push(Error::required(&path.child(field), text));
        }
        Some(_) => {}
        None => errors.push(unknown()),
    }
    if given.len() != 1 {
        for field in given.into_iter().filter(|field| Some(*field) != own) {
            errors.push(Error::forbidden(&path.child(field), "must populate the given metric source only"));
        }
    }
}

fn source(kind: &str, source: &Value, path: &Path, errors: &mut Errors) {
    let (goal, of_goal) = (&source["target"], path.child("target"));
    let has = |field: &str| !goal[field].is_null();
    match kind {
        "resource" | "containerResource" => {
            match str_of(source, "name") {
                "" => errors.push(Error::required(&path.child("name"), "must specify a resource name")),
                name if kind == "containerResource" => {
                    amounts::name_of_container(name, &path.child("name"), errors);
                }
                _ => {}
            }
            if kind == "containerResource" {
                match str_of(source, "container") {
                    "" => errors.push(Error::required(&path.child("container"), "must specify a container")),
                    name => complain(text::dns_label(name), name, &path.child("container"), errors),
                }
            }
            self::goal(goal, &of_goal, errors);
            match (has("averageUtilization"), has("averageValue")) {
                (false, false) => {
                    let text = "must set either a target raw value or a target utilization";
                    errors.push(Error::required(&of_goal.child("averageUtilization"), text));
                }
                (true, true) => {
                    let text = "may not set both a target raw value and a target utilization";
                    errors.push(Error::forbidden(&of_goal.child("averageValue"), text));
                }
                _ => {}
            }
            return;
        }
        "object" => {
            let (described, path) = (&source["describedObject"], path.child("describedObject"));
            reference(described, &path, errors);
            version(described, true, &path, errors);
        }
        _ => {}
    }
    let of_name = path.child("metric.name");
    match str_of(&source["metric"], "name") {
        "" => errors.push(Error::required(&of_name, "must specify a metric name")),
        name => complain(text::path_segment(name), name, &of_name, errors),
    }
    self::goal(goal, &of_goal, errors);
    let missing = match kind {
        "pods" if !has("averageValue") => "must specify a positive target averageValue",
        "object" if !has("value") && !has("averageValue") => "must set either a target value or averageValue",
        "external" if !has("value") && !has("averageValue") => {
            "must set either a target value for metric or a per-pod target"
        }
        "external" if has("value") && has("averageValue") => {
            let text = "may not set both a target value for metric and a per-pod target";
            errors.push(Error::forbidden(&of_goal.child("value"), text));
            return;
        }
        _ => return,
    };
    errors.push(Error::required(&of_goal.child("averageValue"), missing));
}

fn goal(target: &Value, path: &Path, errors: &mut Errors) {
    let kind = str_of(target, "type");
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let text = "must be either Utilization, Value, or AverageValue";
        errors.push(Error::invalid(&path.child("type"), kind, text));
    }
    for field in ["value", "averageValue"] {
        if let Some(amount) = quantity(&target[field]).filter(|amount| *amount <= Quantity::ZERO) {
            errors.push(Error::invalid(&path.child(field), amount.to_string(), "must be positive"));
        }
    }
    if let Some(share) = target["averageUtilization"].as_i64().filter(|share| *share < 1) {
        errors.push(Error::invalid(&path.child("averageUtilization"), share, "must be greater than 0"));
    }
}

fn rules(rules: &Value, path: &Path, errors: &mut Errors) {
    const CHOICES: &[&str] = &["Disabled", "Max", "Min"];
    let of_window = path.child("stabilizationWindowSeconds");
    match rules["stabilizationWindowSeconds"].as_i64() {
        Some(window) if window < 0 => {
            errors.push(Error::invalid(&of_window, window, "must be greater than or equal to zero"));
        }
        Some(window) if window > LONGEST_WINDOW => {
            let text = format!("must be less than or equal to {LONGEST_WINDOW}");
            errors.push(Error::invalid(&of_window, window, text));
        }
        _ => {}
    }
    if let Some(choice) = rules["selectPolicy"].as_str().filter(|choice| !CHOICES.contains(choice)) {
        errors.push(Error::not_supported(&path.child("selectPolicy"), choice, CHOICES));
    }
    let of_policies = path.child("policies");
    let policies = list(rules, "policies");
    if policies.is_empty() {
        errors.push(Error::required(&of_policies, "must specify at least one Policy"));
    }
    for (at, policy) in policies.iter().enumerate() {
        let path = of_policies.index(at);
        let kind = str_of(policy, "type");
        if !matches!(kind, "Pods" | "Percent") {
            errors.push(Error::not_supported(&path.child("type"), kind, &["Percent", "Pods"]));
        }
        for field in ["value", "periodSeconds"] {
            let number = policy[field].as_i64().unwrap_or_default();
            if number <= 0 {
                errors.push(Error::invalid(&path.child(field), number, "must be greater than zero"));
            }
        }
        if let Some(period) = policy["periodSeconds"].as_i64().filter(|period| *period > LONGEST_PERIOD) {
            let text = format!("must be less than or equal to {LONGEST_PERIOD}");
            errors.push(Error::invalid(&path.child("periodSeconds"), period, text));
        }
    }
    if !rules["tolerance"].is_null() {
        amounts::amount("tolerance", &rules["tolerance"], &path.child("tolerance"), errors);
    }
}
