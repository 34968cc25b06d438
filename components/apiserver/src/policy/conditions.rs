//! Match conditions: expressions that say whether a policy or a webhook is to be asked about a write at all.

use kinit_cel::{MATCH_BUDGET, Type, Value};
use serde_json::Value as Json;

use super::expressions::{Expression, Gives};
use super::scope::{self, Asker, Input, Inputs};
use crate::admission::{Attributes, Context};
use kinit_api::object::Object;

/// The match conditions of a policy or a webhook, compiled.
#[derive(Debug, Default)]
pub struct Conditions(Vec<Expression>);

impl Conditions {
    /// Compiles `matchConditions`; `params` is whether the policy has parameters.
    pub fn new(conditions: &Json, params: bool) -> Self {
        let scope = scope::declare(&Type::Dyn, params.then_some(&Type::Dyn), true, false);
        let source = |condition: &Json| condition["expression"].as_str().unwrap_or_default().trim().to_owned();
        let all = conditions.as_array().into_iter().flatten();
        Self(all.map(|condition| Expression::new(&source(condition), &scope, Gives::Bool)).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a webhook with these conditions is to be asked about the write that is the request of an AdmissionReview. The error says which conditions have no
    /// value; if one of the others is false, that does not matter.
    pub fn hold(&self, context: &Context<'_>, attributes: &Attributes<'_>, request: &Json) -> Result<bool, String> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let write = Write::of(request);
        let asker = write.asker(context, attributes);
        self.met(&Input::new(write.inputs(None, None, &asker, &[])))
    }

    pub(super) fn met<'a>(&'a self, input: &Input<'a>) -> Result<bool, String> {
        let mut budget = i64::try_from(MATCH_BUDGET).unwrap_or(i64::MAX);
        let mut errors = Vec::new();
        for condition in &self.0 {
            match condition.run(input, &mut budget)? {
                Ok(Value::Bool(false)) => return Ok(false),
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
        }
        match &errors[..] {
            [] => Ok(true),
            [only] => Err(only.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }
}

/// A write as expressions see it.
pub(super) struct Write {
    object: Option<Json>,
    old: Option<Json>,
    request: Json,
}

impl Write {
    pub fn new(attributes: &Attributes<'_>, object: &Object) -> Self {
        Self::of(&crate::webhook::review::request(attributes, &attributes.request.spec, object, attributes.old))
    }

    /// A write by the request of its AdmissionReview.
    pub fn of(request: &Json) -> Self {
        let mut request = request.clone();
        let mut take = |field: &str| request.as_object_mut().and_then(|request| request.remove(field));
        let (object, old) = (take("object"), take("oldObject"));
        let present = |value: Option<Json>| value.filter(|value| !value.is_null());
        Self { object: present(object), old: present(old), request }
    }

    pub fn asker<'c>(&self, context: &'c Context<'_>, attributes: &'c Attributes<'_>) -> Asker<'c> {
        let (request, spec) = (attributes.request, &attributes.request.spec);
        let question = kinit_cel::Question {
            group: spec.group().to_owned(),
            resource: spec.resource().to_owned(),
            subresource: request.subresource.clone(),
            namespace: request.namespace.clone(),
            name: if attributes.is_of_collection() { String::new() } else { attributes.name.to_owned() },
            ..kinit_cel::Question::default()
        };
        Asker { authorizer: context.authorizer, user: &request.user, request: question }
    }

    pub fn inputs<'a>(
        &'a self,
        namespace: Option<&'a Json>,
        params: Option<&'a Json>,
        asker: &'a Asker<'a>,
        variables: &'a [(String, Expression)],
    ) -> Inputs<'a> {
        Inputs {
            object: self.object.as_ref(),
            old: self.old.as_ref(),
            request: &self.request,
            namespace,
            params,
            asker: Some(asker),
            variables,
        }
    }
}
