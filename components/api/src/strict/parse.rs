//! Reading JSON without losing sight of fields that are given twice.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Path, Step};

/// Who writes more keys twice is told of these.
const MOST_COMPLAINTS: usize = 16;

/// A value, and a complaint about each field that is given twice within it, of which the last holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub value: Value,
    pub complaints: Vec<String>,
}

/// Reads JSON. What follows the value is an error.
pub fn parse(json: &[u8]) -> Result<Parsed, serde_json::Error> {
    let mut duplicates = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = Tree { path: Path::ROOT, duplicates: &mut duplicates }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    let complaints = duplicates.into_iter().map(|path| format!("duplicate field {path:?}")).collect();
    Ok(Parsed { value, complaints })
}

/// Reads the first document of YAML; without any it is null. Complaints name lines, as upstream's reader does.
pub fn parse_yaml(yaml: &[u8]) -> Result<Parsed, serde_yaml::Error> {
    let mut duplicates = Vec::new();
    let Some(first) = document(yaml) else { return Ok(Parsed { value: Value::Null, complaints: Vec::new() }) };
    let value = Tree { path: Path::ROOT, duplicates: &mut duplicates }.deserialize(first)?;
    // The reader tells a line only of what fails, so each is made to fail in its turn.
    let complaints = (0..duplicates.len().min(MOST_COMPLAINTS)).filter_map(|earlier| {
        let pass = Unique { earlier: Cell::new(earlier), key: RefCell::default() };
        let line = (&pass).deserialize(document(yaml)?).err()?.location()?.line();
        Some(format!("line {line}: key {:?} already set in map", pass.key.into_inner()))
    });
    Ok(Parsed { value, complaints: complaints.collect() })
}

/// What Go's decoder says of bytes that are no JSON, where ours says `error`.
pub fn go_syntax(json: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let line = json.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let letter = char::from(line.get(error.column().saturating_sub(1)).copied().unwrap_or(b' '));
    let shown = match letter {
        '"' => "\"".to_owned(),
        '\u{7}' => r"\a".to_owned(),
        '\u{8}' => r"\b".to_owned(),
        '\u{b}' => r"\v".to_owned(),
        '\u{c}' => r"\f".to_owned(),
        '\t' | '\n' | '\r' => letter.escape_default().to_string(),
        letter if letter.is_ascii_control() => format!("\\x{:02x}", u32::from(letter)),
        letter if letter.is_ascii() => letter.escape_default().to_string(),
        // A byte that is no ASCII is shown as the letter of its number, where there is anything to show.
        letter if letter.is_control() || matches!(letter, '\u{a0}' | '\u{ad}') => {
            format!("\\u{:04x}", u32::from(letter))
        }
        letter => letter.to_string(),
    };
    let said = error.to_string();
    let rows = [
        ("trailing characters", "after top-level value"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("expected `:`", "after object key"),
        ("key must be a string", "looking for beginning of object key string"),
        ("control character", "in string literal"),
        ("invalid escape", "in string escape code"),
        ("invalid number", "in numeric literal"),
    ];
    let found = rows.iter().find(|(ours, _)| said.starts_with(ours)).map(|(_, theirs)| *theirs);
    let place = match found {
        Some(place) => place,
        None if said.starts_with("trailing comma") && letter == '}' => "looking for beginning of object key string",
        None => "looking for beginning of value",
    };
    format!("invalid character '{shown}' {place}")
}

/// What Go's reader says of text that is no YAML, where ours says `error`.
pub fn go_yaml(error: &serde_yaml::Error) -> String {
    let said = error.to_string();
    let problem = said.split(" at line ").next().unwrap_or_default();
    // Both count lines from naught; those of the scanner are told from one.
    let line = error.location().map_or(0, |place| place.line().saturating_sub(1));
    let scans = !problem.starts_with("did not find expected");
    match line {
        0 => format!("yaml: {problem}"),
        line => format!("yaml: line {}: {problem}", line + usize::from(scans)),
    }
}

/// The first document, which is the one that counts; none where there is nothing but space and comments.
fn document(yaml: &[u8]) -> Option<serde_yaml::Deserializer<'_>> {
    serde_yaml::Deserializer::from_slice(yaml).next()
}

/// Fails at a key that is given twice, but for so many earlier ones; the key is kept.
struct Unique {
    earlier: Cell<usize>,
    key: RefCell<String>,
}

/// A key of a map with the ones before it.
struct Key<'a> {
    pass: &'a Unique,
    before: &'a mut HashSet<String>,
}

impl<'de> DeserializeSeed<'de> for &Unique {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Unique {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut before = HashSet::new();
        while fields.next_key_seed(Key { pass: self, before: &mut before })?.is_some() {
            fields.next_value_seed(self)?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        if self.before.insert(key.to_owned()) {
            return Ok(());
        }
        match self.pass.earlier.get() {
            0 => {
                *self.pass.key.borrow_mut() = key.to_owned();
                Err(E::custom("given twice"))
            }
            earlier => {
                self.pass.earlier.set(earlier - 1);
                Ok(())
            }
        }
    }
}

struct Tree<'a> {
    path: Path<'a>,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = self.path.then(Step::Index(list.len()));
            let Some(item) = items.next_element_seed(Tree { path, duplicates: &mut *self.duplicates })? else {
                return Ok(list.into());
            };
            list.push(item);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let path = self.path.then(Step::Key(&name));
            if map.contains_key(&name) {
                self.duplicates.push(path.text());
            }
            let value = fields.next_value_seed(Tree { path, duplicates: &mut *self.duplicates })?;
            map.insert(name, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_of_two_holds_and_both_are_told() {
        let text = br#"{"a": {"b": 1, "b": 2}, "l": [{"x": 1.5, "x": -1, "x": null}], "a2": "s"}"#;
        let parsed = parse(text).unwrap();
        assert_eq!(parsed.value, json!({"a": {"b": 2}, "l": [{"x": null}], "a2": "s"}));
        let complaints = ["a.b", "l[0].x", "l[0].x"].map(|path| format!("duplicate field {path:?}"));
        assert_eq!(parsed.complaints, complaints);
    }

    #[test]
    fn what_cannot_be_read_is_told_as_go_does() {
        let cases = [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("data: {a: b}", "invalid character 'd' looking for beginning of value"),
            ("{\"a\":\"b\"} x", "invalid character 'x' after top-level value"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{a: 1}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
        ];
        for (text, wanted) in cases {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(go_syntax(text.as_bytes(), &error), wanted, "{text}");
        }
        for (byte, shown) in [(0xc7, "Ç"), (0x80, "\\u0080"), (0xad, "\\u00ad")] {
            let error = parse(&[byte]).unwrap_err();
            let wanted = format!("invalid character '{shown}' looking for beginning of value");
            assert_eq!(go_syntax(&[byte], &error), wanted, "{byte:x}");
        }
        let cases = [
            ("{", "yaml: line 1: did not find expected node content"),
            ("a: b: c", "yaml: mapping values are not allowed in this context"),
            ("x: 1\na: b: c", "yaml: line 2: mapping values are not allowed in this context"),
        ];
        for (text, wanted) in cases {
            assert_eq!(go_yaml(&parse_yaml(text.as_bytes()).unwrap_err()), wanted, "{text}");
        }
        assert_eq!(parse_yaml(b"").unwrap().value, Value::Null);
        assert_eq!(parse_yaml(b"---\na: 1\n---\nb: 1\n").unwrap().value, json!({"a": 1}));
    }

    #[test]
    fn keys_given_twice_in_yaml_are_told_by_their_lines() {
        let parsed = parse_yaml(b"a: 1\nb:\n  c: 1\n  d: [x]\n  c: 2\nl:\n- e: 1.5\n  e: null\n").unwrap();
        assert_eq!(parsed.value, json!({"a": 1, "b": {"c": 2, "d": ["x"]}, "l": [{"e": null}]}));
        let complaints = [(5, "c"), (8, "e")].map(|(line, key)| format!("line {line}: key {key:?} already set in map"));
        assert_eq!(parsed.complaints, complaints);
        assert_eq!(parse_yaml(b"---\na: 1\n---\na: 2\n").unwrap().value, json!({"a": 1}));
        assert_eq!(parse_yaml(b"").unwrap().value, Value::Null);
        assert!(parse_yaml(b"a: [").is_err());
        assert!(parse(b"{} x").is_err());
        assert!(parse(b"{\"a\":}").is_err());
    }

    #[test]
    fn bytes_that_are_no_letters_are_shown_as_go_does() {
        for (text, shown) in [("\u{1f}", r"'\x1f'"), ("\u{0}", r"'\x00'"), ("\u{7}", r"'\a'"), ("\u{b}", r"'\v'")] {
            let error = parse(text.as_bytes()).unwrap_err();
            let told = format!("invalid character {shown} looking for beginning of value");
            assert_eq!(go_syntax(text.as_bytes(), &error), told);
        }
    }
}
