use kinit_api::object::Object;
use serde_json::{Value, json};

use super::check::check;
use super::expressions::{Expression, Gives};
use super::scope::{self, Input, Inputs};
use kinit_cel::{Type, Value as Cel};

/// What storing an object of the group is answered with; empty if it is stored.
fn stored(kind: &str, resource: &str, spec: Value) -> String {
    let spec = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "p"},
        "spec": spec});
    let mut object = Object::from_value(spec).unwrap();
    kinit_api::defaults::apply("admissionregistration.k8s.io", "v1", kind, &mut object);
    let row = crate::registry::find("admissionregistration.k8s.io", "v1", resource).unwrap().1;
    check(row, &object).err().map(|status| status.message).unwrap_or_default()
}

fn constraints() -> Value {
    json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"],
        "resources": ["deployments"]}]})
}

#[test]
fn wrong_validating_policies_are_not_stored() {
    let with = |field: &str, value: Value| {
        let mut spec = json!({"matchConstraints": constraints(),
            "variables": [{"name": "n", "expression": "object.spec.replicas"}],
            "validations": [{"expression": "variables.n > 1 && request.namespace != namespaceObject.metadata.name"}]});
        spec[field] = value;
        stored("ValidatingAdmissionPolicy", "validatingadmissionpolicies", spec)
    };
    assert_eq!(with("failurePolicy", json!("Ignore")), "");
    for (field, value, wanted) in [
        ("failurePolicy", json!("Maybe"), "spec.failurePolicy: Unsupported value: \"Maybe\""),
        ("matchConstraints", Value::Null, "spec.matchConstraints: Required value"),
        ("validations", json!([]), "spec.validations: Required value: validations or auditAnnotations must contain"),
        (
            "validations",
            json!([{"expression": "object.x +"}]),
            "spec.validations[0].expression: Invalid value: \"object.x +\": compilation failed: ERROR: <input>:1:11: Syntax error",
        ),
        ("validations", json!([{"expression": "1 + 1"}]), "must evaluate to bool but got int"),
        ("validations", json!([{"expression": "variables.other"}]), "undefined field 'other'"),
        ("validations", json!([{"expression": "request.nothing"}]), "undefined field 'nothing'"),
        ("validations", json!([{"expression": "params.x"}]), "undeclared reference to 'params' (in container '')"),
        ("validations", json!([{"expression": "true", "messageExpression": "1"}]), "messageExpression: Invalid value"),
        (
            "validations",
            json!([{"expression": "true", "messageExpression": "authorizer.path('/')"}]),
            "undeclared reference to 'authorizer'",
        ),
        (
            "validations",
            json!([{"expression": "true", "reason": "No"}]),
            "spec.validations[0].reason: Unsupported value",
        ),
        (
            "auditAnnotations",
            json!([{"key": "k", "valueExpression": "true"}]),
            "must evaluate to one of [string null_type] but got bool",
        ),
        (
            "variables",
            json!([{"name": "1", "expression": "1"}]),
            "spec.variables[0].name: Invalid value: \"1\": must be a valid CEL identifier",
        ),
        (
            "matchConditions",
            json!([{"name": "a", "expression": "true"}, {"name": "a", "expression": "1"}]),
            "spec.matchConditions[1].name: Duplicate value",
        ),
        ("paramKind", json!({"kind": "K"}), "spec.paramKind.apiVersion: Required value"),
    ] {
        let found = with(field, value.clone());
        assert!(found.contains(wanted), "{field}: {value}: {found}");
    }
}

#[test]
fn wrong_mutating_policies_and_bindings_are_not_stored() {
    let with = |mutation: Value| {
        let spec = json!({"matchConstraints": constraints(), "reinvocationPolicy": "Never", "mutations": [mutation]});
        stored("MutatingAdmissionPolicy", "mutatingadmissionpolicies", spec)
    };
    let apply = |source: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": source}});
    let patch = |source: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": source}});
    assert_eq!(with(apply("Object{spec: Object.spec{replicas: 1337}}")), "");
    assert_eq!(with(patch("[JSONPatch{op: 'add', path: '/metadata/labels', value: {'a': 'b'}}]")), "");
    for (mutation, wanted) in [
        (apply("1"), "must evaluate to Object but got int"),
        (apply(""), "spec.mutations[0].applyConfiguration.expression: Required value"),
        (patch("[JSONPatch{op: 1}]"), "expected type of field 'op' is 'string' but provided type is 'int'"),
        (patch("[JSONPatch{at: 'x'}]"), "expected type of field 'at' is '' but provided type is 'string'"),
        (json!({"patchType": "JSONPatch"}), "must be specified when patchType is JSONPatch"),
        (json!({"patchType": "Other"}), "spec.mutations[0].patchType: Unsupported value"),
        (json!({}), "spec.mutations[0].patchType: Required value"),
    ] {
        let found = with(mutation.clone());
        assert!(found.contains(wanted), "{mutation}: {found}");
    }
    let binding = |spec| stored("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", spec);
    assert_eq!(binding(json!({"policyName": "p.example.com", "validationActions": ["Deny", "Audit"]})), "");
    for (spec, wanted) in [
        (json!({"policyName": "p"}), "spec.validationActions: Required value"),
        (json!({"policyName": "p", "validationActions": ["Deny", "Warn"]}), "must not contain both Deny and Warn"),
        (json!({"validationActions": ["Deny"]}), "spec.policyName: Required value"),
        (json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {}}), "one of name or selector must be"),
    ] {
        let found = binding(spec.clone());
        assert!(found.contains(wanted), "{spec}: {found}");
    }
}

#[test]
fn variables_are_worked_out_once_and_only_if_asked_for() {
    let mut scope = scope::declare(&Type::Dyn, None, false, false);
    scope::declare_variables(&mut scope, &[]);
    let good = Expression::new("object.list.map(x, x * 2)", &scope, Gives::Anything);
    let bad = Expression::new("object.nothing", &scope, Gives::Anything);
    let known = [("good".to_owned(), Type::list(Type::Dyn)), ("bad".to_owned(), Type::Dyn)];
    scope::declare_variables(&mut scope, &known);
    let twice = Expression::new("variables.good == variables.good && variables.good[1] == 4", &scope, Gives::Bool);
    let broken = Expression::new("variables.bad == 1", &scope, Gives::Bool);
    let variables = [("good".to_owned(), good), ("bad".to_owned(), bad)];
    let (object, request) = (json!({"list": [1, 2]}), json!({}));
    let given = Inputs {
        object: Some(&object),
        old: None,
        request: &request,
        namespace: None,
        params: None,
        asker: None,
        variables: &variables,
    };
    let input = Input::new(given);
    let mut budget = 1_000;
    assert_eq!(twice.run(&input, &mut budget), Ok(Ok(Cel::Bool(true))));
    let spent = 1_000 - budget;
    assert_eq!(twice.run(&input, &mut budget), Ok(Ok(Cel::Bool(true))));
    assert!(1_000 - spent - budget < spent, "the second time nothing is left to work out");
    let error = broken.run(&input, &mut budget).unwrap().unwrap_err();
    assert!(error.contains("composited variable \"bad\" fails to evaluate: no such key: nothing"), "{error}");
    assert!(twice.run(&input, &mut 1).is_err());
}
