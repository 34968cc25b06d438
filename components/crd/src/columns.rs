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
            #[expect(clippy::cast_possible_truncation, reason = "a cell of whole numbers has no fraction")]
            None => value.as_f64().map_or(Value::Null, |number| (number as i64).into()),
        },
        "number" if value.is_number() => value.clone(),
        "boolean" if value.is_boolean() => value.clone(),
        "date" => value.as_str().map_or(Value::Null, |time| match time.parse::<Timestamp>() {
            Ok(_) => age(time, now).into(),
            Err(_) => "<invalid>".into(),
        }),
        "string" => match value {
            Value::String(text) => text.clone().into(),
            Value::Null => Value::Null,
            other => other.to_string().into(),
        },
        _ => Value::Null,
    }
}

/// The first value that a JSONPath finds: fields, `[0]`, `[*]`, `['name']` and `[?(@.field=="value")]`.
fn find<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut found = vec![object];
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = closing(inner)?;
            let step = inner[..end].trim();
            rest = &inner[end + 1..];
            found = found.into_iter().flat_map(|value| index(value, step)).collect();
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
            if !name.is_empty() {
                found = found.into_iter().filter_map(|value| value.get(&name)).collect();
            }
        }
    }
    found.into_iter().next()
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
        return value.get(name).into_iter().collect();
    }
    if let Some(test) = step.strip_prefix("?(").and_then(|step| step.strip_suffix(')')) {
        let Some((path, wanted)) = test.split_once("==") else { return Vec::new() };
        let path = path.trim().trim_start_matches('@');
        let wanted = wanted.trim().trim_matches(['"', '\'']);
        let fits = |item: &&Value| match find(item, path) {
            Some(Value::String(text)) => text == wanted,
            Some(other) => serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| wanted == *other),
            None => false,
        };
        return list.iter().filter(fits).collect();
    }
    let at = step.parse::<i64>().ok().and_then(|at| {
        let length = i64::try_from(list.len()).ok()?;
        usize::try_from(if at < 0 { at + length } else { at }).ok()
    });
    at.and_then(|at| list.get(at)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_by_their_paths() {
        let object = json!({
            "metadata": {"name": "a", "annotations": {"x.y/z": "1"}},
            "spec": {"n": 3, "on": true, "list": [{"k": 1}, {"k": 2}]},
            "status": {"conditions": [{"type": "A", "status": "No"}, {"type": "Ready", "status": "Yes"}]},
        });
        let cases = [
            ("string", ".status.conditions[?(@.type==\"Ready\")].status", json!("Yes")),
            ("integer", ".spec.n", json!(3)),
            ("string", ".spec.n", json!("3")),
            ("boolean", ".spec.on", json!(true)),
            ("integer", ".spec.list[-1].k", json!(2)),
            ("integer", ".spec.list[*].k", json!(1)),
            ("string", ".metadata.annotations['x.y/z']", json!("1")),
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
