//! `x-kubernetes-validations`: the rules of a schema, compiled once, checked when a schema is stored and evaluated when
//! an object is.

mod path;
mod schema;
#[cfg(test)]
mod tests;
mod validator;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

pub use path::field_path;
pub use schema::check_schema;
pub use validator::Validator;

use crate::{CALL_LIMIT, Decl, EvalError, Program, Scope, Type, Value, Variables};

/// The longest message that an expression may make, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;

/// A rule as it is written.
#[derive(Clone, Debug)]
struct Rule {
    rule: String,
    message: String,
    message_expression: String,
    reason: Option<String>,
    field_path: String,
    optional_old_self: Option<bool>,
}

impl Rule {
    fn new(rule: &Json) -> Self {
        let text = |key: &str| rule.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        Self {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: rule.get("reason").and_then(Json::as_str).map(str::to_owned),
            field_path: text("fieldPath"),
            optional_old_self: rule.get("optionalOldSelf").and_then(Json::as_bool),
        }
    }

    /// The rules of a schema.
    fn all(schema: &Json) -> Vec<Self> {
        let rules = schema.get("x-kubernetes-validations").and_then(Json::as_array);
        rules.into_iter().flatten().map(Self::new).collect()
    }

    /// What messages call the rule.
    fn shown(&self) -> &str {
        if self.message.is_empty() { self.rule.trim() } else { self.message.trim() }
    }

    fn default_message(&self) -> String {
        if self.message.is_empty() { format!("failed rule: {}", self.shown()) } else { self.message.trim().to_owned() }
    }
}

/// A rule with its programs, or with what is wrong with it.
#[derive(Debug)]
struct Compiled {
    rule: Rule,
    /// None if the rule is empty.
    program: Option<Result<Program, String>>,
    message: Option<Result<Program, String>>,
    uses_old_self: bool,
    /// Under the field that is validated, where errors are reported.
    field_path: String,
}

impl Compiled {
    fn new(rule: Rule, schema: &Json, decl: &Decl) -> Self {
        let own = decl.kind_of();
        let old = if rule.optional_old_self == Some(true) { Type::optional(own.clone()) } else { own.clone() };
        let variables = HashMap::from([("self".to_owned(), own), ("oldSelf".to_owned(), old)]);
        let scope = Scope { variables, structs: Vec::new() };
        let program = (!rule.rule.trim().is_empty()).then(|| match Program::compile(&rule.rule, &scope) {
            Err(error) => Err(format!("compilation failed: {error}")),
            Ok(program) if !matches!(program.result(), Type::Bool) => {
                Err("cel expression must evaluate to a bool".to_owned())
            }
            Ok(program) => match program.instantiate() {
                Ok(()) => Ok(program),
                Err(error) => Err(format!("program instantiation failed: {error}")),
            },
        });
        let message = (!rule.message_expression.is_empty() && matches!(program, Some(Ok(_)))).then(|| {
            match Program::compile(&rule.message_expression, &scope) {
                Err(error) => Err(format!("messageExpression compilation failed: {error}")),
                Ok(program) if !matches!(program.result(), Type::String) => {
                    Err("messageExpression must evaluate to a string".to_owned())
                }
                Ok(program) => match program.instantiate() {
                    Ok(()) => Ok(program),
                    Err(error) => Err(format!("messageExpression instantiation failed: {error}")),
                },
            }
        });
        let uses_old_self = matches!(&program, Some(Ok(program)) if program.uses("oldSelf"));
        let field_path = field_path(&rule.field_path, schema).unwrap_or_default();
        Self { rule, program, message, uses_old_self, field_path }
    }

    /// What rule and message can cost for one value of the declaration.
    fn costs(&self, decl: &Arc<Decl>) -> (u64, u64) {
        let variables = HashMap::from([("self".to_owned(), decl.clone()), ("oldSelf".to_owned(), decl.clone())]);
        let cost = |program: &Option<Result<Program, String>>| match program {
            Some(Ok(program)) => program.estimate(&variables).max,
            _ => 0,
        };
        (cost(&self.program), cost(&self.message))
    }
}

/// The message that an expression makes; an error says why there is none, and whether to stop for it.
fn message<'a>(
    program: &'a Program,
    source: &str,
    variables: &dyn Variables<'a>,
    budget: &mut i64,
) -> Result<Option<String>, String> {
    let (result, cost) = program.run(variables, CALL_LIMIT);
    let cost = i64::try_from(cost).unwrap_or(i64::MAX);
    if cost > *budget {
        return Err("messageExpression evaluation failed due to running out of cost budget, no further validation \
                    rules will be run"
            .to_owned());
    }
    *budget -= cost;
    if result == Err(EvalError::CostLimit) {
        let text = "no further validation rules will be run due to call cost exceeds limit for messageExpression";
        return Err(format!("{text}: {source:?}"));
    }
    let Ok(Value::String(text)) = result else { return Ok(None) };
    let text = text.trim();
    let good = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
    Ok(good.then(|| text.to_owned()))
}
