//! Whose rights a Pod and its containers run with, and what the system that they are for knows of that.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{list, paths, str_of, windows};

const CHANGE_POLICIES: &[&str] = &["Always", "OnRootMismatch"];
const GROUP_POLICIES: &[&str] = &["Merge", "Strict"];
/// What there is while labels of mounts are not a feature that is on.
const LABEL_POLICIES: &[&str] = &["Recursive"];
const PROC_MOUNTS: &[&str] = &["Default", "Unmasked"];
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
/// The longest path that there can be.
const LONGEST_PATH: usize = 4095;
const ID: &str = "must be between 0 and 2147483647, inclusive";

fn is_id(id: i64) -> bool {
    (0..=i64::from(i32::MAX)).contains(&id)
}

fn ids(context: &Value, fields: &[&str], path: &Path, errors: &mut Errors) {
    for field in fields {
        if let Some(id) = context[*field].as_i64().filter(|id| !is_id(*id)) {
            errors.push(Error::invalid(&path.child(field), id, ID));
        }
    }
}

fn known(holder: &Value, field: &str, values: &[&str], path: &Path, errors: &mut Errors) {
    if let Some(value) = holder[field].as_str().filter(|value| !values.contains(value)) {
        errors.push(Error::not_supported(&path.child(field), value, values));
    }
}

/// The context of the Pod as a whole.
pub(super) fn of_pod(spec: &Value, of_spec: &Path, errors: &mut Errors) {
    let (context, path) = (&spec["securityContext"], of_spec.child("securityContext"));
    ids(context, &["fsGroup", "runAsUser", "runAsGroup"], &path, errors);
    for (at, group) in list(context, "supplementalGroups").iter().enumerate() {
        if let Some(id) = group.as_i64().filter(|id| !is_id(*id)) {
            errors.push(Error::invalid(&path.child("supplementalGroups").index(at), id, ID));
        }
    }
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let text = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path.child("shareProcessNamespace"), true, text));
    }
    super::surroundings::sysctls(spec, &path, errors);
    known(context, "fsGroupChangePolicy", CHANGE_POLICIES, &path, errors);
    seccomp(&context["seccompProfile"], &path.child("seccompProfile"), errors);
    windows::options(&context["windowsOptions"], &path.child("windowsOptions"), errors);
    app_armor(&context["appArmorProfile"], &path.child("appArmorProfile"), errors);
    known(context, "supplementalGroupsPolicy", GROUP_POLICIES, &path, errors);
    known(context, "seLinuxChangePolicy", LABEL_POLICIES, &path, errors);
}

/// Whether containers may be privileged: one setting of a process, as upstream has it, that its flag `--allow-privileged` makes.
static PRIVILEGED: AtomicBool = AtomicBool::new(true);

/// Says whether containers, and Windows' processes of the host, may be privileged from now on; they may until something is said.
pub fn allow_privileged(allowed: bool) {
    PRIVILEGED.store(allowed, Ordering::Relaxed);
}

pub(super) fn may_be_privileged() -> bool {
    PRIVILEGED.load(Ordering::Relaxed)
}

/// The context of a container.
pub(super) fn of_container(context: &Value, host_users: bool, path: &Path, errors: &mut Errors) {
    if context["privileged"] == true && !may_be_privileged() {
        errors.push(Error::forbidden(&path.child("privileged"), "disallowed by cluster policy"));
    }
    ids(context, &["runAsUser", "runAsGroup"], path, errors);
    known(context, "procMount", PROC_MOUNTS, path, errors);
    if host_users && context["procMount"] == "Unmasked" {
        let text = "`hostUsers` must be false to use `Unmasked`";
        errors.push(Error::invalid(&path.child("procMount"), "Unmasked", text));
    }
    seccomp(&context["seccompProfile"], &path.child("seccompProfile"), errors);
    if context["allowPrivilegeEscalation"] == false {
        if context["privileged"] == true {
            let text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(Error::invalid(path, context.clone(), text));
        }
        if list(&context["capabilities"], "add").iter().any(|one| one == "CAP_SYS_ADMIN") {
            let text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(Error::invalid(path, context.clone(), text));
        }
    }
    windows::options(&context["windowsOptions"], &path.child("windowsOptions"), errors);
    app_armor(&context["appArmorProfile"], &path.child("appArmorProfile"), errors);
}

fn seccomp(profile: &Value, path: &Path, errors: &mut Errors) {
    if !profile.is_object() {
        return;
    }
    let kind = str_of(profile, "type");
    match kind {
        "" => errors.push(Error::required(&path.child("type"), "type is required when seccompProfile is set")),
        kind if !PROFILES.contains(&kind) => errors.push(Error::not_supported(&path.child("type"), kind, PROFILES)),
        _ => {}
    }
    let path_of_file = path.child("localhostProfile");
    match (kind, profile["localhostProfile"].as_str()) {
        ("Localhost", None) => {
            errors.push(Error::required(&path_of_file, "must be set when seccomp type is Localhost"));
        }
        ("Localhost", Some(file)) => paths::descending(file, &path_of_file, errors),
        (_, Some(_)) => {
            let text = "can only be set when seccomp type is Localhost";
            errors.push(Error::invalid(&path_of_file, profile.clone(), text));
        }
        _ => {}
    }
}

fn app_armor(profile: &Value, path: &Path, errors: &mut Errors) {
    if !profile.is_object() {
        return;
    }
    const MISSING: &str = "must be set when AppArmor type is Localhost";
    let of_name = path.child("localhostProfile");
    let name = profile["localhostProfile"].as_str();
    match (str_of(profile, "type"), name) {
        ("Localhost", None) => errors.push(Error::required(&of_name, MISSING)),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                errors.push(Error::invalid(&of_name, name, "must not be padded with whitespace"));
            } else if name.is_empty() {
                errors.push(Error::required(&of_name, MISSING));
            }
            if name.len() > LONGEST_PATH {
                errors.push(Error::too_long(&of_name, LONGEST_PATH));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.push(Error::invalid(&of_name, name, "can only be set when AppArmor type is Localhost"));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => errors.push(Error::required(&path.child("type"), "type is required when appArmorProfile is set")),
        (other, _) => errors.push(Error::not_supported(&path.child("type"), other, PROFILES)),
    }
}

/// Fields of a Pod that Windows has no meaning for: those of the spec, then those of its security context.
const NOT_WINDOWS: (&[&str], &[&str]) = (
    &["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"],
    &[
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "supplementalGroupsPolicy",
        "seLinuxChangePolicy",
    ],
);
/// The same of a container's context.
const NOT_WINDOWS_CONTAINER: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// Whether a field says something: an object does though it is empty, and a switch of the Pod's that is off does not.
fn said(holder: &Value, field: &str) -> bool {
    match &holder[field] {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Bool(on) => *on || !matches!(field, "hostPID" | "hostIPC"),
        _ => true,
    }
}

/// What the system that the Pod says it is for does not have.
pub(super) fn system(spec: &Value, path: &Path, errors: &mut Errors) {
    if !spec["os"].is_object() {
        return;
    }
    let name = str_of(&spec["os"], "name");
    let each = |errors: &mut Errors, check: &dyn Fn(&Value, &Path, &mut Errors)| {
        for field in ["initContainers", "containers", "ephemeralContainers"] {
            for (at, container) in list(spec, field).iter().enumerate() {
                check(&container["securityContext"], &path.child(field).index(at).child("securityContext"), errors);
            }
        }
    };
    let context = path.child("securityContext");
    match name {
        "" => errors.push(Error::required(&path.child("os.name"), "")),
        "linux" => {
            let linux = |context: &Value, path: &Path, errors: &mut Errors| {
                if context["windowsOptions"].is_object() {
                    let text = "windows options cannot be set for a linux pod";
                    errors.push(Error::forbidden(&path.child("windowsOptions"), text));
                }
            };
            linux(&spec["securityContext"], &context, errors);
            each(errors, &linux);
        }
        "windows" => {
            let absent = |holder: &Value, fields: &[&str], path: &Path, errors: &mut Errors| {
                for field in fields.iter().filter(|field| said(holder, field)) {
                    errors.push(Error::forbidden(&path.child(field), "cannot be set for a windows pod"));
                }
            };
            absent(spec, NOT_WINDOWS.0, path, errors);
            absent(&spec["securityContext"], NOT_WINDOWS.1, &context, errors);
            each(errors, &|context, path, errors| absent(context, NOT_WINDOWS_CONTAINER, path, errors));
        }
        other => errors.push(Error::not_supported(&path.child("os"), other, &["linux", "windows"])),
    }
}

/// What a Pod with users of its own cannot share with its host.
pub(super) fn own_users(spec: &Value, path: &Path, errors: &mut Errors) {
    if spec["hostUsers"] != false {
        return;
    }
    let text = "when `hostUsers` is false";
    // The fields' names begin with a capital in two of them, as upstream has it.
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec[field] == true {
            errors.push(Error::forbidden(&path.child(shown), text));
        }
    }
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in list(spec, field).iter().enumerate() {
            if !list(container, "volumeDevices").is_empty() {
                errors.push(Error::forbidden(&path.child(field).index(at).child("volumeDevices"), text));
            }
        }
    }
}
