//! What all kinds have in common: names, labels, annotations, owners, finalizers.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::text::{self, Rule};
use super::{list, str_of};
use crate::object::Object;

/// The most that all annotations of an object may hold.
const ANNOTATIONS: usize = 256 * 1024;
/// The longest name of a manager of fields, and of the subresource that it wrote through.
const MANAGER: usize = 128;
const SUBRESOURCE: usize = 256;

/// The rule for names of a kind.
fn name_rule(group: &str, kind: &str) -> Rule {
    match (group, kind) {
        ("", "Namespace" | "Service") | ("apps", "StatefulSet") => text::dns_label,
        ("policy", "PodDisruptionBudget") => text::path_segment,
        ("rbac.authorization.k8s.io" | "apiregistration.k8s.io", _) => text::path_segment,
        // Old events have whatever name there is a path for.
        ("", "Event") | ("certificates.k8s.io", "CertificateSigningRequest") => text::path_segment,
        ("networking.k8s.io", "IPAddress") => text::ip_address,
        _ => text::dns_subdomain,
    }
}

/// A new object's metadata; `is_core` as in [`is_core`].
pub(super) fn create(group: &str, kind: &str, is_core: bool, object: &Object) -> Errors {
    // Upstream forgets these.
    let is_core = is_core && !matches!((group, kind), ("", "Event") | ("node.k8s.io", _) | ("policy", _));
    let path = Path::new("metadata");
    let rule = name_rule(group, kind);
    let mut errors = Errors::new();
    let prefix = object.str(&["metadata", "generateName"]);
    if !prefix.is_empty() {
        // The end of a generated name makes up for a dash at the end of its prefix.
        let whole = format!("{}a", prefix.strip_suffix('-').unwrap_or(prefix));
        errors.extend(rule(&whole).into_iter().map(|text| Error::invalid(&path.child("generateName"), prefix, text)));
    }
    if object.name().is_empty() {
        errors.push(Error::required(&path.child("name"), "name or generateName is required"));
    } else {
        errors.extend(
            rule(object.name()).into_iter().map(|text| Error::invalid(&path.child("name"), object.name(), text)),
        );
    }
    common(is_core, object, &path, &mut errors);
    errors
}

/// What an update of an object, or of its subresource, may not do to metadata. Upstream looks at them twice whatever the kind
/// is, and then as the kind's own rules do; what is wrong is told each time.
pub(super) fn update(group: &str, kind: &str, subresource: &str, old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    common(false, new, &Path::new("metadata"), &mut errors);
    errors.extend(once(false, old, new));
    let core = is_core(group);
    // Whether the kind's rules look at the change, whether at the state as that of a new object, and whether they are the core's.
    let (change, state, core) = match (group, kind, subresource) {
        ("", "Event", _) | ("policy", ..) | ("batch", "CronJob", "status") => (false, false, core),
        ("node.k8s.io", ..) | ("apiregistration.k8s.io", ..) => (true, true, false),
        ("certificates.k8s.io", ..) => (true, true, true),
        (_, _, name) if !name.is_empty() => (true, false, core),
        ("rbac.authorization.k8s.io", ..)
        | ("apps", "ControllerRevision", _)
        | ("networking.k8s.io", "IPAddress" | "IngressClass" | "Ingress", _)
        | ("resource.k8s.io", "DeviceClass" | "ResourceClaimTemplate" | "ResourceClaim", _)
        | ("storage.k8s.io", "CSIStorageCapacity" | "StorageClass" | "VolumeAttributesClass", _)
        | ("batch", "Job", _) => (true, true, core),
        (
            "",
            "ConfigMap"
            | "Endpoints"
            | "Secret"
            | "ServiceAccount"
            | "Node"
            | "PersistentVolume"
            | "PersistentVolumeClaim"
            | "Pod"
            | "Namespace",
            _,
        ) => (true, true, core),
        _ => (true, false, core),
    };
    let state_first = state && super::looks(group, kind).0 > 0;
    if state_first {
        common(core, new, &Path::new("metadata"), &mut errors);
    }
    if change {
        errors.extend(once(core, old, new));
    }
    if state && !state_first {
        common(core, new, &Path::new("metadata"), &mut errors);
    }
    errors
}

/// What an update may not do to metadata. What the server keeps in any case is not looked at.
pub(super) fn once(is_core: bool, old: &Object, new: &Object) -> Errors {
    let path = Path::new("metadata");
    let mut errors = Errors::new();
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        let of = |object: &Object| object.get(&["metadata", field]).cloned();
        if let Some(value) = of(new).filter(|value| of(old).as_ref() != Some(value)) {
            errors.push(Error::invalid(&path.child(field), value, "field is immutable"));
        }
    }
    if old.is_being_deleted() {
        let of = |object: &Object| object.get(&["metadata", "finalizers"]).and_then(Value::as_array).cloned();
        let (before, after) = (of(old).unwrap_or_default(), of(new).unwrap_or_default());
        let mut added: Vec<&str> =
            after.iter().filter(|finalizer| !before.contains(finalizer)).filter_map(Value::as_str).collect();
        added.sort_unstable();
        if !added.is_empty() {
            let added: Vec<String> = added.iter().map(|finalizer| format!("{finalizer:?}")).collect();
            let text = "no new finalizers can be added if the object is being deleted, found new finalizers";
            let text = format!("{text} []string{{{}}}", added.join(", "));
            errors.push(Error::forbidden(&path.child("finalizers"), text));
        }
    }
    if let Some(metadata) = new.get(&["metadata"]) {
        notes(metadata, &path, &mut errors);
        managers(metadata, &path, &mut errors);
        known_finalizers(is_core, metadata, &path, &mut errors);
    }
    errors
}

/// [`update`] of a custom resource: what every kind is looked at for, and once more by its own rules.
pub(super) fn custom_update(old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    common(false, new, &Path::new("metadata"), &mut errors);
    errors.extend(once(false, old, new));
    errors.extend(once(false, old, new));
    errors
}

/// Metadata of an object within another.
pub(super) fn embedded(metadata: &Value, path: &Path, errors: &mut Errors) {
    let named = |field: &str, errors: &mut Errors, rule: Rule| {
        let name = str_of(metadata, field);
        if !name.is_empty() {
            errors.extend(rule(name).into_iter().map(|text| Error::invalid(&path.child(field), name, text)));
        }
    };
    named("generateName", errors, text::path_segment);
    named("name", errors, text::path_segment);
    named("namespace", errors, text::dns_label);
    fields(false, metadata, path, errors);
}

/// The fields of metadata that what is made of a template does not take from it, in the order of Go's type and under its names.
const NOT_IN_TEMPLATES: [(&str, &str); 13] = [
    ("name", "name"),
    ("generateName", "generateName"),
    ("namespace", "namespace"),
    ("selfLink", "selfLink"),
    ("uid", "uID"),
    ("resourceVersion", "resourceVersion"),
    ("generation", "generation"),
    ("creationTimestamp", "creationTimestamp"),
    ("deletionTimestamp", "deletionTimestamp"),
    ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
    ("ownerReferences", "ownerReferences"),
    ("finalizers", "finalizers"),
    ("managedFields", "managedFields"),
];

/// Metadata of what is made of a template: labels and annotations, and nothing else.
pub(super) fn of_template(metadata: &Value, path: &Path, errors: &mut Errors) {
    annotations(metadata.get("annotations"), &path.child("annotations"), errors);
    labels(metadata.get("labels"), &path.child("labels"), errors);
    for (field, shown) in NOT_IN_TEMPLATES {
        if !super::same(metadata.get(field), None) {
            errors.push(Error::forbidden(&path.child(shown), "cannot be set"));
        }
    }
}

fn common(is_core: bool, object: &Object, path: &Path, errors: &mut Errors) {
    if let Some(metadata) = object.get(&["metadata"]) {
        fields(is_core, metadata, path, errors);
    }
}

fn fields(is_core: bool, metadata: &Value, path: &Path, errors: &mut Errors) {
    notes(metadata, path, errors);
    finalizers(list(metadata, "finalizers"), &path.child("finalizers"), errors);
    managers(metadata, path, errors);
    known_finalizers(is_core, metadata, path, errors);
}

/// What others say of an object: labels, annotations and owners.
fn notes(metadata: &Value, path: &Path, errors: &mut Errors) {
    labels(metadata.get("labels"), &path.child("labels"), errors);
    annotations(metadata.get("annotations"), &path.child("annotations"), errors);
    owners(metadata, &path.child("ownerReferences"), errors);
}

fn managers(metadata: &Value, path: &Path, errors: &mut Errors) {
    for (at, entry) in list(metadata, "managedFields").iter().enumerate() {
        let path = path.child("managedFields").index(at);
        for (field, most) in [("manager", MANAGER), ("subresource", SUBRESOURCE)] {
            if str_of(entry, field).len() > most {
                errors.push(Error::too_long(&path.child(field), most));
            }
        }
    }
}

/// Whether a built-in kind's metadata follows the rules of the core group beside those that all kinds follow.
pub(super) fn is_core(group: &str) -> bool {
    let generic =
        ["admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "coordination.k8s.io"];
    !generic.contains(&group)
}

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Finalizers are qualified names.
fn finalizers(finalizers: &[Value], path: &Path, errors: &mut Errors) {
    let all: Vec<&str> = finalizers.iter().filter_map(Value::as_str).collect();
    for finalizer in &all {
        errors.extend(text::qualified_name(finalizer).into_iter().map(|text| Error::invalid(path, *finalizer, text)));
    }
    if all.contains(&ORPHAN) && all.contains(&FOREGROUND) {
        let text = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.push(Error::invalid(path, Value::Array(finalizers.to_vec()), text));
    }
}

/// Of built-in kinds, only finalizers that Kubernetes knows itself may be without a domain.
fn known_finalizers(is_core: bool, metadata: &Value, path: &Path, errors: &mut Errors) {
    for (at, finalizer) in list(metadata, "finalizers").iter().enumerate().filter(|_| is_core) {
        let finalizer = finalizer.as_str().unwrap_or_default();
        if !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | ORPHAN | FOREGROUND) {
            let text = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(&path.child("finalizers").index(at), finalizer, text));
        }
    }
}

fn owners(metadata: &Value, path: &Path, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for owner in list(metadata, "ownerReferences") {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if str_of(owner, field).is_empty() {
                let text = if field == "apiVersion" { "version must not be empty" } else { "must not be empty" };
                errors.push(Error::invalid(&path.child(field), "", text));
            }
        }
        // What is recorded of others owns nothing.
        if owner["apiVersion"] == "v1" && owner["kind"] == "Event" {
            errors.push(Error::invalid(path, owner.clone(), "/v1, Kind=Event is disallowed from being an owner"));
        }
        if owner["controller"] == true {
            let this = format!("{}/{}", str_of(owner, "kind"), str_of(owner, "name"));
            match &controller {
                None => controller = Some(this),
                Some(first) => {
                    let text = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    errors.push(Error::invalid(path, metadata["ownerReferences"].clone(), text));
                }
            }
        }
    }
}

/// Keys and values of labels.
pub fn labels(labels: Option<&Value>, path: &Path, errors: &mut Errors) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        errors.extend(text::qualified_name(key).into_iter().map(|text| Error::invalid(path, key.as_str(), text)));
        let value = value.as_str().unwrap_or_default();
        errors.extend(text::label_value(value).into_iter().map(|text| Error::invalid(path, value, text)));
    }
}

/// Keys of annotations, whose case does not matter, and the size of them all.
pub fn annotations(annotations: Option<&Value>, path: &Path, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        let complaints = text::qualified_name(&key.to_lowercase());
        errors.extend(complaints.into_iter().map(|text| Error::invalid(path, key.as_str(), text)));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS {
        errors.push(Error::too_long(path, ANNOTATIONS));
    }
}

/// Whether the operator of an expression is known; says what is wrong with the number of its values.
pub(super) fn operator(expression: &Value, path: &Path, errors: &mut Errors) -> bool {
    let values = list(expression, "values");
    match str_of(expression, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            let text = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(Error::required(&path.child("values"), text));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(Error::forbidden(&path.child("values"), text));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => return false,
    }
    true
}

/// A label selector.
pub fn selector(selector: &Value, path: &Path, errors: &mut Errors) {
    labels(selector.get("matchLabels"), &path.child("matchLabels"), errors);
    for (at, expression) in list(selector, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(at);
        let values = list(expression, "values");
        if !operator(expression, &path, errors) {
            let other = str_of(expression, "operator");
            errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator"));
        }
        let key = str_of(expression, "key");
        errors.extend(text::qualified_name(key).into_iter().map(|text| Error::invalid(&path.child("key"), key, text)));
        for (at, value) in values.iter().filter_map(Value::as_str).enumerate() {
            let path = path.child("values").index(at);
            errors.extend(text::label_value(value).into_iter().map(|text| Error::invalid(&path, value, text)));
        }
    }
}
