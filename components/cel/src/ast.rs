//! The syntax tree of an expression, after macros are expanded.

use crate::types::Type;

/// A node. Its number is the index of what the checker found out about it.
#[derive(Clone, Debug)]
pub struct Expr {
    pub id: usize,
    /// Where it stands in the source, in characters.
    pub at: usize,
    /// How many nodes are above each other in it, which bounds every recursion over it.
    pub depth: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Const(Const),
    Ident(String),
    Select { operand: Box<Expr>, field: String, test: bool },
    Call { function: String, target: Option<Box<Expr>>, args: Vec<Expr> },
    List(Vec<Item>),
    Map(Vec<Entry>),
    Struct { name: String, fields: Vec<Field> },
    Fold(Box<Fold>),
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub enum Const {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

/// An item of a list; an optional one is left out if it is absent.
#[derive(Clone, Debug)]
pub struct Item {
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    /// Where its colon is.
    pub at: usize,
    pub value: Expr,
    pub optional: bool,
}

/// What all macros over lists and maps come to: a loop with an accumulator named [`ACCUMULATOR`].
#[derive(Clone, Debug)]
pub struct Fold {
    pub range: Expr,
    pub var: String,
    pub var2: Option<String>,
    pub init: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
    /// The accumulator holds a value under the name of the variable instead, and the loop is never run.
    pub bind: bool,
}

pub const ACCUMULATOR: &str = "@result";

impl Const {
    pub fn kind(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
        }
    }
}

impl Expr {
    /// `a.b.c` as a name, if it is nothing but names.
    pub fn qualified(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select { operand, field, test: false } => Some(format!("{}.{field}", operand.qualified()?)),
            _ => None,
        }
    }

    pub fn is_ident(&self, wanted: &str) -> bool {
        matches!(&self.kind, Kind::Ident(name) if name == wanted)
    }
}
