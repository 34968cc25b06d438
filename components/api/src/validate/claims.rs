//! PersistentVolumeClaims, and the templates of them.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, containers::quantity, list, metadata, same, str_of, text};
use crate::difference;
use crate::object::Object;
use crate::quantity::Quantity;

const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
pub(super) const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const SOURCE_KIND: &str = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";

pub(super) fn whole(claim: &Object) -> Errors {
    let mut errors = Errors::new();
    spec(claim.get(&["spec"]).unwrap_or(&Value::Null), &Path::new("spec"), &mut errors);
    errors
}

/// Access modes that can stand beside each other.
pub(super) fn access_modes(spec: &Value, path: &Path, errors: &mut Errors) {
    let modes = list(spec, "accessModes");
    for mode in modes.iter().filter_map(Value::as_str).filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.push(Error::not_supported(path, mode, ACCESS_MODES));
    }
    let one = modes.iter().any(|mode| mode == "ReadWriteOncePod");
    let other =
        modes.iter().filter_map(Value::as_str).any(|mode| mode != "ReadWriteOncePod" && ACCESS_MODES.contains(&mode));
    if one && other {
        errors.push(Error::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
}

pub(super) fn spec(spec: &Value, path: &Path, errors: &mut Errors) {
    let of_modes = path.child("accessModes");
    if list(spec, "accessModes").is_empty() {
        errors.push(Error::required(&of_modes, "at least 1 access mode is required"));
    }
    if spec["selector"].is_object() {
        metadata::selector(&spec["selector"], &path.child("selector"), errors);
    }
    access_modes(spec, &of_modes, errors);
    let of_size = path.child("resources").key("storage");
    match &spec["resources"]["requests"]["storage"] {
        Value::Null => errors.push(Error::required(&of_size, "")),
        size => match quantity(size) {
            Some(amount) if amount > Quantity::ZERO => {}
            Some(amount) => errors.push(Error::invalid(&of_size, amount.to_string(), "must be greater than zero")),
            None => errors.push(Error::invalid(&of_size, size.clone(), crate::quantity::ParseError::Format)),
        },
    }
    let class = str_of(spec, "storageClassName");
    if !class.is_empty() {
        complain(text::dns_subdomain(class), class, &path.child("storageClassName"), errors);
    }
    if let Some(mode) = spec["volumeMode"].as_str().filter(|mode| !VOLUME_MODES.contains(mode)) {
        errors.push(Error::not_supported(&path.child("volumeMode"), mode, VOLUME_MODES));
    }
    for field in ["dataSource", "dataSourceRef"].into_iter().filter(|field| spec[*field].is_object()) {
        source(&spec[field], &path.child(field), errors);
    }
    let (source, reference) = (&spec["dataSource"], &spec["dataSourceRef"]);
    if !str_of(reference, "namespace").is_empty() {
        if source.is_object() {
            let text = "may not be specified when dataSourceRef.namespace is specified";
            errors.push(Error::invalid_text(path, "{}", text));
        }
    } else if source.is_object() && reference.is_object() {
        let fields = ["apiGroup", "kind", "name"];
        if fields.iter().any(|field| source.get(*field) != reference.get(*field)) {
            errors.push(Error::invalid_text(path, "{}", "must match dataSourceRef"));
        }
    }
    let class = str_of(spec, "volumeAttributesClassName");
    if !class.is_empty() {
        complain(text::dns_subdomain(class), class, &path.child("volumeAttributesClassName"), errors);
    }
}

fn source(source: &Value, path: &Path, errors: &mut Errors) {
    for field in ["name", "kind"].into_iter().filter(|field| str_of(source, field).is_empty()) {
        errors.push(Error::required(&path.child(field), ""));
    }
    let (group, kind) = (str_of(source, "apiGroup"), str_of(source, "kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        errors.push(Error::invalid(path, kind, SOURCE_KIND));
    }
    if !group.is_empty() {
        complain(text::dns_subdomain(group), group, &path.child("apiGroup"), errors);
    }
    let namespace = str_of(source, "namespace");
    if !namespace.is_empty() {
        complain(text::dns_label(namespace), namespace, &path.child("namespace"), errors);
    }
}

/// A claim may get its volume, and a bound one may grow.
pub(super) fn changed(old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    let bound = new.str(&["status", "phase"]) == "Bound";
    let unnamed = old.str(&["spec", "volumeName"]).is_empty();
    let unclassed = old.get(&["spec", "storageClassName"]).is_none();
    let spec = |object: &Object| object.get(&["spec"]).cloned().unwrap_or(Value::Null);
    let (mut before, mut after) = (spec(old), spec(new));
    if unnamed {
        before["volumeName"] = after["volumeName"].clone();
    }
    if unclassed {
        after["storageClassName"] = Value::Null;
    }
    if bound {
        if after["resources"]["requests"].is_object() {
            after["resources"]["requests"]["storage"] = before["resources"]["requests"]["storage"].clone();
        }
        after["volumeAttributesClassName"] = before["volumeAttributesClassName"].clone();
    }
    if !same(Some(&before), Some(&after)) {
        let changes = difference::of("core/v1", "PersistentVolumeClaimSpec", &before, &after);
        let text = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
             claims\n{changes}"
        );
        errors.push(Error::forbidden(&Path::new("spec"), text));
    }
    let size = |object: &Object, path: &[&str]| object.get(path).and_then(quantity);
    let request = ["spec", "resources", "requests", "storage"];
    // What is not said is nothing.
    let [before, after] = [old, new].map(|claim| size(claim, &request).unwrap_or(Quantity::ZERO));
    let capacity = size(old, &["status", "capacity", "storage"]).unwrap_or(Quantity::ZERO);
    if after < before && after <= capacity {
        let text = "field can not be less than status.capacity";
        errors.push(Error::forbidden(&Path::new(&request.join(".")), text));
    }
    let mode = |object: &Object| object.get(&["spec", "volumeMode"]).cloned().unwrap_or(Value::Null);
    if mode(old) != mode(new) {
        errors.push(Error::invalid(&Path::new("volumeMode"), mode(new), super::IMMUTABLE));
    }
    let of_class = ["spec", "volumeAttributesClassName"];
    if old.get(&["status", "currentVolumeAttributesClassName"]).is_some() && old.get(&of_class) != new.get(&of_class) {
        let to = match new.get(&of_class).and_then(Value::as_str) {
            None => "nil",
            Some("") => "empty string",
            Some(_) => return errors,
        };
        let text = format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil");
        errors.push(Error::forbidden(&Path::new(&of_class.join(".")), text));
    }
    errors
}
