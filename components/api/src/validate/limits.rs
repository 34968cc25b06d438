//! LimitRanges and ResourceQuotas.

use std::collections::BTreeSet;

use serde_json::Value;

use super::containers::quantity;
use super::field::{Error, Errors, Path};
use super::{amounts, complain, list, str_of, text};
use crate::object::Object;
use crate::quantity::{Format, Quantity};

const SCOPES: &[&str] =
    &["BestEffort", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating", "VolumeAttributesClass"];

/// What a namespace's containers, Pods and claims may be like.
pub(super) fn range(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec.limits");
    let mut kinds = BTreeSet::new();
    let spec = object.get(&["spec"]).unwrap_or(&Value::Null);
    for (at, limit) in list(spec, "limits").iter().enumerate() {
        let path = path.index(at);
        let kind = str_of(limit, "type");
        let wrong = text::qualified_name(kind);
        if wrong.is_empty() && !kind.contains('/') && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") {
            let text = "must be a standard limit type or fully qualified";
            errors.push(Error::invalid(&path.child("type"), kind, text));
        }
        complain(wrong, kind, &path.child("type"), &mut errors);
        if !kinds.insert(kind) {
            errors.push(Error::duplicate(&path.child("type"), kind));
        }
        self::limit(limit, kind, &path, &mut errors);
    }
    errors
}

fn limit(limit: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let of_container = matches!(kind, "Pod" | "Container");
    let rule = if of_container { amounts::name_of_container } else { amounts::name };
    let mut keys = BTreeSet::new();
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let path = path.child(field);
        let all = limit[field].as_object().into_iter().flatten();
        if kind == "Pod" && field.starts_with("default") {
            if all.count() > 0 {
                errors.push(Error::forbidden(&path, "may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        for (name, _) in all {
            rule(name, &path.key(name), errors);
            keys.insert(name.as_str());
        }
    }
    if kind == "PersistentVolumeClaim" && limit["min"]["storage"].is_null() && limit["max"]["storage"].is_null() {
        let text = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(Error::required(&path.child("limits"), text));
    }
    for key in keys {
        relations(limit, key, path, errors);
    }
}

/// That the amounts of one resource can all be kept to.
fn relations(limit: &Value, key: &str, path: &Path, errors: &mut Errors) {
    let of = |field: &str| limit[field].get(key).and_then(quantity);
    let (least, most, default, request) = (of("min"), of("max"), of("default"), of("defaultRequest"));
    // What is not to be greater than what, where that is told, which of the two is shown, and in which words.
    let rules = [
        (least, most, "min", true, "min value {} is greater than max value {}"),
        (least, request, "defaultRequest", false, "min value {} is greater than default request value {}"),
        (request, most, "defaultRequest", true, "default request value {} is greater than max value {}"),
        (request, default, "defaultRequest", true, "default request value {} is greater than default limit value {}"),
        (least, default, "default", true, "min value {} is greater than default value {}"),
        (default, most, "default", false, "default value {} is greater than max value {}"),
    ];
    for (less, more, field, shows_less, words) in rules {
        let (Some(less), Some(more)) = (less, more) else { continue };
        if less > more {
            let text = words.replacen("{}", &less.to_string(), 1).replacen("{}", &more.to_string(), 1);
            let shown = if shows_less { less } else { more };
            errors.push(Error::invalid(&path.child(field).key(key), shown.to_string(), text));
        }
    }
    if let Some(ratio) = of("maxLimitRequestRatio") {
        let path = path.child("maxLimitRequestRatio").key(key);
        if ratio < Quantity::new(1, Format::DecimalSi) {
            errors.push(Error::invalid(&path, ratio.to_string(), format!("ratio {ratio} is less than 1")));
        }
        if let (Some(least), Some(most)) = (least, most) {
            let widest = most.as_f64() / least.as_f64();
            if ratio.as_f64() > widest {
                let text = format!("ratio {ratio} is greater than max/min = {widest:.6}");
                errors.push(Error::invalid(&path, ratio.to_string(), text));
            }
        }
    }
    if let (Some(default), Some(request)) = (default, request)
        && !amounts::overcommits(key)
        && default != request
    {
        let text = format!("default value {default} must equal to defaultRequest value {request} in {key}");
        errors.push(Error::invalid(&path.child("defaultRequest").key(key), request.to_string(), text));
    }
}

/// How much there may be in a namespace.
pub(super) fn quota(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = object.get(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    of_quota(spec, "hard", &path, &mut errors);
    scopes(spec, &path, &mut errors);
    errors.extend(quota_status(object));
    errors
}

/// How much of it has been counted.
pub(super) fn quota_status(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let status = object.get(&["status"]).unwrap_or(&Value::Null);
    for field in ["hard", "used"] {
        of_quota(status, field, &Path::new("status"), &mut errors);
    }
    errors
}

fn of_quota(holder: &Value, field: &str, path: &Path, errors: &mut Errors) {
    for (name, value) in holder[field].as_object().into_iter().flatten() {
        let path = path.child(field).key(name);
        amounts::name_of_quota(name, &path, errors);
        amounts::amount(name, value, &path, errors);
    }
}

/// Whether what a scope selects can be counted by the resource.
fn counted(scope: &str, resource: &str) -> bool {
    const OF_PODS: &[&str] =
        &["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory", "pods"];
    const OF_CLAIMS: &[&str] = &["persistentvolumeclaims", "requests.storage"];
    match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            OF_PODS.contains(&resource)
        }
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => OF_CLAIMS.contains(&resource),
        _ => true,
    }
}

fn scopes(spec: &Value, path: &Path, errors: &mut Errors) {
    let limited: Vec<&String> = spec["hard"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
    // Only what quotas know by name has to fit; the rest is anybody's.
    let unfit = |scope: &str| limited.iter().filter(|name| !name.contains('/') && !counted(scope, name)).count();
    let conflict = |all: &[&str]| {
        let both = |a: &str, b: &str| all.contains(&a) && all.contains(&b);
        usize::from(both("BestEffort", "NotBestEffort")) + usize::from(both("Terminating", "NotTerminating"))
    };
    let all: Vec<&str> = list(spec, "scopes").iter().filter_map(Value::as_str).collect();
    let (shown, of_scopes) = (spec["scopes"].clone(), path.child("scopes"));
    for scope in &all {
        if !SCOPES.contains(scope) && *scope != "CrossNamespacePodAffinity" {
            errors.push(Error::invalid(&of_scopes, shown.clone(), "unsupported scope"));
        }
        for _ in 0..unfit(scope) {
            errors.push(Error::invalid(&of_scopes, shown.clone(), "unsupported scope applied to resource"));
        }
    }
    for _ in 0..conflict(&all) {
        errors.push(Error::invalid(&of_scopes, shown.clone(), "conflicting scopes"));
    }
    let path = path.child("scopeSelector.matchExpressions");
    let expressions = list(&spec["scopeSelector"], "matchExpressions");
    for expression in expressions {
        let (scope, operator) = (str_of(expression, "scopeName"), str_of(expression, "operator"));
        if !SCOPES.contains(&scope) && scope != "CrossNamespacePodAffinity" {
            errors.push(Error::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in 0..unfit(scope) {
            let text = "unsupported scope applied to resource";
            let error = Error::invalid(&path, spec["scopeSelector"].clone(), text);
            errors.push(error.of_type("core/v1", "ScopeSelector"));
        }
        let exists = !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && SCOPES.contains(&scope)
            || scope == "CrossNamespacePodAffinity";
        if exists && operator != "Exists" {
            let text = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                        ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                        ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(Error::invalid(&path.child("operator"), operator, text));
        }
        let values = list(expression, "values");
        match (operator, values.is_empty()) {
            ("In" | "NotIn", true) => {
                let text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(Error::required(&path.child("values"), text));
            }
            ("Exists" | "DoesNotExist", false) => {
                let text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(Error::invalid(&path.child("values"), values.to_vec(), text));
            }
            ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
            _ => errors.push(Error::invalid(&path.child("operator"), operator, "not a valid selector operator")),
        }
    }
    let names: Vec<&str> = expressions.iter().map(|expression| str_of(expression, "scopeName")).collect();
    for _ in 0..conflict(&names) {
        errors.push(Error::invalid(&of_scopes, shown.clone(), "conflicting scopes"));
    }
}

/// A quota keeps its scopes.
pub(super) fn quota_changed(old: &Object, new: &Object) -> Errors {
    let scopes = |quota: &Object| -> BTreeSet<String> {
        let all = quota.get(&["spec", "scopes"]).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(|scope| Some(scope.as_str()?.to_owned())).collect()
    };
    if scopes(old) == scopes(new) {
        return Errors::new();
    }
    let shown = new.get(&["spec", "scopes"]).cloned().unwrap_or(Value::Null);
    vec![Error::invalid(&Path::new("spec.scopes"), shown, super::IMMUTABLE)]
}
