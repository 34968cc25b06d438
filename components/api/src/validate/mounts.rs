//! Where a container has the Pod's volumes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{list, paths, str_of};

const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];
const RECURSIVE: &[&str] = &["Disabled", "Enabled", "IfPossible"];

/// The volumes that nothing is wrong with, by their names.
pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// A container's mounts and devices.
pub(super) fn all(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let of = |field: &str, place: &str| -> Vec<(&str, String)> {
        let all = list(container, field).iter();
        all.map(|one| (str_of(one, "name"), str_of(one, place).to_owned())).collect()
    };
    mounts(container, &of("volumeDevices", "devicePath"), volumes, &path.child("volumeMounts"), errors);
    devices(container, &of("volumeMounts", "mountPath"), volumes, &path.child("volumeDevices"), errors);
}

fn mounts(container: &Value, devices: &[(&str, String)], volumes: &Volumes<'_>, of_mounts: &Path, errors: &mut Errors) {
    let mut places = BTreeSet::new();
    for (at, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = of_mounts.index(at);
        let (name, place) = (str_of(mount, "name"), str_of(mount, "mountPath"));
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        if !volumes.contains_key(name) {
            errors.push(Error::not_found(&path.child("name"), name));
        }
        if place.is_empty() {
            errors.push(Error::required(&path.child("mountPath"), ""));
        }
        if !places.insert(place) {
            errors.push(Error::invalid(&path.child("mountPath"), place, "must be unique"));
        }
        if devices.iter().any(|(device, _)| *device == name) {
            errors.push(Error::invalid(&path.child("name"), name, "must not already exist in volumeDevices"));
        }
        if devices.iter().any(|(_, device)| device == place) {
            let text = "must not already exist as a path in volumeDevices";
            errors.push(Error::invalid(&path.child("mountPath"), place, text));
        }
        let (below, expression) = (str_of(mount, "subPath"), str_of(mount, "subPathExpr"));
        // These are told of the list, not of the mount.
        paths::descending(below, &of_mounts.child("subPath"), errors);
        if !expression.is_empty() {
            if !below.is_empty() {
                let text = "subPathExpr and subPath are mutually exclusive";
                errors.push(Error::invalid(&path.child("subPathExpr"), expression, text));
            }
            paths::descending(expression, &of_mounts.child("subPathExpr"), errors);
        }
        propagation(mount, container, of_mounts, errors);
    }
}

fn propagation(mount: &Value, container: &Value, of_mounts: &Path, errors: &mut Errors) {
    let propagation = mount["mountPropagation"].as_str();
    if let Some(mode) = propagation {
        let path = of_mounts.child("mountPropagation");
        if !PROPAGATIONS.contains(&mode) {
            errors.push(Error::not_supported(&path, mode, PROPAGATIONS));
        }
        if mode == "Bidirectional" && container["securityContext"]["privileged"] != true {
            let text = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(Error::forbidden(&path, text));
        }
    }
    let path = of_mounts.child("recursiveReadOnly");
    match mount["recursiveReadOnly"].as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount["readOnly"] != true {
                errors.push(Error::forbidden(&path, "may only be specified when readOnly is true"));
            }
            if propagation.is_some_and(|mode| mode != "None") {
                let text = "may only be specified when mountPropagation is None or not specified";
                errors.push(Error::forbidden(&path, text));
            }
        }
        Some(other) => errors.push(Error::not_supported(&path, other, RECURSIVE)),
    }
}

fn devices(container: &Value, mounts: &[(&str, String)], volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for (at, device) in list(container, "volumeDevices").iter().enumerate() {
        let path = path.index(at);
        let (of_name, of_place) = (path.child("name"), path.child("devicePath"));
        let (name, place) = (str_of(device, "name"), str_of(device, "devicePath"));
        if name.is_empty() {
            errors.push(Error::required(&of_name, ""));
        } else if !names.insert(name) {
            errors.push(Error::invalid(&of_name, name, "must be unique"));
        }
        match volumes.get(name) {
            None => errors.push(Error::not_found(&of_name, name)),
            Some(volume) if !volume["persistentVolumeClaim"].is_object() && !volume["ephemeral"].is_object() => {
                let text = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(Error::invalid(&of_name, name, text));
            }
            Some(_) => {}
        }
        if place.is_empty() {
            errors.push(Error::required(&of_place, ""));
        }
        if places.contains(place) {
            errors.push(Error::invalid(&of_place, place, "must be unique"));
        }
        if place.split('/').any(|part| part == "..") {
            errors.push(Error::invalid(&of_place, place, "can not contain backsteps ('..')"));
        } else {
            places.insert(place);
        }
        if mounts.iter().any(|(mount, _)| *mount == name) {
            errors.push(Error::invalid(&of_name, name, "must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|(_, mount)| mount == place) {
            let text = "must not already exist as a path in volumeMounts";
            errors.push(Error::invalid(&of_place, place, text));
        }
    }
}
