//! Containers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::mounts::Volumes;
use super::probes::Around;
use super::{amounts, complain, env, list, mounts, one_of, probes, security, str_of, text};
use crate::quantity::Quantity;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];
const RESTART_POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
const RESTART_ACTIONS: &[&str] = &["Restart", "RestartAllContainers"];
/// The fields of a container that one for debugging cannot have.
const NOT_EPHEMERAL: &[&str] = &[
    "ports",
    "resources",
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
];

/// What containers are looked at with: what the rest of their Pod says.
pub(super) struct Pod<'a> {
    pub spec: &'a Value,
    pub volumes: Volumes<'a>,
    pub claims: BTreeSet<&'a str>,
}

/// The containers of a Pod's spec.
pub(super) fn all(pod: &Pod<'_>, path: &Path, errors: &mut Errors) {
    let spec = pod.spec;
    regular(pod, &path.child("containers"), errors);
    let mut names: BTreeSet<&str> =
        list(spec, "containers").iter().map(|container| str_of(container, "name")).collect();
    let of_init = path.child("initContainers");
    for (at, container) in list(spec, "initContainers").iter().enumerate() {
        let path = of_init.index(at);
        common(container, pod, &path, errors);
        init(container, &path, errors);
        unique(container, &mut names, &path, errors);
        // Each is alone when it runs, so only its own ports count; they are told of by the list's first place.
        host_ports(std::slice::from_ref(container), &of_init, errors);
        around_init(container, Around::of(spec), &path, errors);
    }
    for (at, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        ephemeral(container, pod, &mut names, &path.child("ephemeralContainers").index(at), errors);
    }
}

fn ephemeral<'a>(container: &'a Value, pod: &Pod<'_>, names: &mut BTreeSet<&'a str>, path: &Path, errors: &mut Errors) {
    common(container, pod, path, errors);
    trimmed_image(container, path, errors);
    unique(container, names, path, errors);
    let target = str_of(container, "targetContainerName");
    let named = |field: &str| list(pod.spec, field).iter().any(|other| str_of(other, "name") == target);
    if !target.is_empty() && !named("containers") && !named("initContainers") {
        errors.push(Error::not_found(&path.child("targetContainerName"), target));
    }
    let text = "cannot be set for an Ephemeral Container";
    for field in NOT_EPHEMERAL.iter().filter(|field| !super::same(container.get(**field), None)) {
        errors.push(Error::forbidden(&path.child(field), text));
    }
    for (at, mount) in list(container, "volumeMounts").iter().enumerate() {
        for field in ["subPath", "subPathExpr"].into_iter().filter(|field| !str_of(mount, field).is_empty()) {
            errors.push(Error::forbidden(&path.child("volumeMounts").index(at).child(field), text));
        }
    }
}

fn regular(pod: &Pod<'_>, path: &Path, errors: &mut Errors) {
    let containers = list(pod.spec, "containers");
    if containers.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let mut names = BTreeSet::new();
    for (at, container) in containers.iter().enumerate() {
        let path = path.index(at);
        common(container, pod, &path, errors);
        unique(container, &mut names, &path, errors);
        probes::all(container, Around::of(pod.spec), &path, errors);
        restart(container, &path, errors);
    }
    host_ports(containers, path, errors);
}

fn unique<'a>(container: &'a Value, names: &mut BTreeSet<&'a str>, path: &Path, errors: &mut Errors) {
    let name = str_of(container, "name");
    if !names.insert(name) && !name.is_empty() {
        errors.push(Error::duplicate(&path.child("name"), name));
    }
}

/// When a container starts again, where it says so itself.
fn restart(container: &Value, path: &Path, errors: &mut Errors) {
    let rules = list(container, "restartPolicyRules");
    let of_policy = path.child("restartPolicy");
    match container["restartPolicy"].as_str() {
        None if rules.is_empty() => return,
        None => errors.push(Error::required(&of_policy, "must specify restartPolicy when restart rules are used")),
        Some(policy) if !RESTART_POLICIES.contains(&policy) => {
            errors.push(Error::not_supported(&of_policy, policy, RESTART_POLICIES));
        }
        Some(_) => {}
    }
    let of_rules = path.child("restartPolicyRules");
    if rules.len() > 20 {
        errors.push(Error::too_many(&of_rules, rules.len(), 20));
    }
    for (at, rule) in rules.iter().enumerate() {
        let path = of_rules.index(at);
        let action = str_of(rule, "action");
        if !RESTART_ACTIONS.contains(&action) {
            errors.push(Error::not_supported(&path.child("action"), action, RESTART_ACTIONS));
        }
        let path = path.child("exitCodes");
        let codes = &rule["exitCodes"];
        if !codes.is_object() {
            errors.push(Error::required(&path, "must be specified"));
            continue;
        }
        let operator = str_of(codes, "operator");
        if !matches!(operator, "In" | "NotIn") {
            errors.push(Error::not_supported(&path.child("operator"), operator, &["In", "NotIn"]));
        }
        let values = list(codes, "values");
        if values.len() > 255 {
            errors.push(Error::too_many(&path.child("values"), values.len(), 255));
        }
    }
}

/// As [`restart`], but rules that no policy goes with are not looked at.
fn init(container: &Value, path: &Path, errors: &mut Errors) {
    let rules = !list(container, "restartPolicyRules").is_empty();
    match container["restartPolicy"].as_str() {
        Some(_) => restart(container, path, errors),
        None if rules => {
            let text = "must specify restartPolicy when restart rules are used";
            errors.push(Error::required(&path.child("restartPolicy"), text));
        }
        None => {}
    }
}

/// A sidecar is probed as others are; an init container that ends is not.
fn around_init(container: &Value, around: Around<'_>, path: &Path, errors: &mut Errors) {
    if container["restartPolicy"] == "Always" {
        probes::all(container, around, path, errors);
        return;
    }
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if !container[field].is_null() {
            let text = "may not be set for init containers without restartPolicy=Always";
            errors.push(Error::forbidden(&path.child(field), text));
        }
    }
    for (at, policy) in list(container, "resizePolicy").iter().enumerate() {
        if policy["restartPolicy"] == "RestartContainer" {
            let path = path.child("resizePolicy").index(at).child("restartPolicy");
            let text = "must not be set to 'RestartContainer' for non-sidecar initContainers";
            errors.push(Error::invalid(&path, "RestartContainer", text));
        }
    }
}

fn common(container: &Value, pod: &Pod<'_>, path: &Path, errors: &mut Errors) {
    match str_of(container, "name") {
        "" => errors.push(Error::required(&path.child("name"), "")),
        name => complain(text::dns_label(name), name, &path.child("name"), errors),
    }
    if str_of(container, "image").is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    }
    one_of(container, "terminationMessagePolicy", MESSAGE_POLICIES, path, errors);
    ports(container, &path.child("ports"), errors);
    env::variables(container, path, errors);
    mounts::all(container, &pod.volumes, path, errors);
    pull_policy(container, "imagePullPolicy", path, errors);
    amounts::of_container(&container["resources"], &pod.claims, &path.child("resources"), errors);
    resize_policy(container, pod.spec, &path.child("resizePolicy"), errors);
    let host_users = pod.spec["hostUsers"] != false;
    security::of_container(&container["securityContext"], host_users, &path.child("securityContext"), errors);
}

/// When an image is pulled.
pub(super) fn pull_policy(holder: &Value, field: &str, path: &Path, errors: &mut Errors) {
    one_of(holder, field, PULL_POLICIES, path, errors);
}

/// What only a Pod has to keep to, and not a template of Pods.
pub(super) fn trimmed_image(container: &Value, path: &Path, errors: &mut Errors) {
    let image = str_of(container, "image");
    if image.trim() != image {
        let text = "must not have leading or trailing whitespace";
        errors.push(Error::invalid(&path.child("image"), image, text));
    }
}

fn resize_policy(container: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    const RESOURCES: &[&str] = &["cpu", "memory"];
    const POLICIES: &[&str] = &["NotRequired", "RestartContainer"];
    let mut names = BTreeSet::new();
    for (at, entry) in list(container, "resizePolicy").iter().enumerate() {
        let (name, policy) = (str_of(entry, "resourceName"), str_of(entry, "restartPolicy"));
        if !names.insert(name) {
            errors.push(Error::duplicate(&path.index(at), name));
        }
        for (value, known) in [(name, RESOURCES), (policy, POLICIES)] {
            match value {
                "" => errors.push(Error::required(path, "")),
                value if !known.contains(&value) => errors.push(Error::not_supported(path, value, known)),
                _ => {}
            }
        }
        if spec["restartPolicy"] == "Never" && policy != "NotRequired" {
            let text = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(Error::invalid(path, policy, text));
        }
    }
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

pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}
