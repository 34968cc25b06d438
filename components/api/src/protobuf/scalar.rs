//! The values that are no types of the table: plain ones, and the messages that are plain in JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kinit_schema::{Scalar, Type};
use serde_json::Value;

use super::Error;
use super::decode::{nested, raw};
use super::encode::message;
use super::wire::{Field, Reader, Writer};

/// What a field that holds JSON is when it holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    OrNull,
    OrEmpty,
}

pub(super) fn is_varint(kind: Scalar) -> bool {
    matches!(kind, Scalar::Bool | Scalar::I32 | Scalar::I64 | Scalar::U8 | Scalar::U64)
}

pub(super) fn encode(writer: &mut Writer, number: u32, kind: Scalar, value: &Value) {
    match (kind, value) {
        (Scalar::Bool, Value::Bool(value)) => writer.unsigned(number, u64::from(*value)),
        (Scalar::I32 | Scalar::I64, Value::Number(value)) => writer.integer(number, value.as_i64().unwrap_or_default()),
        (Scalar::U8 | Scalar::U64, Value::Number(value)) => writer.unsigned(number, value.as_u64().unwrap_or_default()),
        (Scalar::F64, Value::Number(value)) => writer.double(number, value.as_f64().unwrap_or_default()),
        (Scalar::String, Value::String(text)) => writer.bytes(number, text.as_bytes()),
        (Scalar::Bytes, Value::String(text)) => {
            if let Ok(bytes) = STANDARD.decode(text) {
                writer.bytes(number, &bytes);
            }
        }
        (Scalar::Quantity | Scalar::IntOrString, Value::String(_) | Value::Number(_)) => {
            writer.message(number, |writer| number_or_text(writer, kind, value));
        }
        (Scalar::Time | Scalar::MicroTime, Value::String(text)) => {
            if let Ok(time) = text.parse::<Timestamp>() {
                writer.message(number, |writer| {
                    writer.integer(1, time.as_nanosecond().div_euclid(1_000_000_000).try_into().unwrap_or_default());
                    writer.integer(2, time.as_nanosecond().rem_euclid(1_000_000_000).try_into().unwrap_or_default());
                });
            }
        }
        (Scalar::Raw | Scalar::FieldsV1 | Scalar::Json, value) => {
            writer.message(number, |writer| writer.bytes(1, value.to_string().as_bytes()));
        }
        (Scalar::Strings, Value::Array(items)) => writer.message(number, |writer| texts(writer, 1, items)),
        (Scalar::PropsOrBool, Value::Bool(value)) => {
            writer.message(number, |writer| writer.unsigned(1, u64::from(*value)));
        }
        (Scalar::PropsOrBool, Value::Object(_)) => writer.message(number, |writer| {
            writer.unsigned(1, 1);
            writer.message(2, |writer| message(writer, props(), value));
        }),
        (Scalar::PropsOrArray | Scalar::PropsOrStrings, Value::Object(_)) => {
            writer.message(number, |writer| writer.message(1, |writer| message(writer, props(), value)));
        }
        (Scalar::PropsOrArray, Value::Array(items)) => writer.message(number, |writer| {
            for item in items {
                writer.message(2, |writer| message(writer, props(), item));
            }
        }),
        (Scalar::PropsOrStrings, Value::Array(items)) => writer.message(number, |writer| texts(writer, 2, items)),
        _ => {}
    }
}

/// Writes the value that a field of this kind has in Go before anything is put into it.
pub(super) fn zero(writer: &mut Writer, number: u32, kind: Scalar) {
    match kind {
        Scalar::Bool | Scalar::I32 | Scalar::I64 | Scalar::U8 | Scalar::U64 => writer.unsigned(number, 0),
        Scalar::F64 => writer.double(number, 0.0),
        Scalar::String => writer.bytes(number, b""),
        Scalar::Quantity => writer.message(number, |writer| writer.bytes(1, b"0")),
        Scalar::IntOrString => writer.message(number, |writer| number_or_text(writer, kind, &Value::from(0))),
        Scalar::Duration => writer.message(number, |writer| writer.unsigned(1, 0)),
        Scalar::PropsOrBool => writer.message(number, |writer| writer.unsigned(1, 0)),
        Scalar::Time | Scalar::MicroTime | Scalar::Raw | Scalar::FieldsV1 | Scalar::Json => {
            writer.message(number, |_| {});
        }
        // Slices of bytes and of strings are nothing where they are not there.
        Scalar::Bytes | Scalar::Strings | Scalar::PropsOrArray | Scalar::PropsOrStrings => {}
    }
}

fn number_or_text(writer: &mut Writer, kind: Scalar, value: &Value) {
    match (kind, value) {
        (Scalar::Quantity, Value::String(text)) => writer.bytes(1, text.as_bytes()),
        (Scalar::Quantity, other) => writer.bytes(1, other.to_string().as_bytes()),
        (_, Value::String(text)) => {
            writer.unsigned(1, 1);
            writer.unsigned(2, 0);
            writer.bytes(3, text.as_bytes());
        }
        (_, other) => {
            writer.unsigned(1, 0);
            writer.integer(2, other.as_i64().unwrap_or_default());
            writer.bytes(3, b"");
        }
    }
}

fn texts(writer: &mut Writer, number: u32, items: &[Value]) {
    for item in items.iter().filter_map(Value::as_str) {
        writer.bytes(number, item.as_bytes());
    }
}

/// The schema of custom resources, which holds itself in many forms.
fn props() -> &'static Type {
    kinit_schema::named("apiextensions/v1", "JSONSchemaProps").expect("a test looks it up")
}

pub(super) fn decode(kind: Scalar, field: Field<'_>, depth: usize) -> Result<Value, Error> {
    Ok(match kind {
        Scalar::Bool => (field.unsigned()? != 0).into(),
        // A number that is too long for its type is cut, as upstream's decoder does.
        Scalar::I32 => i32::from_le_bytes(low_half(field.unsigned()?)).into(),
        Scalar::I64 => field.integer()?.into(),
        Scalar::U8 | Scalar::U64 => field.unsigned()?.into(),
        Scalar::F64 => field.double()?.into(),
        Scalar::String => field.text()?.into(),
        Scalar::Bytes => STANDARD.encode(field.bytes()?).into(),
        Scalar::Quantity | Scalar::Duration => quantity(field.bytes()?)?,
        Scalar::IntOrString => int_or_string(field.bytes()?)?,
        Scalar::Time | Scalar::MicroTime => time(field.bytes()?, kind == Scalar::MicroTime)?,
        Scalar::Raw | Scalar::Json => raw(field.bytes()?, Raw::OrNull)?,
        Scalar::FieldsV1 => raw(field.bytes()?, Raw::OrEmpty)?,
        Scalar::Strings | Scalar::PropsOrBool | Scalar::PropsOrArray | Scalar::PropsOrStrings => {
            alternatives(kind, field.bytes()?, depth)?
        }
    })
}

fn low_half(value: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = value.to_le_bytes();
    [a, b, c, d]
}

fn quantity(bytes: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader::new(bytes);
    let mut text = "0";
    while let Some((number, value)) = reader.field()? {
        if number == 1 {
            text = value.str()?;
        }
    }
    Ok(text.into())
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader::new(bytes);
    let (mut is_text, mut int, mut text) = (false, 0, "");
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => is_text = value.unsigned()? == 1,
            2 => int = i32::from_le_bytes(low_half(value.unsigned()?)),
            3 => text = value.str()?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { int.into() })
}

/// Nothing is no time; whole seconds are all that JSON shows, or microseconds of the finer type.
fn time(bytes: &[u8], micro: bool) -> Result<Value, Error> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let mut reader = Reader::new(bytes);
    let (mut seconds, mut nanos) = (0, 0);
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => seconds = value.integer()?,
            2 => nanos = value.integer()?,
            _ => {}
        }
    }
    let nanos = if micro { i32::try_from(nanos).unwrap_or_default() } else { 0 };
    let Ok(time) = Timestamp::new(seconds, nanos) else { return Ok(Value::Null) };
    let text = if micro {
        time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    } else {
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    Ok(text.into())
}

/// The forms of a message that holds one of several things.
fn alternatives(kind: Scalar, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let mut reader = Reader::new(bytes);
    let (mut allows, mut schema, mut items) = (false, None, Vec::new());
    while let Some((number, value)) = reader.field()? {
        match (kind, number) {
            (Scalar::PropsOrBool, 1) => allows = value.unsigned()? != 0,
            (Scalar::PropsOrBool, 2) | (Scalar::PropsOrArray | Scalar::PropsOrStrings, 1) => {
                schema = Some(nested(props(), value.bytes()?, depth)?);
            }
            (Scalar::PropsOrArray, 2) => items.push(nested(props(), value.bytes()?, depth)?),
            (Scalar::Strings, 1) | (Scalar::PropsOrStrings, 2) => items.push(value.text()?.into()),
            _ => {}
        }
    }
    Ok(match (kind, schema) {
        (_, Some(schema)) => schema,
        (Scalar::PropsOrBool, None) => allows.into(),
        (Scalar::Strings, None) => items.into(),
        (_, None) if items.is_empty() => Value::Null,
        (_, None) => items.into(),
    })
}
