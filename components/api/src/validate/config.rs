//! ConfigMaps and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, same, text};
use crate::object::Object;

/// The most that a ConfigMap or a Secret may hold.
const MOST: usize = 1024 * 1024;

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
        errors.push(Error::too_long(&Path::new("[]"), MOST));
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
        "kubernetes.io/ssh-auth" if secret.str(&["data", "ssh-privatekey"]).is_empty() => {
            errors.push(Error::required(&path.key("ssh-privatekey"), ""));
            &[]
        }
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
