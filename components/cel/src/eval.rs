//! The evaluator: walks a checked tree and counts what that costs.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::ast::{ACCUMULATOR, Const, Entry, Expr, Field, Fold, Item, Kind};
use crate::check::Checked;
use crate::error::EvalError;
use crate::library::{self, Cost, Overload, Rewrite, operators};
use crate::value::{Key, List, Map, Opaque, Result, Struct, Text, Value, type_ident};

/// Gives variables their values.
pub trait Variables<'a> {
    fn get(&self, name: &str) -> Option<Result<Value<'a>>>;
}

impl<'a, const N: usize> Variables<'a> for [(&str, Value<'a>); N] {
    fn get(&self, name: &str) -> Option<Result<Value<'a>>> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| Ok(value.clone()))
    }
}

pub(crate) struct Evaluator<'a, 'v> {
    checked: &'a Checked,
    variables: &'v dyn Variables<'a>,
    /// Variables of loops, the innermost last. The accumulator of a loop may be an error that the next step forgives.
    locals: Vec<(&'a str, Result<Value<'a>>)>,
    cost: u64,
    limit: u64,
}

impl<'a, 'v> Evaluator<'a, 'v> {
    pub fn new(checked: &'a Checked, variables: &'v dyn Variables<'a>, limit: u64) -> Self {
        Self { checked, variables, locals: Vec::new(), cost: 0, limit }
    }

    pub fn cost(&self) -> u64 {
        self.cost
    }

    fn spend(&mut self, cost: u64) -> Result<()> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    pub fn run(&mut self, node: &'a Expr) -> Result<Value<'a>> {
        match &node.kind {
            Kind::Const(constant) => Ok(constant_value(constant)),
            Kind::Ident(name) => self.ident(name),
            Kind::Select { operand, field, test } => self.select(operand, field, *test),
            Kind::Call { function, target, args } => self.call(node, function, target.as_deref(), args),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.structure(name, fields),
            Kind::Fold(fold) if fold.bind => self.bind(fold),
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn ident(&mut self, name: &'a str) -> Result<Value<'a>> {
        self.spend(1)?;
        if let Some((_, value)) = self.locals.iter().rev().find(|(local, _)| *local == name) {
            return value.clone();
        }
        if let Some(value) = self.variables.get(name) {
            return value;
        }
        match type_ident(name) {
            Some((_, name)) => Ok(Value::Type(name.into())),
            None => Err(EvalError::new(format!("no such attribute(s): {name}"))),
        }
    }

    fn select(&mut self, operand: &'a Expr, field: &'a str, test: bool) -> Result<Value<'a>> {
        let value = self.run(operand)?;
        if test {
            return Ok(Value::Bool(match &value {
                Value::Map(map) => map.field(field).is_some(),
                Value::Struct(object) => object.fields.contains_key(field),
                Value::Optional(_) => matches!(library::select(&value, field)?, Value::Optional(Some(_))),
                // What has no fields has not this one.
                _ => false,
            }));
        }
        self.spend(1)?;
        match &value {
            Value::Map(map) => map.field(field).unwrap_or_else(|| Err(EvalError::NoSuchKey(field.to_owned()))),
            Value::Struct(object) => {
                object.fields.get(field).cloned().ok_or_else(|| EvalError::NoSuchKey(field.to_owned()))
            }
            Value::Optional(_) => library::select(&value, field),
            _ => Err(EvalError::NoSuchKey(field.to_owned())),
        }
    }

    /// The value of a term of a logical operator; only booleans count.
    fn term(&mut self, node: &'a Expr) -> Result<bool> {
        match self.run(node)? {
            Value::Bool(value) => Ok(value),
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    /// `&&` (deciding on false) and `||` (on true): a term that decides makes up for an error in the other.
    fn logic(&mut self, args: &'a [Expr], deciding: bool) -> Result<Value<'a>> {
        let [left, right] = args else { return Err(EvalError::NoSuchOverload) };
        let first = self.term(left);
        if first == Ok(deciding) || first == Err(EvalError::CostLimit) {
            return first.map(Value::Bool);
        }
        let second = self.term(right);
        match (first, second) {
            (_, Ok(value)) if value == deciding => Ok(Value::Bool(deciding)),
            (_, Err(EvalError::CostLimit)) => Err(EvalError::CostLimit),
            (Err(error), _) => Err(error),
            (_, second) => second.map(Value::Bool),
        }
    }

    fn call(
        &mut self,
        node: &'a Expr,
        function: &'a str,
        target: Option<&'a Expr>,
        args: &'a [Expr],
    ) -> Result<Value<'a>> {
        match (function, args) {
            ("_&&_", _) => return self.logic(args, false),
            ("_||_", _) => return self.logic(args, true),
            ("_?_:_", [condition, yes, no]) => {
                return if self.term(condition)? { self.run(yes) } else { self.run(no) };
            }
            ("@not_strictly_false", [condition]) => {
                let value = self.run(condition);
                if value == Err(EvalError::CostLimit) {
                    return value;
                }
                self.spend(1)?;
                return Ok(Value::Bool(!matches!(value, Ok(Value::Bool(false)))));
            }
            ("_+_" | "cel.@mapInsert", [accumulator, ..]) if accumulator.is_ident(ACCUMULATOR) => {
                return self.accumulate(node, function, args);
            }
            _ => {}
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        for arg in target.into_iter().chain(args) {
            values.push(self.run(arg)?);
        }
        self.apply(node, function, &values)
    }

    /// Adds to the accumulator of a loop in place: it is given its new value next, so nobody misses the old one.
    fn accumulate(&mut self, node: &'a Expr, function: &'a str, args: &'a [Expr]) -> Result<Value<'a>> {
        self.spend(1)?;
        let mut values = vec![Value::Null];
        for arg in &args[1..] {
            values.push(self.run(arg)?);
        }
        let slot = self.locals.iter_mut().rev().find(|(local, _)| *local == ACCUMULATOR);
        let Some((_, slot)) = slot else { return Err(EvalError::NoSuchOverload) };
        let mut accumulated = std::mem::replace(slot, Ok(Value::Null))?;
        let done = match &values[..] {
            [_, more] => operators::append(&mut accumulated, more),
            [_, key, value] => operators::insert_in_place(&mut accumulated, key, value)?,
            _ => false,
        };
        if done {
            self.spend(1)?;
            return Ok(accumulated);
        }
        values[0] = accumulated;
        self.apply(node, function, &values)
    }

    fn apply(&mut self, node: &'a Expr, function: &str, values: &[Value<'a>]) -> Result<Value<'a>> {
        let table = library::overloads(function).ok_or(EvalError::NoSuchOverload)?;
        let candidates = &self.checked.overloads[node.id];
        let chosen: Option<&Overload> = match &candidates[..] {
            [only] => table.get(*only),
            several => several.iter().filter_map(|index| table.get(*index)).find(|overload| {
                overload.params.len() == values.len()
                    && overload.params.iter().zip(values).all(|(param, value)| value.fits(param))
            }),
        };
        let overload = chosen.ok_or(EvalError::NoSuchOverload)?;
        // What a function will cost is asked before it is run, so that a long run is not begun.
        if overload.cost != Cost::Join {
            self.spend(call_cost(overload.cost, values, None))?;
        }
        let result = (overload.run)(values)?;
        if overload.cost == Cost::Join {
            self.spend(call_cost(overload.cost, values, Some(&result)))?;
        }
        Ok(result)
    }

    fn list(&mut self, items: &'a [Item]) -> Result<Value<'a>> {
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match (self.run(&item.value)?, item.optional) {
                (Value::Optional(inner), true) => values.extend(inner.map(|value| (*value).clone())),
                (value, _) => values.push(value),
            }
        }
        self.spend(10)?;
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &'a [Entry]) -> Result<Value<'a>> {
        let mut values = BTreeMap::new();
        for entry in entries {
            let key = self.run(&entry.key)?;
            let wanted = Key::of(&key).ok_or_else(|| EvalError::new("unsupported key type"))?;
            let value = match (self.run(&entry.value)?, entry.optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (value, _) => value,
            };
            if values.insert(wanted, value).is_some() {
                return Err(EvalError::new(format!("Failed with repeated key: {}", operators::shown(&key))));
            }
        }
        self.spend(30)?;
        Ok(Value::Map(Map::Owned(Rc::new(values))))
    }

    fn structure(&mut self, name: &'a str, fields: &'a [Field]) -> Result<Value<'a>> {
        let mut values = BTreeMap::new();
        for field in fields {
            let value = match (self.run(&field.value)?, field.optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (value, _) => value,
            };
            values.insert(field.name.clone(), value);
        }
        self.spend(40)?;
        Ok(Value::Struct(Rc::new(Struct { name: name.to_owned(), fields: values })))
    }

    fn bind(&mut self, fold: &'a Fold) -> Result<Value<'a>> {
        let value = self.run(&fold.init);
        self.spend(10)?;
        self.locals.push((&fold.var, value));
        let result = self.run(&fold.result);
        self.locals.pop();
        result
    }

    fn fold(&mut self, fold: &'a Fold) -> Result<Value<'a>> {
        let range = self.run(&fold.range)?;
        let depth = self.locals.len();
        let accumulated = self.run(&fold.init);
        self.locals.push((ACCUMULATOR, accumulated));
        let looped = self.rounds(fold, &range);
        self.locals.truncate(depth + 1);
        let result = looped.and_then(|()| self.run(&fold.result));
        self.locals.truncate(depth);
        result
    }

    fn rounds(&mut self, fold: &'a Fold, range: &Value<'a>) -> Result<()> {
        match range {
            Value::List(list) => {
                for at in 0..list.len() {
                    let Some(item) = list.get(at) else { break };
                    let place = || Value::Int(i64::try_from(at).unwrap_or(i64::MAX));
                    let (first, second) = if fold.var2.is_some() { (place(), Some(item)) } else { (item, None) };
                    if !self.round(fold, first, second)? {
                        break;
                    }
                }
                Ok(())
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let second = if fold.var2.is_some() { map.get(&key) } else { None };
                    if !self.round(fold, key, second)? {
                        break;
                    }
                }
                Ok(())
            }
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    /// One round of a loop: whether there is to be another.
    fn round(&mut self, fold: &'a Fold, first: Value<'a>, second: Option<Value<'a>>) -> Result<bool> {
        let depth = self.locals.len();
        self.locals.push((&fold.var, Ok(first)));
        if let (Some(var2), Some(second)) = (&fold.var2, second) {
            self.locals.push((var2, Ok(second)));
        }
        let outcome = match self.run(&fold.condition) {
            Ok(Value::Bool(true)) => {
                let step = self.run(&fold.step);
                match step {
                    Err(EvalError::CostLimit) => Err(EvalError::CostLimit),
                    step => {
                        self.locals[depth - 1].1 = step;
                        Ok(true)
                    }
                }
            }
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        };
        self.locals.truncate(depth);
        outcome
    }
}

fn constant_value(constant: &Const) -> Value<'_> {
    match constant {
        Const::Null => Value::Null,
        Const::Bool(value) => Value::Bool(*value),
        Const::Int(value) => Value::Int(*value),
        Const::Uint(value) => Value::Uint(*value),
        Const::Double(value) => Value::Double(*value),
        Const::String(text) => Value::String(Text::Borrowed(text)),
        Const::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
    }
}

/// A share of a size, rounded up.
fn part(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// What a call costs with these arguments, the receiver the first of them.
fn call_cost(cost: Cost, args: &[Value<'_>], result: Option<&Value<'_>>) -> u64 {
    let size = |at: usize| args.get(at).map_or(1, Value::size);
    match cost {
        Cost::Fixed(cost) => cost,
        Cost::Compare if matches!(args.first(), Some(Value::Opaque(_))) => 1,
        Cost::Compare => part(size(0).min(size(1)), 0.1),
        Cost::Concat => part(size(0).saturating_add(size(1)), 0.1),
        Cost::InList => size(1),
        Cost::Matches | Cost::Find => part(size(0) + 1, 0.1).saturating_mul(part(size(1), 0.25)),
        Cost::Contains => part(size(0), 0.1).saturating_mul(part(size(1), 0.1)),
        Cost::Affix | Cost::Scan { .. } | Cost::ToBytes | Cost::ToText | Cost::Quote => part(size(0), 0.1),
        Cost::Rewrite(Rewrite::Replace | Rewrite::Split) | Cost::ScanTwice => part(size(0), 0.2),
        Cost::Join => part(result.map_or(1, Value::size), 0.2),
        Cost::Traverse => args.first().map_or(0, Value::traversal),
        Cost::ContainsIp { parses } => part(size(0) * 2, 0.1) + if parses { part(size(1), 0.1) } else { 0 },
        Cost::ContainsCidr { parses } => {
            part(size(0) * 2, 0.1) + part(size(0), 0.1) + 1 + if parses { part(size(1), 0.1) } else { 0 }
        }
        Cost::Format => match args.first() {
            Some(Value::Opaque(Opaque::Format(format))) => {
                part(size(1) + 1, 0.1).saturating_mul(part(format.regex, 0.25))
            }
            _ => part(size(0), 0.1),
        },
        Cost::Slice | Cost::Count => {
            let number = |at: usize| match args.get(at) {
                Some(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
                _ => 0,
            };
            let length = if cost == Cost::Count { number(0) } else { number(2).saturating_sub(number(1)) };
            length.saturating_add(11)
        }
        Cost::Reverse => size(0).saturating_add(11),
        Cost::Flatten => {
            let depth = match args.get(1) {
                Some(Value::Int(depth)) => u64::try_from(*depth).unwrap_or(0),
                _ => 1,
            };
            size(0).saturating_mul(depth).saturating_add(11)
        }
        Cost::CompareAll { keys, .. } => {
            let list = args.get(usize::from(keys));
            let text = match list {
                Some(Value::List(list)) => matches!(list.get(0), Some(Value::String(_) | Value::Bytes(_))),
                _ => false,
            };
            let length = list.map_or(0, Value::size);
            let pairs = length.saturating_mul(length);
            // A share is cut off here, and not rounded up.
            ((pairs as f64 * if text { 2.1 } else { 2.0 }) as u64).saturating_add(11)
        }
        Cost::CompareBoth { times } => {
            size(0).saturating_mul(size(1)).saturating_mul(u64::from(times)).saturating_add(1)
        }
        Cost::And | Cost::Or | Cost::Conditional => 0,
        Cost::ConcatLists => {
            1 + match (args.first(), args.get(1)) {
                // Copying is counted as it is; a list that is added to in a loop is not copied.
                (Some(Value::List(List::Owned(a))), Some(Value::List(b))) => (a.len() + b.len()) as u64 / 100,
                _ => 0,
            }
        }
        Cost::IndexList | Cost::IndexMap | Cost::Dyn => 1,
    }
}
