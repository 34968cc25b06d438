//! Whether policies and bindings may be stored, and the rules of CustomResourceDefinitions.

use std::collections::HashSet;

use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::validate::field::{self, Error, Errors, Path};
use kinit_api::validate::{self, metadata, text};
use kinit_cel::Type;
use serde_json::Value;

use super::expressions::{Expression, Gives};
use super::scope;
use super::set::{Mutation, Policy};
use super::{GROUP, devices};
use crate::admission::certificates;
use crate::registry::ResourceSpec;

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
/// What a rule of a mutating policy may be about.
const CHANGING: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const MAX_CONDITIONS: usize = 64;
const MAX_ANNOTATIONS: usize = 20;
const MAX_VALUE_EXPRESSION: usize = 5 * 1024;

/// Whether an object may be stored, as far as goes what is written in it in other languages: expressions, certificates.
pub fn check(spec: &ResourceSpec, object: &Object) -> Result<(), Status> {
    let group = spec.group();
    if group == "resource.k8s.io" {
        let errors = devices::check(spec.kind(), object);
        return if errors.is_empty() { Ok(()) } else { Err(field::status(group, spec.kind(), object.name(), &errors)) };
    }
    if group == "flowcontrol.apiserver.k8s.io" {
        let errors = crate::flow::defaults::check(spec.kind(), object);
        return if errors.is_empty() { Ok(()) } else { Err(field::status(group, spec.kind(), object.name(), &errors)) };
    }
    if (group, spec.kind()) == ("certificates.k8s.io", "CertificateSigningRequest") {
        let error = certificates::request(object);
        return error.map_or(Ok(()), |error| Err(field::status(group, spec.kind(), object.name(), &[error])));
    }
    if group != GROUP {
        return Ok(());
    }
    let root = Path::new("spec");
    let own = object.get(&["spec"]).unwrap_or(&Value::Null);
    let errors = match spec.kind() {
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => policy(object, own, &root),
        "ValidatingAdmissionPolicyBinding" => binding(own, &root, true),
        "MutatingAdmissionPolicyBinding" => binding(own, &root, false),
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => hooks(object),
        _ => Errors::new(),
    };
    if errors.is_empty() { Ok(()) } else { Err(field::status(GROUP, spec.kind(), object.name(), &errors)) }
}

fn text_of<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// That a text is one of a few, and given.
fn one_of(value: &Value, field: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    match text_of(value, field) {
        "" => errors.push(Error::required(&path.child(field), "")),
        text if supported.contains(&text) => {}
        text => errors.push(Error::not_supported(&path.child(field), text, supported)),
    }
}

/// As [`one_of`], of a field where an empty text is there, and one that is not supported.
fn one_of_given(value: &Value, field: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    if value[field] == "" {
        errors.push(Error::not_supported(&path.child(field), "", supported));
    } else {
        one_of(value, field, supported, path, errors);
    }
}

/// What is wrong with an expression, as an error at its field.
fn compiled(expression: &Expression, path: &Path, errors: &mut Errors) {
    if let Err(error) = &expression.program {
        errors.push(Error::invalid(path, expression.source.clone(), error));
    }
}

fn policy(object: &Object, spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mutating = object.kind() == "MutatingAdmissionPolicy";
    one_of_given(spec, "failurePolicy", &FAILURE_POLICIES, path, &mut errors);
    if spec["paramKind"].is_object() {
        param_kind(&spec["paramKind"], &path.child("paramKind"), &mut errors);
    }
    let constraints = path.child("matchConstraints");
    if spec["matchConstraints"].is_object() {
        resources(&spec["matchConstraints"], &constraints, &mut errors);
        if list(&spec["matchConstraints"], "resourceRules").is_empty() {
            errors.push(Error::required(&constraints.child("resourceRules"), ""));
        }
        if mutating {
            only_writes(&spec["matchConstraints"], &constraints, &mut errors);
        }
    } else {
        errors.push(Error::required(&constraints, ""));
    }
    conditions(&spec["matchConditions"], spec["paramKind"].is_object(), &path.child("matchConditions"), &mut errors);
    let compiled_policy = Policy::new(object);
    variables(spec, &compiled_policy, path, &mut errors);
    if mutating {
        mutations(spec, &compiled_policy, path, &mut errors);
        one_of(spec, "reinvocationPolicy", &["IfNeeded", "Never"], path, &mut errors);
    } else if list(spec, "validations").is_empty() && list(spec, "auditAnnotations").is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.push(Error::required(&path.child("validations"), why));
        errors.push(Error::required(&path.child("auditAnnotations"), why));
    } else {
        validations(spec, &compiled_policy, path, &mut errors);
        annotations(object, spec, &compiled_policy, path, &mut errors);
    }
    errors
}

fn param_kind(kind: &Value, path: &Path, errors: &mut Errors) {
    let (version, at) = (text_of(kind, "apiVersion"), path.child("apiVersion"));
    let parts = match version.split('/').collect::<Vec<_>>()[..] {
        [""] => {
            errors.push(Error::required(&at, ""));
            None
        }
        [own] => Some(("", own)),
        [group, own] => Some((group, own)),
        _ => {
            errors.push(Error::invalid(&at, version, format!("unexpected GroupVersion string: {version}")));
            None
        }
    };
    let mut told = |shown: &str, before: &str, path: &Path, complaints: text::Complaints| {
        if !complaints.is_empty() {
            errors.push(Error::invalid(path, shown, format!("{before}{}", complaints.join(","))));
        }
    };
    if let Some((group, own)) = parts {
        if !group.is_empty() {
            told(group, "", &at, text::dns_subdomain(group));
        }
        if own.is_empty() {
            told(version, "", &at, vec!["version must be specified".into()]);
        } else {
            told(own, "", &at, text::dns_label_of_old(own));
        }
    }
    match text_of(kind, "kind") {
        "" => errors.push(Error::required(&path.child("kind"), "")),
        kind => {
            let cases = "may have mixed case, but should otherwise match: ";
            told(kind, cases, &path.child("kind"), text::dns_label_of_old(&kind.to_lowercase()));
        }
    }
}

fn resources(resources: &Value, path: &Path, errors: &mut Errors) {
    one_of_given(resources, "matchPolicy", &MATCH_POLICIES, path, errors);
    for field in ["namespaceSelector", "objectSelector"] {
        metadata::selector(&resources[field], &path.child(field), errors);
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in list(resources, field).iter().enumerate() {
            let path = path.child(field).index(index);
            let mut seen = HashSet::new();
            for (index, name) in list(rule, "resourceNames").iter().enumerate() {
                let (name, path) = (name.as_str().unwrap_or_default(), path.child("resourceNames").index(index));
                errors.extend(text::path_segment(name).into_iter().map(|why| Error::invalid(&path, name, why)));
                if !seen.insert(name) {
                    errors.push(Error::duplicate(&path, name));
                }
            }
            validate::webhook_rule(rule, &path, errors);
        }
    }
}

/// That rules mean only what can be changed on its way.
fn only_writes(resources: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("resourceRules.operations");
    for operation in list(resources, "resourceRules").iter().flat_map(|rule| list(rule, "operations")) {
        let operation = operation.as_str().unwrap_or_default();
        if !CHANGING.contains(&operation) {
            errors.push(Error::not_supported(&path, operation, &CHANGING));
        }
    }
}

fn conditions(conditions: &Value, params: bool, path: &Path, errors: &mut Errors) {
    let conditions = conditions.as_array().map(Vec::as_slice).unwrap_or_default();
    if conditions.len() > MAX_CONDITIONS {
        errors.push(Error::too_many(path, conditions.len(), MAX_CONDITIONS));
    }
    let scope = scope::declare(&Type::Dyn, params.then_some(&Type::Dyn), true, false);
    let mut names = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        match text_of(condition, "expression").trim() {
            "" => errors.push(Error::required(&path.child("expression"), "")),
            source => compiled(&Expression::new(source, &scope, Gives::Bool), &path.child("expression"), errors),
        }
        let (name, at) = (text_of(condition, "name"), path.child("name"));
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else {
            errors.extend(text::qualified_name(name).into_iter().map(|why| Error::invalid(&at, name, why)));
            if !names.insert(name) {
                errors.push(Error::duplicate(&at, name));
            }
        }
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && kinit_cel::escape(name).is_some_and(|escaped| !escaped.starts_with("__") || name.starts_with("__"))
}

fn variables(spec: &Value, policy: &Policy, path: &Path, errors: &mut Errors) {
    for (index, (variable, (name, expression))) in list(spec, "variables").iter().zip(&policy.variables).enumerate() {
        let path = path.child("variables").index(index);
        if name.trim().is_empty() {
            errors.push(Error::required(&path.child("name"), "name is not specified"));
        } else if !is_identifier(name) {
            errors.push(Error::invalid(&path.child("name"), name.clone(), "must be a valid CEL identifier"));
        }
        if text_of(variable, "expression").trim().is_empty() {
            errors.push(Error::required(&path.child("expression"), "expression is not specified"));
        } else {
            compiled(expression, &path.child("expression"), errors);
        }
    }
}

fn validations(spec: &Value, policy: &Policy, path: &Path, errors: &mut Errors) {
    const EMPTY: &str = "must be non-empty if specified";
    for (index, (written, validation)) in list(spec, "validations").iter().zip(&policy.validations).enumerate() {
        let path = path.child("validations").index(index);
        if validation.expression.source.trim().is_empty() {
            errors.push(Error::required(&path.child("expression"), "expression is not specified"));
        } else {
            compiled(&validation.expression, &path.child("expression"), errors);
        }
        let (message, expression) = (text_of(written, "message"), text_of(written, "messageExpression"));
        if let Some(expression) = &validation.message_expression {
            compiled(expression, &path.child("messageExpression"), errors);
        } else if !expression.is_empty() {
            errors.push(Error::invalid(&path.child("messageExpression"), expression, EMPTY));
        }
        if !message.is_empty() && message.trim().is_empty() {
            errors.push(Error::invalid(&path.child("message"), message, EMPTY));
        } else if message.trim().contains(['\n', '\r']) {
            errors.push(Error::invalid(&path.child("message"), message, "must not contain line breaks"));
        }
        if written["reason"].is_string() && !REASONS.contains(&validation.reason.as_str()) {
            errors.push(Error::not_supported(&path.child("reason"), validation.reason.clone(), &REASONS));
        }
    }
}

fn annotations(object: &Object, spec: &Value, policy: &Policy, path: &Path, errors: &mut Errors) {
    let written = list(spec, "auditAnnotations");
    let path = path.child("auditAnnotations");
    if written.len() > MAX_ANNOTATIONS {
        let why = format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations");
        errors.push(Error::invalid(&path, Value::from(written), why));
    }
    let mut keys = HashSet::new();
    for (index, (key, expression)) in policy.annotations.iter().enumerate() {
        let path = path.index(index);
        let whole = format!("{}/{key}", object.name());
        let complaints = text::qualified_name(&whole);
        errors.extend(complaints.into_iter().map(|why| Error::invalid(&path.child("key"), whole.clone(), why)));
        let at = path.child("valueExpression");
        if expression.source.is_empty() {
            errors.push(Error::required(&at, "valueExpression is not specified"));
        } else if expression.source.len() > MAX_VALUE_EXPRESSION {
            errors.push(Error::required(&at, &format!("must not exceed {MAX_VALUE_EXPRESSION} bytes in length")));
        } else {
            compiled(expression, &at, errors);
        }
        if !keys.insert(key) {
            errors.push(Error::duplicate(&path.child("key"), key.clone()));
        }
    }
}

fn mutations(spec: &Value, policy: &Policy, path: &Path, errors: &mut Errors) {
    const KINDS: [(&str, &str); 2] = [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")];
    if list(spec, "mutations").is_empty() {
        errors.push(Error::required(&path.child("mutations"), "mutations must contain at least one item"));
    }
    for (index, (written, mutation)) in list(spec, "mutations").iter().zip(&policy.mutations).enumerate() {
        let path = path.child("mutations").index(index);
        let kind = text_of(written, "patchType");
        let Some((_, field)) = KINDS.iter().find(|(known, _)| *known == kind) else {
            one_of(written, "patchType", &KINDS.map(|(known, _)| known), &path, errors);
            continue;
        };
        let (Mutation::Apply(expression) | Mutation::Patch(expression)) = mutation;
        let at = path.child(field);
        if written[*field].is_null() {
            errors.push(Error::required(&at, &format!("must be specified when patchType is {kind}")));
        } else if expression.source.is_empty() {
            errors.push(Error::required(&at.child("expression"), ""));
        } else {
            compiled(expression, &at.child("expression"), errors);
        }
        for (_, other) in KINDS.iter().filter(|(known, other)| *known != kind && !written[*other].is_null()) {
            let why = format!("must not be specified when patchType is {kind}");
            errors.push(Error::invalid(&path.child(other), format!("{{{other}}}"), why));
        }
    }
}

fn binding(spec: &Value, path: &Path, validating: bool) -> Errors {
    let mut errors = Errors::new();
    let (policy, at) = (text_of(spec, "policyName"), path.child("policyName"));
    if policy.is_empty() {
        errors.push(Error::required(&at, ""));
    } else {
        errors.extend(text::dns_subdomain(policy).into_iter().map(|why| Error::invalid(&at, policy, why)));
    }
    if spec["paramRef"].is_object() {
        param_ref(&spec["paramRef"], &path.child("paramRef"), &mut errors);
    }
    if spec["matchResources"].is_object() {
        resources(&spec["matchResources"], &path.child("matchResources"), &mut errors);
        if !validating {
            only_writes(&spec["matchResources"], &path.child("matchResources"), &mut errors);
        }
    }
    if validating {
        actions(spec, &path.child("validationActions"), &mut errors);
    }
    errors
}

fn param_ref(reference: &Value, path: &Path, errors: &mut Errors) {
    let (name, selects) = (text_of(reference, "name"), reference["selector"].is_object());
    const BOTH: &str = "name and selector are mutually exclusive";
    if !name.is_empty() {
        let at = path.child("name");
        errors.extend(text::path_segment(name).into_iter().map(|why| Error::invalid(&at, name, why)));
        if selects {
            errors.push(Error::forbidden(&at, BOTH));
            errors.push(Error::forbidden(&path.child("selector"), BOTH));
        }
    } else if !selects {
        errors.push(Error::required(path, "one of name or selector must be specified"));
    }
    if selects {
        metadata::selector(&reference["selector"], &path.child("selector"), errors);
    }
    one_of(reference, "parameterNotFoundAction", &["Deny", "Allow"], path, errors);
}

fn actions(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    let written = list(spec, "validationActions");
    for (index, action) in written.iter().enumerate() {
        let action = action.as_str().unwrap_or_default();
        if !ACTIONS.contains(&action) {
            errors.push(Error::not_supported(&path.index(index), action, &ACTIONS));
        }
        if !seen.insert(action) {
            errors.push(Error::duplicate(&path.index(index), action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                   response and headers serves no purpose)";
        errors.push(Error::invalid(path, Value::from(written), why));
    }
    if seen.is_empty() {
        errors.push(Error::required(path, "at least one validation action is required"));
    }
}

/// The match conditions of webhooks.
fn hooks(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let hooks = object.get(&["webhooks"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (index, hook) in hooks.iter().enumerate() {
        let path = Path::new("webhooks").index(index).child("matchConditions");
        conditions(&hook["matchConditions"], false, &path, &mut errors);
    }
    errors
}
