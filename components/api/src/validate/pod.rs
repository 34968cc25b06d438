//! Pods and their templates.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, containers, list, metadata, one_of, placement, str_of, surroundings, text};
use crate::object::Object;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const TOLERATION_OPERATORS: &[&str] = &["Equal", "Exists"];
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// The spec of a Pod at `at` in the object.
pub(super) fn spec_of(object: &Object, at: &[&str], path: &Path) -> Errors {
    let mut errors = Errors::new();
    match object.get(at) {
        Some(value) => spec(value, path, &mut errors),
        None => spec(&Value::Object(serde_json::Map::new()), path, &mut errors),
    }
    errors
}

/// The template of Pods at `at` in the object.
pub(super) fn template(object: &Object, at: &[&str], path: &Path) -> Errors {
    let mut errors = spec_of(object, &[at, &["spec"]].concat(), &path.child("spec"));
    if let Some(of_pods) = object.get(&[at, &["metadata"]].concat()) {
        metadata::labels(of_pods.get("labels"), &path.child("labels"), &mut errors);
        metadata::annotations(of_pods.get("annotations"), &path.child("annotations"), &mut errors);
    }
    errors
}

fn spec(spec: &Value, path: &Path, errors: &mut Errors) {
    if spec["terminationGracePeriodSeconds"].is_null() {
        errors.push(Error::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let volumes = volumes(spec, &path.child("volumes"), errors);
    containers::all(spec, &volumes, path, errors);
    containers::resources(&spec["resources"], &path.child("resources"), errors);
    host_network(spec, path, errors);
    one_of(spec, "restartPolicy", RESTART_POLICIES, path, errors);
    one_of(spec, "dnsPolicy", DNS_POLICIES, path, errors);
    metadata::labels(spec.get("nodeSelector"), &path.child("nodeSelector"), errors);
    let context = path.child("securityContext");
    surroundings::users(&spec["securityContext"], &context, errors);
    surroundings::sysctls(&spec["securityContext"], &context, errors);
    surroundings::resolver(spec, path, errors);
    surroundings::host_aliases(spec, path, errors);
    placement::affinity(&spec["affinity"], &path.child("affinity"), errors);
    let names: [(&str, text::Rule); 6] = [
        ("serviceAccountName", text::dns_subdomain),
        ("nodeName", text::dns_subdomain),
        ("hostname", text::dns_label),
        ("subdomain", text::dns_label),
        ("priorityClassName", text::dns_subdomain),
        ("runtimeClassName", text::dns_subdomain),
    ];
    for (field, rule) in names {
        let name = str_of(spec, field);
        if !name.is_empty() {
            complain(rule(name), name, &path.child(field), errors);
        }
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let text = "must be between 1 and 2147483647, inclusive";
        errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), seconds, text));
    }
    for (at, toleration) in list(spec, "tolerations").iter().enumerate() {
        self::toleration(toleration, &path.child("tolerations").index(at), errors);
    }
    let constraints = path.child("topologySpreadConstraints");
    for (at, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        spread(constraint, &constraints.index(at), errors);
    }
}

/// The names of the volumes that nothing is wrong with.
fn volumes<'a>(spec: &'a Value, path: &Path, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, volume) in list(spec, "volumes").iter().enumerate() {
        let path = path.index(at);
        let before = errors.len();
        let sources =
            volume.as_object().into_iter().flatten().filter(|(field, value)| *field != "name" && !value.is_null());
        let sources: Vec<&String> = sources.map(|(field, _)| field).collect();
        if sources.is_empty() {
            errors.push(Error::required(&path, "must specify a volume type"));
        }
        for source in sources.iter().skip(1) {
            errors.push(Error::forbidden(&path.child(source), "may not specify more than 1 volume type"));
        }
        source(volume, &path, errors);
        let name = str_of(volume, "name");
        match name {
            "" => errors.push(Error::required(&path.child("name"), "")),
            name => complain(text::dns_label(name), name, &path.child("name"), errors),
        }
        if names.contains(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        if errors.len() == before {
            names.insert(name);
        }
    }
    names
}

/// What a volume's source cannot do without.
fn source(volume: &Value, path: &Path, errors: &mut Errors) {
    for (kind, field) in
        [("hostPath", "path"), ("secret", "secretName"), ("persistentVolumeClaim", "claimName"), ("configMap", "name")]
    {
        if volume[kind].is_object() && str_of(&volume[kind], field).is_empty() {
            errors.push(Error::required(&path.child(kind).child(field), ""));
        }
    }
    for kind in ["secret", "configMap", "projected", "downwardAPI"] {
        if let Some(mode) = volume[kind]["defaultMode"].as_i64()
            && !(0..=0o777).contains(&mode)
        {
            let text = "must be a number between 0 and 0777 (octal), both inclusive";
            errors.push(Error::invalid(&path.child(kind).child("defaultMode"), mode, text));
        }
    }
}

/// On the host's network a container's port is the host's.
fn host_network(spec: &Value, path: &Path, errors: &mut Errors) {
    if spec["hostNetwork"] != true {
        return;
    }
    for (at, container) in list(spec, "containers").iter().enumerate() {
        for (of, port) in list(container, "ports").iter().enumerate() {
            let host = port["hostPort"].as_i64().unwrap_or_default();
            if host != 0 && Some(host) != port["containerPort"].as_i64() {
                let path = path.child("containers").index(at).child("ports").index(of).child("containerPort");
                let text = "must match `hostPort` when `hostNetwork` is true";
                errors.push(Error::invalid(&path, port["containerPort"].clone(), text));
            }
        }
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
        other => errors.push(Error::not_supported(&path.child("operator"), other, TOLERATION_OPERATORS)),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(Error::not_supported(&path.child("effect"), effect, EFFECTS));
    }
}

fn spread(constraint: &Value, path: &Path, errors: &mut Errors) {
    if constraint["maxSkew"].as_i64().unwrap_or_default() <= 0 {
        errors.push(Error::invalid(&path.child("maxSkew"), constraint["maxSkew"].clone(), "must be greater than zero"));
    }
    if str_of(constraint, "topologyKey").is_empty() {
        errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
    }
    one_of(constraint, "whenUnsatisfiable", &["DoNotSchedule", "ScheduleAnyway"], path, errors);
    if constraint["labelSelector"].is_object() {
        metadata::selector(&constraint["labelSelector"], &path.child("labelSelector"), errors);
    }
}
