//! The environment of containers, and the references to fields that volumes share with it.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, containers, list, paths, str_of, text};

/// The fields of a Pod that variables may be taken from.
pub(super) const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// The fields of a Pod that files may be taken from.
pub(super) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// What references name beside [`FIELDS`], and what no reference may be to.
const OTHER_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SIZES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// A container's variables.
pub(super) fn variables(container: &Value, path: &Path, errors: &mut Errors) {
    for (at, variable) in list(container, "env").iter().enumerate() {
        let path = path.child("env").index(at);
        match str_of(variable, "name") {
            "" => errors.push(Error::required(&path.child("name"), "")),
            name => complain(text::variable_name(name), name, &path.child("name"), errors),
        }
        if variable["valueFrom"].is_object() {
            from(variable, &path.child("valueFrom"), errors);
        }
    }
    let of_sources = path.child("envFrom");
    for (at, source) in list(container, "envFrom").iter().enumerate() {
        let path = of_sources.index(at);
        let prefix = str_of(source, "prefix");
        if !prefix.is_empty() {
            complain(text::variable_name(prefix), prefix, &path.child("prefix"), errors);
        }
        let kinds = ["configMapRef", "secretRef"];
        for kind in kinds.into_iter().filter(|kind| source[*kind].is_object()) {
            let path = path.child(kind).child("name");
            match str_of(&source[kind], "name") {
                "" => errors.push(Error::required(&path, "")),
                name => complain(text::dns_subdomain_prefix(name), name, &path, errors),
            }
        }
        match kinds.iter().filter(|kind| source[**kind].is_object()).count() {
            0 => errors.push(Error::invalid(&of_sources, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(Error::invalid(&of_sources, "", "may not have more than one field specified at a time")),
        }
    }
}

fn from(variable: &Value, path: &Path, errors: &mut Errors) {
    let from = &variable["valueFrom"];
    let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let given: Vec<&str> = kinds.into_iter().filter(|kind| from[*kind].is_object()).collect();
    for kind in &given {
        let (source, path) = (&from[*kind], path.child(kind));
        match *kind {
            "fieldRef" => field(source, FIELDS, &path, errors),
            "resourceFieldRef" => resource(source, false, &path, errors),
            "fileKeyRef" => file_key(source, &path, errors),
            _ => {
                let name = str_of(source, "name");
                complain(text::dns_subdomain(name), name, &path.child("name"), errors);
                match str_of(source, "key") {
                    "" => errors.push(Error::required(&path.child("key"), "")),
                    key => complain(text::config_key(key), key, &path.child("key"), errors),
                }
            }
        }
    }
    if given.is_empty() {
        let text =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(Error::invalid(path, "", text));
    } else if !str_of(variable, "value").is_empty() {
        errors.push(Error::invalid(path, "", "may not be specified when `value` is not empty"));
    } else if given.len() > 1 {
        errors.push(Error::invalid(path, "", "may not have more than one field specified at a time"));
    }
}

fn file_key(source: &Value, path: &Path, errors: &mut Errors) {
    match str_of(source, "key") {
        "" => errors.push(Error::required(&path.child("key"), "")),
        key => complain(text::variable_name(key), key, &path.child("key"), errors),
    }
    match str_of(source, "volumeName") {
        "" => errors.push(Error::required(&path.child("volumeName"), "")),
        name => complain(text::dns_label(name), name, &path.child("volumeName"), errors),
    }
    match str_of(source, "path") {
        "" => errors.push(Error::required(&path.child("path"), "")),
        file => paths::no_backsteps(file, &path.child("path"), errors),
    }
}

/// That the volumes of files with variables are there and empty directories.
pub(super) fn files(spec: &Value, path: &Path, errors: &mut Errors) {
    let volumes = list(spec, "volumes");
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in list(spec, field).iter().enumerate() {
            for (of, variable) in list(container, "env").iter().enumerate() {
                let source = &variable["valueFrom"]["fileKeyRef"];
                if !source.is_object() {
                    continue;
                }
                let name = str_of(source, "volumeName");
                let path = path.child(field).index(at).child("env").index(of).child("valueFrom.fileKeyRef.volumeName");
                match volumes.iter().rfind(|volume| str_of(volume, "name") == name) {
                    None => errors.push(Error::not_found(&path, name)),
                    Some(volume) if !volume["emptyDir"].is_object() => {
                        errors.push(Error::invalid(&path, name, "referenced volume must be of type emptyDir"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// A path with a key in brackets, such as `metadata.labels['a']`, as its parts.
fn subscripted(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['").filter(|(base, _)| !base.is_empty())
}

/// A reference to a field of the Pod.
pub(super) fn field(reference: &Value, known: &[&str], path: &Path, errors: &mut Errors) {
    let (version, field) = (str_of(reference, "apiVersion"), str_of(reference, "fieldPath"));
    for (name, value) in [("apiVersion", version), ("fieldPath", field)] {
        if value.is_empty() {
            errors.push(Error::required(&path.child(name), ""));
            return;
        }
    }
    let of_field = path.child("fieldPath");
    let mut unconvertible = |why: String| {
        errors.push(Error::invalid(&of_field, field, format!("error converting fieldPath: {why}")));
    };
    if version != "v1" {
        return unconvertible(format!("unsupported pod version: {version}"));
    }
    if let Some((base, key)) = subscripted(field) {
        match base {
            "metadata.annotations" => complain(text::qualified_name(&key.to_lowercase()), key, path, errors),
            "metadata.labels" => complain(text::qualified_name(key), key, path, errors),
            _ => unconvertible(format!("field label does not support subscript: {field}")),
        }
        return;
    }
    let field = if field == "spec.host" { "spec.nodeName" } else { field };
    if !FIELDS.contains(&field) && !OTHER_FIELDS.contains(&field) {
        return unconvertible(format!("field label not supported: {field}"));
    }
    if !known.contains(&field) {
        errors.push(Error::not_supported(&of_field, field, known));
    }
}

/// A reference to a container's requests or limits.
pub(super) fn resource(reference: &Value, of_volume: bool, path: &Path, errors: &mut Errors) {
    let resource = str_of(reference, "resource");
    let pages = resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
    if of_volume && str_of(reference, "containerName").is_empty() {
        errors.push(Error::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(Error::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !pages {
        errors.push(Error::not_supported(&path.child("resource"), resource, RESOURCES));
    }
    let Some(divisor) = containers::quantity(&reference["divisor"]).filter(|divisor| !divisor.is_zero()) else {
        return;
    };
    let divisor = divisor.to_string();
    let what = match resource.split_once('.').map(|(_, what)| what) {
        Some("cpu") if !matches!(divisor.as_str(), "1" | "1m") => {
            let text = "only divisor's values 1m and 1 are supported with the cpu resource";
            errors.push(Error::invalid(&path.child("divisor"), resource, text));
            return;
        }
        Some("memory") => "memory",
        Some("ephemeral-storage") => "local ephemeral storage",
        _ if pages => "hugepages",
        _ => return,
    };
    if !SIZES.contains(&divisor.as_str()) {
        let text = format!("only divisor's values {} are supported with the {what} resource", SIZES.join(", "));
        errors.push(Error::invalid(&path.child("divisor"), resource, text));
    }
}
