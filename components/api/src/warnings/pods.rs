//! Pods and their templates.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{addresses, deprecated, overlaps};
use crate::quantity::Quantity;

const ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// How annotations begin that gave a container its AppArmor profile before there was a field.
pub const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Resources that are counted in bytes.
const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// A Pod's spec and metadata; `at` is where they are, empty for a Pod itself.
pub fn of(spec: &Value, metadata: &Value, at: &str, all: &mut Vec<String>) {
    let path = |rest: &str| if at.is_empty() { rest.to_owned() } else { format!("{at}.{rest}") };
    placement(spec, &path("spec"), all);
    for (key, message) in ANNOTATIONS.iter().filter(|(key, _)| metadata["annotations"][*key].is_string()) {
        all.push(format!("{}[{key}]: {message}", path("metadata.annotations")));
    }
    volumes(spec, &path("spec.volumes"), all);
    overlaps::of(list(spec, "volumes"), all);
    twice(list(spec, "hostAliases"), "ip", "ip", &path("spec.hostAliases"), all);
    let secrets = list(spec, "imagePullSecrets");
    twice(secrets, "name", "name", &path("spec.imagePullSecrets"), all);
    for (at, _) in secrets.iter().enumerate().filter(|(_, secret)| text(secret, "name").is_empty()) {
        all.push(format!("{}[{at}].name: invalid empty name \"\"", path("spec.imagePullSecrets")));
    }
    for resource in BYTES {
        fraction(&spec["overhead"][resource], &format!("{}[{resource}]", path("spec.overhead")), all);
    }
    if spec["securityContext"]["seccompProfile"].is_null() {
        old_seccomp(metadata, SECCOMP_POD, &path("metadata.annotations"), all);
    }
    let mut containers = Vec::new();
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in list(spec, field).iter().enumerate() {
            containers.push((format!("{}[{index}]", path(&format!("spec.{field}"))), container));
        }
    }
    for (place, container) in &containers {
        let name = text(container, "name");
        if container["securityContext"]["seccompProfile"].is_null() {
            old_seccomp(metadata, &format!("{SECCOMP_CONTAINER}{name}"), &path("metadata.annotations"), all);
        }
        // A Pod is told where its fields are made of its annotations.
        if !at.is_empty() && container["securityContext"]["appArmorProfile"].is_null() {
            let key = format!("{APP_ARMOR}{name}");
            let profile = metadata["annotations"][&key].as_str().map(app_armor);
            let of_pod = &spec["securityContext"]["appArmorProfile"];
            if profile.is_some_and(|profile| of_pod.is_null() || profile.as_ref() != Some(of_pod)) {
                all.push(old_app_armor(&key, &path("metadata.annotations")));
            }
        }
        for resource in BYTES {
            for field in ["limits", "requests"] {
                let amount = &container["resources"][field][resource];
                fraction(amount, &format!("{place}.resources.{field}[{resource}]"), all);
            }
        }
        environment(container, place, all);
    }
    let mut ports = Ports::default();
    containers.iter().for_each(|(place, container)| ports.look(container, place, all));
    containers.iter().for_each(|(place, container)| ports.name(container, place, all));
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        let told = "must be >= 0; negative values are invalid and will be treated as 1";
        all.push(format!("{}: {told}", path("spec.terminationGracePeriodSeconds")));
    }
    for (kind, when) in [
        ("podAffinity", REQUIRED),
        ("podAffinity", PREFERRED),
        ("podAntiAffinity", REQUIRED),
        ("podAntiAffinity", PREFERRED),
    ] {
        for (at, term) in list(&spec["affinity"][kind], when).iter().enumerate() {
            let (inner, term) =
                if when == PREFERRED { (".podAffinityTerm", &term["podAffinityTerm"]) } else { ("", term) };
            if !term["labelSelector"].is_object() {
                let path = path(&format!("spec.affinity.{kind}.{when}[{at}]{inner}.labelSelector"));
                all.push(format!("{path}: a null labelSelector results in matching no pod"));
            }
        }
    }
    for (at, server) in list(&spec["dnsConfig"], "nameservers").iter().filter_map(Value::as_str).enumerate() {
        addresses::address(&format!("{}[{at}]", path("spec.dnsConfig.nameservers")), server, all);
    }
    for (at, alias) in list(spec, "hostAliases").iter().enumerate() {
        addresses::address(&format!("{}[{at}].ip", path("spec.hostAliases")), text(alias, "ip"), all);
    }
}

fn volumes(spec: &Value, path: &str, all: &mut Vec<String>) {
    for (at, volume) in list(spec, "volumes").iter().enumerate() {
        for (field, shown, message) in deprecated::VOLUMES {
            // Upstream looks at claims between the older kinds and these.
            if *field == "cephfs" {
                let claim = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
                storage(claim, &format!("{path}[{at}].ephemeral.volumeClaimTemplate.spec"), all);
            }
            if volume[*field].is_object() {
                all.push(format!("{path}[{at}].{shown}: {message}"));
            }
        }
    }
}

/// Things of a list that are called the same.
fn twice(items: &[Value], field: &str, what: &str, path: &str, all: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        let value = text(item, field);
        if !seen.insert(value) {
            all.push(format!("{path}[{at}].{field}: duplicate {what} {value:?}"));
        }
    }
}

fn old_seccomp(metadata: &Value, key: &str, path: &str, all: &mut Vec<String>) {
    if metadata["annotations"][key].is_string() {
        all.push(format!("{path}[{key}]: non-functional in v1.27+; use the \"seccompProfile\" field instead"));
    }
}

/// What is told of an annotation for AppArmor.
pub fn old_app_armor(key: &str, path: &str) -> String {
    format!("{path}[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead")
}

/// The field that an annotation for AppArmor stands for; none where it says nothing that a field can.
pub fn app_armor(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        other => {
            let profile = other.strip_prefix("localhost/").filter(|profile| !profile.is_empty())?;
            Some(json!({"type": "Localhost", "localhostProfile": profile}))
        }
    }
}

fn placement(spec: &Value, path: &str, all: &mut Vec<String>) {
    for (key, _) in spec["nodeSelector"].as_object().into_iter().flatten() {
        all.extend(deprecated::label(key).map(|message| format!("{path}.nodeSelector[{key}]: {message}")));
    }
    let nodes = &spec["affinity"]["nodeAffinity"];
    let of_nodes = format!("{path}.affinity.nodeAffinity");
    let required = list(&nodes[REQUIRED], "nodeSelectorTerms").iter().enumerate();
    let required = required.map(|(at, term)| (format!("{of_nodes}.{REQUIRED}.nodeSelectorTerms[{at}]"), term));
    let preferred = list(nodes, PREFERRED).iter().enumerate();
    let preferred =
        preferred.map(|(at, term)| (format!("{of_nodes}.{PREFERRED}[{at}].preference"), &term["preference"]));
    for (path, term) in required.chain(preferred) {
        deprecated::node_term(term, path.ends_with("preference"), &path, all);
    }
    for (at, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{at}]");
        let key = text(constraint, "topologyKey");
        if let Some(message) = deprecated::label(key) {
            all.push(format!("{path}.topologyKey: {key} is {message}"));
        }
        if !constraint["labelSelector"].is_object() {
            all.push(format!("{path}.labelSelector: a null labelSelector results in matching no pod"));
        }
    }
}

/// Parts of bytes, which there are none of.
fn fraction(amount: &Value, path: &str, all: &mut Vec<String>) {
    let amount = amount.as_str().and_then(|text| text.parse::<Quantity>().ok());
    if let Some(amount) = amount.filter(|amount| amount.milli_value() % 1000 != 0) {
        all.push(format!("{path}: fractional byte value {:?} is invalid, must be an integer", amount.to_string()));
    }
}

/// What a claim asks for.
pub fn storage(spec: &Value, path: &str, all: &mut Vec<String>) {
    for field in ["requests", "limits"] {
        fraction(&spec["resources"][field]["storage"], &format!("{path}.resources.{field}[storage]"), all);
    }
}

fn environment(container: &Value, path: &str, all: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    for (at, variable) in list(container, "env").iter().enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        let before = format!("$({name})");
        // One that is made out of the one before it is meant to hide it.
        let meant = !variable["valueFrom"].is_object() && value != before && value.contains(&before);
        if !names.insert(name) && !meant {
            all.push(format!(
                "{path}.env[{at}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
}

/// The ports of the containers so far, by number and protocol, and by name.
#[derive(Default)]
struct Ports<'a> {
    numbers: BTreeMap<(i64, &'a str), Vec<(String, &'a Value)>>,
    names: BTreeMap<&'a str, String>,
}

impl<'a> Ports<'a> {
    fn look(&mut self, container: &'a Value, path: &str, all: &mut Vec<String>) {
        for (at, port) in list(container, "ports").iter().enumerate() {
            let path = format!("{path}.ports[{at}]");
            let host = |port: &Value| port["hostPort"].as_i64().unwrap_or(0);
            if !text(port, "hostIP").is_empty() && host(port) == 0 {
                // As Go prints the structure.
                let [name, protocol, address] = ["name", "protocol", "hostIP"].map(|field| text(port, field));
                let number = port["containerPort"].as_i64().unwrap_or(0);
                all.push(format!(
                    "{path}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{number} \
                     Protocol:{protocol} HostIP:{address}}}"
                ));
            }
            let number = (port["containerPort"].as_i64().unwrap_or(0), text(port, "protocol"));
            let others = self.numbers.entry(number).or_default();
            for (other, same) in others.iter() {
                let (own, their) = (text(port, "hostIP"), text(same, "hostIP"));
                let how = if own == their && host(port) == host(same) {
                    "duplicate"
                } else if host(port) == 0 || host(same) == 0 {
                    "overlapping"
                } else if host(port) == host(same) && own.is_empty() != their.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                all.push(format!("{path}: {how} port definition with {other}"));
            }
            others.push((path, port));
        }
    }

    fn name(&mut self, container: &'a Value, path: &str, all: &mut Vec<String>) {
        for (at, port) in list(container, "ports").iter().enumerate() {
            let path = format!("{path}.ports[{at}]");
            let name = text(port, "name");
            match self.names.get(name) {
                _ if name.is_empty() => {}
                Some(other) => all.push(format!(
                    "{path}: duplicate port name {name:?} with {other}, services and probes that select ports by name will \
                     use {other}"
                )),
                None => drop(self.names.insert(name, path)),
            }
        }
    }
}
