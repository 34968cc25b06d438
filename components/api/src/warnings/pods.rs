//! Pods and their templates.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::deprecated;
use crate::quantity::Quantity;

const ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
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
    for (at, volume) in list(spec, "volumes").iter().enumerate() {
        for (_, shown, message) in deprecated::VOLUMES.iter().filter(|(field, ..)| volume[*field].is_object()) {
            all.push(format!("{}[{at}].{shown}: {message}", path("spec.volumes")));
        }
    }
    for volume in list(spec, "volumes") {
        let bare = |source: &&Value| source.as_object().is_none_or(|kinds| kinds.values().all(Value::is_null));
        let count = list(&volume["projected"], "sources").iter().filter(bare).count();
        let told = format!("volume {:?} (Projected) has no sources provided", text(volume, "name"));
        all.extend(std::iter::repeat_n(told, count));
    }
    for (field, name, what) in [("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")] {
        let mut seen = BTreeSet::new();
        for (at, item) in list(spec, field).iter().enumerate() {
            let value = text(item, name);
            if !seen.insert(value) {
                all.push(format!("{}[{at}].{name}: duplicate {what} {value:?}", path(&format!("spec.{field}"))));
            }
            if field == "imagePullSecrets" && value.is_empty() {
                all.push(format!("{}[{at}].name: invalid empty name {value:?}", path("spec.imagePullSecrets")));
            }
        }
    }
    let mut ports = Ports::default();
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in list(spec, field).iter().enumerate() {
            let path = format!("{}[{at}]", path(&format!("spec.{field}")));
            for resource in ["memory", "ephemeral-storage"] {
                fractions(&container["resources"], &format!("{path}.resources"), resource, all);
            }
            environment(container, &path, all);
            ports.look(container, &path, all);
        }
    }
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        let told = "must be >= 0; negative values are invalid and will be treated as 1";
        all.push(format!("{}: {told}", path("spec.terminationGracePeriodSeconds")));
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
        for (at, expression) in list(term, "matchExpressions").iter().enumerate() {
            let key = text(expression, "key");
            if let Some(message) = deprecated::label(key) {
                all.push(format!("{path}.matchExpressions[{at}].key: {key} is {message}"));
            }
        }
    }
    let unselective = "labelSelector: a null labelSelector results in matching no pod";
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (terms, of_pods) = (&spec["affinity"][kind], format!("{path}.affinity.{kind}"));
        for (at, _) in list(terms, REQUIRED).iter().enumerate().filter(|(_, term)| !term["labelSelector"].is_object()) {
            all.push(format!("{of_pods}.{REQUIRED}[{at}].{unselective}"));
        }
        let lacks = |term: &Value| !term["podAffinityTerm"]["labelSelector"].is_object();
        for (at, _) in list(terms, PREFERRED).iter().enumerate().filter(|(_, term)| lacks(term)) {
            all.push(format!("{of_pods}.{PREFERRED}[{at}].podAffinityTerm.{unselective}"));
        }
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
pub fn fractions(resources: &Value, path: &str, name: &str, all: &mut Vec<String>) {
    for field in ["limits", "requests"] {
        let amount = resources[field][name].as_str().and_then(|text| text.parse::<Quantity>().ok());
        if let Some(amount) = amount.filter(|amount| amount.milli_value() % 1000 != 0) {
            all.push(format!(
                "{path}.{field}[{name}]: fractional byte value {:?} is invalid, must be an integer",
                amount.to_string()
            ));
        }
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
            others.push((path.clone(), port));
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
