//! What is done with an object that its definition decides, and not a built-in type: filling in, checking, converting.

use std::collections::BTreeSet;

use bytes::Bytes;
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::{defaults, validate, warnings};
use serde_json::Value;

use crate::registry::ResourceSpec;
use crate::request::ResourceRequest;
use crate::strategy::pods;

/// Fills in defaults.
pub fn fill(spec: &ResourceSpec, object: &mut Object) {
    match &spec.custom {
        Some(custom) => custom.version().fill(object),
        None => {
            let (group, version) = spec.stored_form();
            defaults::apply(group, version, spec.kind(), object);
        }
    }
}

/// Fills in defaults of a new object that has had them, and has lost its status since. The status has defaults of its own;
/// the rest can only lack some where `all` says that somebody else has changed it.
pub fn fill_again(spec: &ResourceSpec, object: &mut Object, all: bool) {
    // What versions a definition has decides what its status begins with.
    if all || spec.custom.is_some() || defines(spec) {
        fill(spec, object);
        return;
    }
    if !spec.status {
        return;
    }
    let mut bare = Object::default();
    for field in ["apiVersion", "kind"] {
        if let Some(value) = object.get(&[field]) {
            bare.set(&[field], value.clone());
        }
    }
    if let Some(status) = object.get(&["status"]) {
        bare.set(&["status"], status.clone());
    }
    fill(spec, &mut bare);
    match bare.remove(&["status"]) {
        Some(status) => object.set(&["status"], status),
        None => drop(object.remove(&["status"])),
    }
}

/// Whether objects are definitions.
fn defines(spec: &ResourceSpec) -> bool {
    spec.is("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Makes of an object what a reader will be given of it, where it is stored in another version than the request's.
pub fn as_stored(spec: &ResourceSpec, object: &mut Object) {
    if let Some(custom) = &spec.custom {
        custom.definition.as_stored(object, custom.version());
    }
}

/// Whether a new object may be stored.
pub fn create(request: &ResourceRequest, object: &Object) -> Result<(), Status> {
    let spec = &request.spec;
    if defines(spec) {
        let errors = kinit_crd::validate::definition(None, object);
        validate::custom(spec.group(), spec.kind(), None, object, errors)?;
        warn_of_formats(request, None, object);
        return Ok(());
    }
    let Some(custom) = &spec.custom else {
        validate::create(spec.group(), spec.kind(), object)?;
        warn(request, None, object);
        return Ok(());
    };
    if custom.definition.terminating {
        let text = format!(
            "{}.{} {:?} is forbidden: create not allowed while custom resource definition is terminating",
            spec.resource(),
            spec.group(),
            object.name()
        );
        return Err(Status::forbidden(spec.group(), spec.resource(), object.name(), text));
    }
    validate::custom(spec.group(), spec.kind(), None, object, custom.version().check(None, object, &mut Vec::new()))?;
    warn_of_finalizers(request, None, object);
    Ok(())
}

/// Tells of formats in a definition's schemas that say nothing.
fn warn_of_formats(request: &ResourceRequest, old: Option<&Object>, new: &Object) {
    let formats = |object: &Object| -> Vec<String> {
        let versions = object.get(&["spec", "versions"]).and_then(Value::as_array);
        let schemas = versions.into_iter().flatten().map(|version| &version["schema"]["openAPIV3Schema"]);
        schemas.flat_map(kinit_crd::check::unknown_formats).collect()
    };
    let before = old.map(formats).unwrap_or_default();
    for format in formats(new).into_iter().filter(|format| !before.contains(format)) {
        request.warnings.add(format!("unrecognized format {format:?}"));
    }
}

/// Tells of new finalizers of a custom resource that others may take for theirs.
fn warn_of_finalizers(request: &ResourceRequest, old: Option<&Object>, new: &Object) {
    let of = |object: &Object| -> BTreeSet<String> {
        let list = object.get(&["metadata", "finalizers"]).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let before = old.map(of).unwrap_or_default();
    for name in of(new).difference(&before) {
        let is_known = matches!(name.as_str(), "orphan" | "foregroundDeletion" | "kubernetes");
        if !request.internal && !is_known && !name.contains('/') {
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            request.warnings.add(format!(
                "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name{path} to avoid accidental \
                 conflicts with other finalizer writers"
            ));
        }
    }
}

/// Tells the client what is right and still not as it may have been meant.
fn warn(request: &ResourceRequest, old: Option<&Object>, object: &Object) {
    if !request.internal {
        let all = warnings::of(request.spec.group(), request.spec.kind(), old, object);
        all.into_iter().for_each(|text| request.warnings.add(text));
    }
}

/// Whether an object may become another.
pub fn update(request: &ResourceRequest, old: &Object, new: &Object) -> Result<(), Status> {
    let spec = &request.spec;
    let Some(custom) = &spec.custom else {
        // Nothing is wrong with what does not change, nor with what the server does on the way of another request.
        if new == old || request.internal && !request.subresource.is_empty() {
            return Ok(());
        }
        if defines(spec) && request.subresource == "status" {
            return validate::custom(spec.group(), spec.kind(), Some(old), new, kinit_crd::validate::status(new));
        }
        if !request.subresource.is_empty() {
            let classes = (old.str(&["status", "qosClass"]), pods::qos_class(new));
            return validate::subresource(spec.group(), spec.kind(), &request.subresource, old, new, classes);
        }
        if defines(spec) {
            let errors = kinit_crd::validate::definition(Some(old), new);
            validate::custom(spec.group(), spec.kind(), Some(old), new, errors)?;
            warn_of_formats(request, Some(old), new);
            return Ok(());
        }
        validate::update(spec.group(), spec.kind(), old, new)?;
        warn(request, Some(old), new);
        return Ok(());
    };
    let version = custom.version();
    let mut stood = Vec::new();
    let errors = if request.subresource == "status" {
        version.check_status(old, new, &mut stood)
    } else {
        version.check(Some(old), new, &mut stood)
    };
    stood.iter().for_each(|error| request.warnings.add(error.to_string()));
    validate::custom(spec.group(), spec.kind(), Some(old), new, errors)?;
    warn_of_finalizers(request, Some(old), new);
    Ok(())
}

/// The bytes of a cached object as a version shows it: only the version is different, or nothing.
pub fn bytes(spec: &ResourceSpec, json: &Bytes) -> Bytes {
    let Some(custom) = &spec.custom else { return json.clone() };
    let wanted = format!(r#"{{"apiVersion":"{}","#, spec.api_version());
    if json.starts_with(wanted.as_bytes()) {
        return json.clone();
    }
    match Object::from_slice(json) {
        Ok(mut object) => {
            custom.definition.relabel(&mut object, custom.version());
            object.to_vec().into()
        }
        Err(_) => json.clone(),
    }
}
