//! Resources that are questions: they are answered and not stored.

use http::{Response, StatusCode};
use kinit_api::canonical::canonicalize;
use kinit_api::object::Object;
use kinit_api::selector::{FieldSelector, LabelSelector};
use kinit_api::status::Status;
use kinit_api::validate;
use kinit_serving::Body;
use serde_json::{Value, json};

use super::{Api, Payload, body, json_response, now};
use crate::admission::{Attributes, Operation};
use crate::authn::User;
use crate::authz::rbac::Ask;
use crate::fields;
use crate::request::{ResourceRequest, Verb};

impl Api {
    /// Answers a resource that is never stored.
    pub(super) async fn answer_only(
        &self,
        request: &ResourceRequest,
        payload: &Payload,
    ) -> Result<Response<Body>, Status> {
        let resource = request.spec.resource();
        if resource == "componentstatuses" {
            return self.component_statuses(request).await;
        }
        if request.verb != Verb::Create {
            return Err(Status::method_not_allowed());
        }
        let mut object = body::object(request, payload)?;
        if resource == "bindings" {
            let mut bind = request.clone();
            bind.name = object.name().to_owned();
            let (index, spec) = crate::registry::find("", "v1", "pods").expect("Pod has a row");
            (bind.index, bind.spec) = (index, spec.clone());
            bind.subresource = "binding".into();
            return self.bind(&bind, payload).await;
        }
        place(&request.namespace, &mut object);
        let attributes = Attributes::new(Operation::Create, request, "", None);
        self.ask(&attributes, &mut object).await?;
        validate::review(request.spec.group(), request.spec.kind(), &object).map_err(nameless)?;
        let resource_kind = (request.spec.group(), request.spec.version(), request.spec.kind());
        if let Some(kind) = kinit_schema::kind(resource_kind.0, resource_kind.1, resource_kind.2) {
            canonicalize(kind, object.map_mut());
        }
        if !matches!(resource, "selfsubjectrulesreviews" | "selfsubjectreviews") {
            fields::note(request, None, &mut object, &now(), None);
        }
        let status = match resource {
            "selfsubjectreviews" => json!({"userInfo": request.user.to_value()}),
            "tokenreviews" => self.review_token(&object).await?,
            "selfsubjectrulesreviews" => self.review_rules(&request.user, &object)?,
            "selfsubjectaccessreviews" => self.review_access(&request.user, &object).await?,
            _ => {
                let user = subject(&object);
                self.review_access(&user, &object).await?
            }
        };
        if object.get(&["metadata"]).is_none() {
            object.set(&["metadata"], json!({}));
        }
        if resource == "selfsubjectreviews" {
            object.set(&["metadata", "creationTimestamp"], now());
        }
        if resource == "selfsubjectrulesreviews" {
            object.set(&["spec"], json!({}));
        }
        object.set(&["status"], status);
        Ok(json_response(StatusCode::CREATED, object.to_vec()))
    }

    async fn review_token(&self, review: &Object) -> Result<Value, Status> {
        let token = review.str(&["spec", "token"]);
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        let asked = review.get(&["spec", "audiences"]).and_then(Value::as_array).cloned().unwrap_or_default();
        let asked: Vec<String> = asked.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let own = self.authenticator.tokens.audiences().to_vec();
        let audiences = if asked.is_empty() { own } else { asked };
        Ok(match self.authenticator.token(token, &audiences, &self.cache).await {
            Ok((user, audiences)) => {
                json!({"authenticated": true, "user": user.to_value(), "audiences": audiences})
            }
            Err(reason) => json!({"user": {}, "error": reason}),
        })
    }

    async fn review_access(&self, user: &User, review: &Object) -> Result<Value, Status> {
        let spec = review.get(&["spec"]).cloned().unwrap_or_default();
        let attributes = &spec["resourceAttributes"];
        let text = |field: &str| attributes[field].as_str().unwrap_or_default();
        let paths = &spec["nonResourceAttributes"];
        let path = |field: &str| paths[field].as_str().unwrap_or_default();
        let ask = if attributes.is_object() {
            Ask::Resource {
                verb: text("verb"),
                group: text("group"),
                resource: text("resource"),
                subresource: text("subresource"),
                name: text("name"),
                namespace: text("namespace"),
            }
        } else {
            Ask::Path { verb: path("verb"), path: path("path") }
        };
        let decision = self.authorizer.decide(user, &ask, &selected_node(&attributes["fieldSelector"])).await;
        let mut status = json!({"allowed": decision.allowed});
        let error = Some(decision.error).filter(|error| !error.is_empty());
        let errors: Vec<String> = error.into_iter().chain(unread(attributes)).collect();
        if !errors.is_empty() {
            status["evaluationError"] = errors.join("; ").into();
        }
        if decision.refused {
            status["denied"] = true.into();
        }
        let known = decision.allowed && decision.reason.is_empty();
        let reason = if known { self.authorizer.reason(user, &ask) } else { decision.reason };
        if !reason.is_empty() {
            status["reason"] = reason.into();
        }
        Ok(status)
    }

    fn review_rules(&self, user: &User, review: &Object) -> Result<Value, Status> {
        let namespace = review.str(&["spec", "namespace"]);
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        for rule in self.authorizer.rules_for(user, namespace) {
            let is_path = !rule.urls.is_empty();
            if is_path { &mut paths } else { &mut resources }.push(rule.to_json());
        }
        let incomplete = self.authorizer.rules_incomplete(user);
        let mut status =
            json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": incomplete.is_some()});
        if let Some(why) = incomplete {
            status["evaluationError"] = why.into();
        }
        Ok(status)
    }
}

/// Puts a question into the namespace of its path, or into none (empty), as upstream does before it looks at one.
fn place(namespace: &str, object: &mut Object) {
    if namespace.is_empty() {
        object.remove(&["metadata", "namespace"]);
    } else {
        object.set(&["metadata", "namespace"], namespace);
    }
}

/// An error of which the kind is not told: upstream does not name it where it refuses questions about access.
fn nameless(mut status: Status) -> Status {
    if let Some(details) = status.details.as_mut().and_then(Value::as_object_mut)
        && let Some(Value::String(kind)) = details.remove("kind")
        && let Some(rest) = status.message.strip_prefix(&kind)
    {
        status.message = rest.to_owned();
    }
    status
}

/// What of the selectors was not looked at because it cannot be read.
fn unread(attributes: &Value) -> Option<String> {
    let field = attributes["fieldSelector"]["rawSelector"].as_str();
    let label = attributes["labelSelector"]["rawSelector"].as_str();
    let terms = |field: &str| attributes[field]["requirements"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_fields = |term: &Value| {
        let one = term["values"].as_array().is_some_and(|values| values.len() == 1);
        !one || !matches!(term["operator"].as_str(), Some("In" | "NotIn"))
    };
    let of_labels = |term: &Value| {
        let mut wrong = Vec::new();
        let selector = json!({"matchExpressions": [term]});
        validate::metadata::selector(&selector, &validate::field::Path::default(), &mut wrong);
        !wrong.is_empty()
    };
    let ignored = [
        (
            "fieldSelector",
            field.is_some_and(|raw| FieldSelector::parse(raw).is_err()) || terms("fieldSelector").iter().any(of_fields),
        ),
        (
            "labelSelector",
            label.is_some_and(|raw| LabelSelector::parse(raw).is_err()) || terms("labelSelector").iter().any(of_labels),
        ),
    ];
    let told = ignored.iter().filter(|(_, wrong)| *wrong);
    let told: Vec<String> =
        told.map(|(field, _)| format!("spec.resourceAttributes.{field} ignored due to parse error")).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// The node that a field selector asks for, in either of its forms; one that cannot be read asks for none.
fn selected_node(selector: &Value) -> String {
    const NODE: &str = "spec.nodeName";
    if let Some(raw) = selector["rawSelector"].as_str() {
        let terms = FieldSelector::parse(raw).map(|selector| selector.0).unwrap_or_default();
        let node = terms.into_iter().find(|(path, _, equal)| path == NODE && *equal);
        return node.map(|(_, node, _)| node).unwrap_or_default();
    }
    let terms = selector["requirements"].as_array().map(Vec::as_slice).unwrap_or_default();
    let node = terms.iter().find(|term| term["key"] == NODE && term["operator"] == "In");
    node.and_then(|term| term["values"][0].as_str()).unwrap_or_default().to_owned()
}

/// The user that an access review asks about.
fn subject(review: &Object) -> User {
    let spec = review.get(&["spec"]).cloned().unwrap_or_default();
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    let list =
        |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let extra = spec["extra"].as_object().into_iter().flatten().map(|(key, values)| (key.clone(), list(values)));
    User { name: text("user"), uid: text("uid"), groups: list(&spec["groups"]), extra: extra.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_that_cannot_be_read_are_told_and_ignored() {
        let raw = |field: &str, label: &str| json!({"fieldSelector": {"rawSelector": field}, "labelSelector": {"rawSelector": label}});
        assert_eq!(unread(&raw("a=b", "a in (b)")), None);
        assert_eq!(unread(&json!({"verb": "get"})), None);
        let term = |operator: &str, values: &[&str]| json!([{"key": "a", "operator": operator, "values": values}]);
        for (operator, values, wrong) in [
            ("In", &["b"][..], [false; 2]),
            ("In", &["b", "c"], [true, false]),
            ("Exists", &[], [true, false]),
            ("In", &[], [true; 2]),
            ("a", &["b"], [true; 2]),
        ] {
            let told = ["fieldSelector", "labelSelector"]
                .map(|field| unread(&json!({field: {"requirements": term(operator, values)}})).is_some());
            assert_eq!(told, wrong, "{operator} {values:?}");
        }
        let both = "spec.resourceAttributes.fieldSelector ignored due to parse error; spec.resourceAttributes.labelSelector \
                    ignored due to parse error";
        assert_eq!(unread(&raw("(((", "(((")).as_deref(), Some(both));
    }

    #[test]
    fn a_question_is_in_the_namespace_of_its_path() {
        let asked = |namespace: &str, path: &str| {
            let spec =
                json!({"user": "a", "resourceAttributes": {"namespace": namespace, "verb": "get", "resource": "pods"}});
            let mut review = Object::from_value(json!({"kind": "LocalSubjectAccessReview", "spec": spec})).unwrap();
            place(path, &mut review);
            let told = validate::review("authorization.k8s.io", "LocalSubjectAccessReview", &review).map_err(nameless);
            (review.namespace().to_owned(), told.err().map(|status| status.message))
        };
        assert_eq!(asked("x", "x"), ("x".to_owned(), None));
        let other = ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: Invalid value: \"y\": must match \
                     metadata.namespace";
        assert_eq!(asked("y", "x").1.as_deref(), Some(other));
        assert!(asked("", "x").1.unwrap().contains("Invalid value: \"\": must match metadata.namespace"));
        let mut cluster = Object::from_value(json!({"metadata": {"namespace": "x"}, "spec": {"token": "t"}})).unwrap();
        place("", &mut cluster);
        assert_eq!(cluster.namespace(), "");
    }

    #[test]
    fn what_is_refused_has_no_kind() {
        let spec = json!({"kind": "SubjectAccessReview", "spec": {"user": "a"}});
        let review = Object::from_value(spec).unwrap();
        let refused = validate::review("authorization.k8s.io", "SubjectAccessReview", &review).map_err(nameless);
        let status = refused.unwrap_err().to_value();
        assert!(status["message"].as_str().unwrap().starts_with(".authorization.k8s.io \"\" is invalid: spec."));
        assert_eq!(
            (&status["details"]["group"], status["details"].get("kind")),
            (&json!("authorization.k8s.io"), None)
        );
    }

    #[test]
    fn a_node_is_selected_in_either_form() {
        let node = |selector: Value| selected_node(&selector);
        assert_eq!(node(json!({"rawSelector": "a=b,spec.nodeName=n"})), "n");
        assert_eq!(node(json!({"rawSelector": "spec.nodeName!=n"})), "");
        let terms = json!([{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]);
        assert_eq!(node(json!({"requirements": terms})), "n");
        assert_eq!(node(Value::Null), "");
    }
}
