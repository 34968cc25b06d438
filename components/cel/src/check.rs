//! The type checker: finds the type of every node and which overloads a call may mean.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{ACCUMULATOR, Const, Entry, Expr, Field, Fold, Item, Kind};
use crate::error::Issue;
use crate::library::{self, Overload};
use crate::literals;
use crate::types::{Substitution, Type, less_specific};
use crate::value::type_ident;

/// What the checker found out, by the numbers of nodes.
#[derive(Debug)]
pub(crate) struct Checked {
    pub types: Vec<Type>,
    /// Which overloads of its function a call may mean, as their places in the table.
    pub overloads: Vec<Vec<usize>>,
}

/// Declared variables, and the names of structs that expressions may build.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub variables: HashMap<String, Type>,
    /// Any struct whose name is one of these, or starts with one and a dot.
    pub structs: Vec<&'static str>,
}

struct Checker<'s> {
    scope: &'s Scope,
    /// Variables of loops, the innermost last.
    locals: Vec<(String, Type)>,
    substitution: Substitution,
    types: Vec<Type>,
    overloads: Vec<Vec<usize>>,
    issues: Vec<Issue>,
}

/// Checks a tree with that many nodes; names that turn out to be qualified are rewritten.
pub(crate) fn check(tree: &mut Expr, nodes: usize, scope: &Scope) -> Result<Checked, Vec<Issue>> {
    let mut checker = Checker {
        scope,
        locals: Vec::new(),
        substitution: Substitution::default(),
        types: vec![Type::Error; nodes],
        overloads: vec![Vec::new(); nodes],
        issues: Vec::new(),
    };
    checker.check(tree);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let types: Vec<Type> = checker.types.iter().map(|found| checker.substitution.apply(found, true)).collect();
    let issues = literals::check(tree, &types);
    if issues.is_empty() { Ok(Checked { types, overloads: checker.overloads }) } else { Err(issues) }
}

impl Checker<'_> {
    fn issue(&mut self, at: usize, text: String) {
        self.issues.push(Issue { at, text });
    }

    fn type_of(&self, node: &Expr) -> Type {
        self.substitution.apply(&self.types[node.id], false)
    }

    fn shown(&self, found: &Type) -> Type {
        self.substitution.apply(found, true)
    }

    fn lookup(&self, name: &str) -> Option<Type> {
        if let Some((_, found)) = self.locals.iter().rev().find(|(local, _)| local == name) {
            return Some(found.clone());
        }
        if let Some(found) = self.scope.variables.get(name) {
            return Some(found.clone());
        }
        type_ident(name).map(|(named, _)| Type::Type(Arc::new(named)))
    }

    fn check(&mut self, node: &mut Expr) {
        let id = node.id;
        let found = match &mut node.kind {
            Kind::Const(constant) => constant.kind(),
            Kind::Ident(name) => match self.lookup(name) {
                Some(found) => found,
                None => {
                    let text = format!("undeclared reference to '{name}' (in container '')");
                    self.issue(node.at, text);
                    Type::Error
                }
            },
            Kind::Select { .. } => self.select(node),
            Kind::Call { .. } => self.call(node),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => {
                let name = name.clone();
                self.structure(node.at, &name, fields)
            }
            Kind::Fold(fold) => self.fold(fold),
        };
        self.types[id] = found;
    }

    fn select(&mut self, node: &mut Expr) -> Type {
        // A qualified name may be a variable's or a type's.
        if let Some(name) = node.qualified()
            && let Some(found) = self.lookup(&name)
        {
            node.kind = Kind::Ident(name);
            return found;
        }
        let at = node.at;
        let Kind::Select { operand, field, test } = &mut node.kind else { return Type::Error };
        let found = self.field_of(at, operand, field, false);
        if *test { Type::Bool } else { found }
    }

    fn field_of(&mut self, at: usize, operand: &mut Expr, field: &str, optional: bool) -> Type {
        self.check(operand);
        let mut target = self.type_of(operand);
        let mut optional = optional;
        if let Type::Optional(inner) = &target {
            optional = true;
            target = (**inner).clone();
        }
        let found = match &target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => match object.fields.get(field) {
                Some(declared) => declared.decl.kind_of(),
                None => {
                    self.issue(at, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
            Type::Free(_) => Type::Dyn,
            Type::Var(_) => {
                self.substitution.assign(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                let text = format!("type '{}' does not support field selection", self.shown(other));
                self.issue(at, text);
                Type::Dyn
            }
        };
        if optional { Type::optional(found) } else { found }
    }

    fn call(&mut self, node: &mut Expr) -> Type {
        let (id, at) = (node.id, node.at);
        let Kind::Call { function, target, args } = &mut node.kind else { return Type::Error };
        if function == "_?._" {
            let [operand, field] = &mut args[..] else { return Type::Error };
            let Kind::Const(Const::String(name)) = &field.kind else { return Type::Error };
            let name = name.clone();
            self.overloads[id] = vec![0];
            self.types[field.id] = Type::String;
            return self.field_of(at, operand, &name, true);
        }
        for arg in args.iter_mut() {
            self.check(arg);
        }
        // What stands before the dot may be the first part of the function's name.
        if let Some(prefix) = target.as_ref().and_then(|target| target.qualified())
            && !self.locals.iter().any(|(local, _)| *local == prefix)
            && library::overloads(&format!("{prefix}.{function}")).is_some()
        {
            *function = format!("{prefix}.{function}");
            *target = None;
        }
        if let Some(target) = target {
            self.check(target);
        }
        let Some(overloads) = library::overloads(function) else {
            let text = format!("undeclared reference to '{function}' (in container '')");
            self.issue(at, text);
            return Type::Error;
        };
        let given: Vec<Type> = target.as_deref().into_iter().chain(args.iter()).map(|arg| self.type_of(arg)).collect();
        let places: Vec<usize> = target.as_deref().into_iter().chain(args.iter()).map(|arg| arg.at).collect();
        if matches!(function.as_str(), "_&&_" | "_||_") {
            self.overloads[id] = vec![0];
            return self.logic(&given, &places);
        }
        let (function, member) = (function.clone(), target.is_some());
        let found = self.resolve(id, at, &function, member, overloads, &given);
        self.literals(&function, args);
        found
    }

    fn logic(&mut self, given: &[Type], places: &[usize]) -> Type {
        let mut good = true;
        for (found, at) in given.iter().zip(places) {
            if !self.substitution.assign(found, &Type::Bool) {
                let text = format!("expected type 'bool' but found '{}'", self.shown(found));
                self.issue(*at, text);
                good = false;
            }
        }
        if good { Type::Bool } else { Type::Error }
    }

    fn resolve(
        &mut self,
        id: usize,
        at: usize,
        function: &str,
        member: bool,
        overloads: &[Overload],
        given: &[Type],
    ) -> Type {
        let mut result: Option<Type> = None;
        let mut matching = Vec::new();
        for (index, overload) in overloads.iter().enumerate().filter(|(_, overload)| overload.member == member) {
            let base = self.substitution.reserve(overload.vars);
            let wanted: Vec<Type> =
                overload.params.iter().map(|param| Substitution::instantiate(param, base)).collect();
            if !self.substitution.assign_all(given, &wanted) {
                continue;
            }
            matching.push(index);
            let found = self.substitution.apply(&Substitution::instantiate(&overload.result, base), false);
            result = Some(match result {
                None => found,
                Some(Type::Dyn) => Type::Dyn,
                Some(before) if before.same(&found) => before,
                Some(_) => Type::Dyn,
            });
        }
        self.overloads[id] = matching;
        if let Some(result) = result {
            return result;
        }
        let mut shown: Vec<String> = given.iter().map(|found| self.shown(found).to_string()).collect();
        let receiver = if member { format!("{}.", shown.remove(0)) } else { String::new() };
        let text = format!("found no matching overload for '{function}' applied to '{receiver}({})'", shown.join(", "));
        self.issue(at, text);
        Type::Error
    }

    /// Literals that a function can't read are mistakes already.
    fn literals(&mut self, function: &str, args: &[Expr]) {
        let Some(last) = args.last() else { return };
        let Kind::Const(Const::String(text)) = &last.kind else { return };
        let wrong = match function {
            "duration" if kinit_duration::nanoseconds(text).is_err() => "invalid duration argument",
            "timestamp" if crate::time::timestamp(text).is_err() => "invalid timestamp argument",
            "matches" if library::regex(text).is_err() => "invalid matches argument",
            _ => return,
        };
        self.issue(last.at, wrong.to_owned());
    }

    /// The type that items of both types have, which is any where they have no other.
    fn join(&mut self, before: Option<Type>, found: Type) -> Type {
        let Some(before) = before else { return found };
        if self.substitution.assign(&before, &found) {
            return if less_specific(&before, &found) { before } else { found };
        }
        Type::Dyn
    }

    /// The type of an item, which is in an optional value if it is marked as such.
    fn present(&mut self, node: &Expr, optional: bool) -> Type {
        let found = self.type_of(node);
        match (&found, optional) {
            (Type::Optional(inner), true) => (**inner).clone(),
            (Type::Dyn | Type::Error, _) | (_, false) => found,
            _ => {
                let shown = self.shown(&found);
                self.issue(node.at, format!("expected type 'optional_type({shown})' but found '{shown}'"));
                found
            }
        }
    }

    fn list(&mut self, items: &mut [Item]) -> Type {
        let mut joined = None;
        for item in items.iter_mut() {
            self.check(&mut item.value);
            let found = self.present(&item.value, item.optional);
            joined = Some(self.join(joined, found));
        }
        Type::list(joined.unwrap_or_else(|| self.substitution.fresh()))
    }

    fn map(&mut self, entries: &mut [Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries.iter_mut() {
            self.check(&mut entry.key);
            let found = self.type_of(&entry.key);
            keys = Some(self.join(keys, found));
            self.check(&mut entry.value);
            let found = self.present(&entry.value, entry.optional);
            values = Some(self.join(values, found));
        }
        let keys = keys.unwrap_or_else(|| self.substitution.fresh());
        Type::map(keys, values.unwrap_or_else(|| self.substitution.fresh()))
    }

    fn structure(&mut self, at: usize, name: &str, fields: &mut [Field]) -> Type {
        let known = self.scope.structs.iter().any(|known| {
            name.strip_prefix(known)
                .is_some_and(|rest| rest.is_empty() || (rest.starts_with('.') && *known == "Object"))
        });
        if !known {
            self.issue(at, format!("undeclared reference to '{name}' (in container '')"));
            return Type::Error;
        }
        for field in fields.iter_mut() {
            self.check(&mut field.value);
            let found = self.present(&field.value, field.optional);
            if let Some(wanted) = declared_field(name, &field.name) {
                if let Some(wanted) = wanted
                    && !self.substitution.assign(&found, &wanted)
                {
                    let text = format!(
                        "expected type of field '{}' is '{wanted}' but provided type is '{}'",
                        field.name,
                        self.shown(&found)
                    );
                    self.issue(field.at, text);
                }
            } else {
                let found = self.shown(&found);
                let text = format!("expected type of field '{}' is '' but provided type is '{found}'", field.name);
                self.issue(field.at, text);
            }
        }
        Type::Free(name.into())
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        self.check(&mut fold.range);
        self.check(&mut fold.init);
        let range = self.type_of(&fold.range);
        let accumulated = self.type_of(&fold.init);
        let depth = self.locals.len();
        let accumulator = if fold.bind { fold.var.clone() } else { ACCUMULATOR.to_owned() };
        self.locals.push((accumulator, accumulated));
        if fold.bind {
            self.check(&mut fold.condition);
            self.check(&mut fold.step);
        } else {
            let (first, second) = self.iterated(&range, fold);
            self.locals.push((fold.var.clone(), first));
            if let Some(var2) = &fold.var2 {
                self.locals.push((var2.clone(), second));
            }
            self.check(&mut fold.condition);
            self.expect(&fold.condition, &Type::Bool);
            self.check(&mut fold.step);
            let accumulated = self.locals[depth].1.clone();
            self.expect(&fold.step, &accumulated);
            self.locals.truncate(depth + 1);
        }
        self.check(&mut fold.result);
        self.locals.truncate(depth);
        self.type_of(&fold.result)
    }

    fn expect(&mut self, node: &Expr, wanted: &Type) {
        let found = self.type_of(node);
        if !self.substitution.assign(&found, wanted) {
            let text = format!("expected type '{}' but found '{}'", self.shown(wanted), self.shown(&found));
            self.issue(node.at, text);
        }
    }

    /// The types of a loop's variables.
    fn iterated(&mut self, range: &Type, fold: &Fold) -> (Type, Type) {
        let two = fold.var2.is_some();
        match range {
            Type::List(item) if two => (Type::Int, (**item).clone()),
            Type::List(item) => ((**item).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Error => (Type::Dyn, Type::Dyn),
            Type::Var(_) => {
                self.substitution.assign(&Type::Dyn, range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let text = format!(
                    "expression of type '{}' cannot be range of a comprehension (must be list, map, or dynamic)",
                    self.shown(other)
                );
                self.issue(fold.range.at, text);
                (Type::Error, Type::Error)
            }
        }
    }
}

/// The type of a field of a struct that expressions build: `Some(None)` for any, none if there is no such field.
fn declared_field(name: &str, field: &str) -> Option<Option<Type>> {
    if name != "JSONPatch" {
        return Some(None);
    }
    match field {
        "op" | "path" | "from" => Some(Some(Type::String)),
        "value" => Some(None),
        _ => None,
    }
}
