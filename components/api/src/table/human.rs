//! Texts for people: durations, lists cut short, labels and selectors.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

/// The string at a JSON pointer; absent is empty.
pub(super) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a JSON pointer; absent is 0.
pub(super) fn number(value: &Value, path: &str) -> i64 {
    value.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

/// The list at a JSON pointer; absent is empty.
pub(super) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The strings of the elements at `path`, joined by `separator`.
pub(super) fn joined(value: &Value, path: &str, separator: &str) -> String {
    let texts: Vec<&str> = list(value, path).iter().filter_map(Value::as_str).collect();
    texts.join(separator)
}

/// `text`, or `otherwise` where it is empty.
pub(super) fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

/// How long ago an RFC 3339 time was.
pub fn age(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => human_duration(now.as_second() - then.as_second()),
        Err(_) => "<unknown>".into(),
    }
}

/// A duration to about three digits, in units that fit its size.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let two = |large: i64, unit: char, small: i64, part: char| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{part}") }
    };
    match seconds {
        ..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => two(days, 'd', hours % 24, 'h'),
        _ if years < 2 => format!("{days}d"),
        _ if years < 8 => two(years, 'y', days % 365, 'd'),
        _ => format!("{years}y"),
    }
}

/// The first `most` of some texts, and how many there are beyond.
pub(super) fn shortened(texts: &[String], most: usize, empty: &str) -> String {
    match texts.len() {
        0 => empty.into(),
        all if all > most => format!("{} + {} more...", texts[..most].join(","), all - most),
        _ => texts.join(","),
    }
}

/// Labels in the form of a selector; none are `<none>`.
pub(super) fn labels(labels: Option<&Value>) -> String {
    let pairs: Vec<String> = equalities(labels).map(|(key, value)| format!("{key}={value}")).collect();
    or(&pairs.join(","), "<none>").into()
}

fn equalities(labels: Option<&Value>) -> impl Iterator<Item = (&String, &str)> {
    let labels = labels.and_then(Value::as_object);
    let sorted: BTreeMap<&String, &str> =
        labels.into_iter().flatten().filter_map(|(key, value)| Some((key, value.as_str()?))).collect();
    sorted.into_iter()
}

/// The string form of a label selector object; everything is empty.
pub(super) fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector.and_then(Value::as_object) else { return String::new() };
    let mut parts: Vec<(String, String)> =
        equalities(selector.get("matchLabels")).map(|(key, value)| (key.clone(), format!("{key}={value}"))).collect();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    parts.extend(expressions.into_iter().flatten().filter_map(Value::as_object).map(expression));
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    let parts: Vec<String> = parts.into_iter().map(|(_, part)| part).collect();
    parts.join(",")
}

fn expression(expression: &Map<String, Value>) -> (String, String) {
    let field = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
    let key = field("key").to_owned();
    let values = expression.get("values").and_then(Value::as_array);
    let mut values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
    values.sort_unstable();
    let values = values.join(",");
    let part = match field("operator") {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "DoesNotExist" => format!("!{key}"),
        _ => key.clone(),
    };
    (key, part)
}

/// The string form of a label selector object, `<none>` where it selects everything.
pub(super) fn selector_or_none(object: Option<&Value>) -> Value {
    or(&selector(object), "<none>").into()
}
