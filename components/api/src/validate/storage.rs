//! The group storage.k8s.io, and PersistentVolumes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::containers::quantity;
use super::field::{Error, Errors, Path};
use super::volumes::Holder;
use super::{amounts, claims, complain, immutable, list, metadata, not_negative, placement, str_of, text, volumes};
use crate::difference;
use crate::object::Object;
use crate::quantity::Quantity;

/// The most parameters of a class, and the most that they and a volume's attachment may hold.
const PARAMETERS: usize = 512;
const SIZE: usize = 256 * 1024;
const POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
/// What a PersistentVolume's spec has beside its source.
const NO_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

pub(super) fn whole(kind: &str, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let whole = Value::Object(object.map().clone());
    let (spec, path) = (&whole["spec"], Path::new("spec"));
    match kind {
        "StorageClass" => class(&whole, &mut errors),
        "VolumeAttributesClass" => {
            provisioner(&whole, "driverName", &mut errors);
            parameters(&whole, false, &mut errors);
        }
        "VolumeAttachment" => {
            attachment(spec, &path, &mut errors);
            errors.extend(attachment_status(object));
        }
        "CSIDriver" => driver(spec, &path, &mut errors),
        "CSINode" => node(spec, &path.child("drivers"), &mut errors),
        "CSIStorageCapacity" => {
            if whole["nodeTopology"].is_object() {
                metadata::selector(&whole["nodeTopology"], &Path::new("nodeTopology"), &mut errors);
            }
            let class = str_of(&whole, "storageClassName");
            complain(text::dns_subdomain(class), class, &Path::new("storageClassName"), &mut errors);
            if !whole["capacity"].is_null() {
                amounts::amount("storage", &whole["capacity"], &Path::new("capacity"), &mut errors);
            }
        }
        "PersistentVolume" => volume(spec, &path, &mut errors),
        _ => {}
    }
    errors
}

pub(super) fn changed(kind: &str, old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    match kind {
        "StorageClass" => {
            for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                immutable(old, new, &[field], &mut errors);
            }
        }
        "VolumeAttributesClass" => {
            for field in ["driverName", "parameters"] {
                if !super::same(old.get(&[field]), new.get(&[field])) {
                    errors.push(Error::forbidden(&Path::new(field), format!("updates to {field} are forbidden.")));
                }
            }
        }
        "VolumeAttachment" => immutable(old, new, &["spec"], &mut errors),
        "CSIDriver" => {
            let attach = |object: &Object| object.get(&["spec", "attachRequired"]).cloned().unwrap_or(Value::Null);
            if attach(old) != attach(new) {
                errors.push(Error::invalid(&Path::new("spec.attachedRequired"), attach(new), super::IMMUTABLE));
            }
            immutable(old, new, &["spec", "volumeLifecycleModes"], &mut errors);
        }
        "CSINode" => node_changed(old, new, &mut errors),
        "CSIStorageCapacity" => {
            for field in ["nodeTopology", "storageClassName"] {
                immutable(old, new, &[field], &mut errors);
            }
        }
        "PersistentVolume" => volume_changed(old, new, &mut errors),
        _ => {}
    }
    errors
}

fn provisioner(class: &Value, field: &str, errors: &mut Errors) {
    let path = Path::new(field);
    match str_of(class, field) {
        "" => errors.push(Error::required(&path, "")),
        name => complain(text::qualified_name(&name.to_lowercase()), name, &path, errors),
    }
}

fn parameters(class: &Value, may_lack: bool, errors: &mut Errors) {
    let path = Path::new("parameters");
    let all = class["parameters"].as_object().cloned().unwrap_or_default();
    if all.len() > PARAMETERS {
        errors.push(Error::too_long(&path, PARAMETERS));
        return;
    }
    if all.contains_key("") {
        errors.push(Error::invalid(&path, "", "field can not be empty."));
    }
    if size(&all) > SIZE {
        errors.push(Error::too_long(&path, SIZE));
    }
    if !may_lack && all.is_empty() {
        errors.push(Error::required(&path, "must contain at least one key/value pair"));
    }
}

fn size(map: &serde_json::Map<String, Value>) -> usize {
    map.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}

fn class(class: &Value, errors: &mut Errors) {
    const MODES: &[&str] = &["Immediate", "WaitForFirstConsumer"];
    provisioner(class, "provisioner", errors);
    parameters(class, true, errors);
    let policy = str_of(class, "reclaimPolicy");
    if !matches!(policy, "" | "Delete" | "Retain") {
        errors.push(Error::not_supported(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]));
    }
    match class["volumeBindingMode"].as_str() {
        None => errors.push(Error::required(&Path::new("volumeBindingMode"), "")),
        Some(mode) if !MODES.contains(&mode) => {
            errors.push(Error::not_supported(&Path::new("volumeBindingMode"), mode, MODES));
        }
        Some(_) => {}
    }
    let terms = list(class, "allowedTopologies");
    for (at, term) in terms.iter().enumerate() {
        let path = Path::new("allowedTopologies").index(at).child("matchLabelExpressions");
        let mut keys = BTreeSet::new();
        for (of, expression) in list(term, "matchLabelExpressions").iter().enumerate() {
            let path = path.index(of);
            let values = list(expression, "values");
            if values.is_empty() {
                errors.push(Error::required(&path.child("values"), ""));
            }
            for (at, value) in values.iter().enumerate().filter(|(at, value)| values[..*at].contains(value)) {
                errors.push(Error::duplicate(&path.child("values").index(at), value.clone()));
            }
            let key = str_of(expression, "key");
            complain(text::qualified_name(key), key, &path.child("key"), errors);
            if !keys.insert(key) {
                errors.push(Error::duplicate(&path.child("key"), key));
            }
        }
        if terms[..at].contains(term) {
            errors.push(Error::duplicate(&path, ""));
        }
    }
}

fn attachment(spec: &Value, path: &Path, errors: &mut Errors) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    volumes::driver(str_of(spec, "attacher"), &path.child("attacher"), errors);
    let (source, of_source) = (&spec["source"], path.child("source"));
    match (source["inlineVolumeSpec"].is_object(), source["persistentVolumeName"].as_str()) {
        (false, None) => errors.push(Error::required(&of_source, ONE)),
        (true, Some(_)) => errors.push(Error::forbidden(&of_source, ONE)),
        (false, Some("")) => {
            let text = "must specify non empty persistentVolumeName";
            errors.push(Error::required(&of_source.child("persistentVolumeName"), text));
        }
        (true, None) => inline(&source["inlineVolumeSpec"], &of_source.child("inlineVolumeSpec"), errors),
        (false, Some(_)) => {}
    }
    let node = str_of(spec, "nodeName");
    complain(text::dns_subdomain(node), node, &path.child("nodeName"), errors);
    if let Some(volume) = source["persistentVolumeName"].as_str() {
        complain(text::dns_subdomain(volume), volume, &of_source.child("persistentVolumeName"), errors);
    }
}

/// A volume that is attached without being an object of its own.
fn inline(spec: &Value, path: &Path, errors: &mut Errors) {
    let text = "may not be specified in the context of inline volumes";
    for field in ["claimRef", "capacity", "nodeAffinity", "storageClassName"] {
        if !super::same(spec.get(field), None) && spec[field] != "" {
            errors.push(Error::forbidden(&path.child(field), text));
        }
    }
    if !spec["csi"].is_object() {
        errors.push(Error::required(&path.child("csi"), "has to be specified in the context of inline volumes"));
    }
    if list(spec, "accessModes").is_empty() {
        errors.push(Error::required(&path.child("accessModes"), ""));
    }
    claims::access_modes(spec, &path.child("accessModes"), errors);
    volumes::source(spec, Holder::PersistentVolume, path, errors);
}

/// What is said of an attachment.
pub(super) fn attachment_status(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status");
    let status = object.get(&["status"]).unwrap_or(&Value::Null);
    if status["attachmentMetadata"].as_object().is_some_and(|map| size(map) > SIZE) {
        errors.push(Error::too_long(&path.child("attachmentMetadata"), SIZE));
    }
    for field in ["attachError", "detachError"] {
        let (error, path) = (&status[field], path.child(field));
        if str_of(error, "message").len() > 1024 {
            errors.push(Error::too_long(&path.child("message"), SIZE));
        }
        if let Some(code) = error["errorCode"].as_i64().filter(|code| *code < 0) {
            let text = "must be between 0 and 2147483647, inclusive";
            errors.push(Error::invalid(&path.child("errorCode"), code, text));
        }
    }
    errors
}

fn driver(spec: &Value, path: &Path, errors: &mut Errors) {
    const GROUPS: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
    for (field, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
        ("seLinuxMount", "seLinuxMount"),
    ] {
        if !spec[field].is_boolean() {
            errors.push(Error::required(&path.child(shown), ""));
        }
    }
    if let Some(policy) = spec["fsGroupPolicy"].as_str().filter(|policy| !GROUPS.contains(policy)) {
        errors.push(Error::not_supported(&path.child("fsGroupPolicy"), policy, GROUPS));
    }
    let mut audiences = BTreeSet::new();
    let tokens = list(spec, "tokenRequests");
    for (at, token) in tokens.iter().enumerate() {
        let path = path.child("tokenRequests").index(at);
        let audience = str_of(token, "audience");
        if !audiences.insert(audience) {
            errors.push(Error::duplicate(&path.child("audience"), audience));
            continue;
        }
        let of_seconds = path.child("expirationSeconds");
        match token["expirationSeconds"].as_i64() {
            Some(seconds) if seconds < 600 => {
                errors.push(Error::invalid(&of_seconds, seconds, "may not specify a duration less than 10 minutes"));
            }
            Some(seconds) if seconds > 1 << 32 => {
                let text = "may not specify a duration larger than 2^32 seconds";
                errors.push(Error::invalid(&of_seconds, seconds, text));
            }
            _ => {}
        }
    }
    for mode in list(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str) {
        if !matches!(mode, "Persistent" | "Ephemeral") {
            let path = path.child("volumeLifecycleModes");
            errors.push(Error::not_supported(&path, mode, &["Persistent", "Ephemeral"]));
        }
    }
    let period = "nodeAllocatableUpdatePeriodSeconds";
    if let Some(seconds) = spec[period].as_i64().filter(|seconds| *seconds < 10) {
        errors.push(Error::invalid(&path.child(period), seconds, "must be greater than or equal to 10 seconds"));
    }
    if spec["serviceAccountTokenInSecrets"].is_boolean() && tokens.is_empty() {
        let text = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        let path = path.child("serviceAccountTokenInSecrets");
        errors.push(Error::invalid(&path, spec["serviceAccountTokenInSecrets"].clone(), text));
    }
}

fn node(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (at, driver) in list(spec, "drivers").iter().enumerate() {
        let path = path.index(at);
        let name = str_of(driver, "name");
        volumes::driver(name, &path.child("name"), errors);
        let id = str_of(driver, "nodeID");
        if id.is_empty() {
            errors.push(Error::required(&path.child("nodeID"), ""));
        }
        if id.len() > 256 {
            errors.push(Error::invalid(&path.child("nodeID"), id, "must be 256 characters or less"));
        }
        not_negative(&driver["allocatable"], "count", &path.child("allocatable"), errors);
        if !names.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        let mut keys = BTreeSet::new();
        for key in list(driver, "topologyKeys").iter().filter_map(Value::as_str) {
            if key.is_empty() {
                errors.push(Error::required(&path, ""));
            }
            if !keys.insert(key) {
                errors.push(Error::duplicate(&path, key));
            }
            complain(text::qualified_name(key), key, &path, errors);
        }
    }
}

/// A driver stays as it is while it is there; how much it can take may change.
fn node_changed(old: &Object, new: &Object, errors: &mut Errors) {
    let drivers = |object: &Object| object.get(&["spec", "drivers"]).and_then(Value::as_array).cloned();
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        driver["allocatable"] = Value::Null;
        driver
    };
    let after = drivers(new).unwrap_or_default();
    for before in drivers(old).unwrap_or_default() {
        for same in after.iter().filter(|driver| driver["name"] == before["name"]) {
            if !super::same(Some(&fixed(&before)), Some(&fixed(same))) {
                errors.push(Error::invalid(&Path::new("spec.drivers"), same.clone(), super::IMMUTABLE));
            }
        }
    }
}

fn volume(spec: &Value, path: &Path, errors: &mut Errors) {
    if list(spec, "accessModes").is_empty() {
        errors.push(Error::required(&path.child("accessModes"), ""));
    }
    claims::access_modes(spec, &path.child("accessModes"), errors);
    let of_capacity = path.child("capacity");
    let capacity = spec["capacity"].as_object().cloned().unwrap_or_default();
    if capacity.is_empty() {
        errors.push(Error::required(&of_capacity, ""));
    }
    if !capacity.contains_key("storage") || capacity.len() > 1 {
        let shown = if spec["capacity"].is_object() { Value::from(capacity.clone()) } else { Value::Null };
        errors.push(Error::not_supported(&of_capacity, shown, &["storage"]));
    }
    for (name, size) in &capacity {
        if let Some(size) = quantity(size).filter(|size| size.value() < 0) {
            let text = "must be a valid resource quantity";
            errors.push(Error::invalid(&of_capacity.key(name), size.value(), text));
        }
        if let Some(size) = quantity(size).filter(|size| *size <= Quantity::ZERO) {
            errors.push(Error::invalid(&of_capacity.key(name), size.to_string(), "must be greater than zero"));
        }
    }
    for (field, known) in [("persistentVolumeReclaimPolicy", POLICIES), ("volumeMode", VOLUME_MODES)] {
        // An empty mode is one that there is not.
        if let Some(value) = spec[field].as_str().filter(|value| !known.contains(value)) {
            errors.push(Error::not_supported(&path.child(field), value, known));
        }
    }
    if spec["nodeAffinity"].is_object() {
        let path = path.child("nodeAffinity.required");
        if spec["nodeAffinity"]["required"].is_object() {
            placement::node_selector(&spec["nodeAffinity"]["required"], &path, errors);
        } else {
            errors.push(Error::required(&path, "must specify required node constraints"));
        }
    }
    volumes::source(spec, Holder::PersistentVolume, path, errors);
    if volumes::first(spec) == Some("local") && !spec["nodeAffinity"].is_object() {
        errors.push(Error::required(&path.child("nodeAffinity"), "Local volume requires node affinity"));
    }
    let root = str_of(&spec["hostPath"], "path").trim_matches('/').is_empty() && spec["hostPath"].is_object();
    if root && spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        let text = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(Error::forbidden(&path.child("persistentVolumeReclaimPolicy"), text));
    }
    let class = str_of(spec, "storageClassName");
    if !class.is_empty() {
        complain(text::dns_subdomain(class), class, &path.child("storageClassName"), errors);
    }
    if let Some(class) = spec["volumeAttributesClassName"].as_str() {
        let of_class = path.child("volumeAttributesClassName");
        match class {
            "" => errors.push(Error::required(&of_class, "an empty string is disallowed")),
            class => complain(text::dns_subdomain(class), class, &of_class, errors),
        }
        if !spec["csi"].is_object() {
            let text = "has to be specified when using volumeAttributesClassName";
            errors.push(Error::required(&path.child("csi"), text));
        }
    }
}

/// What a driver needs for its volume.
pub(super) fn secrets(csi: &Value, path: &Path, errors: &mut Errors) {
    if str_of(csi, "volumeHandle").is_empty() {
        errors.push(Error::required(&path.child("volumeHandle"), ""));
    }
    let fields =
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];
    for field in fields.into_iter().filter(|field| csi[*field].is_object()) {
        let rules: [(&str, text::Rule); 2] = [("name", text::dns_subdomain), ("namespace", text::dns_label)];
        for (part, rule) in rules {
            let path = path.child(field).child(part);
            match str_of(&csi[field], part) {
                "" => errors.push(Error::required(&path, "")),
                name => complain(rule(name), name, &path, errors),
            }
        }
    }
}

fn volume_changed(old: &Object, new: &Object, errors: &mut Errors) {
    let source = |object: &Object| {
        let mut spec = object.get(&["spec"]).cloned().unwrap_or(Value::Null);
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|field, _| !NO_SOURCES.contains(&field.as_str()));
        }
        spec
    };
    let (before, mut after) = (source(old), source(new));
    let unset = before["csi"].is_object() && before["csi"]["controllerExpandSecretRef"].is_null();
    if unset && after["csi"].is_object() {
        after["csi"]["controllerExpandSecretRef"] = Value::Null;
    }
    if !super::same(Some(&before), Some(&after)) {
        let changes = difference::of("core/v1", "PersistentVolumeSource", &before, &after);
        let text = format!("spec.persistentvolumesource is immutable after creation\n{changes}");
        errors.push(Error::forbidden(&Path::new("spec.persistentvolumesource"), text));
    }
    let of = |object: &Object, field: &str| object.get(&["spec", field]).cloned().unwrap_or(Value::Null);
    if of(old, "volumeMode") != of(new, "volumeMode") {
        errors.push(Error::invalid(&Path::new("volumeMode"), of(new, "volumeMode"), super::IMMUTABLE));
    }
    let affinity = of(old, "nodeAffinity");
    if !affinity.is_null() && !super::same(Some(&affinity), new.get(&["spec", "nodeAffinity"])) {
        let text = "field is immutable, except for updating from beta label to GA";
        let error = Error::invalid(&Path::new("nodeAffinity"), of(new, "nodeAffinity"), text);
        errors.push(error.of_type("core/v1", "VolumeNodeAffinity"));
    }
    if !of(old, "volumeAttributesClassName").is_null() && of(new, "volumeAttributesClassName").is_null() {
        let path = Path::new("spec.volumeAttributesClassName");
        errors.push(Error::forbidden(&path, "update from non-nil value to nil is forbidden"));
    }
}
