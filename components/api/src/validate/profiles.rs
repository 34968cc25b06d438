//! The annotations that named a container's profiles before there were fields for them: they name something that there
//! is, and nothing else than the fields.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{list, paths, str_of};

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// One of the two ways to confine a process: how annotations name its profiles, and the field that does.
struct Way {
    name: &'static str,
    field: &'static str,
    annotation: &'static str,
    unconfined: &'static str,
    default: &'static [&'static str],
    local: &'static str,
}

const SECCOMP: Way = Way {
    name: "seccomp",
    field: "seccompProfile",
    annotation: SECCOMP_CONTAINER,
    unconfined: "unconfined",
    default: &["runtime/default", "docker/default"],
    local: "localhost/",
};
const ARMOR: Way = Way {
    name: "apparmor",
    field: "appArmorProfile",
    annotation: APP_ARMOR,
    unconfined: "unconfined",
    default: &["runtime/default"],
    local: "localhost/",
};

fn texts(annotations: &Value) -> impl Iterator<Item = (&str, &str)> {
    let all = annotations.as_object().into_iter().flatten();
    all.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

fn containers(spec: &Value) -> impl Iterator<Item = (&'static str, usize, &Value)> {
    CONTAINERS
        .iter()
        .flat_map(move |field| list(spec, field).iter().enumerate().map(move |(at, container)| (*field, at, container)))
}

/// That the annotations of a Pod, or of a template, make sense.
pub(super) fn annotations(annotations: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    for (key, profile) in texts(annotations) {
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp(profile, &path.child(key), errors);
        }
    }
    for (key, profile) in texts(annotations) {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        let path = path.key(key);
        if !containers(spec).any(|(.., container)| str_of(container, "name") == name) {
            errors.push(Error::invalid(&path, name, "container not found"));
        }
        let known = profile.is_empty() || profile == ARMOR.unconfined || ARMOR.default.contains(&profile);
        if !known && !profile.starts_with(ARMOR.local) {
            errors.push(Error::invalid(&path, profile, format!("invalid AppArmor profile name: {profile:?}")));
        }
    }
}

fn seccomp(profile: &str, path: &Path, errors: &mut Errors) {
    match profile.strip_prefix(SECCOMP.local) {
        _ if SECCOMP.default.contains(&profile) || profile == SECCOMP.unconfined => {}
        Some(file) => paths::descending(file, path, errors),
        None => errors.push(Error::invalid(path, profile, "must be a valid seccomp profile")),
    }
}

/// That the annotations of what is new name what its fields name.
pub(super) fn agree(annotations: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let of_pod = &spec["securityContext"];
    let pod_path = path.child("securityContext");
    if let Some(annotation) = annotations[SECCOMP_POD].as_str() {
        same(&SECCOMP, annotation, &of_pod[SECCOMP.field], &pod_path, errors);
    }
    for way in [&SECCOMP, &ARMOR] {
        if way.name == "apparmor" && spec["os"]["name"] == "windows" {
            continue;
        }
        for (field, at, container) in containers(spec) {
            let key = format!("{}{}", way.annotation, str_of(container, "name"));
            let Some(annotation) = annotations[key.as_str()].as_str() else { continue };
            let mut profile = &container["securityContext"][way.field];
            if profile.is_null() && way.name == "apparmor" {
                profile = &of_pod[way.field];
            }
            same(way, annotation, profile, &path.child(field).index(at).child("securityContext"), errors);
        }
    }
}

fn same(way: &Way, annotation: &str, profile: &Value, path: &Path, errors: &mut Errors) {
    let (path, local) = (path.child(way.field), annotation.strip_prefix(way.local));
    let wrong = match str_of(profile, "type") {
        "Unconfined" if annotation != way.unconfined => ("type", "type"),
        "RuntimeDefault" if !way.default.contains(&annotation) => ("type", "type"),
        "Localhost" if local.is_none() => ("type", "type"),
        "Localhost" if local != profile["localhostProfile"].as_str() => ("localhostProfile", "profile"),
        _ => return,
    };
    let text = format!("{} {} in annotation and field must match", way.name, wrong.1);
    errors.push(Error::forbidden(&path.child(wrong.0), text));
}
