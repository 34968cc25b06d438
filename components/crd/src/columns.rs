//! The columns that a definition gives to tables.

use jiff::Timestamp;
use kinit_api::table::age;
use serde_json::{Value, json};

/// The `columnDefinitions` of a table; objects without columns of their own have their age.
pub fn definitions(columns: &[Value]) -> Value {
    let mut all = vec![json!({
        "name": "Name", "type": "string", "format": "name", "description": "The name of the object.", "priority": 0,
    })];
    for column in columns {
        let path = column["jsonPath"].as_str().unwrap_or_default();
        let text = |name: &str| column[name].as_str().unwrap_or_default();
        let usual = format!("Custom resource definition column (in JSONPath format): {path}");
        all.push(json!({
            "name": text("name"), "type": text("type"), "format": text("format"),
            "description": if text("description").is_empty() { usual.as_str() } else { text("description") },
            "priority": column["priority"].as_i64().unwrap_or(0),
        }));
    }
    if columns.is_empty() {
        all.push(json!({
            "name": "Age", "type": "date", "format": "", "priority": 0,
            "description": "Custom resource definition column (in JSONPath format): .metadata.creationTimestamp",
        }));
    }
    all.into()
}

/// The cells of an object's row.
pub fn cells(columns: &[Value], object: &Value, now: Timestamp) -> Value {
    let mut cells = vec![object["metadata"]["name"].clone()];
    for column in columns {
        let found = find(object, column["jsonPath"].as_str().unwrap_or_default());
        cells.push(found.map_or(Value::Null, |value| cell(column["type"].as_str().unwrap_or_default(), value, now)));
    }
    if columns.is_empty() {
        cells.push(cell("date", &object["metadata"]["creationTimestamp"], now));
    }
    cells.into()
}

fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match kind {
        "integer" => match value.as_i64() {
            Some(number) => number.into(),
            None => value.as_f64().map_or(Value::Null, |number| whole(number).into()),
        },
        "number" if value.is_number() => value.clone(),
        "boolean" if value.is_boolean() => value.clone(),
        "date" => value.as_str().map_or(Value::Null, |time| match time.parse::<Timestamp>() {
            Ok(_) => age(time, now).into(),
            Err(_) if matches!(time, "" | "null") => "<unknown>".into(),
            Err(_) => "<invalid>".into(),
        }),
        "string" => match value {
            Value::String(text) => text.clone().into(),
            Value::Null => "<no value>".into(),
            Value::Number(number) if number.is_f64() => number.as_f64().map_or(Value::Null, |it| real(it).into()),
            other => other.to_string().into(),
        },
        _ => Value::Null,
    }
}

/// The whole part of a number; of one that is too large, what upstream's machines make of it.
#[expect(clippy::cast_possible_truncation, reason = "a cell of whole numbers has no fraction")]
fn whole(number: f64) -> i64 {
    // The greatest integer is no float, and the next one is too large already.
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) { number as i64 } else { i64::MIN }
}

/// A number as Go prints one: with an exponent from a million on, and below 0.0001.
fn real(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let Ok(exponent) = exponent.parse::<i32>() else { return scientific };
    if (-4..6).contains(&exponent) || number == 0.0 {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// The first value that a JSONPath finds: fields, `..` and `*`, `[0]`, `[0:2]`, `[*]`, `['name']` and `[?(@.field=="value")]`.
fn find<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut found = vec![object];
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = closing(inner)?;
            let step = inner[..end].trim();
            rest = &inner[end + 1..];
            found = found.into_iter().flat_map(|value| index(value, step)).collect();
        } else if let Some(after) = rest.strip_prefix("..") {
            rest = after;
            found = found.into_iter().flat_map(descendants).collect();
        } else {
            let field = rest.strip_prefix('.').unwrap_or(rest);
            let mut end = field.len();
            let mut escaped = false;
            for (at, letter) in field.char_indices() {
                if !escaped && matches!(letter, '.' | '[') {
                    end = at;
                    break;
                }
                escaped = letter == '\\' && !escaped;
            }
            let name = field[..end].replace('\\', "");
            rest = &field[end..];
            if name == "*" {
                found = found.into_iter().flat_map(|value| index(value, "*")).collect();
            } else if !name.is_empty() {
                found = found.into_iter().filter_map(|value| value.get(&name)).collect();
            }
        }
    }
    found.into_iter().next()
}

/// A value and all that is within it.
fn descendants(value: &Value) -> Vec<&Value> {
    let mut all = vec![value];
    let mut next = 0;
    while let Some(value) = all.get(next).copied() {
        all.extend(index(value, "*"));
        next += 1;
    }
    all
}

/// Where a bracket ends; those in quotes do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (None, ']') => return Some(at),
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
    }
    None
}

fn index<'a>(value: &'a Value, step: &str) -> Vec<&'a Value> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if step == "*" {
        return match value {
            Value::Object(map) => map.values().collect(),
            _ => list.iter().collect(),
        };
    }
    if let Some(name) = step.strip_prefix('\'').and_then(|step| step.strip_suffix('\'')) {
        // What is in quotes is a path of its own, as upstream reads it: a dot in a name has to be escaped here, too.
        return find(value, &format!(".{name}")).into_iter().collect();
    }
    if let Some(test) = step.strip_prefix("?(").and_then(|step| step.strip_suffix(')')) {
        let operator = ["==", "!=", "<=", ">=", "<", ">"].into_iter().filter_map(|it| Some((test.find(it)?, it))).min();
        let Some((at, operator)) = operator else { return Vec::new() };
        let path = test[..at].trim().trim_start_matches('@');
        let wanted = test[at + operator.len()..].trim().trim_matches(['"', '\'']);
        let fits = |item: &&Value| find(item, path).is_some_and(|found| compares(found, operator, wanted));
        return list.iter().filter(fits).collect();
    }
    if let Some((start, end)) = step.split_once(':') {
        let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
        let bound = |text: &str, or: i64| {
            let at = if text.trim().is_empty() { Some(or) } else { text.trim().parse::<i64>().ok() };
            at.and_then(|at| usize::try_from(if at < 0 { at + length } else { at }.min(length)).ok())
        };
        let (Some(start), Some(end)) = (bound(start, 0), bound(end, length)) else { return Vec::new() };
        return list.get(start..end.max(start)).unwrap_or_default().iter().collect();
    }
    let at = step.parse::<i64>().ok().and_then(|at| {
        let length = i64::try_from(list.len()).ok()?;
        usize::try_from(if at < 0 { at + length } else { at }).ok()
    });
    at.and_then(|at| list.get(at)).into_iter().collect()
}

/// Whether a value is to another as the operator says.
fn compares(found: &Value, operator: &str, wanted: &str) -> bool {
    let order = match found {
        Value::String(text) => Some(text.as_str().cmp(wanted)),
        Value::Number(number) => {
            let wanted = wanted.parse::<f64>().ok();
            number.as_f64().zip(wanted).and_then(|(found, wanted)| found.partial_cmp(&wanted))
        }
        other => {
            let same = serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| wanted == *other);
            same.then_some(std::cmp::Ordering::Equal)
        }
    };
    order.is_some_and(|order| match operator {
        "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<=" => order.is_le(),
        ">=" => order.is_ge(),
        "<" => order.is_lt(),
        _ => order.is_gt(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_their_paths() {
        let object = json!({
            "metadata": {"name": "a", "annotations": {"x.y/z": "1"}},
            "spec": {"n": 3, "on": true, "null": null, "real": 12_345_678.9, "minus": -5.0, "large": 1e21, "empty": "", "list": [{"k": 1}, {"k": 2}]},
            "status": {"conditions": [{"type": "A", "status": "No"}, {"type": "Ready", "status": "Yes"}]},
        });
        let cases = [
            ("string", ".status.conditions[?(@.type==\"Ready\")].status", json!("Yes")),
            ("integer", ".spec.n", json!(3)),
            ("string", ".spec.n", json!("3")),
            ("boolean", ".spec.on", json!(true)),
            ("integer", ".spec.list[-1].k", json!(2)),
            ("integer", ".spec.list[*].k", json!(1)),
            ("string", ".metadata.annotations['x.y/z']", Value::Null),
            ("string", ".metadata.annotations['x\\.y/z']", json!("1")),
            ("string", ".spec.list[0:2]", json!("{\"k\":1}")),
            ("integer", ".spec.list[?(@.k>1)].k", json!(2)),
            ("string", ".spec.list[?(@.k!=1)].k", json!("2")),
            ("integer", "..k", json!(1)),
            ("string", ".metadata.annotations.*", json!("1")),
            ("string", ".spec.null", json!("<no value>")),
            ("integer", ".spec.null", Value::Null),
            ("string", ".spec.real", json!("1.23456789e+07")),
            ("string", ".spec.minus", json!("-5")),
            ("integer", ".spec.large", json!(i64::MIN)),
            ("date", ".spec.empty", json!("<unknown>")),
            ("string", ".metadata.annotations.x\\.y/z", json!("1")),
            ("string", ".spec.none", Value::Null),
            ("date", ".metadata.name", json!("<invalid>")),
        ];
        for (kind, path, expected) in cases {
            let column = json!({"name": "C", "type": kind, "jsonPath": path});
            assert_eq!(cells(&[column], &object, Timestamp::now()), json!(["a", expected]), "{path}");
        }
        assert_eq!(definitions(&[])[1]["name"], "Age");
    }
}
