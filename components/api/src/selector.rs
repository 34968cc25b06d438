//! Label and field selectors in the string forms of query parameters.

use std::collections::BTreeMap;

use serde_json::Value;

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

/// A parsed label selector: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. All requirements must hold; none is "everything".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

/// What is wrong with a selector's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse requirement: {0}")]
pub struct ParseError(String);

impl LabelSelector {
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        split_outside_parentheses(text).into_iter().map(requirement).collect::<Result<_, _>>().map(Self)
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

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            // A label that is absent is not in any set: upstream's != and notin match it.
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
        })
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn requirement(text: &str) -> Result<Requirement, ParseError> {
    let key = |key: &str| {
        let key = key.trim();
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if key.is_empty() || !key.chars().all(legal) { Err(ParseError(text.to_owned())) } else { Ok(key.to_owned()) }
    };
    if let Some(rest) = text.strip_prefix('!') {
        return key(rest).map(Requirement::Absent);
    }
    if let Some((left, right)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(left)?, vec![right.trim().to_owned()]));
    }
    if let Some((left, right)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(key(left)?, vec![right.trim().to_owned()]));
    }
    let Some((head, values)) = text.split_once('(') else { return key(text).map(Requirement::Exists) };
    let values = values.strip_suffix(')').ok_or_else(|| ParseError(text.to_owned()))?;
    let values = values.split(',').map(|value| value.trim().to_owned()).collect();
    match head.trim().rsplit_once(char::is_whitespace) {
        Some((left, "in")) => Ok(Requirement::In(key(left)?, values)),
        Some((left, "notin")) => Ok(Requirement::NotIn(key(left)?, values)),
        _ => Err(ParseError(text.to_owned())),
    }
}

/// A parsed field selector: `metadata.name=a,spec.nodeName!=b`, as (path, value, whether they must be equal).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(pub Vec<(String, String, bool)>);

impl FieldSelector {
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let terms = text.split(',').map(str::trim).filter(|term| !term.is_empty());
        terms
            .map(|term| {
                let (equal, pair) = match term.split_once("!=") {
                    Some(pair) => (false, Some(pair)),
                    None => (true, term.split_once("==").or_else(|| term.split_once('='))),
                };
                let (field, value) = pair.ok_or_else(|| ParseError(format!("invalid field selector {term:?}")))?;
                Ok((field.to_owned(), value.to_owned(), equal))
            })
            .collect::<Result<_, _>>()
            .map(Self)
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
        assert!(FieldSelector::parse("nonsense").is_err());
    }
}
