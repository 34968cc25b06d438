//! From protobuf to JSON, as Go's types would write it.

use kinit_schema::{Element, Field, Shape, Type};
use serde_json::{Map, Value};

use super::Error;
use super::scalar::{self, Raw};
use super::wire::{self, Reader};
use crate::canonical::{zero, zero_is_left_out};

/// Messages deeper than this are refused. Only schemas of custom resources nest at all.
const DEPTH: usize = 100;

/// The JSON of a message of type `kind`.
pub(super) fn message(kind: &Type, bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    let mut map = Map::new();
    fields(&mut map, kind, bytes, DEPTH)?;
    Ok(map)
}

/// The JSON of a message that is a field of another.
pub(super) fn nested(kind: &Type, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let mut map = Map::new();
    fields(&mut map, kind, bytes, depth.checked_sub(1).ok_or(Error::Depth)?)?;
    Ok(map.into())
}

fn fields(map: &mut Map<String, Value>, kind: &Type, bytes: &[u8], depth: usize) -> Result<(), Error> {
    let mut reader = Reader::new(bytes);
    // Embedded messages may come in parts, and are read when all are there.
    let mut embedded: Vec<(&Type, Vec<u8>)> = Vec::new();
    while let Some((number, value)) = reader.field()? {
        let Some(field) = kind.fields.iter().find(|field| field.number == number) else { continue };
        match field.embedded() {
            None => set(map, field, value, depth).map_err(|error| match error {
                Error::WireType(found) => Error::FieldWireType(found, go_name(field.name)),
                error => error,
            })?,
            Some(inner) => match embedded.iter_mut().find(|(kind, _)| std::ptr::eq(*kind, inner)) {
                Some((_, bytes)) => bytes.extend_from_slice(value.bytes()?),
                None => embedded.push((inner, value.bytes()?.to_vec())),
            },
        }
    }
    for field in kind.fields.iter().filter(|field| field.number > 0) {
        match field.embedded() {
            Some(inner) => {
                let bytes = embedded.iter().find(|(kind, _)| std::ptr::eq(*kind, inner)).map(|(_, bytes)| &bytes[..]);
                fields(map, inner, bytes.unwrap_or_default(), depth.checked_sub(1).ok_or(Error::Depth)?)?;
            }
            None => complete(map, field),
        }
    }
    Ok(())
}

/// What Go calls a field: its first letter is large, and so is all of a word that stands for others.
fn go_name(json: &str) -> String {
    if matches!(json, "uid" | "ip") {
        return json.to_uppercase();
    }
    let mut letters = json.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

/// Takes one occurrence of a field.
fn set(map: &mut Map<String, Value>, field: &Field, value: wire::Field<'_>, depth: usize) -> Result<(), Error> {
    match field.shape {
        Shape::One => {
            let value = element(field.element, value, depth)?;
            map.insert(field.name.into(), value);
        }
        Shape::List => {
            let list = map.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            let Some(list) = list.as_array_mut() else { return Ok(()) };
            match (field.element, value) {
                // Numbers may be packed into one field.
                (Element::Scalar(kind), wire::Field::Bytes(packed)) if scalar::is_varint(kind) => {
                    let mut reader = Reader::new(packed);
                    while !reader.is_empty() {
                        list.push(scalar::decode(kind, wire::Field::Varint(reader.varint()?), depth)?);
                    }
                }
                (kind, value) => list.push(element(kind, value, depth)?),
            }
        }
        Shape::Map => {
            let mut entry = Reader::new(value.bytes()?);
            let (mut key, mut content) = (String::new(), None);
            while let Some((number, value)) = entry.field()? {
                match number {
                    1 => key = value.text()?,
                    2 => content = Some(value),
                    _ => {}
                }
            }
            let content = match content {
                Some(value) => element(field.element, value, depth)?,
                None => zero(field.element),
            };
            let entries = map.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            if let Some(entries) = entries.as_object_mut() {
                entries.insert(key, content);
            }
        }
    }
    Ok(())
}

fn element(element: Element, value: wire::Field<'_>, depth: usize) -> Result<Value, Error> {
    match element {
        Element::Message(reference) => nested(reference.get(), value.bytes()?, depth),
        Element::Scalar(kind) => scalar::decode(kind, value, depth),
    }
}

/// Brings a field that has been read, or has not, into the form that Go's JSON has.
fn complete(map: &mut Map<String, Value>, field: &Field) {
    if field.pointer || field.shape != Shape::One {
        if !map.contains_key(field.name) && !field.omit_empty && !field.omit_zero {
            map.insert(field.name.into(), Value::Null);
        }
        return;
    }
    let zero_is_left_out = zero_is_left_out(field);
    match map.get(field.name) {
        None if zero_is_left_out => {}
        None => {
            map.insert(field.name.into(), zero(field.element));
        }
        Some(value) => {
            if zero_is_left_out && *value == zero(field.element) {
                map.remove(field.name);
            }
        }
    }
}

/// The content of a field that holds JSON.
pub(super) fn raw(bytes: &[u8], kind: Raw) -> Result<Value, Error> {
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.field()? {
        if number == 1 {
            let content = value.bytes()?;
            return match (content.is_empty(), kind) {
                (true, Raw::OrNull) => Ok(Value::Null),
                (true, Raw::OrEmpty) => Ok(Value::Object(Map::new())),
                (false, _) => serde_json::from_slice(content).map_err(Error::Raw),
            };
        }
    }
    Ok(match kind {
        Raw::OrNull => Value::Null,
        Raw::OrEmpty => Value::Object(Map::new()),
    })
}
