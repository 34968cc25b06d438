//! Values that are no objects of a type.

use kinit_schema::{Scalar, Type};
use serde_json::Value;

use super::{Path, Step, TypeError, props};
use crate::quantity::Quantity;

const QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const TIME_LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const MICRO_TIME_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";

/// The name of the Go type.
pub fn go_type(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "bool",
        Scalar::I32 => "int32",
        Scalar::I64 => "int64",
        Scalar::F64 => "float64",
        Scalar::U8 => "uint8",
        Scalar::U64 => "uint64",
        Scalar::String | Scalar::Duration | Scalar::Time | Scalar::MicroTime => "string",
        Scalar::Bytes => "[]uint8",
        Scalar::Strings => "[]string",
        Scalar::Quantity => "resource.Quantity",
        Scalar::IntOrString => "intstr.IntOrString",
        Scalar::Raw | Scalar::FieldsV1 | Scalar::Json => "interface {}",
        Scalar::PropsOrBool | Scalar::PropsOrArray | Scalar::PropsOrStrings => "v1.JSONSchemaProps",
    }
}

/// Checks a value, and gives it the form that is stored.
pub(super) fn check(
    value: &mut Value,
    scalar: Scalar,
    path: &Path<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), TypeError> {
    // Times keep null as their zero, and free-form values as a value.
    if value.is_null() && !matches!(scalar, Scalar::Json | Scalar::Raw | Scalar::Time | Scalar::MicroTime) {
        *value = zero(scalar);
    }
    let mismatch = |value: &Value| Err(path.mismatch(value, go_type(scalar)));
    match (scalar, &mut *value) {
        (Scalar::Bool, Value::Bool(_)) | (Scalar::F64, Value::Number(_)) => Ok(()),
        (Scalar::I32 | Scalar::I64 | Scalar::U8 | Scalar::U64, Value::Number(number)) => {
            let fits = match scalar {
                Scalar::I32 => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
                Scalar::I64 => number.is_i64(),
                Scalar::U8 => number.as_u64().is_some_and(|number| u8::try_from(number).is_ok()),
                _ => number.is_u64(),
            };
            if fits { Ok(()) } else { mismatch(value) }
        }
        (Scalar::IntOrString, Value::Number(number)) => {
            let fits = number.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
            if fits { Ok(()) } else { Err(path.mismatch(value, "int32")) }
        }
        (Scalar::String | Scalar::Duration | Scalar::IntOrString, Value::String(_)) => Ok(()),
        (Scalar::Bytes, Value::String(text)) => illegal_base64(text).map_or(Ok(()), |at| {
            let decoded = format!("illegal base64 data at input byte {at}");
            Err(TypeError { converted: format!("error decoding from json: {decoded}"), decoded })
        }),
        (Scalar::Quantity, Value::String(text)) => is_quantity(text),
        (Scalar::Quantity, Value::Number(number)) => {
            let text = number.to_string();
            is_quantity(&text)?;
            *value = text.into();
            Ok(())
        }
        (Scalar::Time | Scalar::MicroTime, Value::String(text)) => {
            let layout = if scalar == Scalar::Time { TIME_LAYOUT } else { MICRO_TIME_LAYOUT };
            if is_time(text) {
                if scalar == Scalar::MicroTime {
                    micros(text)?;
                }
                if let Some(stored) = stored_time(text, scalar) {
                    *text = stored;
                }
                return Ok(());
            }
            let why = format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\"");
            Err(TypeError::new(why))
        }
        (Scalar::Raw | Scalar::Json | Scalar::FieldsV1, _) => Ok(()),
        (Scalar::Time | Scalar::MicroTime, Value::Null) => Ok(()),
        (Scalar::Strings | Scalar::PropsOrStrings, Value::Array(list)) => {
            match list.iter().find(|item| !item.is_string()) {
                Some(other) => Err(path.mismatch(other, "string")),
                None => Ok(()),
            }
        }
        (Scalar::PropsOrBool, Value::Bool(_)) => Ok(()),
        (Scalar::PropsOrArray, Value::Array(list)) => list
            .iter_mut()
            .enumerate()
            .try_for_each(|(index, item)| props(item, json_schema(), &path.then(Step::Index(index)), unknown)),
        (Scalar::PropsOrBool | Scalar::PropsOrArray | Scalar::PropsOrStrings, Value::Object(_)) => {
            props(value, json_schema(), path, unknown)
        }
        (_, other) => mismatch(other),
    }
}

fn json_schema() -> &'static Type {
    kinit_schema::named("apiextensions/v1", "JSONSchemaProps").expect("the type is in the table")
}

/// What Go's decoder leaves in an element of a list or a map that is null.
fn zero(scalar: Scalar) -> Value {
    match scalar {
        Scalar::Bool => false.into(),
        Scalar::I32 | Scalar::I64 | Scalar::U8 | Scalar::U64 | Scalar::F64 | Scalar::IntOrString => 0.into(),
        Scalar::Quantity => "0".into(),
        Scalar::Strings | Scalar::PropsOrStrings | Scalar::PropsOrArray => Value::Array(Vec::new()),
        Scalar::FieldsV1 | Scalar::PropsOrBool => Value::Object(serde_json::Map::new()),
        _ => "".into(),
    }
}

fn is_quantity(text: &str) -> Result<(), TypeError> {
    text.parse::<Quantity>().map(drop).map_err(|_| TypeError::new(QUANTITY.to_owned()))
}

/// Where text stops being base64 with padding, as Go tells it: it reads four letters at a time, and where they come to an end
/// too soon it tells where they began.
fn illegal_base64(text: &str) -> Option<usize> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let mut letters = text.bytes().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n')).peekable();
    while letters.peek().is_some() {
        for place in 0..4 {
            match letters.next() {
                None => return Some(text.len() - place),
                Some((_, byte)) if legal(byte) => {}
                Some((_, b'=')) if place == 2 => match letters.next() {
                    None => return Some(text.len()),
                    Some((_, b'=')) => return letters.next().map(|(end, _)| end),
                    Some((other, _)) => return Some(other - 1),
                },
                Some((_, b'=')) if place == 3 => return letters.next().map(|(end, _)| end),
                Some((at, _)) => return Some(at),
            }
        }
    }
    None
}

/// Whether text is a time of RFC 3339. Days of months are not counted.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = b"0000-00-00T00:00:00";
    if bytes.len() < shape.len() + 1 {
        return false;
    }
    let (start, mut rest) = bytes.split_at(shape.len());
    let fits = start.iter().zip(shape).all(|(byte, wanted)| match wanted {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't'),
        other => byte == other,
    });
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    let zone = match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', a, b, b':', c, d] => [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    let number = |at: usize| u32::from(start[at] - b'0') * 10 + u32::from(start[at + 1] - b'0');
    fits && zone
        && (1..=12).contains(&number(5))
        && (1..=31).contains(&number(8))
        && number(11) < 24
        && number(14) < 60
        && number(17) < 60
}

/// A time as it is stored, where that differs: in UTC, to the second or to the microsecond.
fn stored_time(text: &str, scalar: Scalar) -> Option<String> {
    let (length, format) =
        if scalar == Scalar::Time { (20, "%Y-%m-%dT%H:%M:%SZ") } else { (27, "%Y-%m-%dT%H:%M:%S%.6fZ") };
    if text.len() == length && text.ends_with('Z') {
        return None;
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.strftime(format).to_string())
}

/// That a time has a second's millionths, as Go's layout asks for, no more and no less.
fn micros(text: &str) -> Result<(), TypeError> {
    let rest = text.get(19..).unwrap_or_default();
    let digits = rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let (left, wanted) = match digits {
        6 => return Ok(()),
        7.. => (&rest[7..], "Z07:00"),
        _ => (rest, ".000000"),
    };
    Err(TypeError::new(format!("parsing time {text:?} as {MICRO_TIME_LAYOUT:?}: cannot parse {left:?} as {wanted:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_stored_in_one_form() {
        let cases = [
            ("2026-01-02T03:04:05Z", Scalar::Time, None),
            ("2026-01-02T03:04:05.9Z", Scalar::Time, Some("2026-01-02T03:04:05Z")),
            ("2026-01-02T03:04:05+01:00", Scalar::Time, Some("2026-01-02T02:04:05Z")),
            ("2026-01-02T03:04:05Z", Scalar::MicroTime, Some("2026-01-02T03:04:05.000000Z")),
            ("2026-01-02T03:04:05.123456789Z", Scalar::MicroTime, Some("2026-01-02T03:04:05.123456Z")),
            ("2026-01-02T03:04:05.123456Z", Scalar::MicroTime, None),
        ];
        for (text, scalar, expected) in cases {
            assert_eq!(stored_time(text, scalar).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn times_in_millionths_have_them_all() {
        let said = |text: &str| micros(text).err().map(|error| error.decoded);
        assert_eq!(said("2026-01-02T03:04:05.123456Z"), None);
        for (text, rest) in [
            ("2026-01-02T03:04:05Z", "cannot parse \"Z\" as \".000000\""),
            ("2026-01-02T03:04:05.123+01:00", "cannot parse \".123+01:00\" as \".000000\""),
            ("2026-01-02T03:04:05.123456789Z", "cannot parse \"789Z\" as \"Z07:00\""),
        ] {
            assert!(said(text).unwrap().ends_with(rest), "{text}");
        }
    }

    #[test]
    fn times_and_base64_are_told_from_others() {
        for good in ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123456Z", "2026-01-02T03:04:05+01:00"] {
            assert!(is_time(good), "{good}");
        }
        for bad in ["", "2026-01-02", "2026-13-02T03:04:05Z", "2026-01-02T03:04:05", "2026-01-02T03:04:05.Z"] {
            assert!(!is_time(bad), "{bad}");
        }
        for (text, expected) in [
            ("", None),
            ("YQ==", None),
            ("YW\nJj", None),
            ("YWI=", None),
            ("YQ", Some(0)),
            ("YWJjY", Some(4)),
            ("==", Some(0)),
            ("Y===", Some(1)),
            ("YQ=", Some(3)),
            ("YQ=x", Some(2)),
            ("YQ==YQ==", Some(4)),
            ("Y!==", Some(1)),
        ] {
            assert_eq!(illegal_base64(text), expected, "{text:?}");
        }
    }
}
