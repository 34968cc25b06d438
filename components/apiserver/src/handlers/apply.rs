//! Patches of the type `application/apply-patch+yaml`: server-side apply, which also makes what is not there.

use http::{Response, StatusCode};
use kinit_api::apply::{self, ApplyError, Writer};
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::strict;
use kinit_serving::Body;
use serde_json::{Value, json};

use super::write::ATTEMPTS;
use super::{Api, Payload, body, now, object_response};
use crate::fields::{self, Manager};
use crate::request::{ResourceRequest, Verb};
use crate::versions::Versions;
use crate::{strategy, view};

pub(super) const APPLY: &str = "application/apply-patch+yaml";

impl Api {
    pub(super) async fn apply(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        fields::check_options(request, true)?;
        let (config, complaints) = config(payload)?;
        let spec = &request.spec;
        of_kind(&config, spec.group(), spec.version(), spec.kind())?;
        // What apply notes of managers is whole; nothing is to be noted once more.
        let mut quiet = request.clone();
        let manager = quiet.manager.take().unwrap_or_default();
        let versions = Versions::of(&request.spec);
        let versions = versions.as_ref();
        for _ in 0..ATTEMPTS {
            let changed = self.change(&quiet, |live| {
                let live = view::shown(&request.spec, live.clone());
                applied(request, Some(&live), &config, &manager, versions)
            });
            let changed = changed.await;
            if let Some(versions) = versions
                && versions.learn(&self.converter).await?
            {
                continue;
            }
            let problems = complaints.clone();
            match changed {
                Err(status) if status.code == 404 && request.subresource.is_empty() => {}
                result => {
                    let (object, revision) = result?;
                    tell(request, problems)?;
                    return Ok(object_response(request, StatusCode::OK, object, revision));
                }
            }
            let creation = ResourceRequest { verb: Verb::Create, ..quiet.clone() };
            self.authorizer.check_request(&request.user, &creation).await?;
            if request.spec.namespaced() {
                self.check_namespace(request, &request.name).await?;
            }
            let mut object = applied(request, None, &config, &manager, None)?;
            tell(request, problems)?;
            if !config.uid().is_empty() {
                let why = "and no existing object was found";
                let why = format!("uid mismatch: the provided object specified uid {}, {why}", config.uid());
                return Err(Status::conflict(request.spec.group(), request.spec.resource(), &request.name, &why));
            }
            // What is made says no version, and what is applied may say any.
            object.remove(&["metadata", "resourceVersion"]);
            match self.store_new(&creation, object).await {
                // Somebody else made it meanwhile, so it is to be changed.
                Err(status) if status.reason == "AlreadyExists" => {}
                result => {
                    let (object, revision) = result?;
                    return Ok(object_response(request, StatusCode::CREATED, object, revision));
                }
            }
        }
        Err(Status::modified(request.spec.group(), request.spec.resource(), &request.name))
    }
}

/// The configuration that a client sent, and what is given twice in it.
pub(super) fn config(payload: &Payload) -> Result<(Object, Vec<String>), Status> {
    let unreadable = |error: String| Status::bad_request(format!("error decoding YAML: {error}"));
    // JSON is YAML too, but is read much faster as what it is.
    let parsed = strict::parse(&payload.bytes).or_else(|_| strict::parse_yaml(&payload.bytes));
    let parsed =
        parsed.map_err(|error| unreadable(format!("error converting YAML to JSON: {}", strict::go_yaml(&error))))?;
    let config = match parsed.value {
        Value::Null => Object::default(),
        value => {
            let found = strict::go_kind(&value);
            let into = "Go value of type map[string]interface {}";
            let why = format!("json: cannot unmarshal {found} into {into}");
            let why = format!("error unmarshaling JSON: while decoding JSON: {why}");
            Object::from_value(value).ok_or_else(|| unreadable(why))?
        }
    };
    Ok((config, parsed.complaints))
}

/// That a configuration is one of a kind.
pub(super) fn of_kind(config: &Object, group: &str, version: &str, kind: &str) -> Result<(), Status> {
    let sent = config.api_version();
    let own = sent.split_once('/').unwrap_or(("", sent));
    if own == (group, version) && config.kind() == kind {
        return Ok(());
    }
    Err(Status::bad_request(format!("invalid object type: {}/{}, Kind={}", own.0, own.1, config.kind())))
}

/// Tells of what was given twice, once all else is right.
fn tell(request: &ResourceRequest, complaints: Vec<String>) -> Result<(), Status> {
    if complaints.is_empty() {
        return Ok(());
    }
    let lines = complaints.join("\n  ");
    let why = format!("error converting YAML to JSON: yaml: unmarshal errors:\n  {lines}");
    fields::settle(request, vec![why.clone()], |_| Status::bad_request(format!("error strict decoding YAML: {why}")))
}

/// What `config` makes of the object that is there, for the manager who applies it. `reset` are the fields that this way of
/// writing does not set.
pub(super) fn onto(
    request: &ResourceRequest,
    live: Option<&Object>,
    config: &Object,
    manager: &Manager,
    versions: Option<&Versions<'_>>,
    reset: &[&[&str]],
) -> Result<Object, ApplyError> {
    let spec = &request.spec;
    let (version, now) = (spec.api_version(), now());
    let versions = versions.map(|versions| versions as &dyn apply::Versions);
    let writer = Writer { reset, versions, ..writer(manager, &version, &now) };
    apply::apply(fields::schema(spec), live, config.clone(), writer, request.flag("force"))
}

/// What `config` makes of the object that is there, where the request sees one field of it alone.
pub(super) fn onto_field(
    request: &ResourceRequest,
    live: &Object,
    config: &Object,
    manager: &Manager,
    path: &[&str],
) -> Result<Object, ApplyError> {
    let mut live = live.clone();
    apply::claim(&mut live, path, writer(manager, &request.spec.api_version(), &now()));
    onto(request, Some(&live), config, manager, None, &[])
}

fn writer<'a>(manager: &'a Manager, api_version: &'a str, now: &'a str) -> Writer<'a> {
    let subresource = &manager.subresource;
    Writer { manager: &manager.name, api_version, subresource, now, reset: &[], versions: None }
}

/// What `config` makes of the object that is there, as it is to be stored.
fn applied(
    request: &ResourceRequest,
    live: Option<&Object>,
    config: &Object,
    manager: &Manager,
    versions: Option<&Versions<'_>>,
) -> Result<Object, Status> {
    let spec = &request.spec;
    let reset = strategy::reset_by(spec, &request.subresource);
    let object = onto(request, live, config, manager, versions, &reset);
    if versions.is_some_and(Versions::lacks) {
        // Whatever came out is thrown away: it runs again when the versions are known.
        return Err(Status::internal("an object's versions are not known yet"));
    }
    let mut object = object.map_err(status)?;
    fields::conform(spec, &mut object).map_err(|error| {
        let (kind, name) = (apply::kind_text(config), apply::name_text(config));
        let why = format!("unable to convert unstructured object to {kind}: {}", error.converted());
        Status::failure(format!("failed to convert new object ({name}) to proper version: {why}"))
    })?;
    if object.name().is_empty() {
        return Err(body::unnamed(request));
    }
    if spec.namespaced() && object.namespace().is_empty() {
        object.set(&["metadata", "namespace"], request.namespace.clone());
    }
    Ok(view::stored(spec, body::check(request, object)?))
}

/// Whether an answer tells of other managers' fields.
pub(super) fn is_conflict(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| details["causes"][0]["reason"] == CONFLICT)
}

const CONFLICT: &str = "FieldManagerConflict";

pub(super) fn status(error: ApplyError) -> Status {
    let message = error.to_string();
    match error {
        ApplyError::Bad(_) => Status::bad_request(message),
        ApplyError::Untyped { .. } => Status::failure(message),
        ApplyError::Conflicts(conflicts) => {
            let causes: Vec<Value> = conflicts
                .into_iter()
                .map(|conflict| {
                    let text = format!("conflict with {}", conflict.manager);
                    json!({"reason": CONFLICT, "message": text, "field": conflict.field})
                })
                .collect();
            Status {
                code: 409,
                reason: "Conflict".into(),
                message,
                details: Some(json!({ "causes": causes })),
                continue_token: None,
            }
        }
    }
}
