//! Where a Pod may go: its affinity to nodes and to other Pods.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, list, metadata, str_of, text};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    let nodes = &affinity["nodeAffinity"];
    let of_nodes = path.child("nodeAffinity");
    if nodes[REQUIRED].is_object() {
        node_selector(&nodes[REQUIRED], &of_nodes.child(REQUIRED), errors);
    }
    for (at, term) in list(nodes, PREFERRED).iter().enumerate() {
        let path = of_nodes.child(PREFERRED).index(at);
        weight(term, &path, errors);
        node_term(&term["preference"], false, &path.child("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.child(kind);
        for (at, term) in list(&affinity[kind], REQUIRED).iter().enumerate() {
            pod_term(term, &path.child(REQUIRED).index(at), errors);
        }
        for (at, term) in list(&affinity[kind], PREFERRED).iter().enumerate() {
            let path = path.child(PREFERRED).index(at);
            weight(term, &path, errors);
            pod_term(&term["podAffinityTerm"], &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &Path, errors: &mut Errors) {
    let weight = term["weight"].as_i64().unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(Error::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

/// A term; the values of one that is only preferred may be of any form.
fn node_term(term: &Value, required: bool, path: &Path, errors: &mut Errors) {
    for (at, expression) in list(term, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(at);
        let values = list(expression, "values");
        let of_values = path.child("values");
        match (str_of(expression, "operator"), values.len()) {
            ("In" | "NotIn", 0) => {
                errors.push(Error::required(&of_values, "must be specified when `operator` is 'In' or 'NotIn'"));
            }
            ("Exists" | "DoesNotExist", 1..) => {
                let text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(&of_values, text));
            }
            ("Gt" | "Lt", 0 | 2..) => {
                let text = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(Error::required(&of_values, text));
            }
            ("In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt", _) => {}
            (other, _) => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        let key = str_of(expression, "key");
        complain(text::qualified_name(key), key, &path.child("key"), errors);
        for (at, value) in values.iter().filter_map(Value::as_str).enumerate().filter(|_| required) {
            complain(text::label_value(value), value, &of_values.index(at), errors);
        }
    }
    for (at, expression) in list(term, "matchFields").iter().enumerate() {
        let path = path.child("matchFields").index(at);
        let values = list(expression, "values");
        match str_of(expression, "operator") {
            "In" | "NotIn" if values.len() != 1 => {
                let text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(Error::required(&path.child("values"), text));
            }
            "In" | "NotIn" => {}
            other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        let key = str_of(expression, "key");
        if key != "metadata.name" {
            errors.push(Error::invalid(&path.child("key"), key, "not a valid field selector key"));
            continue;
        }
        for (at, name) in values.iter().filter_map(Value::as_str).enumerate() {
            complain(text::dns_subdomain(name), name, &path.child("values").index(at), errors);
        }
    }
}

/// What a node has to be like, at least one of the terms.
pub(super) fn node_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("nodeSelectorTerms");
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(Error::required(&path, "must have at least one node selector term"));
    }
    for (at, term) in terms.iter().enumerate() {
        node_term(term, true, &path.index(at), errors);
    }
}

fn pod_term(term: &Value, path: &Path, errors: &mut Errors) {
    for selector in ["labelSelector", "namespaceSelector"] {
        if term[selector].is_object() {
            metadata::selector(&term[selector], &path.child(selector), errors);
        }
    }
    for namespace in list(term, "namespaces").iter().filter_map(Value::as_str) {
        complain(text::dns_label(namespace), namespace, &path.child("namespace"), errors);
    }
    label_keys(term, path, errors);
    let key = str_of(term, "topologyKey");
    if key.is_empty() {
        errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
    }
    complain(text::qualified_name(key), key, &path.child("topologyKey"), errors);
}

/// Keys of labels that the Pod's own values are to be selected of.
fn label_keys(term: &Value, path: &Path, errors: &mut Errors) {
    let selector = &term["labelSelector"];
    let keys = |field: &str| list(term, field).iter().filter_map(Value::as_str).collect::<Vec<_>>();
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let (keys, path) = (keys(field), path.child(field));
        if !keys.is_empty() && !selector.is_object() {
            errors.push(Error::forbidden(&path, "must not be specified when labelSelector is not set"));
            continue;
        }
        for (at, key) in keys.iter().enumerate() {
            complain(text::qualified_name(key), key, &path.index(at), errors);
        }
    }
    let (same, other) = (keys("matchLabelKeys"), keys("mismatchLabelKeys"));
    let mut selected: Vec<&str> =
        selector["matchLabels"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    for key in list(selector, "matchExpressions").iter().map(|expression| str_of(expression, "key")) {
        // The server itself adds an expression for each key, once.
        if let Some(at) = same.iter().position(|own| *own == key).filter(|_| selected.contains(&key)) {
            errors.push(Error::invalid(&path.index(at), key, "exists in both matchLabelKeys and labelSelector"));
        }
        selected.push(key);
    }
    for (at, key) in same.iter().enumerate().filter(|(_, key)| other.contains(key)) {
        let text = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(Error::invalid(&path.child("matchLabelKeys").index(at), *key, text));
    }
}

const TOLERATION_OPERATORS: &[&str] = &["Equal", "Exists"];
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Which taints a Pod puts up with.
pub(super) fn tolerations(spec: &Value, path: &Path, errors: &mut Errors) {
    for (at, one) in list(spec, "tolerations").iter().enumerate() {
        toleration(one, &path.index(at), errors);
    }
}

fn toleration(toleration: &Value, path: &Path, errors: &mut Errors) {
    let (key, operator) = (str_of(toleration, "key"), str_of(toleration, "operator"));
    let (value, effect) = (str_of(toleration, "value"), str_of(toleration, "effect"));
    if !key.is_empty() {
        complain(text::qualified_name(key), key, &path.child("key"), errors);
    } else if operator != "Exists" {
        let text = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(Error::invalid(&path.child("operator"), operator, text));
    }
    if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
        let text = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(Error::invalid(&path.child("effect"), effect, text));
    }
    match operator {
        "" | "Equal" => {
            let complaints = text::label_value(value);
            if !complaints.is_empty() {
                errors.push(Error::invalid(&path.child("operator"), value, complaints.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            let text = "value must be empty when `operator` is 'Exists'";
            errors.push(Error::invalid(&path.child("operator"), value, text));
        }
        "Exists" => {}
        "Lt" | "Gt" => {
            let known = &["Equal", "Exists", "Lt", "Gt"];
            errors.push(Error::not_supported(&path.child("operator"), operator, known));
        }
        other => errors.push(Error::not_supported(&path.child("operator"), other, TOLERATION_OPERATORS)),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(Error::not_supported(&path.child("effect"), effect, EFFECTS));
    }
}

/// How Pods are spread.
pub(super) fn spread(spec: &Value, path: &Path, errors: &mut Errors) {
    const ACTIONS: &[&str] = &["DoNotSchedule", "ScheduleAnyway"];
    let all = list(spec, "topologySpreadConstraints");
    for (at, constraint) in all.iter().enumerate() {
        let path = path.index(at);
        let skew = constraint["maxSkew"].as_i64().unwrap_or_default();
        if skew <= 0 {
            errors.push(Error::invalid(&path.child("maxSkew"), skew, "must be greater than zero"));
        }
        let (key, action) = (str_of(constraint, "topologyKey"), str_of(constraint, "whenUnsatisfiable"));
        if key.is_empty() {
            errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
        }
        if !ACTIONS.contains(&action) {
            errors.push(Error::not_supported(&path.child("whenUnsatisfiable"), action, ACTIONS));
        }
        let alike = |other: &Value| str_of(other, "topologyKey") == key && str_of(other, "whenUnsatisfiable") == action;
        if all[at + 1..].iter().any(alike) {
            let path = path.child("{topologyKey, whenUnsatisfiable}");
            errors.push(Error::duplicate(&path, format!("{{{key}, {action}}}")));
        }
        if let Some(least) = constraint["minDomains"].as_i64() {
            let path = path.child("minDomains");
            if least <= 0 {
                errors.push(Error::invalid(&path, least, "must be greater than zero"));
            }
            if action != "DoNotSchedule" {
                let text = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(Error::invalid(&path, least, text));
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            const POLICIES: &[&str] = &["Honor", "Ignore"];
            if let Some(policy) = constraint[field].as_str().filter(|policy| !POLICIES.contains(policy)) {
                errors.push(Error::not_supported(&path.child(field), policy, POLICIES));
            }
        }
        label_keys(constraint, &path, errors);
        if constraint["labelSelector"].is_object() {
            metadata::selector(&constraint["labelSelector"], &path.child("labelSelector"), errors);
        }
    }
}
