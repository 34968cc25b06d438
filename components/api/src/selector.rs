//! Label and field selectors in the string forms of query parameters.

mod parse;

use std::collections::BTreeMap;

use serde_json::Value;

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    /// An integer above this one.
    Above(String, i64),
    /// An integer below this one.
    Below(String, i64),
}

/// A parsed label selector: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. All requirements must hold; none is "everything".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

/// What is wrong with a selector's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

impl LabelSelector {
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::selector(text).map(Self).map_err(ParseError)
    }

    /// Reads a LabelSelector object: `matchLabels` and `matchExpressions`, all of which must hold.
    pub fn from_object(selector: &Value) -> Result<Self, ParseError> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            requirements.push(Requirement::In(key.clone(), vec![text(value)]));
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = text(&expression["key"]);
            let values = expression["values"].as_array().into_iter().flatten().map(text).collect();
            requirements.push(match expression["operator"].as_str().unwrap_or_default() {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::Absent(key),
                other => return Err(ParseError(format!("{other:?} is not a valid label selector operator"))),
            });
        }
        Ok(Self(requirements))
    }

    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    pub fn matches(&self, labels: &impl Labels) -> bool {
        let among = |values: &[String], value: &str| values.iter().any(|own| own == value);
        self.0.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => labels.value(key).is_some(),
            Requirement::Absent(key) => labels.value(key).is_none(),
            Requirement::In(key, values) => labels.value(key).is_some_and(|value| among(values, value)),
            // A label that is absent is not in any set: upstream's != and notin match it.
            Requirement::NotIn(key, values) => labels.value(key).is_none_or(|value| !among(values, value)),
            Requirement::Above(key, bound) => number(labels, key).is_some_and(|value| value > *bound),
            Requirement::Below(key, bound) => number(labels, key).is_some_and(|value| value < *bound),
        })
    }
}

/// A label's value where it is an integer.
fn number(labels: &impl Labels, key: &str) -> Option<i64> {
    labels.value(key)?.parse().ok()
}

/// Labels, however they are kept.
pub trait Labels {
    /// The value of a label.
    fn value(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

/// A parsed field selector: `metadata.name=a,spec.nodeName!=b`, as (path, value, whether they must be equal).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(pub Vec<(String, String, bool)>);

impl FieldSelector {
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut terms = split(text);
        terms.sort_unstable();
        let term = |term: &str| {
            let wrong = || ParseError(format!("invalid selector: '{text}'; can't understand '{term}'"));
            // The first operator counts, and the longest where two begin at one place.
            let at = term.find('=').ok_or_else(wrong)?;
            let at = if at > 0 && term.as_bytes()[at - 1] == b'!' { at - 1 } else { at };
            let (field, rest) = term.split_at(at);
            let (equal, value) = match rest.strip_prefix("!=") {
                Some(value) => (false, value),
                None => (true, rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')).ok_or_else(wrong)?),
            };
            Ok((field.to_owned(), unescaped(value)?, equal))
        };
        terms.into_iter().filter(|term| !term.is_empty()).map(term).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an object with these fields is selected; `field` gives a field's value, empty where it is unset.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> &'a str) -> bool {
        self.0.iter().all(|(path, value, equal)| (field(path) == value) == *equal)
    }

    /// The name that the selector asks for, if it asks for exactly one.
    pub fn name(&self) -> Option<&str> {
        self.0.iter().find(|(path, _, equal)| path == "metadata.name" && *equal).map(|(_, value, _)| value.as_str())
    }
}

/// The terms of a field selector, which end at commas that are not escaped.
fn split(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// A value whose backslashes, commas and equals signs are escaped, as they have to be.
fn unescaped(value: &str) -> Result<String, ParseError> {
    let mut plain = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                other => {
                    let shown: String = std::iter::once('\\').chain(other).collect();
                    return Err(ParseError(format!("invalid field selector: invalid escape sequence: {shown}")));
                }
            },
            ',' | '=' => {
                return Err(ParseError(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(letter)
                )));
            }
            other => plain.push(other),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_match_as_upstream_does() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned()), ("tier".to_owned(), "front".to_owned())]);
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==db", false),
            ("app!=db,tier", true),
            ("app in (web, db),!gone", true),
            ("app notin (web)", false),
            ("absent notin (x)", true),
            ("absent!=x", true),
            ("absent", false),
        ];
        for (text, expected) in cases {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&labels), expected, "{text}");
        }
        for text in ["a in (b", "a b", "=x"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn field_selectors_compare_strings() {
        let selector = FieldSelector::parse("metadata.name=a,spec.nodeName!=b").unwrap();
        assert_eq!(selector.name(), Some("a"));
        assert!(selector.matches(|path| if path == "metadata.name" { "a" } else { "" }));
        assert!(!selector.matches(|path| if path == "metadata.name" { "a" } else { "b" }));
        let told = |text| FieldSelector::parse(text).unwrap_err().to_string();
        assert_eq!(told("a=b,nonsense"), "invalid selector: 'a=b,nonsense'; can't understand 'nonsense'");
        assert_eq!(told("a=b=c"), "invalid field selector: unescaped character in value: 61");
        assert_eq!(told(r"a=\b"), r"invalid field selector: invalid escape sequence: \b");
        let escaped = FieldSelector::parse(r"a=b\=\,\\c").unwrap();
        assert_eq!(escaped.0, [("a".to_owned(), r"b=,\c".to_owned(), true)]);
    }
}
