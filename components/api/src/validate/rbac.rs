//! The group rbac.authorization.k8s.io.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, list, metadata, str_of, text};
use crate::object::Object;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn whole(kind: &str, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let whole = Value::Object(object.map().clone());
    match kind {
        "Role" | "ClusterRole" => {
            for (at, rule) in list(&whole, "rules").iter().enumerate() {
                self::rule(rule, kind == "Role", &Path::new("rules").index(at), &mut errors);
            }
            aggregation(&whole["aggregationRule"], &mut errors);
        }
        "RoleBinding" => binding(&whole, &["Role", "ClusterRole"], &mut errors),
        "ClusterRoleBinding" => binding(&whole, &["ClusterRole"], &mut errors),
        _ => {}
    }
    errors
}

fn rule(rule: &Value, namespaced: bool, path: &Path, errors: &mut Errors) {
    let lacks = |field: &str| list(rule, field).is_empty();
    if lacks("verbs") {
        errors.push(Error::required(&path.child("verbs"), "verbs must contain at least one value"));
    }
    if !lacks("nonResourceURLs") {
        let path = path.child("nonResourceURLs");
        let urls = || rule["nonResourceURLs"].clone();
        if namespaced {
            errors.push(Error::invalid(&path, urls(), "namespaced rules cannot apply to non-resource URLs"));
        }
        if !lacks("apiGroups") || !lacks("resources") || !lacks("resourceNames") {
            let text = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(Error::invalid(&path, urls(), text));
        }
        return;
    }
    if lacks("apiGroups") {
        errors.push(Error::required(&path.child("apiGroups"), "resource rules must supply at least one api group"));
    }
    if lacks("resources") {
        errors.push(Error::required(&path.child("resources"), "resource rules must supply at least one resource"));
    }
}

fn aggregation(rule: &Value, errors: &mut Errors) {
    if rule.is_null() {
        return;
    }
    let path = Path::new("aggregationRule.clusterRoleSelectors");
    let selectors = list(rule, "clusterRoleSelectors");
    if selectors.is_empty() {
        let text = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(Error::required(&path, text));
    }
    for (at, selector) in selectors.iter().enumerate() {
        let (path, before) = (path.index(at), errors.len());
        metadata::selector(selector, &path, errors);
        if errors.len() > before {
            errors.push(Error::invalid(&path, Value::Null, "invalid label selector."));
        }
    }
}

fn binding(binding: &Value, kinds: &[&str], errors: &mut Errors) {
    let reference = &binding["roleRef"];
    let path = Path::new("roleRef");
    if str_of(reference, "apiGroup") != GROUP {
        errors.push(Error::not_supported(&path.child("apiGroup"), str_of(reference, "apiGroup"), &[GROUP]));
    }
    let kind = str_of(reference, "kind");
    if !kinds.contains(&kind) {
        errors.push(Error::not_supported(&path.child("kind"), kind, kinds));
    }
    match str_of(reference, "name") {
        "" => errors.push(Error::required(&path.child("name"), "")),
        name => complain(text::path_segment(name), name, &path.child("name"), errors),
    }
    let namespaced = kinds.contains(&"Role");
    for (at, subject) in list(binding, "subjects").iter().enumerate() {
        self::subject(subject, namespaced, &Path::new("subjects").index(at), errors);
    }
}

fn subject(subject: &Value, namespaced: bool, path: &Path, errors: &mut Errors) {
    let (name, group) = (str_of(subject, "name"), str_of(subject, "apiGroup"));
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    match str_of(subject, "kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                complain(text::dns_subdomain(name), name, &path.child("name"), errors);
            }
            if !group.is_empty() {
                errors.push(Error::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !namespaced && str_of(subject, "namespace").is_empty() {
                errors.push(Error::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" if group != GROUP => {
            errors.push(Error::not_supported(&path.child("apiGroup"), group, &[GROUP]));
        }
        "User" | "Group" => {}
        other => errors.push(Error::not_supported(&path.child("kind"), other, &["ServiceAccount", "User", "Group"])),
    }
}

/// A binding binds the role that it was made for.
pub(super) fn changed(kind: &str, old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    if kind.ends_with("Binding") && old.get(&["roleRef"]) != new.get(&["roleRef"]) {
        let value = new.get(&["roleRef"]).cloned().unwrap_or(Value::Null);
        errors.push(Error::invalid(&Path::new("roleRef"), value, "cannot change roleRef"));
    }
    errors
}
