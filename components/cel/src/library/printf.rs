//! `format`: `%s`, `%d`, `%f`, `%e`, `%b`, `%x`, `%X`, `%o`, with a precision before f and e.

use super::fail;
use super::numbers::{double_text, to_string};
use super::operators::shown;
use crate::error::EvalError;
use crate::value::{List, Result, Value};

pub(super) fn format<'a>(pattern: &str, args: &List<'a>) -> Result<Value<'a>> {
    let mut written = String::new();
    let mut characters = pattern.chars().peekable();
    let mut next = 0;
    while let Some(character) = characters.next() {
        if character != '%' {
            written.push(character);
            continue;
        }
        let mut precision = None;
        if characters.peek() == Some(&'.') {
            characters.next();
            let mut digits = String::new();
            while let Some(digit) = characters.peek().filter(|c| c.is_ascii_digit()) {
                digits.push(*digit);
                characters.next();
            }
            // Nothing is more exact than that, and a longer text is only zeros.
            precision = Some(digits.parse::<usize>().unwrap_or(0).min(100));
        }
        let Some(verb) = characters.next() else { return fail("unexpected end of string") };
        if verb == '%' {
            written.push('%');
            continue;
        }
        let Some(arg) = args.get(next) else { return fail(format!("index {next} out of range")) };
        next += 1;
        written.push_str(&clause(verb, precision.unwrap_or(6), &arg)?);
    }
    Ok(written.into())
}

fn clause(verb: char, precision: usize, arg: &Value<'_>) -> Result<String> {
    let wrong = |kinds: &str| {
        let text = format!("error during formatting: {kinds} got '{}'", arg.type_name());
        Err(EvalError::new(text))
    };
    let real = |value: &Value<'_>| match value {
        Value::Double(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        _ => None,
    };
    match (verb, arg) {
        ('s', _) => Ok(text(arg)),
        ('d', Value::Int(_) | Value::Uint(_)) => Ok(shown(arg)),
        ('d', Value::Double(value)) if value.is_nan() || value.is_infinite() => Ok(special(*value)),
        ('d', _) => wrong("decimal clause can only be used on integers,"),
        ('f' | 'e', _) => match real(arg) {
            Some(value) if value.is_finite() && verb == 'f' => Ok(format!("{value:.precision$}")),
            Some(value) if value.is_finite() => Ok(exponent(value, precision)),
            Some(value) => Ok(special(value)),
            None => wrong("fixed-point clause can only be used on doubles,"),
        },
        ('b', Value::Int(value)) => Ok(signed(*value, |size| format!("{size:b}"))),
        ('b', Value::Uint(value)) => Ok(format!("{value:b}")),
        ('b', Value::Bool(value)) => Ok(u8::from(*value).to_string()),
        ('b', _) => wrong("only integers and bools can be formatted as binary,"),
        ('o', Value::Int(value)) => Ok(signed(*value, |size| format!("{size:o}"))),
        ('o', Value::Uint(value)) => Ok(format!("{value:o}")),
        ('o', _) => wrong("octal clause can only be used on integers,"),
        ('x' | 'X', _) => {
            let hex = match arg {
                Value::Int(value) => signed(*value, |size| format!("{size:x}")),
                Value::Uint(value) => format!("{value:x}"),
                Value::String(text) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
                Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                _ => return wrong("only integers, byte buffers, and strings can be formatted as hex,"),
            };
            Ok(if verb == 'X' { hex.to_uppercase() } else { hex })
        }
        _ => {
            Err(EvalError::new(format!("could not parse formatting clause: unrecognized formatting clause \"{verb}\"")))
        }
    }
}

fn signed(value: i64, show: fn(u64) -> String) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", show(value.unsigned_abs()))
}

fn special(value: f64) -> String {
    let text = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    text.to_owned()
}

fn exponent(value: f64, precision: usize) -> String {
    let shown = format!("{value:.precision$e}");
    let (number, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{number}e{sign}{digits:0>2}")
}

/// A value as text, with lists and maps written out.
fn text(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Double(value) if !value.is_finite() => special(*value),
        Value::Double(value) => double_text(*value),
        Value::Type(name) => name.to_string(),
        Value::List(list) => format!("[{}]", list.iter().map(|item| text(&item)).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let mut entries: Vec<String> = map
                .keys()
                .iter()
                .map(|key| format!("{}: {}", text(key), map.get(key).map_or_else(String::new, |value| text(&value))))
                .collect();
            entries.sort();
            format!("{{{}}}", entries.join(", "))
        }
        other => match to_string(std::slice::from_ref(other)) {
            Ok(Value::String(text)) => text.to_string(),
            _ => other.type_name().to_string(),
        },
    }
}
