//! Checks the rules of a schema that is to be stored: whether they compile, and what they can cost.

use std::sync::Arc;

use kinit_api::validate::field::{Error, Errors, Path};
use serde_json::Value as Json;

use super::{Compiled, Rule, field_path};
use crate::decl::{self, Decl};

/// The greatest estimated cost of one rule, and of all rules of a schema.
const RULE_LIMIT: u64 = 10_000_000;
const SCHEMA_LIMIT: u64 = 100_000_000;
/// How many of the costliest rules are named when all together cost too much.
const NAMED: usize = 4;
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Where in a schema one is.
#[derive(Clone)]
struct Place {
    path: Path,
    /// How many values of this schema one object can have; none if nothing bounds that.
    cardinality: Option<u64>,
    /// Under a part whose old and new values can't be told to belong together.
    uncorrelatable: Option<Path>,
    root: bool,
}

#[derive(Default)]
struct Findings {
    errors: Errors,
    costs: Vec<(u64, Path)>,
    total: u64,
}

/// What is wrong with the rules of a structural schema that has no other errors. `path` is that of the schema.
pub fn check_schema(schema: &Json, path: &Path) -> Errors {
    let mut findings = Findings::default();
    let place = Place { path: path.clone(), cardinality: Some(1), uncorrelatable: None, root: true };
    walk(schema, None, place, &mut findings);
    if findings.total > SCHEMA_LIMIT {
        findings.costs.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (_, path) in findings.costs.iter().take(NAMED).filter(|(cost, _)| *cost > 0) {
            let text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            findings.errors.push(Error::forbidden(path, text));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        findings.errors.push(Error::forbidden(path, too_costly(what, findings.total, SCHEMA_LIMIT)));
    }
    findings.errors
}

fn embedded(schema: &Json) -> bool {
    decl::flag(schema, "x-kubernetes-embedded-resource")
}

/// The most values that a schema's children can have for each value of its own.
fn max_elements(schema: &Json) -> Option<u64> {
    let limit = |key: &str| schema.get(key).and_then(Json::as_i64).map(|limit| limit.max(0).unsigned_abs());
    match schema.get("type").and_then(Json::as_str) {
        Some("object") if schema.get("additionalProperties").is_some() => limit("maxProperties"),
        Some("object") => Some(1),
        Some("array") => limit("maxItems"),
        _ => None,
    }
}

fn walk(schema: &Json, decl: Option<Arc<Decl>>, place: Place, findings: &mut Findings) {
    // A declaration is made where the first rule is, and those below it are parts of it.
    let rules = Rule::all(schema);
    let decl = match decl {
        None if rules.is_empty() => None,
        None => decl::from_schema(schema, place.root, "selfType").map(Arc::new),
        found => found,
    };
    if !rules.is_empty() {
        check_rules(schema, rules, decl.as_ref(), &place, findings);
    }
    let cardinality = place
        .cardinality
        .and_then(|cardinality| max_elements(schema).map(|elements| cardinality.saturating_mul(elements)));
    let child = |schema: &Json, path: Path, uncorrelatable: Option<Path>| Place {
        path,
        cardinality,
        uncorrelatable,
        root: embedded(schema),
    };
    let items = decl.as_ref().and_then(|decl| decl.items().cloned());
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        let place = child(values, place.path.child("additionalProperties"), place.uncorrelatable.clone());
        walk(values, items.clone(), place, findings);
    }
    for (name, property) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        let declared = decl.as_ref().and_then(|decl| decl.field(&crate::escape(name)?).cloned());
        let path = place.path.child("properties").key(name);
        walk(property, declared, child(property, path, place.uncorrelatable.clone()), findings);
    }
    if let Some(inner) = schema.get("items").filter(|inner| inner.is_object()) {
        let keyed = schema.get("x-kubernetes-list-type").and_then(Json::as_str) == Some("map");
        let uncorrelatable =
            if keyed { place.uncorrelatable.clone() } else { Some(place.uncorrelatable.unwrap_or(place.path.clone())) };
        walk(inner, items, child(inner, place.path.child("items"), uncorrelatable), findings);
    }
}

fn check_rules(schema: &Json, rules: Vec<Rule>, decl: Option<&Arc<Decl>>, place: &Place, findings: &mut Findings) {
    let own = place.path.child("x-kubernetes-validations");
    let written = schema.get("x-kubernetes-validations").and_then(Json::as_array).cloned().unwrap_or_default();
    for (index, (rule, written)) in rules.into_iter().zip(written).enumerate() {
        let path = own.index(index);
        let before = findings.errors.len();
        check_words(schema, &rule, &path, &mut findings.errors);
        if findings.errors.len() > before {
            continue;
        }
        let Some(decl) = decl else {
            let why = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            findings.errors.push(Error::internal(&own, why));
            return;
        };
        let compiled = Compiled::new(rule, schema, decl);
        let (cost, message_cost) = compiled.costs(decl);
        let cost = cost.saturating_mul(place.cardinality.unwrap_or_else(|| decl.max_cardinality()));
        for (field, what, cost) in [
            ("rule", "estimated rule cost", cost),
            ("messageExpression", "estimated messageExpression cost", message_cost),
        ] {
            let path = path.child(field);
            if cost > RULE_LIMIT {
                findings.errors.push(Error::forbidden(&path, too_costly(what, cost, RULE_LIMIT)));
            }
            findings.total = findings.total.saturating_add(cost);
            findings.costs.push((cost, path));
        }
        if let Some(Err(error)) = &compiled.program {
            findings.errors.push(shown(&path.child("rule"), &written, error));
        }
        if let Some(Err(error)) = &compiled.message {
            findings.errors.push(shown(&path.child("messageExpression"), &written, error));
        }
        check_old_self(&compiled, place, &path, &mut findings.errors);
    }
}

/// An error that shows a rule as a whole.
fn shown(path: &Path, rule: &Json, why: impl std::fmt::Display) -> Error {
    Error::invalid(path, rule.clone(), why).of_type("apiextensions/v1", "ValidationRule")
}

fn check_old_self(compiled: &Compiled, place: &Place, path: &Path, errors: &mut Errors) {
    match (&place.uncorrelatable, compiled.rule.optional_old_self) {
        (Some(within), _) if compiled.uses_old_self => {
            let text = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
            errors.push(Error::invalid(&path.child("rule"), compiled.rule.rule.clone(), text));
        }
        (_, Some(optional)) if !compiled.uses_old_self => {
            let text = "may not be set if oldSelf is not used in rule";
            errors.push(Error::invalid(&path.child("optionalOldSelf"), optional, text));
        }
        _ => {}
    }
}

/// What is wrong with a rule apart from its expressions.
fn check_words(schema: &Json, rule: &Rule, path: &Path, errors: &mut Errors) {
    let broken = |text: &str| text.contains(['\n', '\r']);
    let (expression, message) = (rule.rule.trim(), rule.message.trim());
    if expression.is_empty() {
        errors.push(Error::required(&path.child("rule"), "rule is not specified"));
    } else if !rule.message.is_empty() && message.is_empty() {
        let text = "must be non-empty if specified";
        errors.push(Error::invalid(&path.child("message"), rule.message.clone(), text));
    } else if broken(message) {
        errors.push(Error::invalid(&path.child("message"), rule.message.clone(), "must not contain line breaks"));
    } else if broken(expression) && message.is_empty() {
        errors.push(Error::required(&path.child("message"), "message must be specified if rule contains line breaks"));
    }
    if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
        let text = "messageExpression must be non-empty if specified";
        errors.push(Error::required(&path.child("messageExpression"), text));
    }
    if let Some(reason) = &rule.reason
        && !REASONS.contains(&reason.as_str())
    {
        errors.push(Error::not_supported(&path.child("reason"), reason.clone(), &REASONS));
    }
    let at = path.child("fieldPath");
    if !rule.field_path.is_empty() && rule.field_path.trim().is_empty() {
        errors.push(Error::invalid(&at, rule.field_path.clone(), "must be non-empty if specified"));
    }
    if broken(&rule.field_path) {
        errors.push(Error::invalid(&at, rule.field_path.clone(), "must not contain line breaks"));
    }
    if !rule.field_path.is_empty() && field_path(&rule.field_path, schema).is_none() {
        errors.push(Error::invalid(&at, rule.field_path.clone(), "must be a valid path"));
    }
}

fn too_costly(what: &str, cost: u64, limit: u64) -> String {
    let times = cost as f64 / limit as f64;
    let factor = if times > 100.0 {
        "more than 100x".to_owned()
    } else if times < 1.5 {
        format!("{times:.6}x")
    } else {
        format!("{times:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}
