//! ConfigMaps, Secrets and claims.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, containers, list, metadata, same, str_of, text};
use crate::object::Object;
use crate::quantity::Quantity;

/// The most that a ConfigMap or a Secret may hold.
const MOST: usize = 1024 * 1024;
const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

fn entries<'a>(object: &'a Object, field: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let map = object.get(&[field]).and_then(Value::as_object);
    map.into_iter().flatten().map(|(key, value)| (key, value.as_str().unwrap_or_default()))
}

fn decoded_length(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

pub(super) fn config_map(map: &Object) -> Errors {
    let mut errors = Errors::new();
    let mut size = 0;
    for (key, value) in entries(map, "data") {
        let path = Path::new("data").key(key);
        complain(text::config_key(key), key, &path, &mut errors);
        if map.get(&["binaryData", key]).is_some() {
            errors.push(Error::invalid(&path, key.as_str(), "duplicate of key present in binaryData"));
        }
        size += value.len();
    }
    for (key, value) in entries(map, "binaryData") {
        complain(text::config_key(key), key, &Path::new("binaryData").key(key), &mut errors);
        size += decoded_length(value);
    }
    if size > MOST {
        errors.push(Error::too_long(&Path::default(), MOST));
    }
    errors
}

pub(super) fn secret(secret: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("data");
    let mut size = 0;
    for (key, value) in entries(secret, "data") {
        complain(text::config_key(key), key, &path.key(key), &mut errors);
        size += decoded_length(value);
    }
    if size > MOST {
        errors.push(Error::too_long(&path, MOST));
    }
    let lacks = |key: &&&str| secret.get(&["data", key]).is_none();
    let needed: &[&str] = match secret.str(&["type"]) {
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            if secret.str(&["metadata", "annotations", annotation]).is_empty() {
                errors.push(Error::required(&Path::new("metadata.annotations").key(annotation), ""));
            }
            &[]
        }
        "kubernetes.io/dockercfg" => {
            registry(secret, ".dockercfg", &mut errors);
            &[]
        }
        "kubernetes.io/dockerconfigjson" => {
            registry(secret, ".dockerconfigjson", &mut errors);
            &[]
        }
        // One of the two is enough.
        "kubernetes.io/basic-auth" if lacks(&&"username") && lacks(&&"password") => &["username", "password"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    };
    errors.extend(needed.iter().filter(lacks).map(|key| Error::required(&path.key(key), "")));
    errors
}

/// The credentials of image registries are JSON.
fn registry(secret: &Object, key: &str, errors: &mut Errors) {
    let path = Path::new("data").key(key);
    let Some(content) = secret.get(&["data", key]).and_then(Value::as_str) else {
        errors.push(Error::required(&path, ""));
        return;
    };
    let bytes = STANDARD.decode(content).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        errors.push(Error::invalid(&path, "<secret contents redacted>", error));
    }
}

/// What an object that has been declared immutable may not do, and a Secret's type.
pub(super) fn changed(kind: &str, old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    if kind == "Secret" && old.str(&["type"]) != new.str(&["type"]) {
        errors.push(Error::invalid(&Path::new("type"), new.str(&["type"]), super::IMMUTABLE));
    }
    let frozen = |object: &Object| object.get(&["immutable"]) == Some(&Value::Bool(true));
    if frozen(old) {
        let text = "field is immutable when `immutable` is set";
        if !frozen(new) {
            errors.push(Error::forbidden(&Path::new("immutable"), text));
        }
        for field in ["data", "binaryData"] {
            if !same(old.get(&[field]), new.get(&[field])) {
                errors.push(Error::forbidden(&Path::new(field), text));
            }
        }
    }
    errors
}

pub(super) fn claim(claim: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = claim.get(&["spec"]).cloned().unwrap_or(Value::Null);
    let modes = list(&spec, "accessModes");
    let path_of_modes = path.child("accessModes");
    if modes.is_empty() {
        errors.push(Error::required(&path_of_modes, "at least 1 access mode is required"));
    }
    for mode in modes.iter().filter_map(Value::as_str).filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(Error::not_supported(&path_of_modes, mode, ACCESS_MODES));
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        errors.push(Error::forbidden(&path_of_modes, "may not use ReadWriteOncePod with other access modes"));
    }
    if spec["selector"].is_object() {
        metadata::selector(&spec["selector"], &path.child("selector"), &mut errors);
    }
    let path_of_size = path.child("resources").key("storage");
    match &spec["resources"]["requests"]["storage"] {
        Value::Null => errors.push(Error::required(&path_of_size, "")),
        size if containers::quantity(size).is_none_or(|size| size <= Quantity::ZERO) => {
            errors.push(Error::invalid(&path_of_size, size.clone(), "must be greater than zero"));
        }
        _ => {}
    }
    let class = str_of(&spec, "storageClassName");
    if !class.is_empty() {
        complain(text::dns_subdomain(class), class, &path.child("storageClassName"), &mut errors);
    }
    errors
}

/// A claim may get its volume, and a bound one may grow.
pub(super) fn claim_changed(old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    let bound = new.str(&["status", "phase"]) == "Bound";
    let unnamed = old.str(&["spec", "volumeName"]).is_empty();
    let unclassed = old.get(&["spec", "storageClassName"]).is_none();
    let fixed = |object: &Object| {
        let mut spec = object.get(&["spec"]).cloned().unwrap_or(Value::Null);
        if unnamed {
            spec["volumeName"] = Value::Null;
        }
        if unclassed {
            spec["storageClassName"] = Value::Null;
        }
        if bound {
            spec["resources"]["requests"]["storage"] = Value::Null;
            spec["volumeAttributesClassName"] = Value::Null;
        }
        spec
    };
    if !same(Some(&fixed(old)), Some(&fixed(new))) {
        let text =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(Error::forbidden(&Path::new("spec"), text));
    }
    let size = |object: &Object, path: &[&str]| object.get(path).and_then(containers::quantity);
    let request = ["spec", "resources", "requests", "storage"];
    if let (Some(before), Some(after)) = (size(old, &request), size(new, &request))
        && after < before
        && size(old, &["status", "capacity", "storage"]).is_none_or(|capacity| after <= capacity)
    {
        let text = "field can not be less than status.capacity";
        errors.push(Error::forbidden(&Path::new(&request.join(".")), text));
    }
    errors
}
