//! Runs mutating policies over a write.

use kinit_api::apply;
use kinit_api::object::Object;
use kinit_api::patch::operations;
use kinit_api::status::Status;
use kinit_cel::{OBJECT_BUDGET, Value};
use serde_json::{Value as Json, json};

use super::conditions::Write;
use super::scope::Input;
use super::set::{Binding, Bound, Mutation, Policy};
use super::{params, validating};
use crate::admission::{Attributes, Context, Operation};
use crate::{custom, fields};

/// What is remembered of the first round for the second.
#[derive(Default)]
pub struct Rounds {
    /// The object as the policies left it; none before the first round.
    left: Option<Object>,
}

pub(super) fn run(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    object: &mut Object,
    namespace: Option<&Object>,
    policies: &[Bound],
    rounds: &mut Rounds,
) -> Result<bool, Status> {
    if !matches!(attributes.operation, Operation::Create | Operation::Update) {
        return Ok(false);
    }
    // In the second round only those run that want to see what others have done after them.
    let again = rounds.left.as_ref().map(|left| left != object);
    if again == Some(false) {
        return Ok(false);
    }
    let mut errors = Vec::new();
    let before = object.clone();
    for bound in policies.iter().filter(|bound| again.is_none() || bound.policy.reinvoked) {
        let policy = &bound.policy;
        let mut fail = |binding: Option<&Binding>, why: String, reason: &'static str| {
            let with = binding.map(|binding| format!(" with binding '{}'", binding.name));
            let named =
                with.map_or(format!("policy {:?}", policy.name), |with| format!("policy '{}'{with}", policy.name));
            errors.extend((!policy.fails_open).then(|| (format!("{named} denied request: {why}"), reason)));
        };
        let matched = match policy.matcher.matches(context, attributes, object, namespace) {
            Ok(None) => continue,
            Ok(Some(_)) => params::known(context, &policy.param_kind),
            Err(error) => Err(error),
        };
        if let Err(error) = matched {
            fail(None, format!("failed to configure policy: {error}"), "Forbidden");
            continue;
        }
        for binding in &bound.bindings {
            let params = match binding.matcher.matches(context, attributes, object, namespace) {
                Ok(None) => continue,
                Ok(Some(_)) => params::collect(context, attributes, &policy.param_kind, &binding.param_ref),
                Err(error) => Err(error),
            };
            match params {
                Err(error) => fail(Some(binding), format!("failed to configure binding: {error}"), "Forbidden"),
                Ok(params) => {
                    for params in params {
                        match mutated(context, attributes, object, namespace, policy, params) {
                            Ok(Some(new)) => *object = new,
                            Ok(None) => {}
                            Err(error) => fail(Some(binding), error, "Invalid"),
                        }
                    }
                }
            }
        }
    }
    rounds.left = Some(object.clone());
    let Some((first, reason)) = errors.first() else { return Ok(*object != before) };
    let mut status = attributes.forbidden("admission request denied by policy");
    status.message.clone_from(first);
    // The code stays that of a refusal.
    status.reason = (*reason).into();
    if let Some(details) = &mut status.details {
        details["causes"] = errors.iter().map(|(message, _)| json!({"message": message})).collect();
    }
    Err(status)
}

/// The object after all mutations of a policy; none if its match conditions say that it is not to be changed.
fn mutated(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    object: &Object,
    namespace: Option<&Object>,
    policy: &Policy,
    params: Option<Object>,
) -> Result<Option<Object>, String> {
    let (params, namespace) = (params.map(Object::into_value), validating::visible(attributes, namespace));
    let mut current = object.clone();
    let mut budget = i64::try_from(OBJECT_BUDGET).unwrap_or(i64::MAX);
    for (index, mutation) in policy.mutations.iter().enumerate() {
        let write = Write::new(attributes, &current);
        let asker = write.asker(context, attributes);
        let input = Input::new(write.inputs(namespace.as_ref(), params.as_ref(), &asker, &policy.variables));
        if index == 0 && !policy.conditions.met(&input)? {
            return Ok(None);
        }
        let tree = match mutation {
            Mutation::Apply(expression) => {
                let value = expression.run(&input, &mut budget)??;
                configured(attributes, &current, &value)?
            }
            Mutation::Patch(expression) => match patched(&current, &expression.run(&input, &mut budget)??)? {
                Some(tree) => tree,
                None => continue,
            },
        };
        current = settled(attributes, tree)?;
    }
    Ok(Some(current))
}

fn configured(attributes: &Attributes<'_>, object: &Object, value: &Value<'_>) -> Result<Json, String> {
    check_names(value, "Object")?;
    let mut config = value.to_json().ok_or("the configuration is no JSON")?;
    for field in ["apiVersion", "kind"] {
        if let Some(own) = object.get(&[field]) {
            config[field] = own.clone();
        }
    }
    let spec = &attributes.request.spec;
    let schema = (attributes.kind().2 == spec.kind()).then(|| fields::schema(spec)).flatten();
    let live = object.clone().into_value();
    apply::configure(schema, &live, &config).map_err(|error| format!("error applying patch: {error}"))
}

/// That structs are named by the fields that they are in: `Object.spec` in `spec`.
fn check_names(value: &Value<'_>, path: &str) -> Result<(), String> {
    match value {
        Value::Struct(object) => {
            if object.name != path {
                return Err(format!(
                    "type mismatch: unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
                    object.name
                ));
            }
            object.fields.iter().try_for_each(|(name, value)| check_names(value, &format!("{path}.{name}")))
        }
        Value::List(list) => list.iter().try_for_each(|item| check_names(&item, path)),
        Value::Map(map) => {
            map.keys().iter().filter_map(|key| map.get(key)).try_for_each(|value| check_names(&value, path))
        }
        Value::Optional(Some(value)) => check_names(value, path),
        _ => Ok(()),
    }
}

/// The object after a JSON patch; none if a test in it fails.
fn patched(object: &Object, value: &Value<'_>) -> Result<Option<Json>, String> {
    let operations =
        value.to_json().ok_or("JSONPath valueExpression evaluated to a type that could not marshal to JSON")?;
    let patch =
        operations::Patch::read(&operations).map_err(|error| format!("failed to create JSON patch: {error}"))?;
    let mut tree = object.clone().into_value();
    match operations::apply(&mut tree, &patch) {
        Ok(()) => Ok(Some(tree)),
        Err(error) if error.is_test() => Ok(None),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}

/// The object as the kind has it, with its defaults.
fn settled(attributes: &Attributes<'_>, tree: Json) -> Result<Object, String> {
    let mut object = Object::from_value(tree).ok_or("the mutation leaves no object")?;
    let spec = &attributes.request.spec;
    if attributes.kind().2 == spec.kind() {
        fields::conform(spec, &mut object).map_err(|error| error.to_string())?;
        custom::fill(spec, &mut object);
    }
    Ok(object)
}
