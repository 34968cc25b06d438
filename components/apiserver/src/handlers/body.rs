//! Reading what clients send: JSON or YAML, checked against the path it was sent to.

use kinit_api::object::Object;
use kinit_api::protobuf;
use kinit_api::status::Status;
use kinit_api::strict::{self, Parsed};
use serde_json::Value;

use super::Payload;
use super::scale::TreePatch;
use crate::fields;
use crate::negotiate::PROTOBUF;
use crate::request::ResourceRequest;
use crate::strategy::DeleteOptions;

const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// The body as a tree.
pub fn tree(payload: &Payload) -> Result<Value, Status> {
    read(payload).map(|parsed| parsed.value)
}

/// The body as a tree, and the fields given twice in it.
fn read(payload: &Payload) -> Result<Parsed, Status> {
    let media = payload.content_type.split(';').next().unwrap_or_default().trim();
    let unreadable = |error: String| Status::bad_request(format!("the object provided is unrecognized: {error}"));
    match media {
        "" | "application/json" => strict::parse(&payload.bytes).map_err(|error| unreadable(error.to_string())),
        "application/yaml" => strict::parse_yaml(&payload.bytes).map_err(|error| unreadable(error.to_string())),
        PROTOBUF => protobuf::decode(&payload.bytes, ("", ""))
            .map(|map| Parsed { value: Value::Object(map), complaints: Vec::new() })
            .map_err(|error| unreadable(error.to_string())),
        _ => Err(Status::unsupported_media_type(MEDIA_TYPES)),
    }
}

/// The object that a create or an update carries. Its kind, version, namespace and name must be the path's. Fields that
/// the kind does not have are told or refused, as the request says.
pub fn object(request: &ResourceRequest, payload: &Payload) -> Result<Object, Status> {
    fields::check_options(request, false)?;
    let Parsed { value, complaints } = read(payload)?;
    let object = Object::from_value(value)
        .ok_or_else(|| Status::bad_request("the object provided is unrecognized: it is not a JSON object"))?;
    let mut object = check(request, object)?;
    let (kind, version) = (request.spec.kind(), request.spec.version());
    let refused = |why: String| {
        Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
    };
    let unknown = fields::conform(&request.spec, &mut object).map_err(|error| refused(error.to_string()))?;
    let problems = unknown.into_iter().chain(complaints).collect();
    fields::settle(request, problems, refused)?;
    Ok(object)
}

/// What is known of a patch before it is applied.
#[derive(Default)]
pub struct Facts {
    /// What is wrong with the patch itself.
    pub problems: Vec<String>,
    /// The patch as errors show it; without, they show what it made of the object.
    pub shown: Option<String>,
}

/// What a patch made of an object, checked as [`object`] checks what is sent whole.
pub fn patched(request: &ResourceRequest, tree: Value, facts: &Facts) -> Result<Object, Status> {
    let mut problems = facts.problems.clone();
    let object = Object::from_value(tree).ok_or_else(|| Status::bad_request("the patch leaves no object"))?;
    let mut object = check(request, object)?;
    let found = fields::conform(&request.spec, &mut object);
    let refused = |why: String| {
        let made = || String::from_utf8_lossy(&object.to_vec()).into_owned();
        let text = format!("Invalid value: {:?}: {why}", facts.shown.clone().unwrap_or_else(made));
        Status::invalid("", "", "", &[("FieldValueInvalid", "patch".into(), text)])
    };
    match found {
        Ok(unknown) => problems.extend(unknown),
        Err(error) => return Err(refused(error.to_string())),
    }
    fields::settle(request, problems, refused)?;
    Ok(object)
}

/// The checks of [`object`], for a tree that a patch made.
pub fn check(request: &ResourceRequest, mut object: Object) -> Result<Object, Status> {
    let spec = &request.spec;
    let version = spec.api_version();
    // Clients may leave both out, since the path says them; what is stored has them.
    if object.api_version().is_empty() {
        object.set(&["apiVersion"], version.clone());
    }
    if object.kind().is_empty() {
        object.set(&["kind"], spec.kind());
    }
    if object.api_version() != version || object.kind() != spec.kind() {
        let sent = format!("{}, Kind={}", object.api_version(), object.kind());
        return Err(Status::bad_request(format!(
            "{sent} is not what this path takes: {version}, Kind={}",
            spec.kind()
        )));
    }
    let namespace = object.namespace();
    if spec.namespaced() && !namespace.is_empty() && namespace != request.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !request.name.is_empty() && !object.name().is_empty() && object.name() != request.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            object.name(),
            request.name
        )));
    }
    Ok(object)
}

/// The options of a deletion: those in the query overrule those in the body.
pub fn delete_options(request: &ResourceRequest, payload: &Payload) -> Result<DeleteOptions, Status> {
    let body = if payload.bytes.is_empty() { Value::Null } else { tree(payload)? };
    let mut options = options_of(&body)?;
    if let Some(seconds) = request.query.get("gracePeriodSeconds") {
        let parsed = seconds
            .parse()
            .map_err(|_| Status::bad_request(format!("gracePeriodSeconds: {seconds:?} is not a number")));
        options.grace_period_seconds = Some(parsed?);
    }
    if let Some(policy) = request.query.get("propagationPolicy") {
        options.propagation = Some(policy.clone());
    }
    check_propagation(options)
}

/// The options that a `DeleteOptions` object says; null says none.
pub fn options_of(body: &Value) -> Result<DeleteOptions, Status> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut options = DeleteOptions {
        grace_period_seconds: body["gracePeriodSeconds"].as_i64(),
        propagation: text(&body["propagationPolicy"]),
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        dry_run: false,
    };
    for stage in body["dryRun"].as_array().into_iter().flatten() {
        options.dry_run |= super::tries_only(stage.as_str().unwrap_or_default())?;
    }
    if body["orphanDependents"] == true {
        options.propagation = Some("Orphan".into());
    }
    check_propagation(options)
}

fn check_propagation(options: DeleteOptions) -> Result<DeleteOptions, Status> {
    match options.propagation.as_deref() {
        None | Some("Orphan" | "Background" | "Foreground") => Ok(options),
        Some(other) => Err(Status::bad_request(format!(
            "propagationPolicy: {other:?} is none of \"Foreground\", \"Background\", \"Orphan\""
        ))),
    }
}

/// A patch of something that has no merge keys.
pub fn patch(payload: &Payload) -> Result<TreePatch, Status> {
    let unreadable = |error: serde_json::Error| Status::bad_request(error.to_string());
    match payload.content_type.split(';').next().unwrap_or_default().trim() {
        "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            Ok(TreePatch::Merge(serde_json::from_slice(&payload.bytes).map_err(unreadable)?))
        }
        "application/json-patch+json" => {
            Ok(TreePatch::Json(serde_json::from_slice(&payload.bytes).map_err(unreadable)?))
        }
        _ => Err(Status::unsupported_media_type(
            "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json",
        )),
    }
}
