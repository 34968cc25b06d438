//! The scale subresource: the number of replicas of whatever has one, in one form.

use http::{Response, StatusCode};
use kinit_api::object::Object;
use kinit_api::patch::{self, operations};
use kinit_api::status::Status;
use kinit_api::strict;
use kinit_crd::definition::Scale;
use kinit_crd::object::at;
use kinit_serving::Body;
use serde_json::{Value, json};

use super::write::ATTEMPTS;
use super::{Api, Payload, body, json_response};
use crate::admission::{Attributes, Operation};
use crate::registry::ResourceSpec;
use crate::request::{ResourceRequest, Verb};

impl Api {
    pub(super) async fn scale(
        &self,
        request: &ResourceRequest,
        verb: Verb,
        payload: &Payload,
    ) -> Result<Response<Body>, Status> {
        let (object, revision) = match verb {
            Verb::Get => self.stored(request, &request.name).await?,
            Verb::Update => {
                let sent = body::tree(payload)?;
                self.rescale(request, |_| Ok(sent.clone())).await?
            }
            _ => {
                let change = body::patch(payload)?;
                self.rescale(request, |current| {
                    let mut scale = current.clone();
                    change.apply(&mut scale).map_err(Status::bad_request)?;
                    Ok(scale)
                })
                .await?
            }
        };
        Ok(json_response(StatusCode::OK, scale_of(&request.spec, &object, revision).to_string()))
    }

    async fn rescale(
        &self,
        request: &ResourceRequest,
        make: impl Fn(&Value) -> Result<Value, Status>,
    ) -> Result<(Object, i64), Status> {
        let mut whole = ResourceRequest { internal: true, ..request.clone() };
        whole.subresource.clear();
        let modified = || Status::modified(request.spec.group(), request.spec.resource(), &request.name);
        for _ in 0..ATTEMPTS {
            let (stored, revision) = self.stored(request, &request.name).await?;
            let old = Object::from_value(scale_of(&request.spec, &stored, revision)).expect("a Scale is an object");
            let made = Object::from_value(make(old.value())?);
            let mut scale = made.ok_or_else(|| Status::bad_request("the body is not a Scale"))?;
            well_formed(request, &mut scale)?;
            // The version that the client read is the one that it may change; a patch that names none goes for the next, too.
            if !matches!(scale.resource_version(), "" | "0") && scale.resource_version() != old.resource_version() {
                return Err(modified());
            }
            let attributes = Attributes::new(Operation::Update, request, &request.name, Some(&old));
            self.mutate(&attributes, &mut scale).await?;
            let replicas = scale.get(&["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
            if replicas < 0 {
                let text = format!("Invalid value: {replicas}: must be greater than or equal to 0");
                let errors = [("FieldValueInvalid", "spec.replicas".to_owned(), text)];
                return Err(Status::invalid("autoscaling", "Scale", &request.name, &errors));
            }
            self.admit(&attributes, &scale).await?;
            let changed = self.change(&whole, |current| {
                let mut scaled = current.clone();
                match custom_scale(&request.spec) {
                    Some(scale) => {
                        let path: Vec<&str> = scale.spec_replicas.iter().map(String::as_str).collect();
                        scaled.set(&path, replicas);
                    }
                    None => scaled.set(&["spec", "replicas"], replicas),
                }
                scaled.set(&["metadata", "resourceVersion"], revision.to_string());
                Ok(scaled)
            });
            match changed.await {
                Err(status) if status.reason == "Conflict" => {}
                result => return result,
            }
        }
        Err(modified())
    }
}

/// That a Scale is one, and of the object that the path names.
fn well_formed(request: &ResourceRequest, scale: &mut Object) -> Result<(), Status> {
    let name = scale.name();
    if !name.is_empty() && name != request.name {
        let why = format!("the name of the object ({name}) does not match the name on the URL ({})", request.name);
        return Err(Status::bad_request(why));
    }
    let Some(schema) = kinit_schema::kind("autoscaling", "v1", "Scale") else { return Ok(()) };
    let told = |error| Status::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {error}"));
    strict::conform(scale.map_mut(), schema).map(drop).map_err(told)
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
        "spec": {"replicas": wanted},
        "status": {"replicas": have},
    });
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

/// A patch of a tree that has no merge keys.
pub(super) enum TreePatch {
    Merge(Value),
    Json(json_patch::Patch),
}

impl TreePatch {
    fn apply(&self, tree: &mut Value) -> Result<(), String> {
        match self {
            Self::Merge(fields) => {
                patch::merge(tree, fields);
                Ok(())
            }
            Self::Json(operations) => operations::apply(tree, operations).map_err(|error| error.to_string()),
        }
    }
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
    }
}
