//! A version's schema, read once from its definition.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

/// What an array is to those who merge it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// What an object holds beside its named properties.
#[derive(Clone, Debug)]
pub enum Additional {
    /// Anything, or nothing.
    Any(bool),
    Of(Box<Schema>),
}

/// One place of a schema. What bounds a value (`maximum`, `pattern` and so on) is read from `raw` when it is checked,
/// because most values have none.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// Empty where any type is fine.
    pub kind: String,
    pub nullable: bool,
    pub int_or_string: bool,
    pub preserve: bool,
    pub embedded: bool,
    pub properties: BTreeMap<String, Schema>,
    pub additional: Option<Additional>,
    pub items: Option<Box<Schema>>,
    pub default: Option<Value>,
    pub list: ListType,
    pub keys: Vec<String>,
    pub atomic: bool,
    pub required: Vec<String>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
    /// `None` where the pattern is no regular expression, which definitions are refused for.
    pub pattern: Option<Regex>,
    /// The rules of `x-kubernetes-validations`, as they are written.
    pub rules: Vec<Value>,
    /// The schema as it is written, without what is below it.
    pub raw: Map<String, Value>,
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        let additional = match (&self.additional, &other.additional) {
            (Some(Additional::Of(one)), Some(Additional::Of(other))) => one == other,
            (Some(Additional::Any(one)), Some(Additional::Any(other))) => one == other,
            (None, None) => true,
            _ => false,
        };
        self.raw == other.raw
            && additional
            && (&self.properties, &self.items, &self.not) == (&other.properties, &other.items, &other.not)
            && (&self.all_of, &self.any_of, &self.one_of) == (&other.all_of, &other.any_of, &other.one_of)
    }
}

/// Parts that hold schemas of their own.
const PARTS: &[&str] = &["properties", "additionalProperties", "items", "allOf", "anyOf", "oneOf", "not"];

impl Schema {
    /// Reads a schema; what is no such thing says nothing.
    pub fn read(value: &Value) -> Self {
        let nothing = Map::new();
        let raw = value.as_object().unwrap_or(&nothing);
        let flag = |name: &str| raw.get(name) == Some(&Value::Bool(true));
        let list = |name: &str| -> Vec<Self> {
            raw.get(name).and_then(Value::as_array).into_iter().flatten().map(Self::read).collect()
        };
        let texts = |name: &str| -> Vec<String> {
            let list = raw.get(name).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let one = |name: &str| raw.get(name).filter(|value| value.is_object()).map(|value| Box::new(Self::read(value)));
        Self {
            kind: raw.get("type").and_then(Value::as_str).unwrap_or_default().to_owned(),
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            properties: raw
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.clone(), Self::read(schema)))
                .collect(),
            additional: raw.get("additionalProperties").and_then(|value| match value {
                Value::Bool(allowed) => Some(Additional::Any(*allowed)),
                Value::Object(_) => Some(Additional::Of(Box::new(Self::read(value)))),
                _ => None,
            }),
            items: one("items"),
            default: raw.get("default").filter(|value| !value.is_null()).cloned(),
            list: match raw.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map,
                _ => ListType::Atomic,
            },
            keys: texts("x-kubernetes-list-map-keys"),
            atomic: raw.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
            required: texts("required"),
            all_of: list("allOf"),
            any_of: list("anyOf"),
            one_of: list("oneOf"),
            not: one("not"),
            pattern: raw.get("pattern").and_then(Value::as_str).and_then(|pattern| Regex::new(pattern).ok()),
            rules: raw.get("x-kubernetes-validations").and_then(Value::as_array).cloned().unwrap_or_default(),
            raw: raw
                .iter()
                .filter(|(name, _)| !PARTS.contains(&name.as_str()))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        }
    }

    /// The schema of a field: the one named so, or the one that all others have.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Of(schema)) => Some(schema),
            _ => None,
        })
    }

    /// What is written at this place itself, by its name.
    pub fn own(&self, name: &str) -> Option<&Value> {
        self.raw.get(name).filter(|value| !value.is_null())
    }

    /// A number that bounds values.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.own(name).and_then(Value::as_f64)
    }

    /// A number that bounds lengths and counts.
    pub fn count(&self, name: &str) -> Option<usize> {
        self.own(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok())
    }

    /// Whether some place of the schema is so.
    pub fn any(&self, is: &dyn Fn(&Self) -> bool) -> bool {
        let additional = match &self.additional {
            Some(Additional::Of(schema)) => Some(schema.as_ref()),
            _ => None,
        };
        let below = self.properties.values().chain(additional).chain(self.items.as_deref());
        let junctors = self.all_of.iter().chain(&self.any_of).chain(&self.one_of).chain(self.not.as_deref());
        is(self) || below.chain(junctors).any(|schema| schema.any(is))
    }
}
