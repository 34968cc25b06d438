//! Whether an object is what its schema says, in upstream's words.

mod formats;
mod lists;

use kinit_api::validate::field::{Error, Errors, Path};
use serde_json::Value;

use crate::schema::{Additional, Schema};
pub use lists::lists;

/// Checks a value at a path. Where `old` is what was there before, nothing is said of what has not changed.
pub fn check(value: &Value, old: Option<&Value>, schema: &Schema, path: &str) -> Errors {
    let mut found = Found::default();
    place(value, old, schema, path, &mut found);
    found.errors
}

/// What is wrong, and how much was right: of several schemas of which one must fit, the one that fits best is told of.
#[derive(Default)]
struct Found {
    errors: Errors,
    matches: usize,
}

impl Found {
    fn merge(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.matches += other.matches;
    }
}

/// The path as messages have it.
fn at(path: &str) -> Path {
    Path::new(path)
}

fn place(value: &Value, old: Option<&Value>, schema: &Schema, path: &str, found: &mut Found) {
    // What was there already may stay, even if the schema does not want it any more.
    if old == Some(value) {
        return;
    }
    let mut own = Found { errors: Errors::new(), matches: 1 };
    own.errors.extend(of_type(value, schema, path));
    if value.is_null() {
        found.merge(own);
        return;
    }
    // What has another type is looked at as what it is, too.
    junctors(value, schema, path, &mut own);
    match value {
        Value::String(text) => string(text, schema, path, &mut own.errors),
        Value::Number(_) => number(value, schema, path, &mut own.errors),
        Value::Array(list) => array(list, old, schema, path, &mut own),
        _ => {}
    }
    enumeration(value, schema, path, &mut own.errors);
    if value.is_object() {
        object(value, old, schema, path, &mut own);
    }
    if own.errors.is_empty() {
        own.matches += 1;
    }
    found.merge(own);
}

/// The type of a value, as messages name it.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn of_type(value: &Value, schema: &Schema, path: &str) -> Option<Error> {
    let wanted = if schema.int_or_string { "integer,string" } else { schema.kind.as_str() };
    let found = type_of(value);
    let whole = value.as_f64().is_some_and(is_whole);
    let fits = match (wanted, found) {
        ("", "null") | (_, "null") if schema.nullable || wanted.is_empty() => true,
        ("", _) => true,
        ("integer,string", "integer" | "string") | ("number", "integer") => true,
        ("integer" | "integer,string", "number") => whole,
        (wanted, found) => wanted == found,
    };
    if fits {
        return None;
    }
    // Where there is a format, it is the formats that differ.
    let (wanted, found) = match (format(schema), value) {
        ("", _) => (wanted, found),
        (format, Value::Number(number)) => (format, if number.is_f64() { "float64" } else { "int64" }),
        (format, Value::Bool(_) | Value::Object(_)) => (format, ""),
        _ => (wanted, found),
    };
    let text = format!("{path} in body must be of type {wanted}: {found:?}");
    Some(Error::type_invalid(&at(path), found, text))
}

/// The format of a place, where its type can have it.
fn format(schema: &Schema) -> &str {
    let format = schema.own("format").and_then(Value::as_str).unwrap_or_default();
    if formats::is_known(&schema.kind, format) { format } else { "" }
}

/// The formats that a schema as it is written has and that say nothing where they stand.
pub fn unknown_formats(schema: &Value) -> Vec<String> {
    let schema = Schema::read(schema);
    let found = std::cell::RefCell::new(Vec::new());
    schema.any(&|place| {
        let format = place.own("format").and_then(Value::as_str).unwrap_or_default();
        if !format.is_empty() && !formats::is_known(&place.kind, format) {
            found.borrow_mut().push(format.to_owned());
        }
        false
    });
    found.into_inner()
}

/// Whether a number with a point is an integer nevertheless, which it can be as far as all integers can be told apart.
fn is_whole(number: f64) -> bool {
    const MOST: f64 = 9_007_199_254_740_991.0;
    number.abs() <= MOST && number.fract() == 0.0
}

fn enumeration(value: &Value, schema: &Schema, path: &str, errors: &mut Errors) {
    let Some(allowed) = schema.own("enum").and_then(Value::as_array).filter(|allowed| !allowed.is_empty()) else {
        return;
    };
    if allowed.contains(value) {
        return;
    }
    let shown: Vec<String> =
        allowed.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    errors.push(Error::not_supported(&at(path), value.clone(), &shown));
}

/// Of a length and a pattern, the first that does not fit is told.
fn string(text: &str, schema: &Schema, path: &str, errors: &mut Errors) {
    let length = text.chars().count();
    let pattern = || schema.pattern.as_ref().filter(|pattern| !pattern.is_match(text));
    if let Some(most) = schema.count("maxLength").filter(|most| length > *most) {
        errors.push(Error::too_long(&at(path), most));
    } else if let Some(least) = schema.count("minLength").filter(|least| length < *least) {
        let detail = format!("{path} in body should be at least {least} chars long");
        errors.push(Error::invalid(&at(path), text, detail));
    } else if let Some(pattern) = pattern() {
        errors.push(Error::invalid(&at(path), text, format!("{path} in body should match '{}'", pattern.as_str())));
    }
    let format = format(schema);
    if !formats::fits(format, text) {
        let detail = format!("{path} in body must be of type {format}: {text:?}");
        errors.push(Error::type_invalid(&at(path), text, detail));
    }
}

fn number(value: &Value, schema: &Schema, path: &str, errors: &mut Errors) {
    let Some(number) = value.as_f64() else { return };
    let format = format(schema);
    let fits = match (schema.kind.as_str(), format) {
        ("integer", "int32") => {
            value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) || {
                is_whole(number) && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number)
            }
        }
        ("integer", _) => value.is_i64() || is_whole(number),
        (_, "float") => number.abs() <= f64::from(f32::MAX),
        _ => true,
    };
    if !fits {
        let kind = schema.kind.as_str();
        let format = if format.is_empty() { "(default format)".to_owned() } else { format!("with format {format}") };
        // It is told of no field, as upstream does.
        let detail = format!("Checked value must be of type {kind} {format} in {path}");
        errors.push(Error::invalid(&at(""), "", detail));
    }
    let exclusive = |name: &str| schema.own(name) == Some(&Value::Bool(true));
    if let Some(factor) = schema.number("multipleOf") {
        errors.extend(not_multiple(value, number, factor, path));
    }
    let mut refuse =
        |detail: String| errors.push(Error::invalid(&at(path), value.clone(), format!("{path} in body {detail}")));
    if let Some(most) = schema.number("maximum") {
        match exclusive("exclusiveMaximum") {
            true if number >= most => refuse(format!("should be less than {most}")),
            false if number > most => refuse(format!("should be less than or equal to {most}")),
            _ => {}
        }
    }
    if let Some(least) = schema.number("minimum") {
        match exclusive("exclusiveMinimum") {
            true if number <= least => refuse(format!("should be greater than {least}")),
            false if number < least => refuse(format!("should be greater than or equal to {least}")),
            _ => {}
        }
    }
}

/// An integer is looked at by the whole part of the factor, which has to be there.
fn not_multiple(value: &Value, number: f64, factor: f64, path: &str) -> Option<Error> {
    let (positive, fits) = match value.as_i64() {
        Some(integer) => {
            let factor = factor as i64;
            (factor > 0, factor > 0 && integer % factor == 0)
        }
        None => (factor > 0.0, is_whole(number / factor)),
    };
    if !positive {
        let text = format!("factor MultipleOf declared for {path} must be positive: {}", factor.trunc());
        return Some(Error::invalid(&at(path), factor.trunc() as i64, text));
    }
    let detail = format!("{path} in body should be a multiple of {factor}");
    (!fits).then(|| Error::invalid(&at(path), value.clone(), detail))
}

fn array(list: &[Value], old: Option<&Value>, schema: &Schema, path: &str, found: &mut Found) {
    if let Some(items) = schema.items.as_deref() {
        let old = old.and_then(Value::as_array);
        for (index, item) in list.iter().enumerate() {
            let before = old.and_then(|old| lists::same(schema, old, item));
            place(item, before, items, &format!("{path}[{index}]"), found);
        }
    }
    if let Some(least) = schema.count("minItems").filter(|least| list.len() < *least) {
        let detail = format!("{path} in body should have at least {least} items");
        found.errors.push(Error::invalid(&at(path), list.len(), detail));
    }
    if let Some(most) = schema.count("maxItems").filter(|most| list.len() > *most) {
        found.errors.push(Error::too_many(&at(path), list.len(), most));
    }
    if schema.own("uniqueItems") == Some(&Value::Bool(true)) && (1..list.len()).any(|at| list[..at].contains(&list[at]))
    {
        found.errors.push(Error::invalid(&at(path), "", format!("{path} in body shouldn't contain duplicates")));
    }
}

fn object(value: &Value, old: Option<&Value>, schema: &Schema, path: &str, found: &mut Found) {
    let Some(map) = value.as_object() else { return };
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(least) = schema.count("minProperties").filter(|least| map.len() < *least) {
        let detail = format!("{path} in body should have at least {least} properties");
        found.errors.push(Error::invalid(&at(path), map.len(), detail));
    }
    if let Some(most) = schema.count("maxProperties").filter(|most| map.len() > *most) {
        found.errors.push(Error::too_many(&at(path), map.len(), most));
    }
    for (name, value) in map {
        let before = old.and_then(|old| old.get(name));
        match (schema.properties.get(name), &schema.additional) {
            (Some(own), _) => place(value, before, own, &below(name), found),
            (None, Some(Additional::Of(own))) => place(value, before, own, &below(name), found),
            (None, Some(Additional::Any(false))) => {
                let detail = format!("{path}.{name} in body is a forbidden property");
                found.errors.push(Error::invalid(&at(path), "", detail));
            }
            (None, _) => {}
        }
    }
    for name in schema.required.iter().filter(|name| !map.contains_key(*name)) {
        found.errors.push(Error::required(&at(&below(name)), ""));
    }
}

fn junctors(value: &Value, schema: &Schema, path: &str, found: &mut Found) {
    let tried = |schemas: &[Schema]| -> Vec<Found> {
        let one = |schema: &Schema| {
            let mut found = Found::default();
            place(value, None, schema, path, &mut found);
            found
        };
        schemas.iter().map(one).collect()
    };
    let refuse = |detail: String| Error::invalid(&at(""), "", detail);
    let best = |tried: Vec<Found>| {
        tried
            .into_iter()
            .reduce(|best, other| if other.matches > best.matches { other } else { best })
            .unwrap_or_default()
    };
    if !schema.any_of.is_empty() {
        let tried = tried(&schema.any_of);
        if tried.iter().all(|found| !found.errors.is_empty()) {
            found.errors.push(refuse(format!("{path:?} must validate at least one schema (anyOf)")));
            found.merge(best(tried));
        }
    }
    if !schema.one_of.is_empty() {
        let tried = tried(&schema.one_of);
        match tried.iter().filter(|found| found.errors.is_empty()).count() {
            1 => {}
            0 => {
                let text = format!("{path:?} must validate one and only one schema (oneOf). Found none valid");
                found.errors.push(refuse(text));
                found.merge(best(tried));
            }
            count => {
                let text =
                    format!("{path:?} must validate one and only one schema (oneOf). Found {count} valid alternatives");
                found.errors.push(refuse(text));
            }
        }
    }
    if !schema.all_of.is_empty() {
        let tried = tried(&schema.all_of);
        let fits = tried.iter().filter(|found| found.errors.is_empty()).count();
        if fits < tried.len() {
            let none = if fits == 0 { ". None validated" } else { "" };
            for one in tried {
                found.merge(one);
            }
            found.errors.push(refuse(format!("{path:?} must validate all the schemas (allOf){none}")));
        }
    }
    if let Some(not) = &schema.not
        && tried(std::slice::from_ref(not)).iter().all(|found| found.errors.is_empty())
    {
        found.errors.push(refuse(format!("{path:?} must not validate the schema (not)")));
    }
}

#[cfg(test)]
mod tests;
