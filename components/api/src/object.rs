//! An API object of any kind, as a JSON tree.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// An object: always a JSON object at the top. Its metadata is created on the first write to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object(Value);

impl Default for Object {
    fn default() -> Self {
        Self(Value::Object(Map::new()))
    }
}

/// What an object's encoding begins with.
const FIRST: [&str; 3] = ["kind", "apiVersion", "metadata"];

/// A map that is encoded with [`FIRST`] first.
struct Ordered<'a>(&'a Map<String, Value>);

impl serde::Serialize for Ordered<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let first = FIRST.iter().filter_map(|name| self.0.get_key_value(*name));
        let rest = self.0.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
        serializer.collect_map(first.chain(rest))
    }
}

impl Object {
    /// `None` if the value is not a JSON object.
    pub fn from_value(value: Value) -> Option<Self> {
        value.is_object().then_some(Self(value))
    }

    /// Parses JSON; the error is the parser's own, with line and column.
    pub fn from_slice(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json).map(|map| Self(Value::Object(map)))
    }

    /// The tree as compact JSON: kind and version first, as upstream writes them, and then the rest.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        serde_json::to_writer(&mut bytes, &Ordered(self.map())).expect("a JSON tree is always encodable");
        bytes
    }

    pub fn into_value(self) -> Value {
        self.0
    }

    /// The tree.
    pub fn value(&self) -> &Value {
        &self.0
    }

    pub fn map(&self) -> &Map<String, Value> {
        self.0.as_object().expect("an object is made of nothing else")
    }

    pub fn map_mut(&mut self) -> &mut Map<String, Value> {
        self.0.as_object_mut().expect("an object is made of nothing else")
    }

    /// A value by its path of field names, for example `["spec", "nodeName"]`.
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get(first)?, |value, field| value.get(field))
    }

    /// A value by its path, to be changed in place.
    pub fn get_mut(&mut self, path: &[&str]) -> Option<&mut Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get_mut(first)?, |value, field| value.get_mut(field))
    }

    /// A string by its path; absent and other types are the empty string, as Go's zero value is.
    pub fn str(&self, path: &[&str]) -> &str {
        self.get(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// Sets a value by its path, making the objects on the way. A non-object on the way is replaced.
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut map = self.map_mut();
        for field in parents {
            let child = map.entry(*field).or_insert_with(|| Value::Object(Map::new()));
            if !child.is_object() {
                *child = Value::Object(Map::new());
            }
            map = child.as_object_mut().expect("made an object just above");
        }
        map.insert((*last).to_owned(), value.into());
    }

    /// Removes a value by its path and returns it.
    pub fn remove(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        let mut map = self.map_mut();
        for field in parents {
            map = map.get_mut(*field)?.as_object_mut()?;
        }
        map.remove(*last)
    }

    pub fn api_version(&self) -> &str {
        self.str(&["apiVersion"])
    }

    pub fn kind(&self) -> &str {
        self.str(&["kind"])
    }

    pub fn name(&self) -> &str {
        self.str(&["metadata", "name"])
    }

    pub fn namespace(&self) -> &str {
        self.str(&["metadata", "namespace"])
    }

    pub fn uid(&self) -> &str {
        self.str(&["metadata", "uid"])
    }

    pub fn resource_version(&self) -> &str {
        self.str(&["metadata", "resourceVersion"])
    }

    pub fn generation(&self) -> i64 {
        self.get(&["metadata", "generation"]).and_then(Value::as_i64).unwrap_or_default()
    }

    pub fn is_being_deleted(&self) -> bool {
        self.get(&["metadata", "deletionTimestamp"]).is_some_and(|value| !value.is_null())
    }

    pub fn has_finalizers(&self) -> bool {
        self.get(&["metadata", "finalizers"]).and_then(Value::as_array).is_some_and(|list| !list.is_empty())
    }

    /// The labels, sorted by key.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.get(&["metadata", "labels"]).and_then(Value::as_object);
        labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_made_and_removed() {
        let mut object = Object::from_slice(br#"{"metadata":{"name":"a","labels":{"x":"1"}},"spec":3}"#).unwrap();
        assert_eq!(object.name(), "a");
        assert_eq!(object.labels().get("x").map(String::as_str), Some("1"));
        object.set(&["spec", "nodeName"], "n1");
        assert_eq!(object.str(&["spec", "nodeName"]), "n1");
        assert_eq!(object.remove(&["spec", "nodeName"]), Some(Value::from("n1")));
        assert_eq!(object.get(&["spec", "nodeName"]), None);
        assert!(Object::from_slice(b"[]").is_err());
    }

    #[test]
    fn an_encoding_begins_with_what_the_object_is() {
        let text = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"b":"c"}}"#;
        assert_eq!(Object::from_slice(text.as_bytes()).unwrap().to_vec(), text.as_bytes());
    }
}
