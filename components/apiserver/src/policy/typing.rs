//! Policies checked against the types of what they are about, where they name it: what is found stands in their status, and
//! changes nothing in what they do. Evaluation itself knows no types, because a policy may be about anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_cel::{Decl, DeclKind, FieldDecl, ObjectDecl, Type, escape, from_schema};
use kinit_schema::{Element, Scalar, Shape};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::GROUP;
use super::expressions::Expression;
use super::set::Policy;
use crate::cache::Cache;
use crate::handlers::Api;
use crate::registry::{Registry, Spec};

const POLICIES: &str = "validatingadmissionpolicies";
const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");
/// How often policies are gone through.
const EVERY: Duration = Duration::from_secs(2);
/// The most types that one rule of a policy is checked against.
const MOST_TYPES: usize = 10;
/// How deep types are followed; some have themselves in them.
const DEPTH: usize = 12;

/// Checks new and changed policies until `shutdown`.
pub async fn run(api: Api, shutdown: CancellationToken) {
    api.cache.wait_until_synced().await;
    loop {
        for entry in api.cache.all(GROUP, POLICIES).values() {
            let Some(policy) = entry.object().filter(is_due) else { continue };
            let found = warnings(&api.cache, &policy);
            if let Err(error) = write(&api, policy, found).await {
                tracing::debug!(%error, policy = entry.name(), "what its types say could not be written");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Whether a policy has changed since it was checked.
fn is_due(policy: &Object) -> bool {
    let number = |path: &[&str]| policy.get(path).and_then(Value::as_i64).unwrap_or_default();
    number(&["metadata", "generation"]) > number(&["status", "observedGeneration"])
}

async fn write(api: &Api, mut policy: Object, warnings: Vec<Value>) -> Result<(), Status> {
    let generation = policy.get(&["metadata", "generation"]).cloned().unwrap_or_default();
    let mut status = policy.get(&["status"]).cloned().unwrap_or_else(|| json!({}));
    status["observedGeneration"] = generation;
    status["typeChecking"] = if warnings.is_empty() { json!({}) } else { json!({ "expressionWarnings": warnings }) };
    policy.set(&["status"], status);
    let request = crate::bootstrap::status_request(&policy)?;
    api.store_changed(&request, policy).await
}

/// What is wrong with each expression of a policy, for each type that it is about.
fn warnings(cache: &Cache, policy: &Object) -> Vec<Value> {
    let registry = cache.registry();
    let spec = policy.get(&["spec"]).cloned().unwrap_or_default();
    let params = spec["paramKind"].as_object().and_then(|kind| {
        let text = |field: &str| kind.get(field).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        let (_, row) = registry.find_kind(group, version, text("kind"))?;
        type_of(cache, &row)
    });
    let params = params.unwrap_or(Type::Dyn);
    let mut found: BTreeMap<(usize, &str), Vec<String>> = BTreeMap::new();
    for row in about(&registry, &spec) {
        let Some(kind) = type_of(cache, &row) else { continue };
        let shown = format!("{}/{}, Kind={}", row.group(), row.version(), row.kind());
        for (at, field, why) in complaints(&Policy::typed(policy, &kind, &params)) {
            found.entry((at, field)).or_default().push(format!("{shown}: {why}\n"));
        }
    }
    let warning = |((at, field), texts): ((usize, &str), Vec<String>)| json!({"fieldRef": format!("spec.validations[{at}].{field}"), "warning": texts.join("\n")});
    found.into_iter().map(warning).collect()
}

/// Which expressions of a policy do not fit its types, and why not.
fn complaints(policy: &Policy) -> Vec<(usize, &'static str, String)> {
    // What an expression gives was looked at when the policy was written.
    let why = |expression: &Expression| {
        let error = expression.program.as_ref().err()?;
        error.starts_with("compilation failed").then(|| error.clone())
    };
    let mut all = Vec::new();
    for (at, validation) in policy.validations.iter().enumerate() {
        all.extend(why(&validation.expression).map(|why| (at, "expression", why)));
        let message = validation.message_expression.as_ref().and_then(why);
        all.extend(message.map(|why| (at, "messageExpression", why)));
    }
    all
}

/// The rows that a policy's rules name without a wildcard.
fn about(registry: &Registry, spec: &Value) -> Vec<Spec> {
    let mut all: BTreeMap<(String, String, String), Spec> = BTreeMap::new();
    for rule in spec["matchConstraints"]["resourceRules"].as_array().into_iter().flatten() {
        let texts = |field: &str| -> BTreeSet<&str> {
            let list: BTreeSet<&str> = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            // A wildcard may be about anything, which no type is.
            if list.iter().any(|text| text.contains(['*', '/'])) { BTreeSet::new() } else { list }
        };
        let mut count = 0;
        for group in texts("apiGroups") {
            for version in texts("apiVersions") {
                for resource in texts("resources") {
                    let Some((_, row)) = registry.find(group, version, resource).filter(|_| count < MOST_TYPES) else {
                        continue;
                    };
                    count += 1;
                    all.insert((group.to_owned(), version.to_owned(), row.kind().to_owned()), row);
                }
            }
        }
    }
    all.into_values().collect()
}

/// The type of a row's objects, where it is known.
fn type_of(cache: &Cache, row: &Spec) -> Option<Type> {
    let decl = match &row.custom {
        None => built_in(kinit_schema::kind(row.group(), row.version(), row.kind())?, DEPTH),
        Some(custom) => {
            let entry = cache.find(DEFINITIONS.0, DEFINITIONS.1, "", &custom.definition.name)?;
            let definition = entry.object()?.into_value();
            let versions = definition["spec"]["versions"].as_array()?;
            let version = versions.iter().find(|version| version["name"] == row.version())?;
            from_schema(&version["schema"]["openAPIV3Schema"], true, row.kind())?
        }
    };
    Some(decl.kind_of())
}

fn built_in(kind: &'static kinit_schema::Type, depth: usize) -> Decl {
    if depth == 0 {
        return Decl::of(DeclKind::Dyn);
    }
    let mut fields = BTreeMap::new();
    if kind.kind {
        for name in ["apiVersion", "kind"] {
            let decl = Arc::new(Decl::of(DeclKind::String));
            fields.insert(name.to_owned(), FieldDecl { name: name.to_owned(), decl });
        }
    }
    for field in kind.json_fields() {
        let one = match field.element {
            Element::Scalar(scalar) => Decl::of(of_scalar(scalar)),
            Element::Message(inner) => built_in(inner.get(), depth - 1),
        };
        let decl = match field.shape {
            Shape::One => one,
            Shape::List => Decl::list(one),
            Shape::Map => Decl::of(DeclKind::Map(Arc::new(one))),
        };
        if let Some(name) = escape(field.name) {
            fields.insert(name, FieldDecl { name: field.name.to_owned(), decl: Arc::new(decl) });
        }
    }
    Decl::of(DeclKind::Object(Arc::new(ObjectDecl { name: kind.name.to_owned(), fields })))
}

fn of_scalar(scalar: Scalar) -> DeclKind {
    match scalar {
        Scalar::Bool => DeclKind::Bool,
        Scalar::I32 | Scalar::I64 | Scalar::U8 | Scalar::U64 => DeclKind::Int,
        Scalar::F64 => DeclKind::Double,
        Scalar::Bytes => DeclKind::Bytes,
        Scalar::Time | Scalar::MicroTime => DeclKind::Timestamp,
        Scalar::String | Scalar::Quantity | Scalar::Duration => DeclKind::String,
        _ => DeclKind::Dyn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_checked_against_the_types_that_rules_name() {
        let policy = Object::from_value(
            json!({"kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"}, "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "daemonsets"], "operations": ["CREATE"]},
                {"apiGroups": ["*"], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]},
            "variables": [{"name": "count", "expression": "object.spec.replicas"}],
            "validations": [{"expression": "object.spec.replicas > 1"}, {"expression": "object.metadata.name == 'x'"},
                {"expression": "variables.count > 0", "messageExpression": "object.spec.nothing"}]}}),
        );
        let policy = policy.unwrap();
        let rows = about(&Registry::default(), policy.get(&["spec"]).unwrap());
        assert_eq!(rows.iter().map(|row| row.kind()).collect::<Vec<_>>(), ["DaemonSet", "Deployment"]);
        let told = |kind: &str| {
            let decl = built_in(kinit_schema::kind("apps", "v1", kind).unwrap(), DEPTH);
            complaints(&Policy::typed(&policy, &decl.kind_of(), &Type::Dyn))
        };
        let deployment = told("Deployment");
        assert_eq!(
            deployment.iter().map(|(at, field, _)| (*at, *field)).collect::<Vec<_>>(),
            [(2, "messageExpression")]
        );
        assert!(deployment[0].2.contains("undefined field 'nothing'"), "{}", deployment[0].2);
        let daemon_set = told("DaemonSet");
        assert_eq!(daemon_set[0].0, 0);
        assert!(daemon_set[0].2.contains("undefined field 'replicas'"), "{}", daemon_set[0].2);
    }
}
