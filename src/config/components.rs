//! What a KubeletConfiguration and a KubeProxyConfiguration may say: each field and its type, checked as the document is
//! read, so that an error has its path and its line. What the values mean is the components' own affair.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// One line for each field: the type that has it, its name, its type. `[]` is a list and `{}` a map of what follows.
const FIELDS: &str = include_str!("components.txt");

/// Fields of one type, by name.
fn fields(of: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    FIELDS
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(move |(owner, _)| *owner == of)
        .filter_map(|(_, rest)| rest.split_once(' '))
}

/// Reads a value of the type that is named.
#[derive(Debug, Clone, Copy)]
pub struct Typed(pub &'static str);

impl<'de> DeserializeSeed<'de> for Typed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Typed {
    /// The value, if it is of one of these types; a value of a component may always be left empty.
    fn when<E: serde::de::Error>(self, types: &[&str], value: impl Into<Value>) -> Result<Value, E> {
        let value = value.into();
        if types.contains(&self.0) || self.0 == "any" {
            return Ok(value);
        }
        Err(E::custom(format!("{value} is not {}", said(self.0))))
    }
}

/// A type in words.
fn said(of: &str) -> String {
    match of {
        "string" => "a string; put it in quotes".into(),
        "bool" => "true or false".into(),
        "int" => "a whole number".into(),
        "number" => "a number".into(),
        "duration" => "a duration such as 1m30s".into(),
        "quantity" => "a quantity such as 100Mi".into(),
        list if list.starts_with("[]") => "a list".into(),
        _ => "a mapping".into(),
    }
}

impl<'de> Visitor<'de> for Typed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&said(self.0))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.when(&["bool"], value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.when(&["int", "number", "quantity"], value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.when(&["int", "number", "quantity"], value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.when(&["number", "quantity"], value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        if self.0 == "duration" && kinit_duration::parse(value).is_err() {
            return Err(E::custom(format!("{value:?} is not {}", said(self.0))));
        }
        self.when(&["string", "duration", "quantity"], value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let of = if self.0 == "any" { Some("any") } else { self.0.strip_prefix("[]") };
        let Some(of) = of else { return Err(A::Error::custom(format!("a list is not {}", said(self.0)))) };
        let mut all = Vec::new();
        while let Some(value) = list.next_element_seed(Typed(of))? {
            all.push(value);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut all = serde_json::Map::new();
        let known = self.0 == "any" || self.0.starts_with("{}") || fields(self.0).next().is_some();
        if !known {
            return Err(A::Error::custom(format!("a mapping is not {}", said(self.0))));
        }
        while let Some((key, of)) = map.next_key_seed(Key(self.0))? {
            if all.contains_key(&key) {
                return Err(A::Error::custom(format!("the field `{key}` is there twice")));
            }
            let value = map.next_value_seed(Typed(of))?;
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}

/// Reads the name of a field of the type that is named; gives the field's type, too.
struct Key(&'static str);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = (String, &'static str);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = (String, &'static str);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let of = match self.0.strip_prefix("{}") {
            Some(of) => of,
            None if self.0 == "any" => "any",
            None => {
                let found = fields(self.0).find(|(name, _)| *name == key).map(|(_, of)| of);
                found.ok_or_else(|| unknown::<E>(self.0, key))?
            }
        };
        Ok((key.to_owned(), of))
    }
}

fn unknown<E: serde::de::Error>(of: &str, key: &str) -> E {
    let same = fields(of).find(|(name, _)| name.eq_ignore_ascii_case(key));
    let meant = same.map(|(name, _)| format!(", but there is `{name}`")).unwrap_or_default();
    E::custom(format!("there is no field `{key}`{meant}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(of: &'static str, text: &str) -> Result<Value, String> {
        Typed(of).deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_type_that_a_field_has_is_known() {
        let plain = ["string", "bool", "int", "number", "duration", "quantity", "any"];
        for line in FIELDS.lines() {
            let of = line.split(' ').nth(2).unwrap().trim_start_matches(['[', ']', '{', '}']);
            assert!(plain.contains(&of) || fields(of).next().is_some(), "{line}");
        }
    }

    #[test]
    fn what_fits_is_taken_as_it_is() {
        let text = "maxPods: 7\nauthentication:\n  webhook: {enabled: true, cacheTTL: 1m}\nevictionHard: {memory.available: 100Mi}\n\
                    clusterDNS: [10.96.0.10]\nfeatureGates: {A: true}\nregisterWithTaints:\nlogging: {flushFrequency: 5}\n";
        let value = read("KubeletConfiguration", text).unwrap();
        assert_eq!((value["maxPods"].as_i64(), value["clusterDNS"][0].as_str()), (Some(7), Some("10.96.0.10")));
        assert_eq!(value["authentication"]["webhook"]["cacheTTL"], "1m");
        read("KubeProxyConfiguration", "conntrack: {maxPerCore: 0}\nclientConnection: {qps: 5.5}\n").unwrap();
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_path_and_line() {
        for (text, parts) in [
            ("maxPod: 7\n", &["maxPod", "line 2"][..]),
            ("maxPods: 7\nmaxpods: 7\n", &["`maxPods`", "line 3"]),
            ("maxPods: many\n", &["maxPods", "whole number", "line 2"]),
            (
                "authentication:\n  webhook:\n    enabled: 1\n",
                &["authentication.webhook.enabled", "true or false", "line 4"],
            ),
            ("clusterDNS: 10.96.0.10\n", &["clusterDNS", "a list"]),
            ("clusterDNS: [1]\n", &["clusterDNS[0]", "string"]),
            ("featureGates: {A: yes please}\n", &["featureGates.A", "true or false"]),
            ("syncFrequency: soon\n", &["syncFrequency", "duration"]),
            ("authentication: [x]\n", &["authentication", "a mapping"]),
        ] {
            let error = read("KubeletConfiguration", &format!("kind: x\n{text}")).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{text:?}: {error:?} lacks {part:?}");
            }
        }
    }
}
