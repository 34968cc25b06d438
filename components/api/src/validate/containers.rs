//! Containers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, list, not_negative, one_of, str_of, surroundings, text};
use crate::quantity::Quantity;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// The containers of a Pod's spec. `volumes` are the names of those that are well formed.
pub(super) fn all(spec: &Value, volumes: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    regular(spec, volumes, &path.child("containers"), errors);
    let mut names: BTreeSet<&str> =
        list(spec, "containers").iter().map(|container| str_of(container, "name")).collect();
    for (at, container) in list(spec, "initContainers").iter().enumerate() {
        let path = path.child("initContainers").index(at);
        common(container, volumes, &path, errors);
        unique(container, &mut names, &path, errors);
        init(container, &path, errors);
        host_ports(std::slice::from_ref(container), &path, errors);
    }
    for (at, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let path = path.child("ephemeralContainers").index(at);
        common(container, volumes, &path, errors);
        unique(container, &mut names, &path, errors);
        for field in ["ports", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe", "resizePolicy"] {
            if !super::same(container.get(field), None) {
                errors.push(Error::forbidden(&path.child(field), "cannot be set for an Ephemeral Container"));
            }
        }
    }
}

fn regular(spec: &Value, volumes: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    let containers = list(spec, "containers");
    if containers.is_empty() {
        errors.push(Error::required(path, ""));
    }
    let mut names = BTreeSet::new();
    for (at, container) in containers.iter().enumerate() {
        let path = path.index(at);
        common(container, volumes, &path, errors);
        unique(container, &mut names, &path, errors);
        handlers(container, &path, errors);
    }
    host_ports(containers, path, errors);
}

fn unique<'a>(container: &'a Value, names: &mut BTreeSet<&'a str>, path: &Path, errors: &mut Errors) {
    let name = str_of(container, "name");
    if !names.insert(name) && !name.is_empty() {
        errors.push(Error::duplicate(&path.child("name"), name));
    }
}

/// A sidecar is probed as others are; an init container that ends is not.
fn init(container: &Value, path: &Path, errors: &mut Errors) {
    match str_of(container, "restartPolicy") {
        "Always" => handlers(container, path, errors),
        "" | "OnFailure" | "Never" => {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if !container[field].is_null() {
                    let text = "may not be set for init containers without restartPolicy=Always";
                    errors.push(Error::forbidden(&path.child(field), text));
                }
            }
        }
        other => errors.push(Error::not_supported(&path.child("restartPolicy"), other, &["Always"])),
    }
}

fn common(container: &Value, volumes: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    match str_of(container, "name") {
        "" => errors.push(Error::required(&path.child("name"), "")),
        name => complain(text::dns_label(name), name, &path.child("name"), errors),
    }
    if str_of(container, "image").is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    }
    one_of(container, "terminationMessagePolicy", MESSAGE_POLICIES, path, errors);
    ports(container, &path.child("ports"), errors);
    for (at, variable) in list(container, "env").iter().enumerate() {
        environment(variable, &path.child("env").index(at), errors);
    }
    mounts(container, volumes, &path.child("volumeMounts"), errors);
    one_of(container, "imagePullPolicy", PULL_POLICIES, path, errors);
    resources(&container["resources"], &path.child("resources"), errors);
    surroundings::users(&container["securityContext"], &path.child("securityContext"), errors);
}

fn ports(container: &Value, path: &Path, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (at, port) in list(container, "ports").iter().enumerate() {
        let path = path.index(at);
        let name = str_of(port, "name");
        if !name.is_empty() {
            let complaints = text::port_name(name);
            if complaints.is_empty() && !names.insert(name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
            complain(complaints, name, &path.child("name"), errors);
        }
        match port["containerPort"].as_i64() {
            None | Some(0) => errors.push(Error::required(&path.child("containerPort"), "")),
            Some(number) => number_of_port(number, &path.child("containerPort"), errors),
        }
        if let Some(number) = port["hostPort"].as_i64().filter(|number| *number != 0) {
            number_of_port(number, &path.child("hostPort"), errors);
        }
        one_of(port, "protocol", PROTOCOLS, &path, errors);
    }
}

pub(super) fn number_of_port(number: i64, path: &Path, errors: &mut Errors) {
    errors.extend(text::port_number(number).into_iter().map(|complaint| Error::invalid(path, number, complaint)));
}

fn host_ports(containers: &[Value], path: &Path, errors: &mut Errors) {
    let mut taken = BTreeSet::new();
    for (at, container) in containers.iter().enumerate() {
        for (of, port) in list(container, "ports").iter().enumerate() {
            let Some(number) = port["hostPort"].as_i64().filter(|number| *number != 0) else { continue };
            let port = format!("{}/{}/{number}", str_of(port, "protocol"), str_of(port, "hostIP"));
            if !taken.insert(port.clone()) {
                let path = path.index(at).child("ports").index(of).child("hostPort");
                errors.push(Error::duplicate(&path, port));
            }
        }
    }
}

fn environment(variable: &Value, path: &Path, errors: &mut Errors) {
    match str_of(variable, "name") {
        "" => errors.push(Error::required(&path.child("name"), "")),
        name => complain(text::variable_name(name), name, &path.child("name"), errors),
    }
    let Some(from) = variable["valueFrom"].as_object() else { return };
    let path = path.child("valueFrom");
    match from.len() {
        0 => {
            let text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(Error::invalid(&path, "", text));
        }
        1 => {}
        _ => errors.push(Error::invalid(&path, "", "may not have more than one field specified at a time")),
    }
    if !str_of(variable, "value").is_empty() {
        errors.push(Error::invalid(&path, "", "may not be specified when `value` is not empty"));
    }
}

fn mounts(container: &Value, volumes: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    let mut places = BTreeSet::new();
    for (at, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = path.index(at);
        let name = str_of(mount, "name");
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        if !volumes.contains(name) {
            errors.push(Error::not_found(&path.child("name"), name));
        }
        let place = str_of(mount, "mountPath");
        if place.is_empty() {
            errors.push(Error::required(&path.child("mountPath"), ""));
        }
        if !places.insert(place) {
            errors.push(Error::invalid(&path.child("mountPath"), place, "must be unique"));
        }
        let below = str_of(mount, "subPath");
        if below.starts_with('/') {
            errors.push(Error::invalid(&path.child("subPath"), below, "must be a relative path"));
        }
        if below.split('/').any(|part| part == "..") {
            errors.push(Error::invalid(&path.child("subPath"), below, "must not contain '..'"));
        }
    }
}

/// Requests and limits: well formed, not negative, and no request over its limit.
pub(super) fn resources(resources: &Value, path: &Path, errors: &mut Errors) {
    for list in ["limits", "requests"] {
        for (name, value) in resources[list].as_object().into_iter().flatten() {
            let path = path.child(list).key(name);
            match quantity(value) {
                None => errors.push(Error::invalid(&path, value.clone(), crate::quantity::ParseError::Format)),
                Some(amount) if amount < Quantity::ZERO => {
                    errors.push(Error::invalid(&path, value.clone(), "must be greater than or equal to 0"));
                }
                Some(_) => {}
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = resources["limits"].get(name);
        if let (Some(wanted), Some(most)) = (quantity(request), limit.and_then(quantity))
            && wanted > most
        {
            let text = format!("must be less than or equal to {name} limit of {most}");
            errors.push(Error::invalid(&path.child("requests"), wanted.to_string(), text));
        }
    }
}

pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

fn handlers(container: &Value, path: &Path, errors: &mut Errors) {
    for name in PROBES {
        let probe = &container[name];
        if probe.is_null() {
            continue;
        }
        let path = path.child(name);
        handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], &path, errors);
        let numbers =
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
        for field in numbers {
            not_negative(probe, field, &path, errors);
        }
        if name != "readinessProbe"
            && let Some(threshold) = probe["successThreshold"].as_i64().filter(|threshold| *threshold != 1)
        {
            errors.push(Error::invalid(&path.child("successThreshold"), threshold, "must be 1"));
        }
    }
    for name in ["postStart", "preStop"] {
        let hook = &container["lifecycle"][name];
        if !hook.is_null() {
            let path = path.child("lifecycle").child(name);
            handler(hook, &["exec", "httpGet", "tcpSocket", "sleep"], &path, errors);
        }
    }
}

/// One kind of handler, and what that needs.
fn handler(handler: &Value, kinds: &[&str], path: &Path, errors: &mut Errors) {
    let given: Vec<&&str> = kinds.iter().filter(|kind| !handler[**kind].is_null()).collect();
    match given[..] {
        [] => errors.push(Error::required(path, "must specify a handler type")),
        [_] => {}
        [_, ..] => {
            for kind in &given[1..] {
                errors.push(Error::forbidden(&path.child(kind), "may not specify more than 1 handler type"));
            }
        }
    }
    if given.contains(&&"exec") && list(&handler["exec"], "command").is_empty() {
        errors.push(Error::required(&path.child("exec").child("command"), ""));
    }
    for kind in ["httpGet", "tcpSocket", "grpc"] {
        if !given.contains(&&kind) {
            continue;
        }
        let path = path.child(kind).child("port");
        match &handler[kind]["port"] {
            Value::String(name) => complain(text::port_name(name), name, &path, errors),
            port => number_of_port(port.as_i64().unwrap_or_default(), &path, errors),
        }
    }
}
