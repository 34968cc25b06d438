//! Expressions of a policy: compiled once, evaluated within a budget.

use kinit_cel::{CALL_LIMIT, CompileError, Program, Scope, Type, Value};

use super::scope::Input;

/// What an expression has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    Bool,
    Text,
    TextOrNull,
    Anything,
    Configuration,
    Patch,
}

impl Gives {
    /// The type in words.
    fn shown(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Text => "string",
            Self::TextOrNull => "one of [string null_type]",
            Self::Anything => "any",
            Self::Configuration => "Object",
            Self::Patch => "list(JSONPatch)",
        }
    }

    fn fits(self, found: &Type) -> bool {
        match (self, found) {
            (Self::Bool, Type::Bool)
            | (Self::Text | Self::TextOrNull, Type::String)
            | (Self::TextOrNull, Type::Null)
            | (Self::Anything, _) => true,
            (Self::Configuration, Type::Free(name)) => &**name == "Object",
            (Self::Patch, Type::List(item)) => matches!(&**item, Type::Free(name) if &**name == "JSONPatch"),
            _ => false,
        }
    }
}

/// An expression with its program, or with what is wrong with it.
#[derive(Debug)]
pub(super) struct Expression {
    pub source: String,
    pub program: Result<Program, String>,
}

impl Expression {
    pub fn new(source: &str, scope: &Scope, gives: Gives) -> Self {
        Self { source: source.to_owned(), program: compile(source, scope, gives) }
    }

    /// Evaluates, and takes the cost from `budget`. The outer error ends all evaluation.
    pub fn run<'a>(&'a self, input: &Input<'a>, budget: &mut i64) -> Result<Result<Value<'a>, String>, String> {
        let program = match &self.program {
            Ok(program) => program,
            Err(error) => return Ok(Err(format!("compilation error: {error}"))),
        };
        let (result, cost) = program.run(input, CALL_LIMIT);
        let cost = i64::try_from(cost.saturating_add(input.take_cost())).unwrap_or(i64::MAX);
        if cost > *budget {
            *budget = -1;
            let why = "validation failed due to running out of cost budget, no further validation rules will be run";
            return Err(why.to_owned());
        }
        *budget -= cost;
        Ok(result.map_err(|error| format!("expression '{}' resulted in error: {error}", self.source)))
    }
}

fn compile(source: &str, scope: &Scope, gives: Gives) -> Result<Program, String> {
    let failed = |error: CompileError| format!("compilation failed: {error}");
    let program = Program::compile(source, scope).map_err(failed)?;
    if gives.fits(program.result()) {
        Ok(program)
    } else {
        let found = program.result();
        let found = if matches!(found, Type::Null) { "null_type".to_owned() } else { found.to_string() };
        Err(format!("must evaluate to {} but got {found}", gives.shown()))
    }
}
