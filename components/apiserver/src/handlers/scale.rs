//! The scale subresource: the number of replicas of whatever has one, in one form.

use http::{Response, StatusCode};
use kinit_api::apply::ApplyError;
use kinit_api::object::Object;
use kinit_api::status::{Status, unmet};
use kinit_api::strict;
use kinit_crd::definition::Scale;
use kinit_crd::object::at;
use kinit_serving::Body;
use serde_json::{Value, json};

use super::apply::{self, APPLY};
use super::body::Facts;
use super::part::{self, Kind};
use super::write::{ATTEMPTS, Change};
use super::{Api, Payload, body, json_response};
use crate::admission::{Attributes, Operation};
use crate::fields::{self, Manager};
use crate::registry::ResourceSpec;
use crate::request::{ResourceRequest, Verb};

const SCALE: Kind = Kind { group: "autoscaling", versions: &["v1"], name: "Scale" };

impl Api {
    pub(super) async fn scale(
        &self,
        request: &ResourceRequest,
        verb: Verb,
        payload: &Payload,
    ) -> Result<Response<Body>, Status> {
        let (object, revision) = match verb {
            Verb::Get => {
                let found = self.stored(request, &request.name).await?;
                if let Some(scale) =
                    custom_scale(&request.spec).filter(|scale| at(&found.0, &scale.spec_replicas).is_none())
                {
                    let path = scale.spec_replicas.join(".");
                    return Err(Status::internal(format!("the spec replicas field \".{path}\" does not exist")));
                }
                found
            }
            Verb::Update => {
                let sent = part::sent(request, payload, &SCALE)?;
                if sent.name().is_empty() {
                    return Err(body::unnamed(request));
                }
                well_formed(request, &mut sent.clone(), &Facts::default())?;
                let sent = sent.into_value();
                self.rescale(request, Facts::default(), None, |_| Ok(sent.clone())).await?
            }
            _ if body::media(payload) == APPLY => {
                fields::check_options(request, true)?;
                let (config, complaints) = apply::config(payload)?;
                apply::of_kind(&config, "autoscaling", "v1", "Scale")?;
                let facts = Facts { problems: complaints, shown: None };
                self.rescale(request, facts, Some(&config), |current| {
                    let mut scale = current.clone();
                    if let Some(spec) = config.get(&["spec"]) {
                        scale["spec"] = spec.clone();
                    }
                    Ok(scale)
                })
                .await?
            }
            _ => {
                if custom_scale(&request.spec).is_some() {
                    Change::known(body::media(payload), false).map_err(|_| super::write::untold_patch())?;
                } else {
                    Change::known(body::media(payload), true)?;
                }
                fields::check_options(request, false)?;
                let (change, facts) = Change::read(payload, kinit_schema::kind("autoscaling", "v1", "Scale"))?;
                self.rescale(request, facts, None, |current| {
                    let mut scale = current.clone();
                    change.apply(&mut scale)?;
                    Ok(scale)
                })
                .await?
            }
        };
        Ok(json_response(StatusCode::OK, scale_of(&request.spec, &object, revision).to_string()))
    }

    /// Stores the number of replicas that `make` makes of the current one. `config` is what is applied, if it is.
    async fn rescale(
        &self,
        request: &ResourceRequest,
        facts: Facts,
        config: Option<&Object>,
        make: impl Fn(&Value) -> Result<Value, Status>,
    ) -> Result<(Object, i64), Status> {
        let mut whole = ResourceRequest { internal: true, ..request.clone() };
        whole.subresource.clear();
        // What apply notes of managers is whole.
        let manager = whole.manager.take().unwrap_or_default();
        if config.is_none() {
            whole.manager = Some(manager.clone());
        }
        let modified = || Status::modified(request.spec.group(), request.spec.resource(), &request.name);
        for _ in 0..ATTEMPTS {
            let (stored, revision) = self.stored(request, &request.name).await?;
            let old = Object::from_value(scale_of(&request.spec, &stored, revision)).expect("a Scale is an object");
            let made = Object::from_value(make(old.value())?);
            let mut scale = made.ok_or_else(|| Status::bad_request("the body is not a Scale"))?;
            well_formed(request, &mut scale, &facts)?;
            if !scale.uid().is_empty() && scale.uid() != old.uid() {
                let why = unmet("UID", scale.uid(), old.uid());
                let resource = format!("{}/scale", request.spec.resource());
                return Err(Status::conflict(request.spec.group(), &resource, &request.name, &why));
            }
            // The version that the client read is the one that it may change; a patch that names none goes for the next, too.
            if !matches!(scale.resource_version(), "" | "0") && scale.resource_version() != old.resource_version() {
                return Err(modified());
            }
            let attributes = Attributes::new(Operation::Update, request, &request.name, Some(&old));
            self.mutate(&attributes, &mut scale).await?;
            let replicas = scale.get(&["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
            // What a custom resource may say its own rules say.
            if replicas < 0 && custom_scale(&request.spec).is_none() {
                let text = format!("Invalid value: {replicas}: must be greater than or equal to 0");
                let errors = [("FieldValueInvalid", "spec.replicas".to_owned(), text)];
                return Err(Status::invalid("autoscaling", "Scale", &request.name, &errors));
            }
            self.admit(&attributes, &scale).await?;
            let changed = self.change(&whole, |current| {
                let mut scaled = current.clone();
                let own = ["spec".to_owned(), "replicas".to_owned()];
                let path = custom_scale(&request.spec).map_or(own.as_slice(), |scale| &scale.spec_replicas);
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                if let Some(config) = config {
                    let wanted = config.get(&["spec", "replicas"]);
                    scaled = applied(request, current, &path, wanted, &manager)?;
                }
                scaled.set(&path, replicas);
                scaled.set(&["metadata", "resourceVersion"], revision.to_string());
                Ok(scaled)
            });
            match changed.await {
                // Another manager's field stays one; another state of the object is looked at again.
                Err(status) if status.reason == "Conflict" && !apply::is_conflict(&status) => {}
                result => return result,
            }
        }
        Err(modified())
    }
}

/// What applying a Scale makes of the object: its manager owns the number of replicas where the object keeps it.
fn applied(
    request: &ResourceRequest,
    live: &Object,
    path: &[&str],
    wanted: Option<&Value>,
    manager: &Manager,
) -> Result<Object, Status> {
    let mut config = Object::default();
    config.set(&["apiVersion"], request.spec.api_version());
    config.set(&["kind"], request.spec.kind());
    if let Some(wanted) = wanted {
        config.set(path, wanted.clone());
    }
    apply::onto_field(request, live, &config, manager, path).map_err(|error| {
        let kept = format!(".{}", path.join("."));
        let error = match error {
            // A Scale's own place and version are what its clients know.
            ApplyError::Conflicts(mut all) => {
                for conflict in &mut all {
                    conflict.field = conflict.field.replace(&kept, ".spec.replicas");
                    if let Some((before, _)) = conflict.manager.split_once(" using ") {
                        conflict.manager = format!("{before} using autoscaling/v1");
                    }
                }
                ApplyError::Conflicts(all)
            }
            other => other,
        };
        apply::status(error)
    })
}

/// That a Scale is one, and of the object that the path names.
fn well_formed(request: &ResourceRequest, scale: &mut Object, facts: &Facts) -> Result<(), Status> {
    let name = scale.name();
    if !name.is_empty() && name != request.name {
        let why = format!("the name of the object ({name}) does not match the name on the URL ({})", request.name);
        return Err(Status::bad_request(why));
    }
    let Some(schema) = kinit_schema::kind("autoscaling", "v1", "Scale") else { return Ok(()) };
    let told =
        |error: String| Status::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {error}"));
    let unknown = strict::conform(scale.map_mut(), schema).map_err(|error| told(error.to_string()))?;
    let unknown = unknown.into_iter().map(|path| format!("unknown field {path:?}"));
    fields::settle(request, facts.problems.iter().cloned().chain(unknown).collect(), told)
}

/// Where a custom resource keeps what the subresource shows.
fn custom_scale(spec: &ResourceSpec) -> Option<&Scale> {
    spec.custom.as_ref()?.version().scale.as_ref()
}

fn scale_of(spec: &ResourceSpec, object: &Object, revision: i64) -> Value {
    if let Some(scale) = custom_scale(spec) {
        let count = |path: &[String]| at(object, path).and_then(Value::as_i64).unwrap_or(0);
        let selector = scale.selector.as_ref().and_then(|path| at(object, path)).and_then(Value::as_str);
        return scale_object(object, revision, count(&scale.spec_replicas), count(&scale.status_replicas), selector);
    }
    let count = |path: &[&str]| object.get(path).and_then(Value::as_i64).unwrap_or(0);
    let own = selector(object);
    scale_object(object, revision, count(&["spec", "replicas"]), count(&["status", "replicas"]), Some(&own))
}

fn scale_object(object: &Object, revision: i64, wanted: i64, have: i64, selector: Option<&str>) -> Value {
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": object.name(), "namespace": object.namespace(), "uid": object.uid(),
            "resourceVersion": revision.to_string(),
            "creationTimestamp": object.get(&["metadata", "creationTimestamp"]),
        },
        "spec": {},
        "status": {"replicas": have},
    });
    // None is not told of, as in upstream's type.
    if wanted != 0 {
        scale["spec"]["replicas"] = wanted.into();
    }
    if let Some(selector) = selector {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// The selector in its string form.
fn selector(object: &Object) -> String {
    let Some(selector) = object.get(&["spec", "selector"]).and_then(Value::as_object) else { return String::new() };
    let plain = selector.get("matchLabels").and_then(Value::as_object);
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    // A ReplicationController's selector is the labels themselves.
    let labels = if plain.is_none() && expressions.is_none() { Some(selector) } else { plain };
    let mut terms: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    for expression in expressions.into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        terms.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    terms.sort();
    terms.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_told_as_text() {
        let object =
            |selector: Value| Object::from_value(json!({"spec": {"selector": selector, "replicas": 3}})).unwrap();
        let expressions = json!({"matchLabels": {"b": "1"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"}]});
        assert_eq!(selector(&object(expressions)), "!c,a in (x,y),b=1");
        assert_eq!(selector(&object(json!({"app": "web"}))), "app=web");
        let spec = crate::registry::find("apps", "v1", "deployments").unwrap().1;
        assert_eq!(scale_of(spec, &object(json!({})), 7)["spec"]["replicas"], 3);
        let none = Object::from_value(json!({"spec": {"replicas": 0}})).unwrap();
        assert_eq!(scale_of(spec, &none, 7)["spec"], json!({}));
    }
}
