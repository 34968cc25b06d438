//! Who may do what, and who checks it: the groups rbac.authorization.k8s.io, certificates.k8s.io and
//! admissionregistration.k8s.io.

use serde_json::Value;

use super::Column;
use super::cells::{Row, count, made, name, since_creation, string, string_or, wide};
use super::human::{human_duration, list, selector, text};

const BINDING: &[Column] = &[
    name(),
    made("Role", |row| {
        let role = &row.object["roleRef"];
        format!("{}/{}", text(role, "/kind"), text(role, "/name")).into()
    }),
    since_creation(),
    wide(made("Users", |row| subjects(row.object, "User"))),
    wide(made("Groups", |row| subjects(row.object, "Group"))),
    wide(made("ServiceAccounts", |row| subjects(row.object, "ServiceAccount"))),
];

const SIGNING_REQUEST: &[Column] = &[
    name(),
    since_creation(),
    string_or("SignerName", "/spec/signerName", "<none>"),
    string("Requestor", "/spec/username"),
    made("RequestedDuration", |row| match row.object.pointer("/spec/expirationSeconds").and_then(Value::as_i64) {
        Some(seconds) => human_duration(seconds).into(),
        None => "<none>".into(),
    }),
    made("Condition", request_state),
];

const TRUST_BUNDLE: &[Column] = &[name(), string_or("SignerName", "/spec/signerName", "<none>")];

const WEBHOOKS: &[Column] = &[name(), count("Webhooks", "/webhooks", ""), since_creation()];

const VALIDATING_POLICY: &[Column] =
    &[name(), count("Validations", "/spec/validations", ""), made("ParamKind", parameter_kind), since_creation()];

const MUTATING_POLICY: &[Column] =
    &[name(), count("Mutations", "/spec/mutations", ""), made("ParamKind", parameter_kind), since_creation()];

const POLICY_BINDING: &[Column] =
    &[name(), string("PolicyName", "/spec/policyName"), made("ParamRef", parameter), since_creation()];

pub(super) fn columns(kind: &str) -> Option<&'static [Column]> {
    Some(match kind {
        "RoleBinding" | "ClusterRoleBinding" => BINDING,
        "CertificateSigningRequest" => SIGNING_REQUEST,
        "ClusterTrustBundle" => TRUST_BUNDLE,
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => WEBHOOKS,
        "ValidatingAdmissionPolicy" => VALIDATING_POLICY,
        "MutatingAdmissionPolicy" => MUTATING_POLICY,
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => POLICY_BINDING,
        _ => return None,
    })
}

/// The names of a binding's subjects of one kind.
fn subjects(binding: &Value, kind: &str) -> Value {
    let name = |subject: &Value| match kind {
        "ServiceAccount" => format!("{}/{}", text(subject, "/namespace"), text(subject, "/name")),
        _ => text(subject, "/name").to_owned(),
    };
    let of_kind = list(binding, "/subjects").iter().filter(|subject| subject["kind"] == kind);
    of_kind.map(name).collect::<Vec<_>>().join(", ").into()
}

fn request_state(row: Row<'_>) -> Value {
    let has = |kind: &str| list(row.object, "/status/conditions").iter().any(|condition| condition["type"] == kind);
    let mut state = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !text(row.object, "/status/certificate").is_empty() {
        state.push_str(",Issued");
    }
    state.into()
}

fn parameter_kind(row: Row<'_>) -> Value {
    match row.object.pointer("/spec/paramKind").filter(|kind| kind.is_object()) {
        Some(kind) => format!("{}/{}", text(kind, "/apiVersion"), text(kind, "/kind")).into(),
        None => "<unset>".into(),
    }
}

fn parameter(row: Row<'_>) -> Value {
    let reference = &row.object["spec"]["paramRef"];
    match (text(reference, "/namespace"), text(reference, "/name")) {
        ("", "") if reference["selector"].is_object() => selector(reference.get("selector")).into(),
        (_, "") => "<unset>".into(),
        // Whether the parameter lives in namespaces cannot be seen from here.
        ("", name) => format!("*/{name}").into(),
        (namespace, name) => format!("{namespace}/{name}").into(),
    }
}
