//! The policies of one kind with their bindings, compiled, and kept as long as none of them changes.

use std::collections::HashMap;
use std::sync::Arc;

use kinit_api::object::Object;
use kinit_cel::Type;
use parking_lot::Mutex;
use serde_json::Value;

use super::GROUP;
use super::conditions::Conditions;
use super::expressions::{Expression, Gives};
use super::matching::Matcher;
use super::scope;
use crate::cache::{Cache, Map};

/// A policy.
#[derive(Debug)]
pub(super) struct Policy {
    pub name: String,
    pub fails_open: bool,
    pub reinvoked: bool,
    pub matcher: Matcher,
    pub conditions: Conditions,
    pub variables: Vec<(String, Expression)>,
    pub validations: Vec<Validation>,
    pub annotations: Vec<(String, Expression)>,
    pub mutations: Vec<Mutation>,
    /// `paramKind`, or null.
    pub param_kind: Value,
}

#[derive(Debug)]
pub(super) struct Validation {
    pub expression: Expression,
    pub message: String,
    pub message_expression: Option<Expression>,
    /// Empty if it is not given.
    pub reason: String,
}

#[derive(Debug)]
pub(super) enum Mutation {
    Apply(Expression),
    Patch(Expression),
}

#[derive(Debug)]
pub(super) struct Binding {
    pub name: String,
    pub actions: Vec<String>,
    pub matcher: Matcher,
    /// `paramRef`, or null.
    pub param_ref: Value,
}

/// A policy with its bindings. One without is not run.
#[derive(Debug)]
pub(super) struct Bound {
    pub policy: Arc<Policy>,
    pub bindings: Vec<Binding>,
}

fn items<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value[field].as_array().into_iter().flatten()
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

impl Policy {
    pub fn new(object: &Object) -> Self {
        Self::typed(object, &Type::Dyn, &Type::Dyn)
    }

    /// The policy, with expressions checked against types of the object and of the parameters.
    pub fn typed(object: &Object, kind: &Type, params: &Type) -> Self {
        let spec = object.get(&["spec"]).cloned().unwrap_or_default();
        let params = spec["paramKind"].is_object().then_some(params);
        let patches = object.kind() == "MutatingAdmissionPolicy";
        let mut scope = scope::declare(kind, params, true, false);
        let (mut variables, mut known) = (Vec::new(), Vec::new());
        let mut for_messages = scope::declare(kind, params, false, false);
        // Without any, nobody knows what `variables` is.
        let has_variables = items(&spec, "variables").next().is_some();
        if has_variables {
            scope::declare_variables(&mut scope, &known);
        }
        for variable in items(&spec, "variables") {
            let name = text(variable, "name").to_owned();
            let expression = Expression::new(text(variable, "expression"), &scope, Gives::Anything);
            let found = expression.program.as_ref().map_or(Type::Dyn, |program| program.result().clone());
            known.push((name.clone(), found));
            variables.push((name, expression));
            scope::declare_variables(&mut scope, &known);
        }
        if has_variables {
            scope::declare_variables(&mut for_messages, &known);
        }
        // What a mutation gives has types that variables cannot have.
        scope.structs = scope::structs(patches);
        let validation = |validation: &Value| {
            let message = text(validation, "messageExpression");
            Validation {
                expression: Expression::new(text(validation, "expression"), &scope, Gives::Bool),
                message: text(validation, "message").trim().to_owned(),
                message_expression: (!message.trim().is_empty())
                    .then(|| Expression::new(message, &for_messages, Gives::Text)),
                reason: text(validation, "reason").to_owned(),
            }
        };
        let mutation = |mutation: &Value| {
            let source = |field: &str| text(&mutation[field], "expression").trim().to_owned();
            match text(mutation, "patchType") {
                "JSONPatch" => Mutation::Patch(Expression::new(&source("jsonPatch"), &scope, Gives::Patch)),
                _ => Mutation::Apply(Expression::new(&source("applyConfiguration"), &scope, Gives::Configuration)),
            }
        };
        let annotation = |annotation: &Value| {
            let source = text(annotation, "valueExpression").trim();
            (text(annotation, "key").to_owned(), Expression::new(source, &scope, Gives::TextOrNull))
        };
        Self {
            name: object.name().to_owned(),
            fails_open: text(&spec, "failurePolicy") == "Ignore",
            reinvoked: text(&spec, "reinvocationPolicy") == "IfNeeded",
            matcher: Matcher::new(&spec["matchConstraints"]),
            conditions: Conditions::new(&spec["matchConditions"], params.is_some()),
            validations: items(&spec, "validations").map(validation).collect(),
            annotations: items(&spec, "auditAnnotations").map(annotation).collect(),
            mutations: items(&spec, "mutations").map(mutation).collect(),
            variables,
            param_kind: spec["paramKind"].clone(),
        }
    }
}

/// The newest revisions of both resources, and how many there are: a change changes one of these.
type State = [(i64, usize); 2];

struct Kept {
    state: State,
    bound: Arc<Vec<Bound>>,
    /// Compiled policies by name, with the revision that they were compiled from.
    compiled: HashMap<String, (i64, Arc<Policy>)>,
}

pub(super) struct Set {
    policies: &'static str,
    bindings: &'static str,
    kept: Mutex<Kept>,
}

impl Set {
    pub fn new(policies: &'static str, bindings: &'static str) -> Self {
        let kept = Kept { state: State::default(), bound: Arc::default(), compiled: HashMap::new() };
        Self { policies, bindings, kept: Mutex::new(kept) }
    }

    /// The policies that are bound, in the order of their names.
    pub fn get(&self, cache: &Cache) -> Arc<Vec<Bound>> {
        let (policies, bindings) = (cache.all(GROUP, self.policies), cache.all(GROUP, self.bindings));
        let newest = |map: &Map| (map.values().map(|entry| entry.revision).max().unwrap_or_default(), map.len());
        let state = [newest(&policies), newest(&bindings)];
        let mut kept = self.kept.lock();
        if kept.state != state {
            let mut of_policy: HashMap<String, Vec<Binding>> = HashMap::new();
            for object in bindings.values().filter_map(|entry| entry.object()) {
                let (policy, binding) = Binding::new(&object);
                of_policy.entry(policy).or_default().push(binding);
            }
            let mut compiled = HashMap::new();
            let mut bound = Vec::new();
            for entry in policies.values() {
                let Some(bindings) = of_policy.remove(entry.name()) else { continue };
                let before = kept.compiled.get(entry.name()).filter(|(revision, _)| *revision == entry.revision);
                let policy = match before {
                    Some((_, policy)) => policy.clone(),
                    None => match entry.object() {
                        Some(object) => Arc::new(Policy::new(&object)),
                        None => continue,
                    },
                };
                compiled.insert(entry.name().to_owned(), (entry.revision, policy.clone()));
                bound.push(Bound { policy, bindings });
            }
            *kept = Kept { state, bound: Arc::new(bound), compiled };
        }
        kept.bound.clone()
    }
}

impl Binding {
    /// A binding, and the name of its policy.
    pub fn new(object: &Object) -> (String, Self) {
        let spec = object.get(&["spec"]).cloned().unwrap_or_default();
        let actions = items(&spec, "validationActions").filter_map(Value::as_str).map(str::to_owned).collect();
        let binding = Self {
            name: object.name().to_owned(),
            actions,
            matcher: Matcher::new(&spec["matchResources"]),
            param_ref: spec["paramRef"].clone(),
        };
        (text(&spec, "policyName").to_owned(), binding)
    }
}
