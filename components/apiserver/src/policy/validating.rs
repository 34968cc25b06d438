//! Runs validating policies over a write.

use std::collections::BTreeMap;

use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_cel::{OBJECT_BUDGET, Value};
use serde_json::{Value as Json, json};

use super::conditions::Write;
use super::params;
use super::scope::Input;
use super::set::{Binding, Bound, Policy, Validation};
use crate::admission::{Attributes, Context};
use crate::webhook::forms::Forms;

/// The longest message that an expression may make, and the longest value of an audit annotation, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;
const MAX_ANNOTATION: usize = 10 * 1024;

/// What a policy says against a write.
struct Finding {
    /// Which of its expressions says so.
    index: usize,
    message: String,
    /// The reason of the answer; empty for the usual one.
    reason: String,
}

/// What comes of a policy with one set of parameters.
#[derive(Default)]
struct Outcome {
    findings: Vec<Finding>,
    /// Audit annotations by key, and those that could not be made.
    annotations: Vec<(String, String)>,
    failed_annotations: Vec<String>,
}

pub(super) async fn run(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    object: &Object,
    namespace: Option<&Object>,
    policies: &[Bound],
) -> Result<(), Status> {
    let mut denied: Option<(String, String)> = None;
    let mut deny = |policy: &Policy, binding: Option<&Binding>, message: &str, reason: &str| {
        let bound = binding.map(|binding| format!(" with binding '{}'", binding.name)).unwrap_or_default();
        let text = format!("ValidatingAdmissionPolicy '{}'{bound} denied request: {message}", policy.name);
        denied.get_or_insert((text, reason.to_owned()));
    };
    let mut forms = Forms::default();
    for bound in policies {
        let policy = &bound.policy;
        let failing = !policy.fails_open;
        let matched = match policy.matcher.matches(context, attributes, object, namespace) {
            Ok(None) => continue,
            Ok(Some(spec)) => params::known(context, &policy.param_kind).map(|()| spec),
            Err(error) => Err(error),
        };
        let spec = match matched {
            Ok(spec) => spec,
            Err(error) => {
                if failing {
                    deny(policy, None, &format!("failed to configure policy: {error}"), "");
                }
                continue;
            }
        };
        let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for binding in &bound.bindings {
            let matched = binding.matcher.matches(context, attributes, object, namespace);
            let params = match matched {
                Ok(None) => continue,
                Ok(Some(_)) => params::collect(context, attributes, &policy.param_kind, &binding.param_ref),
                Err(error) => Err(error),
            };
            let params = match params {
                Ok(params) => params,
                Err(error) => {
                    if failing {
                        deny(policy, Some(binding), &format!("failed to configure binding: {error}"), "");
                    }
                    continue;
                }
            };
            if params.is_empty() {
                continue;
            }
            // Expressions see the version that the policy is about.
            let request = forms.request(context, attributes, &spec, object).await?;
            let write = Write::of(&request);
            for params in params {
                let outcome = evaluate(context, attributes, &write, namespace, policy, params);
                for finding in &outcome.findings {
                    act(attributes, policy, binding, finding, &mut deny);
                }
                for (key, value) in outcome.annotations {
                    let values = annotations.entry(key).or_default();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                for message in &outcome.failed_annotations {
                    deny(policy, Some(binding), message, "");
                }
            }
        }
        for (key, values) in annotations {
            attributes.request.annotations.add(format!("{}/{key}", policy.name), values.join(", "));
        }
    }
    denied.map_or(Ok(()), |(message, reason)| Err(refusal(attributes, &message, &reason)))
}

/// Does what the binding says about a finding.
fn act(
    attributes: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
    finding: &Finding,
    deny: &mut impl FnMut(&Policy, Option<&Binding>, &str, &str),
) {
    let message = &finding.message;
    for action in &binding.actions {
        match action.as_str() {
            "Deny" => deny(policy, Some(binding), message, &finding.reason),
            "Warn" => attributes.request.warnings.add(format!(
                "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                policy.name, binding.name
            )),
            "Audit" => {
                let key = "validation.policy.admission.k8s.io/validation_failure";
                attributes.request.annotations.add(key, failure(policy, binding, finding));
            }
            _ => {}
        }
    }
}

/// A finding as the audit log is told of it: a list of one, in upstream's order of fields and with Go's escapes.
fn failure(policy: &Policy, binding: &Binding, finding: &Finding) -> String {
    let text = |text: &str| {
        let text = Json::from(text).to_string();
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    };
    let (message, policy, name) = (text(&finding.message), text(&policy.name), text(&binding.name));
    let (index, actions) = (finding.index, json!(binding.actions));
    format!(
        r#"[{{"message":{message},"policy":{policy},"binding":{name},"expressionIndex":{index},"validationActions":{actions}}}]"#
    )
}

fn refusal(attributes: &Attributes<'_>, message: &str, reason: &str) -> Status {
    let mut status = attributes.forbidden(message);
    let reason = if reason.is_empty() { "Invalid" } else { reason };
    status.code = match reason {
        "Unauthorized" => 401,
        "Forbidden" => 403,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    status.reason = reason.to_owned().into();
    if let Some(details) = &mut status.details {
        details["causes"] = json!([{"message": message}]);
    }
    status
}

fn evaluate(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    write: &Write,
    namespace: Option<&Object>,
    policy: &Policy,
    params: Option<Object>,
) -> Outcome {
    let (params, namespace) = (params.map(Object::into_value), visible(attributes, namespace));
    let asker = write.asker(context, attributes);
    let given = || write.inputs(namespace.as_ref(), params.as_ref(), &asker, &policy.variables);
    let input = Input::new(given());
    let mut outcome = Outcome::default();
    let failed = |index: usize, message: String| Finding { index, message, reason: String::new() };
    match policy.conditions.met(&input) {
        Ok(true) => {}
        Ok(false) => return outcome,
        Err(error) => {
            outcome.findings.extend((!policy.fails_open).then(|| failed(0, error)));
            return outcome;
        }
    }
    let mut budget = i64::try_from(OBJECT_BUDGET).unwrap_or(i64::MAX);
    for (index, validation) in policy.validations.iter().enumerate() {
        let result = match validation.expression.run(&input, &mut budget) {
            Ok(result) => result,
            Err(error) => {
                outcome.findings = (!policy.fails_open).then(|| failed(0, error)).into_iter().collect();
                return outcome;
            }
        };
        match result {
            Ok(Value::Bool(true)) => {}
            Ok(_) => match message(validation, &input, &mut budget) {
                Ok(message) => {
                    let reason = validation.reason.clone();
                    outcome.findings.push(Finding { index, message, reason });
                }
                Err(error) => outcome.findings.extend((!policy.fails_open).then(|| failed(index, error))),
            },
            Err(error) => outcome.findings.extend((!policy.fails_open).then(|| failed(index, error))),
        }
    }
    let mut budget = i64::try_from(OBJECT_BUDGET).unwrap_or(i64::MAX);
    for (key, expression) in &policy.annotations {
        match expression.run(&input, &mut budget) {
            Ok(Ok(Value::String(text))) if !text.trim().is_empty() => {
                let text = text.trim();
                let end = (0..=text.len().min(MAX_ANNOTATION)).rev().find(|end| text.is_char_boundary(*end));
                outcome.annotations.push((key.clone(), text[..end.unwrap_or_default()].to_owned()));
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) | Err(error) => outcome.failed_annotations.extend((!policy.fails_open).then_some(error)),
        }
    }
    outcome
}

/// What expressions see of the namespace: nothing for a write of a Namespace itself, and no managed fields.
pub(super) fn visible(attributes: &Attributes<'_>, namespace: Option<&Object>) -> Option<Json> {
    if attributes.request.spec.is("", "namespaces") {
        return None;
    }
    let mut namespace = namespace.cloned()?;
    namespace.remove(&["metadata", "managedFields"]);
    namespace.remove(&["metadata", "ownerReferences"]);
    Some(namespace.into_value())
}

/// What to say when a validation has failed.
fn message<'a>(validation: &'a Validation, input: &Input<'a>, budget: &mut i64) -> Result<String, String> {
    if let Some(expression) = &validation.message_expression {
        let result = expression.run(input, budget).map_err(|error| format!("failed messageExpression: {error}"))?;
        if let Ok(Value::String(text)) = result {
            let text = text.trim();
            if !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n') {
                return Ok(text.to_owned());
            }
        }
    }
    if validation.message.is_empty() {
        Ok(format!("failed expression: {}", validation.expression.source.trim()))
    } else {
        Ok(validation.message.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_log_is_told_in_the_order_of_fields() {
        let object =
            |name: &str, spec: Json| Object::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        let policy = Policy::new(&object("p", json!({})));
        let (of, binding) =
            Binding::new(&object("b", json!({"policyName": "p", "validationActions": ["Warn", "Audit"]})));
        let finding = Finding { index: 2, message: "1 < \"2\" & ü".to_owned(), reason: String::new() };
        assert_eq!(of, "p");
        assert_eq!(
            failure(&policy, &binding, &finding),
            r#"[{"message":"1 \u003c \"2\" \u0026 ü","policy":"p","binding":"b","expressionIndex":2,"validationActions":["Warn","Audit"]}]"#
        );
    }
}
