//! What clients send, checked against the path it was sent to.

use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::strict;
use serde_json::{Value, json};

use super::Payload;
use super::sent::{self, Unread};
use crate::fields;
use crate::registry::ResourceSpec;
use crate::request::{ResourceRequest, Verb};
use crate::strategy::DeleteOptions;

/// The object that a create or an update carries. Its kind, version, namespace and name must be the path's. Fields that
/// the kind does not have are told or refused, as the request says.
pub fn object(request: &ResourceRequest, payload: &Payload) -> Result<Object, Status> {
    fields::check_options(request, false)?;
    let (kind, version) = (request.spec.kind(), request.spec.version());
    let own = request.spec.api_version();
    let (object, complaints) =
        sent::object(payload, (&own, kind)).map_err(|unread| unread.into_status(kind, &payload.bytes))?;
    let untold = kindless(&object, &payload.bytes).filter(|_| request.spec.custom.is_some());
    let untold = untold.map(|why| Unread::Unrecognized(why).into_status(kind, &payload.bytes));
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
            let version = sent.rsplit('/').next().unwrap_or_default();
            format!("{kind} in version {version:?} cannot be handled as a {}: {why}", spec.kind())
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

const DELETE_OPTIONS: &str = "DeleteOptions";

/// The options of a deletion: those of the body, or without one those of the query.
pub fn delete_options(request: &ResourceRequest, payload: &Payload) -> Result<DeleteOptions, Status> {
    if !payload.bytes.is_empty() {
        let (object, _) = sent::object(payload, ("v1", DELETE_OPTIONS)).map_err(Unread::into_plain_status)?;
        return options_of(request, &sent_options(object)?);
    }
    let mut body = json!({ "gracePeriodSeconds": request.integer("gracePeriodSeconds")?, "dryRun": request.dry_run });
    if let Some(value) = request.query.get("propagationPolicy").filter(|value| !value.is_empty()) {
        body["propagationPolicy"] = json!(value);
    }
    // A query may say which state of an object is meant, as a body's preconditions do.
    for precondition in ["uid", "resourceVersion"] {
        let value = request.parameter(precondition);
        if !value.is_empty() {
            body["preconditions"][precondition] = value.into();
        }
    }
    if request.query.contains_key("orphanDependents") {
        body["orphanDependents"] = request.flag("orphanDependents").into();
    }
    options_of(request, &body)
}

/// A body as `DeleteOptions`, which are of any group: fields that they do not have are dropped.
fn sent_options(mut object: Object) -> Result<Value, Status> {
    if !matches!(object.kind(), "" | DELETE_OPTIONS) {
        let kind = object.kind();
        let version = Some(object.api_version()).filter(|version| !version.is_empty()).unwrap_or("meta.k8s.io/v1");
        let scheme = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
        let text = format!("no kind {kind:?} is registered for version {version:?} in scheme {scheme:?}");
        return Err(Status::bad_request(text));
    }
    let schema = kinit_schema::named("meta/v1", DELETE_OPTIONS).expect("a test looks it up");
    strict::conform(object.map_mut(), schema).map_err(|error| Status::bad_request(error.to_string()))?;
    Ok(object.into_value())
}

/// The options that a `DeleteOptions` object says; null says none.
pub fn options_of(request: &ResourceRequest, body: &Value) -> Result<DeleteOptions, Status> {
    const POLICIES: [&str; 3] = ["Foreground", "Background", "Orphan"];
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
        return Err(Status::invalid("meta.k8s.io", DELETE_OPTIONS, "", &errors));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_the_options_that_a_body_would() {
        let read = |query: &str| {
            let path = "/api/v1/namespaces/x/configmaps/a";
            let request =
                crate::request::parse(&Default::default(), &http::Method::DELETE, path, Some(query)).unwrap().unwrap();
            let payload = Payload { content_type: String::new(), bytes: Default::default() };
            let options = delete_options(&request, &payload).unwrap();
            (options.uid, options.resource_version, options.grace_period_seconds)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(read(""), (None, None, None));
        assert_eq!(read("uid=&resourceVersion="), (None, None, None));
        assert_eq!(read("uid=u&resourceVersion=0&gracePeriodSeconds=5"), (text("u"), text("0"), Some(5)));
    }

    #[test]
    fn options_of_other_types_are_refused_and_delete_nothing() {
        let registry = crate::registry::Registry::default();
        let path = "/api/v1/namespaces/x/configmaps/a";
        let request = crate::request::parse(&registry, &http::Method::DELETE, path, None).unwrap().unwrap();
        let read = |body: &str| {
            let payload = Payload { content_type: "application/json".into(), bytes: body.to_owned().into() };
            delete_options(&request, &payload).map_err(|status| status.message)
        };
        let scheme = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
        for (body, told) in [
            (
                r#"{"dryRun":"All"}"#,
                "json: cannot unmarshal string into Go struct field DeleteOptions.dryRun of type []string".to_owned(),
            ),
            (
                r#"{"gracePeriodSeconds":"x"}"#,
                "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
                    .to_owned(),
            ),
            ("{", "couldn't get version/kind; json parse error: unexpected end of JSON input".to_owned()),
            (
                r#"{"kind":"Foo"}"#,
                format!("no kind \"Foo\" is registered for version \"meta.k8s.io/v1\" in scheme {scheme:?}"),
            ),
        ] {
            assert_eq!(read(body).unwrap_err(), told);
        }
        assert!(read("null").is_ok_and(|options| !options.dry_run));
        assert!(read(r#"{"apiVersion":"apps/v1","kind":"DeleteOptions","dryRun":["All"],"other":1}"#).unwrap().dry_run);
    }
}
