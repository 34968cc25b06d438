//! The functions of expressions: one table of what each takes, gives, costs and does.

mod authz;
mod collections;
pub(crate) mod format;
mod net;
mod numbers;
pub(crate) mod operators;
mod optional;
mod printf;
mod strings;
mod times;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

pub(crate) use optional::select;
pub(crate) use strings::regex;

use crate::error::EvalError;
use crate::types::{self, Type};
use crate::value::{Result, Value};

pub(crate) type Run = for<'a> fn(&[Value<'a>]) -> Result<Value<'a>>;

/// What a call costs, both when it is run and when that is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    Fixed(u64),
    /// Comparing as far as the shorter of the two goes.
    Compare,
    /// Copying both.
    Concat,
    ConcatLists,
    /// Looking through a list.
    InList,
    Matches,
    Contains,
    /// Looking at the start or the end of a string.
    Affix,
    /// Reading a string once; `sized` if what comes out can be as long.
    Scan {
        sized: bool,
    },
    /// Reading a string once and writing it once.
    Rewrite(Rewrite),
    /// Reading a string twice.
    ScanTwice,
    ToBytes,
    ToText,
    Quote,
    Join,
    Find,
    /// Reading a list with all that is in it.
    Traverse,
    ContainsIp {
        parses: bool,
    },
    ContainsCidr {
        parses: bool,
    },
    Format,
    /// Making a list of a part of another.
    Slice,
    /// Making a list of so many numbers.
    Count,
    /// Opening the lists within a list, to a depth.
    Flatten,
    /// Making a list as long as another.
    Reverse,
    /// Comparing each item with each: of texts, which take longer; of the list of keys beside the list.
    CompareAll {
        text: bool,
        keys: bool,
    },
    /// Comparing each item of one list with each of another, so many times.
    CompareBoth {
        times: u8,
    },
    And,
    Or,
    Conditional,
    IndexList,
    IndexMap,
    Dyn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rewrite {
    Replace,
    Split,
}

/// One way to call a function.
pub(crate) struct Overload {
    pub member: bool,
    pub params: Vec<Type>,
    pub result: Type,
    /// How many type variables it has.
    pub vars: usize,
    pub cost: Cost,
    pub run: Run,
}

/// A row of a table: `string.size() int`, its cost and what it does.
pub(crate) struct Row(pub &'static str, pub Cost, pub Run);

pub(crate) fn row(signature: &'static str, cost: Cost, run: Run) -> Row {
    Row(signature, cost, run)
}

/// A function by the shapes of its arguments.
macro_rules! f {
    ([$($arg:pat),* $(,)?] => $body:expr) => {
        |args| match args {
            [$($arg),*] => $body,
            _ => Err($crate::error::EvalError::NoSuchOverload),
        }
    };
}
pub(crate) use f;

/// All ways to call the function of that name.
pub(crate) fn overloads(name: &str) -> Option<&'static [Overload]> {
    static TABLE: OnceLock<HashMap<&'static str, Vec<Overload>>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut table: HashMap<&'static str, Vec<Overload>> = HashMap::new();
        let rows = [
            operators::rows(),
            collections::rows(),
            numbers::rows(),
            strings::rows(),
            times::rows(),
            net::rows(),
            optional::rows(),
            format::rows(),
            authz::rows(),
        ];
        for Row(signature, cost, run) in rows.into_iter().flatten() {
            let (name, overload) = declared(signature, cost, run);
            table.entry(name).or_default().push(overload);
        }
        table
    });
    table.get(name).map(Vec::as_slice)
}

pub(crate) fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(EvalError::new(text))
}

/// Reads a signature. A receiver stands before a colon, the result after an arrow:
/// `string:startsWith(string)->bool`, `int(double)->int`.
fn declared(signature: &'static str, cost: Cost, run: Run) -> (&'static str, Overload) {
    let (call, result) = signature.split_once("->").expect("a signature has a result");
    let (head, args) = call.split_once('(').expect("a signature has arguments");
    let args = args.strip_suffix(')').expect("arguments end with a parenthesis");
    let (receiver, name) = match head.split_once(':') {
        // The conditional operator has a colon in its name.
        Some((receiver, name)) if !head.starts_with('_') => (Some(receiver), name),
        _ => (None, head),
    };
    let params: Vec<Type> = receiver.into_iter().chain(split(args)).map(type_of).collect();
    let vars = ["A", "B"].iter().filter(|var| signature.contains(*var)).count();
    (name, Overload { member: receiver.is_some(), params, result: type_of(result), vars, cost, run })
}

/// Splits at the commas that are in no brackets.
fn split(list: &'static str) -> Vec<&'static str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, character) in list.char_indices() {
        match character {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if start < list.len() {
        parts.push(&list[start..]);
    }
    parts
}

fn type_of(text: &'static str) -> Type {
    if let Some((kind, inner)) = text.strip_suffix('>').and_then(|text| text.split_once('<')) {
        let mut parts = split(inner).into_iter().map(type_of);
        let mut next = || parts.next().expect("a type has its parameters");
        return match kind {
            "list" => Type::list(next()),
            "map" => Type::map(next(), next()),
            "optional" => Type::optional(next()),
            _ => Type::Type(Arc::new(next())),
        };
    }
    match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "A" => Type::Var(0),
        "B" => Type::Var(1),
        "url" => types::URL,
        "quantity" => types::QUANTITY,
        "semver" => types::SEMVER,
        "format" => types::FORMAT,
        "ip" => types::IP,
        "cidr" => types::CIDR,
        "authorizer" => types::AUTHORIZER,
        "path" => types::PATH_CHECK,
        "group" => types::GROUP_CHECK,
        "resource" => types::RESOURCE_CHECK,
        "decision" => types::DECISION,
        other => unreachable!("the type {other} is not in any table"),
    }
}
