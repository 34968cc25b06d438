//! Patches of the type `application/apply-patch+yaml`: server-side apply, which also makes what is not there.

use http::{Response, StatusCode};
use kinit_api::apply::{self, ApplyError, Writer};
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::strict::{self, Parsed};
use kinit_serving::Body;
use serde_json::{Value, json};

use super::write::ATTEMPTS;
use super::{Api, Payload, body, now, object_response};
use crate::fields::{self, Manager};
use crate::request::{ResourceRequest, Verb};
use crate::versions::Versions;
use crate::view;

pub(super) const APPLY: &str = "application/apply-patch+yaml";

impl Api {
    pub(super) async fn apply(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        fields::check_options(request, true)?;
        let config = config(request, payload)?;
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
            match changed {
                Err(status) if status.code == 404 && request.subresource.is_empty() => {}
                result => {
                    let (object, revision) = result?;
                    return Ok(object_response(request, StatusCode::OK, object, revision));
                }
            }
            let creation = ResourceRequest { verb: Verb::Create, ..quiet.clone() };
            self.authorizer.check_request(&request.user, &creation).await?;
            if request.spec.namespaced() {
                self.check_namespace(request).await?;
            }
            if !config.uid().is_empty() {
                let why = "and no existing object was found";
                let why = format!("uid mismatch: the provided object specified uid {}, {why}", config.uid());
                return Err(Status::conflict(request.spec.group(), request.spec.resource(), &request.name, &why));
            }
            let object = applied(request, None, &config, &manager, None)?;
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

/// The configuration that a client sent, with its own name and namespace.
fn config(request: &ResourceRequest, payload: &Payload) -> Result<Object, Status> {
    let unreadable = |error: String| Status::bad_request(format!("error decoding YAML: {error}"));
    // JSON is YAML too, but is read much faster as what it is.
    let parsed = strict::parse(&payload.bytes).or_else(|_| strict::parse_yaml(&payload.bytes));
    let Parsed { value, complaints } = parsed.map_err(|error| unreadable(error.to_string()))?;
    fields::settle(request, complaints, |text| Status::bad_request(format!("error strict decoding YAML: {text}")))?;
    let mut config = Object::from_value(value).ok_or_else(|| unreadable("it is not an object".into()))?;
    if config.name().is_empty() {
        config.set(&["metadata", "name"], request.name.clone());
    }
    if request.spec.namespaced() && config.namespace().is_empty() {
        config.set(&["metadata", "namespace"], request.namespace.clone());
    }
    Ok(config)
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
    let reset: &[&str] = match request.subresource.as_str() {
        "status" => &["spec"],
        _ if spec.status => &["status"],
        _ => &[],
    };
    let (version, now) = (spec.api_version(), now());
    let writer = Writer {
        manager: &manager.name,
        api_version: &version,
        subresource: &manager.subresource,
        now: &now,
        versions: versions.map(|versions| versions as &dyn apply::Versions),
    };
    let force = request.flag("force");
    let object = apply::apply(fields::schema(spec), live, config.clone(), writer, force, reset);
    if versions.is_some_and(Versions::lacks) {
        // Whatever came out is thrown away: it runs again when the versions are known.
        return Err(Status::internal("an object's versions are not known yet"));
    }
    let mut object = object.map_err(status)?;
    fields::conform(spec, &mut object).map_err(|error| {
        let text = format!("Invalid value: {:?}: {error}", config.clone().into_value().to_string());
        Status::invalid("", "", "", &[("FieldValueInvalid", "patch".into(), text)])
    })?;
    Ok(view::stored(spec, body::check(request, object)?))
}

fn status(error: ApplyError) -> Status {
    let message = error.to_string();
    match error {
        ApplyError::Bad(_) => Status::bad_request(message),
        ApplyError::Untyped { .. } => {
            Status { code: 500, reason: "".into(), message, details: None, continue_token: None }
        }
        ApplyError::Conflicts(conflicts) => {
            let causes: Vec<Value> = conflicts
                .into_iter()
                .map(|conflict| {
                    let text = format!("conflict with {}", conflict.manager);
                    json!({"reason": "FieldManagerConflict", "message": text, "field": conflict.field})
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
