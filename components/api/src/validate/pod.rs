//! Pods and their templates.

use std::collections::BTreeSet;

use serde_json::Value;

use super::containers::{self, Pod};
use super::field::{Error, Errors, Path};
use super::mounts::Volumes;
use super::volumes::Holder;
use super::{amounts, complain, list, metadata, one_of, placement, security, str_of, surroundings, text, volumes};
use crate::object::Object;

const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const PREEMPTION_POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];
/// What marks the image of a Pod that a kubelet has from elsewhere.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A Pod.
pub(super) fn whole(pod: &Object) -> Errors {
    let mut errors = Errors::new();
    annotations(pod, &["metadata", "annotations"], &["spec"], &Path::new("metadata.annotations"), &mut errors);
    let empty = Value::Object(serde_json::Map::new());
    let spec = pod.get(&["spec"]).unwrap_or(&empty);
    let path = Path::new("spec");
    self::spec(spec, Some(pod.name()), &path, &mut errors);
    if str_of(spec, "serviceAccountName").is_empty() {
        for (at, volume) in list(spec, "volumes").iter().enumerate() {
            let path = path.child("volumes").index(at).child("projected");
            for (of, source) in list(&volume["projected"], "sources").iter().enumerate() {
                if source["serviceAccountToken"].is_object() {
                    let path = path.child("sources").index(of).child("serviceAccountToken");
                    errors.push(Error::forbidden(&path, "must not be specified when serviceAccountName is not set"));
                }
            }
        }
    }
    for field in ["containers", "initContainers"] {
        for (at, container) in list(spec, field).iter().enumerate() {
            containers::trimmed_image(container, &path.child(field).index(at), &mut errors);
        }
    }
    errors
}

/// What a new Pod cannot have yet.
pub(super) fn created(pod: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = pod.get(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.push(Error::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !str_of(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        let text = "cannot be set until all schedulingGates have been cleared";
        errors.push(Error::forbidden(&path.child("nodeName"), text));
    }
    let annotated = pod.get(&["metadata", "annotations"]).unwrap_or(&Value::Null);
    super::profiles::agree(annotated, spec, &path, &mut errors);
    if annotated.get(MIRROR).is_some() {
        let claims = list(spec, "resourceClaims").len();
        let text = "static pods do not support resource claims";
        errors.extend((0..claims).map(|_| Error::forbidden(&Path::new("[]"), text)));
    }
    errors
}

/// The template of Pods at `at` in the object.
pub(super) fn template(object: &Object, at: &[&str], path: &Path) -> Errors {
    let mut errors = Errors::new();
    let of_annotations = path.child("annotations");
    if let Some(of_pods) = object.get(&[at, &["metadata"]].concat()) {
        metadata::labels(of_pods.get("labels"), &path.child("labels"), &mut errors);
        metadata::annotations(of_pods.get("annotations"), &of_annotations, &mut errors);
    }
    let of_spec = [at, &["spec"]].concat();
    annotations(object, &[at, &["metadata", "annotations"]].concat(), &of_spec, &of_annotations, &mut errors);
    let empty = Value::Object(serde_json::Map::new());
    let of_pods = object.get(&of_spec).unwrap_or(&empty);
    spec(of_pods, None, &path.child("spec"), &mut errors);
    let annotated = object.get(&[at, &["metadata", "annotations"]].concat()).unwrap_or(&Value::Null);
    super::profiles::agree(annotated, of_pods, &path.child("spec"), &mut errors);
    if !list(of_pods, "ephemeralContainers").is_empty() {
        let text = "ephemeral containers not allowed in pod template";
        errors.push(Error::forbidden(&path.child("spec.ephemeralContainers"), text));
    }
    errors
}

/// Annotations that mean something for Pods.
fn annotations(object: &Object, at: &[&str], of_spec: &[&str], path: &Path, errors: &mut Errors) {
    let Some(all) = object.get(at) else { return };
    if let Some(mirror) = all[MIRROR].as_str()
        && object.str(&[of_spec, &["nodeName"]].concat()).is_empty()
    {
        let text = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(Error::invalid(&path.key(MIRROR), mirror, text));
    }
    let spec = object.get(of_spec).unwrap_or(&Value::Null);
    super::profiles::annotations(all, spec, path, errors);
    if let Some(cost) = all[DELETION_COST].as_str() {
        let plain = !cost.starts_with('+') && (cost == "0" || !cost.trim_start_matches('-').starts_with('0'));
        if !plain || cost.parse::<i32>().is_err() {
            errors.push(Error::invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer"));
        }
    }
}

fn spec(spec: &Value, name: Option<&str>, path: &Path, errors: &mut Errors) {
    if spec["terminationGracePeriodSeconds"].is_null() {
        errors.push(Error::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let volumes = self::volumes(spec, name, &path.child("volumes"), errors);
    let claims = claims(spec, &path.child("resourceClaims"), errors);
    let pod = Pod { spec, volumes, claims };
    containers::all(&pod, path, errors);
    amounts::of_pod(spec, &pod.claims, path, errors);
    host_network(spec, name.is_some(), path, errors);
    one_of(spec, "restartPolicy", RESTART_POLICIES, path, errors);
    one_of(spec, "dnsPolicy", DNS_POLICIES, path, errors);
    metadata::labels(spec.get("nodeSelector"), &path.child("nodeSelector"), errors);
    security::of_pod(spec, path, errors);
    placement::affinity(&spec["affinity"], &path.child("affinity"), errors);
    surroundings::resolver(spec, path, errors);
    gates(spec, path, errors);
    placement::spread(spec, &path.child("topologySpreadConstraints"), errors);
    super::windows::host_processes(spec, path, errors);
    security::own_users(spec, path, errors);
    host_name(spec, path, errors);
    names(spec, path, errors);
    placement::tolerations(spec, &path.child("tolerations"), errors);
    surroundings::host_aliases(spec, path, errors);
    if let Some(policy) = spec["preemptionPolicy"].as_str() {
        match policy {
            "" => errors.push(Error::required(&path.child("preemptionPolicy"), "")),
            policy if !PREEMPTION_POLICIES.contains(&policy) => {
                errors.push(Error::not_supported(&path.child("preemptionPolicy"), policy, PREEMPTION_POLICIES));
            }
            _ => {}
        }
    }
    for (name, value) in spec["overhead"].as_object().into_iter().flatten() {
        let path = path.child("overhead").child("limits").key(name);
        amounts::name_of_container(name, &path, errors);
        amounts::amount(name, value, &path, errors);
    }
    security::system(spec, path, errors);
    super::env::files(spec, path, errors);
}

fn names(spec: &Value, path: &Path, errors: &mut Errors) {
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
        // A class is named or left out; the others may be empty.
        if !name.is_empty() || (field == "runtimeClassName" && spec[field].is_string()) {
            complain(rule(name), name, &path.child(field), errors);
        }
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let text = "must be between 1 and 2147483647, inclusive";
        errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), seconds, text));
    }
}

/// The volumes that nothing is wrong with.
fn volumes<'a>(spec: &'a Value, pod: Option<&str>, path: &Path, errors: &mut Errors) -> Volumes<'a> {
    let mut sound = Volumes::new();
    let holder = if pod.is_some() { Holder::Pod } else { Holder::Template };
    let pod = pod.filter(|name| !name.is_empty());
    let of_claim = |volume: &Value| pod.map(|pod| format!("{pod}-{}", str_of(volume, "name")));
    for (at, volume) in list(spec, "volumes").iter().enumerate() {
        let path = path.index(at);
        let before = errors.len();
        volumes::source(volume, holder, &path, errors);
        let name = str_of(volume, "name");
        if let Some(claim) = of_claim(volume).filter(|_| volume["ephemeral"].is_object() && !name.is_empty()) {
            let wrong = text::dns_subdomain(&claim).into_iter().map(|text| format!("PVC name {claim:?}: {text}"));
            errors.extend(wrong.map(|text| Error::invalid(&path.child("name"), name, text)));
        }
        match name {
            "" => errors.push(Error::required(&path.child("name"), "")),
            name => complain(text::dns_label(name), name, &path.child("name"), errors),
        }
        if sound.contains_key(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        if errors.len() == before {
            sound.insert(name, volume);
        }
        let claim = str_of(&volume["persistentVolumeClaim"], "claimName");
        let made = list(spec, "volumes").iter().filter(|other| other["ephemeral"].is_object()).filter_map(of_claim);
        if !claim.is_empty() && made.into_iter().any(|made| made == claim) {
            let path = path.child("persistentVolumeClaim.claimName");
            let text = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(Error::invalid(&path, claim, text));
        }
    }
    sound
}

/// The names of the claims for devices.
fn claims<'a>(spec: &'a Value, path: &Path, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, claim) in list(spec, "resourceClaims").iter().enumerate() {
        let path = path.index(at);
        match str_of(claim, "name") {
            "" => errors.push(Error::required(&path.child("name"), "")),
            name if !names.insert(name) => errors.push(Error::duplicate(&path.child("name"), name)),
            name => complain(text::dns_label(name), name, &path.child("name"), errors),
        }
        let fields = ["resourceClaimName", "resourceClaimTemplateName"];
        let given: Vec<&str> = fields.into_iter().filter(|field| claim[*field].is_string()).collect();
        let wrong = match given.len() {
            0 => Some("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            1 => None,
            _ => Some("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
        };
        errors.extend(wrong.map(|text| Error::invalid(&path, claim.clone(), text)));
        for field in given {
            let name = str_of(claim, field);
            complain(text::dns_subdomain(name), name, &path.child(field), errors);
        }
    }
    names
}

/// On the host's network a container's port is the host's.
fn host_network(spec: &Value, of_pod: bool, path: &Path, errors: &mut Errors) {
    if spec["hostNetwork"] != true {
        return;
    }
    for (at, container) in list(spec, "containers").iter().enumerate() {
        for (of, port) in list(container, "ports").iter().enumerate() {
            let host = port["hostPort"].as_i64().unwrap_or_default();
            if (of_pod || host != 0) && host != port["containerPort"].as_i64().unwrap_or_default() {
                let path = path.child("containers").index(at).child("ports").index(of).child("hostPort");
                let text = "must match `containerPort` when `hostNetwork` is true";
                errors.push(Error::invalid(&path, host, text));
            }
        }
    }
}

/// What a Pod waits for before it is scheduled, and before it is ready.
fn gates(spec: &Value, path: &Path, errors: &mut Errors) {
    for (at, gate) in list(spec, "readinessGates").iter().enumerate() {
        let name = str_of(gate, "conditionType");
        let path = path.child("readinessGates").index(at).child("conditionType");
        complain(text::qualified_name(name), name, &path, errors);
    }
    let mut names = BTreeSet::new();
    for (at, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let (name, path) = (str_of(gate, "name"), path.child("schedulingGates").index(at));
        complain(text::qualified_name(name), name, &path, errors);
        if !names.insert(name) {
            errors.push(Error::duplicate(&path, name));
        }
    }
}

fn host_name(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(name) = spec["hostnameOverride"].as_str() else { return };
    let path = path.child("hostnameOverride");
    if spec["setHostnameAsFQDN"] == true {
        errors.push(Error::forbidden(&path, "may not be specified when setHostnameAsFQDN is true"));
    }
    if spec["hostNetwork"] == true {
        errors.push(Error::forbidden(&path, "may not be specified when hostNetwork is true"));
    }
    if name.len() > 64 {
        errors.push(Error::too_long(&path, 64));
    }
    complain(text::dns_subdomain(name), name, &path, errors);
}
