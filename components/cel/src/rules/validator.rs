//! Evaluates the rules of a schema over an object.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinit_api::validate::field::{Error, Errors, Path};
use serde_json::Value as Json;

use super::{Compiled, Rule, message};
use crate::decl::{self, Decl};
use crate::{CALL_LIMIT, EvalError, OBJECT_BUDGET, Value};

/// The compiled rules of a schema and of all that is in it. Made once per version of a resource.
#[derive(Debug)]
pub struct Validator {
    rules: Vec<Compiled>,
    decl: Arc<Decl>,
    kind: String,
    items: Option<Box<Validator>>,
    values: Option<Box<Validator>>,
    properties: BTreeMap<String, Validator>,
    all_of: Vec<Validator>,
    /// The keys of a list whose items are told apart by them.
    keys: Option<Vec<String>>,
}

/// A value with the one that it replaces.
#[derive(Clone, Copy)]
struct Pair<'a> {
    new: &'a Json,
    old: Option<&'a Json>,
    /// What the value was, where that can be told for checks that let stand what stood before.
    before: Option<&'a Json>,
    /// Whether the nearest part around it for which that can be told is as it was.
    unchanged: bool,
}

impl Pair<'_> {
    /// Whether what is wrong was so before, and is let stand.
    fn stands(&self) -> bool {
        self.before.map_or(self.unchanged, |before| before == self.new)
    }
}

struct Run {
    errors: Errors,
    /// What is wrong, and was so before.
    stood: Errors,
    budget: i64,
}

impl Validator {
    /// The rules of a structural schema; none if it has no rules. `root` is whether it is of a whole resource.
    pub fn new(schema: &Json, root: bool) -> Option<Self> {
        if !has_rules(schema) {
            return None;
        }
        let decl = decl::from_schema(schema, root, "selfType").map(Arc::new)?;
        Self::of(schema, schema, &decl)
    }

    /// The rules of `schema`, over values whose structure is that of `node`.
    fn of(schema: &Json, node: &Json, decl: &Arc<Decl>) -> Option<Self> {
        let rules: Vec<Compiled> = Rule::all(schema).into_iter().map(|rule| Compiled::new(rule, node, decl)).collect();
        let inner = |key: &str| {
            let (schema, node) = (schema.get(key)?, node.get(key)?);
            Self::of(schema, node, decl.items()?).map(Box::new)
        };
        let (items, values) = (inner("items"), inner("additionalProperties"));
        let mut properties = BTreeMap::new();
        for (name, property) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
            let Some(node) = node.get("properties").and_then(|properties| properties.get(name)) else { continue };
            let embedded = decl::flag(node, "x-kubernetes-embedded-resource");
            let declared = match crate::escape(name) {
                Some(escaped) => decl.field(&escaped).cloned(),
                // Rules on a field that has no name in expressions see the field itself.
                None => decl::from_schema(node, embedded, "selfType").map(Arc::new),
            };
            if let Some(validator) = declared.and_then(|declared| Self::of(property, node, &declared)) {
                properties.insert(name.clone(), validator);
            }
        }
        let all_of: Vec<Self> = schema
            .get("allOf")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(|part| Self::of(part, node, decl))
            .collect();
        if rules.is_empty() && items.is_none() && values.is_none() && properties.is_empty() && all_of.is_empty() {
            return None;
        }
        let keys = (node.get("x-kubernetes-list-type").and_then(Json::as_str) == Some("map")).then(|| {
            let keys = node.get("x-kubernetes-list-map-keys").and_then(Json::as_array).into_iter().flatten();
            keys.filter_map(Json::as_str).map(str::to_owned).collect()
        });
        let kind = node.get("type").and_then(Json::as_str).unwrap_or_default().to_owned();
        Some(Self { rules, decl: decl.clone(), kind, items, values, properties, all_of, keys })
    }

    /// What the rules say against an object, which replaces `old`; `stood` gets what they said before and say no more, which
    /// upstream warns of.
    pub fn validate(&self, path: &Path, new: &Json, old: Option<&Json>, stood: &mut Errors) -> Errors {
        let mut run =
            Run { errors: Vec::new(), stood: Vec::new(), budget: i64::try_from(OBJECT_BUDGET).unwrap_or(i64::MAX) };
        let pair = Pair { new, old, before: old, unchanged: false };
        // Running out of the budget ends it, and is among the errors.
        let _ = self.check(path, pair, &mut run);
        stood.extend(run.stood);
        run.errors
    }

    fn check(&self, path: &Path, pair: Pair<'_>, run: &mut Run) -> Option<()> {
        if pair.new.is_null() {
            return Some(());
        }
        self.check_rules(path, pair, run)?;
        for part in &self.all_of {
            part.check(path, Pair { before: None, ..pair }, run)?;
        }
        match pair.new {
            Json::Array(items) => self.check_items(path, items, pair, run),
            Json::Object(fields) => {
                for (name, new) in fields {
                    let (validator, path) = match (self.properties.get(name), &self.values) {
                        (Some(validator), _) => (validator, path.child(name)),
                        (None, Some(validator)) => (&**validator, path.key(name)),
                        (None, None) => continue,
                    };
                    let before = pair.before.and_then(|before| before.get(name));
                    // What was null is no value that could have been kept.
                    let old = pair.old.and_then(|old| old.get(name)).filter(|old| !old.is_null());
                    validator.check(&path, Pair { new, old, before, unchanged: pair.stands() }, run)?;
                }
                Some(())
            }
            _ => Some(()),
        }
    }

    fn check_items(&self, path: &Path, items: &[Json], pair: Pair<'_>, run: &mut Run) -> Option<()> {
        let Some(validator) = &self.items else { return Some(()) };
        let unchanged = pair.stands();
        for (index, new) in items.iter().enumerate() {
            // Only items with keys are the same ones as before; of others nobody can tell.
            let old = pair.old.and_then(|old| self.same_item(new, old));
            let before = pair.before.and_then(|before| self.same_item(new, before));
            validator.check(&path.index(index), Pair { new, old, before, unchanged }, run)?;
        }
        Some(())
    }

    /// Whether what is wrong was so before, and is let stand. Items with keys may change places.
    fn stands(&self, pair: Pair<'_>) -> bool {
        let moved = |before: &Json| match (pair.new, before) {
            (Json::Array(new), Json::Array(old)) if self.keys.is_some() && new.len() == old.len() => {
                new.iter().all(|item| self.same_item(item, before) == Some(item))
            }
            _ => false,
        };
        pair.stands() || pair.before.is_some_and(moved)
    }

    /// The item of a list that has the keys of this one.
    fn same_item<'a>(&self, item: &Json, list: &'a Json) -> Option<&'a Json> {
        let keys = self.keys.as_ref()?;
        list.as_array()?.iter().find(|other| keys.iter().all(|key| other.get(key) == item.get(key)))
    }

    fn check_rules(&self, path: &Path, pair: Pair<'_>, run: &mut Run) -> Option<()> {
        if self.rules.is_empty() {
            return Some(());
        }
        let invalid = |text: String| Error::invalid(path, self.kind.clone(), text);
        if run.budget <= 0 {
            run.errors.push(invalid(OUT_OF_BUDGET.to_owned()));
            return None;
        }
        for compiled in &self.rules {
            let rule = &compiled.rule;
            let program = match &compiled.program {
                None => continue,
                Some(Err(error)) => {
                    run.errors.push(invalid(format!("rule compile error: {error}")));
                    continue;
                }
                Some(Ok(program)) => program,
            };
            let optional = rule.optional_old_self == Some(true);
            if compiled.uses_old_self && pair.old.is_none() && !optional {
                continue;
            }
            let own = Value::of_json(pair.new, Some(&self.decl));
            let old = pair.old.map(|old| Value::of_json(old, Some(&self.decl)));
            let old = match (old, optional) {
                (old, true) => old.map_or(Value::Optional(None), Value::some),
                (old, false) => old.unwrap_or(Value::Null),
            };
            let variables = [("self", own), ("oldSelf", old)];
            let (result, cost) = program.run(&variables, CALL_LIMIT);
            let cost = i64::try_from(cost).unwrap_or(i64::MAX);
            if cost > run.budget {
                run.errors.push(invalid(OUT_OF_BUDGET.to_owned()));
                return None;
            }
            run.budget -= cost;
            match result {
                Ok(Value::Bool(true)) => continue,
                Ok(_) => {}
                Err(EvalError::CostLimit) => {
                    let text = "no further validation rules will be run due to call cost exceeds limit for rule";
                    run.errors.push(invalid(format!("'{}': {text}: {}", EvalError::CostLimit, rule.shown())));
                    return None;
                }
                Err(error @ EvalError::NoSuchOverload) => {
                    let text =
                        "call arguments did not match a supported operator, function or macro signature for rule";
                    run.errors.push(invalid(format!("'{error}': {text}: {}", rule.shown())));
                    continue;
                }
                Err(error) => {
                    run.errors.push(invalid(format!("{error} evaluating rule: {}", rule.shown())));
                    continue;
                }
            }
            let stands = !compiled.uses_old_self && self.stands(pair);
            let at = if compiled.field_path.is_empty() { path.clone() } else { path.child(&compiled.field_path) };
            let mut detail = None;
            if let Some(Ok(program)) = &compiled.message {
                match message(program, &rule.message_expression, &variables, &mut run.budget) {
                    Ok(text) => detail = text,
                    Err(text) => {
                        if !stands {
                            run.errors.push(Error::invalid(&at, self.kind.clone(), text));
                        }
                        return None;
                    }
                }
            }
            let detail = detail.unwrap_or_else(|| rule.default_message());
            let refusal = self.refusal(&at, pair.new, rule.reason.as_deref(), &detail);
            if stands { run.stood.push(refusal) } else { run.errors.push(refusal) }
        }
        Some(())
    }

    fn refusal(&self, path: &Path, value: &Json, reason: Option<&str>, detail: &str) -> Error {
        let whole = matches!(self.kind.as_str(), "object" | "array");
        match reason {
            Some("FieldValueForbidden") => Error::forbidden(path, detail),
            Some("FieldValueRequired") => Error::required(path, detail),
            Some("FieldValueDuplicate") if whole => Error::duplicate_whole(path),
            Some("FieldValueDuplicate") => Error::duplicate(path, value.clone()),
            _ if whole => Error::invalid_whole(path, detail),
            _ => Error::invalid(path, value.clone(), detail),
        }
    }
}

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Whether the schema or one in it has rules.
fn has_rules(schema: &Json) -> bool {
    let many = |key: &str| {
        let children = schema.get(key).and_then(Json::as_object);
        children.is_some_and(|children| children.values().any(has_rules))
    };
    !Rule::all(schema).is_empty()
        || ["items", "additionalProperties"].iter().any(|key| schema.get(key).is_some_and(has_rules))
        || schema.get("allOf").and_then(Json::as_array).is_some_and(|parts| parts.iter().any(has_rules))
        || many("properties")
}
