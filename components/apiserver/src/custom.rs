//! What is done with an object that its definition decides, and not a built-in type: filling in, checking, converting.

use bytes::Bytes;
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::{defaults, validate};

use crate::registry::ResourceSpec;
use crate::request::ResourceRequest;

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

/// Whether objects are definitions.
fn defines(spec: &ResourceSpec) -> bool {
    spec.is("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Whether a new object may be stored.
pub fn create(request: &ResourceRequest, object: &Object) -> Result<(), Status> {
    let spec = &request.spec;
    if defines(spec) {
        let errors = kinit_crd::validate::definition(None, object);
        return validate::custom(spec.group(), spec.kind(), None, object, errors);
    }
    let Some(custom) = &spec.custom else { return validate::create(spec.group(), spec.kind(), object) };
    if custom.definition.terminating {
        let text = "create not allowed while custom resource definition is terminating".to_owned();
        return Err(Status { message: text, ..Status::method_not_allowed() });
    }
    validate::custom(spec.group(), spec.kind(), None, object, custom.version().check(None, object))
}

/// Whether an object may become another.
pub fn update(request: &ResourceRequest, old: &Object, new: &Object) -> Result<(), Status> {
    let spec = &request.spec;
    let Some(custom) = &spec.custom else {
        if !request.subresource.is_empty() || new == old {
            return Ok(());
        }
        if defines(spec) {
            let errors = kinit_crd::validate::definition(Some(old), new);
            return validate::custom(spec.group(), spec.kind(), Some(old), new, errors);
        }
        return validate::update(spec.group(), spec.kind(), old, new);
    };
    let version = custom.version();
    let errors =
        if request.subresource == "status" { version.check_status(old, new) } else { version.check(Some(old), new) };
    validate::custom(spec.group(), spec.kind(), Some(old), new, errors)
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
