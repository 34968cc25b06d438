//! Reading what clients send: JSON or YAML, checked against the path it was sent to.

use kinit_api::object::Object;
use kinit_api::protobuf;
use kinit_api::status::Status;
use kinit_api::strict::{self, Parsed};
use serde_json::{Value, json};

use super::Payload;
use crate::fields;
use crate::negotiate::PROTOBUF;
use crate::registry::ResourceSpec;
use crate::request::{ResourceRequest, Verb};
use crate::strategy::DeleteOptions;

const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// The body as a tree.
pub fn tree(payload: &Payload) -> Result<Value, Status> {
    read(payload).map(|parsed| parsed.value)
}

/// The body as a tree, and the fields given twice in it.
fn read(payload: &Payload) -> Result<Parsed, Status> {
    let media = media(payload);
    let unreadable = |error: String| Status::bad_request(format!("{UNREADABLE}{error}"));
    match media {
        "" | "application/json" => {
            let told = |error| format!("{NO_VERSION}{}", strict::go_syntax(&payload.bytes, &error));
            strict::parse(&payload.bytes).map_err(|error| unreadable(told(error)))
        }
        "application/yaml" => strict::parse_yaml(&payload.bytes).map_err(|error| unreadable(strict::go_yaml(&error))),
        PROTOBUF => protobuf::decode(&payload.bytes, ("", ""))
            .map(|map| Parsed { value: Value::Object(map), complaints: Vec::new() })
            .map_err(|error| unreadable(error.to_string())),
        _ => Err(Status::unsupported_media_type(MEDIA_TYPES)),
    }
}

/// How a message begins about a body that cannot be read.
const UNREADABLE: &str = "the object provided is unrecognized: ";
/// What follows about a body that does not say of which kind it is.
pub(crate) const NO_VERSION: &str = "couldn't get version/kind; json parse error: ";
/// How much of such a body messages show.
const SHOWN: usize = 30;

/// What a body is as messages show it.
fn summary(bytes: &[u8]) -> String {
    let part = &bytes[..bytes.len().min(SHOWN)];
    let shown = match part.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(part).into_owned(),
        Some(_) => hex::encode(part),
    };
    if bytes.len() > SHOWN { format!("{shown} ...") } else { shown }
}

/// The object that a create or an update carries. Its kind, version, namespace and name must be the path's. Fields that
/// the kind does not have are told or refused, as the request says.
pub fn object(request: &ResourceRequest, payload: &Payload) -> Result<Object, Status> {
    fields::check_options(request, false)?;
    let (kind, version) = (request.spec.kind(), request.spec.version());
    let of_kind = |why: &str| {
        let shown = summary(&payload.bytes);
        Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why} ({shown})"))
    };
    let Parsed { value, complaints } = read(payload).map_err(|mut status| {
        if let Some(why) = status.message.strip_prefix(UNREADABLE) {
            status = of_kind(why);
        }
        status
    })?;
    // What is null leaves a Go value as it is.
    let value = if value.is_null() { json!({}) } else { value };
    let shape = shapeless(&value);
    let object = Object::from_value(value).ok_or_else(|| of_kind(&shape))?;
    let mut untold = untyped(&object);
    if request.spec.custom.is_some() {
        untold = untold.or_else(|| kindless(&object, &payload.bytes));
    }
    let untold = untold.map(|why| of_kind(&why));
    let untold = untold.or_else(|| another(&request.spec, &object).filter(|_| request.spec.custom.is_some()));
    untold.map_or(Ok(()), Err)?;
    let mut object = identified(&request.spec, object)?;
    let refused = |why: String| {
        Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
    };
    let unknown = fields::conform(&request.spec, &mut object).map_err(|error| refused(error.to_string()))?;
    // A custom resource is read before it is known what it may have.
    let problems = match request.spec.custom {
        Some(_) => complaints.into_iter().chain(unknown).collect(),
        None => unknown.into_iter().chain(complaints).collect(),
    };
    fields::settle(request, problems, refused)?;
    named(request, &object)?;
    placed(request, &object)?;
    Ok(object)
}

/// What is told of a tree that is no object.
pub(crate) fn shapeless(value: &Value) -> String {
    let into = r#"Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    format!("{NO_VERSION}json: cannot unmarshal {} into {into}", strict::go_kind(value))
}

/// Why an object's own words of its kind and version cannot be read.
fn untyped(object: &Object) -> Option<String> {
    untyped_in(&|field| object.get(&[field]))
}

/// [`untyped`] for a tree.
pub(crate) fn untyped_tree(tree: &Value) -> Option<String> {
    untyped_in(&|field| tree.get(field))
}

fn untyped_in<'v>(get: &dyn Fn(&str) -> Option<&'v Value>) -> Option<String> {
    for field in ["apiVersion", "kind"] {
        match get(field) {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => {
                let found = strict::go_kind(other);
                return Some(format!(
                    "{NO_VERSION}json: cannot unmarshal {found} into Go struct field .{field} of type string"
                ));
            }
        }
    }
    let version = get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    (version.split('/').count() > 2).then(|| format!("unexpected GroupVersion string: {version}"))
}

/// That an update's object names itself.
fn named(request: &ResourceRequest, object: &Object) -> Result<(), Status> {
    if request.verb != Verb::Update || !object.name().is_empty() {
        return Ok(());
    }
    Err(unnamed(request))
}

/// What is known of a patch before it is applied.
#[derive(Debug, Default)]
pub struct Facts {
    /// What is wrong with the patch itself.
    pub problems: Vec<String>,
    /// A strategic patch as errors show it; without, they show what it made of the object.
    pub shown: Option<String>,
}

/// What a patch made of an object, checked as [`object`] checks what is sent whole.
pub fn patched(request: &ResourceRequest, tree: Value, facts: &Facts) -> Result<Object, Status> {
    let mut problems = facts.problems.clone();
    let Some(mut object) = Object::from_value(tree) else { return Err(unprocessable()) };
    let refused = |object: &Object, why: String| {
        let made = || String::from_utf8_lossy(&object.to_vec()).into_owned();
        let text = format!("Invalid value: {:?}: {why}", facts.shown.clone().unwrap_or_else(made));
        Status::invalid("", "", "", &[("FieldValueInvalid", "patch".into(), text)])
    };
    let spec = &request.spec;
    // A strategic patch is one of a type, whatever it says that it is.
    if facts.shown.is_some() {
        object.set(&["apiVersion"], spec.api_version());
        object.set(&["kind"], spec.kind());
    }
    match spec.custom {
        None => {
            typed(spec, &mut object);
            if let Some(why) = foreign(spec, &object) {
                return Err(refused(&object, why));
            }
        }
        Some(_) => {
            if let Some(why) = kindless(&object, &object.to_vec()) {
                return Err(refused(&object, why));
            }
            if let Some(status) = another(spec, &object) {
                return Err(status);
            }
            if object.api_version() != spec.api_version() {
                let text = format!("Invalid value: {:?}: must be {}", object.api_version(), spec.api_version());
                let errors = [("FieldValueInvalid", "apiVersion".to_owned(), text)];
                return Err(Status::invalid(spec.group(), spec.kind(), object.name(), &errors));
            }
        }
    }
    match fields::conform(spec, &mut object) {
        Ok(unknown) => problems.extend(unknown),
        Err(error) if facts.shown.is_some() => return Err(refused(&object, error.converted().to_owned())),
        Err(error) => return Err(refused(&object, error.to_string())),
    }
    fields::settle(request, problems, |why| refused(&object, why))?;
    if object.name().is_empty() {
        return Err(unnamed(request));
    }
    check(request, object)
}

/// What a JSON patch is told that does not fit its object: no more than that.
pub fn unprocessable() -> Status {
    let text = "the server rejected our request due to an error in our request";
    Status { code: 422, reason: "Invalid".into(), details: Some(json!({})), ..Status::bad_request(text) }
}

pub fn unnamed(request: &ResourceRequest) -> Status {
    let name = &request.name;
    let why = format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
    Status::bad_request(why)
}

/// What is told of a custom resource that says no kind, which no path says for it.
fn kindless(object: &Object, bytes: &[u8]) -> Option<String> {
    let shown = String::from_utf8_lossy(bytes);
    object.kind().is_empty().then(|| format!("Object 'Kind' is missing in '{shown}'"))
}

/// What is told of a custom resource of another kind than its path's.
fn another(spec: &ResourceSpec, object: &Object) -> Option<Status> {
    if object.kind() == spec.kind() || object.api_version() != spec.api_version() {
        return None;
    }
    let text = format!("Invalid value: {:?}: must be {}", object.kind(), spec.kind());
    let errors = [("FieldValueInvalid", "kind".to_owned(), text)];
    Some(Status::invalid(spec.group(), object.kind(), object.name(), &errors))
}

/// Clients may leave out version and kind, since the path says them; what is stored has them.
fn typed(spec: &ResourceSpec, object: &mut Object) {
    if object.api_version().is_empty() {
        object.set(&["apiVersion"], spec.api_version());
    }
    if object.kind().is_empty() {
        object.set(&["kind"], spec.kind());
    }
}

/// The checks of [`object`] that need no schema, for a tree that a patch made.
pub fn check(request: &ResourceRequest, object: Object) -> Result<Object, Status> {
    let object = identified(&request.spec, object)?;
    placed(request, &object)?;
    Ok(object)
}

/// The object with its kind and version, which must be the path's.
fn identified(spec: &ResourceSpec, mut object: Object) -> Result<Object, Status> {
    if spec.custom.is_none() {
        typed(spec, &mut object);
    }
    if object.api_version() != spec.api_version() || object.kind() != spec.kind() {
        return Err(Status::bad_request(mismatch(spec, &object)));
    }
    Ok(object)
}

/// That an object lies in the namespace that the path says, which admission may not change either.
pub fn stays(request: &ResourceRequest, object: &Object) -> Result<(), Status> {
    let namespace = object.namespace();
    if request.spec.namespaced() && !namespace.is_empty() && namespace != request.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// That an object lies where the path says.
fn placed(request: &ResourceRequest, object: &Object) -> Result<(), Status> {
    stays(request, object)?;
    if !request.name.is_empty() && !object.name().is_empty() && object.name() != request.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            object.name(),
            request.name
        )));
    }
    Ok(())
}

/// What is told of an object of another kind or version than the path's.
fn mismatch(spec: &ResourceSpec, object: &Object) -> String {
    let (sent, kind) = (object.api_version(), object.kind());
    match foreign(spec, object).filter(|_| spec.custom.is_none()) {
        Some(why) => {
            format!("{kind} in version {:?} cannot be handled as a {}: {why}", spec.version(), spec.kind())
        }
        None => {
            let wanted = spec.api_version();
            format!("the API version in the data ({sent}) does not match the expected API version ({wanted})")
        }
    }
}

/// Why an object is none of a resource's kind, in none of its versions.
fn foreign(spec: &ResourceSpec, object: &Object) -> Option<String> {
    let (sent, kind) = (object.api_version(), object.kind());
    let group = sent.split_once('/').map_or("", |(group, _)| group);
    let known = kinit_schema::kind(group, sent.rsplit('/').next().unwrap_or_default(), kind).is_some();
    let same = known && kind == spec.kind() && group == spec.group();
    (!same).then(|| stranger(sent, kind, (spec.group(), spec.kind())))
}

/// What is told of an object of version `sent` and `kind`, where one of another group and kind is wanted, in upstream's words.
pub fn stranger(sent: &str, kind: &str, wanted: (&str, &str)) -> String {
    let (group, version) = sent.split_once('/').unwrap_or(("", sent));
    if kinit_schema::kind(group, version, kind).is_none() {
        let scheme = match wanted.0 {
            "apiextensions.k8s.io" => "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55",
            _ => "pkg/api/legacyscheme/scheme.go:30",
        };
        return format!("no kind {kind:?} is registered for version {sent:?} in scheme {scheme:?}");
    }
    // Go's packages are named after the first part of a group.
    let package = match wanted.0.split('.').next() {
        None | Some("") => "core",
        Some(name) => name,
    };
    format!("converting ({version}.{kind}) to ({package}.{}): unknown conversion", wanted.1)
}

/// The options of a deletion: those of the body, or without one those of the query.
pub fn delete_options(request: &ResourceRequest, payload: &Payload) -> Result<DeleteOptions, Status> {
    if !payload.bytes.is_empty() {
        return options_of(request, &tree(payload)?);
    }
    let mut body = json!({ "gracePeriodSeconds": request.integer("gracePeriodSeconds")?, "dryRun": request.dry_run });
    if let Some(value) = request.query.get("propagationPolicy").filter(|value| !value.is_empty()) {
        body["propagationPolicy"] = json!(value);
    }
    if request.query.contains_key("orphanDependents") {
        body["orphanDependents"] = request.flag("orphanDependents").into();
    }
    options_of(request, &body)
}

/// The options that a `DeleteOptions` object says; null says none.
pub fn options_of(request: &ResourceRequest, body: &Value) -> Result<DeleteOptions, Status> {
    const POLICIES: [&str; 3] = ["Foreground", "Background", "Orphan"];
    if let Some(kind) = body["kind"].as_str().filter(|kind| !matches!(*kind, "" | "DeleteOptions")) {
        let version = body["apiVersion"].as_str().unwrap_or_default();
        let scheme = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
        let text = format!("no kind {kind:?} is registered for version {version:?} in scheme {scheme:?}");
        return Err(Status::bad_request(text));
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut options = DeleteOptions {
        grace_period_seconds: body["gracePeriodSeconds"].as_i64(),
        propagation: text(&body["propagationPolicy"]),
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        dry_run: false,
        orphans_nothing: body["orphanDependents"] == false,
    };
    let mut errors = Vec::new();
    let mut wrong = |reason, text| errors.push((reason, "propagationPolicy".to_owned(), text));
    if let Some(policy) = &options.propagation {
        if body["orphanDependents"].is_boolean() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            wrong("FieldValueInvalid", format!("Invalid value: {policy:?}: {why}"));
        }
        if !POLICIES.contains(&policy.as_str()) {
            let known = r#"supported values: "Foreground", "Background", "Orphan", "nil""#;
            wrong("FieldValueNotSupported", format!("Unsupported value: {policy:?}: {known}"));
        }
    }
    if !errors.is_empty() {
        return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
    }
    let stages: Vec<&str> = body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if let Some(wrong) = fields::dry_run_error(&stages) {
        return Err(fields::bad_options(request, &[wrong]));
    }
    options.dry_run = !stages.is_empty();
    if body["orphanDependents"] == true {
        options.propagation = Some("Orphan".into());
    } else if body["orphanDependents"] == false {
        options.propagation = Some("Background".into());
    }
    Ok(options)
}

/// The media type of a body, without its parameters.
pub fn media(payload: &Payload) -> &str {
    payload.content_type.split(';').next().unwrap_or_default().trim()
}
