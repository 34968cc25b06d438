//! The Common Expression Language as Kubernetes uses it: in validation rules of custom resources, in admission policies
//! and in match conditions.
//!
//! Source is parsed to a tree with its macros expanded, the tree is checked against declared variables, and the checked
//! tree is walked, over JSON where it lies. Everything has a cost, which is estimated before by the sizes that schemas
//! allow, and counted and bounded while evaluating. Nothing here waits or knows of a server.

mod ast;
mod authorizer;
mod check;
mod decl;
mod error;
mod escape;
mod estimate;
mod eval;
mod lexer;
mod library;
mod literals;
mod macros;
mod parser;
pub mod rules;
mod time;
pub mod types;
mod value;

use std::collections::HashMap;
use std::sync::Arc;

pub use authorizer::{Authorizer, Authz, Decision, Question};
pub use check::Scope;
pub use decl::{Decl, FieldDecl, Kind as DeclKind, ObjectDecl, from_schema};
pub use error::{CompileError, EvalError, Issue};
pub use escape::{escape, unescape};
pub use estimate::Range;
pub use eval::Variables;
pub use types::Type;
pub use value::{Fields, List, Map, Opaque, Struct, Text, Value};

/// What one evaluation may cost.
pub const CALL_LIMIT: u64 = 1_000_000;
/// What all evaluations for one object, or for one binding of a policy, may cost.
pub const OBJECT_BUDGET: u64 = 10_000_000;
/// What all match conditions of a webhook or a policy may cost.
pub const MATCH_BUDGET: u64 = 2_500_000;

/// An expression that has been checked.
#[derive(Debug)]
pub struct Program {
    tree: ast::Expr,
    checked: check::Checked,
}

impl Program {
    /// Parses and checks.
    pub fn compile(source: &str, scope: &Scope) -> Result<Self, CompileError> {
        let (mut tree, nodes) = parser::parse(source)?;
        let checked = check::check(&mut tree, nodes, scope).map_err(|issues| CompileError::new(source, issues))?;
        Ok(Self { tree, checked })
    }

    /// Converts what is written as one type and meant as another, as upstream does before the expression is ever run.
    pub fn instantiate(&self) -> Result<(), EvalError> {
        let nothing: [(&str, Value<'_>); 0] = [];
        for node in literals::conversions(&self.tree) {
            eval::Evaluator::new(&self.checked, &nothing, CALL_LIMIT).run(node)?;
        }
        Ok(())
    }

    /// The type of what the expression gives.
    pub fn result(&self) -> &Type {
        &self.checked.types[self.tree.id]
    }

    /// Whether the expression uses that variable.
    pub fn uses(&self, name: &str) -> bool {
        mentions(&self.tree, name)
    }

    /// What it can cost, with variables of these declarations.
    pub fn estimate(&self, variables: &HashMap<String, Arc<Decl>>) -> Range {
        estimate::estimate(&self.tree, &self.checked, variables)
    }

    /// Evaluates, spending no more than `limit`: what it gives, and what it cost.
    pub fn run<'a>(&'a self, variables: &dyn Variables<'a>, limit: u64) -> (Result<Value<'a>, EvalError>, u64) {
        let mut evaluator = eval::Evaluator::new(&self.checked, variables, limit);
        let result = evaluator.run(&self.tree);
        (result, evaluator.cost())
    }
}

fn mentions(node: &ast::Expr, name: &str) -> bool {
    use ast::Kind;
    match &node.kind {
        Kind::Const(_) => false,
        Kind::Ident(found) => found == name,
        Kind::Select { operand, .. } => mentions(operand, name),
        Kind::Call { target, args, .. } => args.iter().chain(target.as_deref()).any(|node| mentions(node, name)),
        Kind::List(items) => items.iter().any(|item| mentions(&item.value, name)),
        Kind::Map(entries) => entries.iter().any(|entry| mentions(&entry.key, name) || mentions(&entry.value, name)),
        Kind::Struct { fields, .. } => fields.iter().any(|field| mentions(&field.value, name)),
        Kind::Fold(fold) => [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result]
            .into_iter()
            .any(|node| mentions(node, name)),
    }
}

#[cfg(test)]
mod tests;
