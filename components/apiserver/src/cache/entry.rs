//! An object as the cache keeps it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kinit_api::object::Object;
use kinit_api::protobuf;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::message::Message;
use super::words::{Labels, Words};
use crate::registry::ResourceSpec;

/// An object in the cache. `json` has the resource version in it.
#[derive(Debug)]
pub struct Entry {
    /// `namespace/name` or `name`, which is shared with the map that the entry is in.
    key: Arc<str>,
    pub revision: i64,
    /// Values of the resource's selectable fields, in the order of its row, and then the labels.
    words: Words,
    fields: usize,
    pub json: Bytes,
    message: Message,
    /// The object in versions that a webhook has converted it into.
    forms: OnceLock<Box<Forms>>,
}

/// An object in other versions than the stored one, by the places of those in its definition.
type Forms = parking_lot::Mutex<Vec<(usize, Form)>>;

/// Made by whoever needs it first; others wait for it rather than make it again.
pub type Form = Arc<tokio::sync::OnceCell<Arc<Entry>>>;

/// The members of a JSON object, unread.
type Members<'a> = BTreeMap<&'a str, &'a RawValue>;

/// What the cache looks at in every object's metadata.
#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(rename = "resourceVersion")]
    version: Option<IgnoredAny>,
}

impl Entry {
    /// Encodes a stored object; `None` if it is not one.
    pub fn new(spec: &ResourceSpec, stored: &[u8], revision: i64) -> Option<Self> {
        if let Some(entry) = Self::spliced(spec, stored, revision) {
            return Some(entry);
        }
        let mut object = Object::from_slice(stored).ok()?;
        if let Some(custom) = &spec.custom {
            custom.definition.restore(&mut object);
        }
        Some(Self::of(spec, object, revision))
    }

    /// The entry of an object that is stored in the form that servers write: the version is put into its bytes, and only
    /// what selectors look at is read. `None` where that cannot be done.
    fn spliced(spec: &ResourceSpec, stored: &[u8], revision: i64) -> Option<Self> {
        let stored = stored.trim_ascii();
        // Lists leave out what an object begins with.
        let begins = stored.starts_with(br#"{"kind":"#);
        if spec.custom.is_some() || !begins || stored.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return None;
        }
        let members: Members<'_> = serde_json::from_slice(stored).ok()?;
        let raw = members.get("metadata")?.get();
        let metadata: Metadata<'_> = serde_json::from_str(raw).ok()?;
        if metadata.version.is_some() {
            return None;
        }
        let parts: BTreeMap<&str, Members<'_>> = members
            .iter()
            .filter(|(name, _)| spec.fields().any(|field| field.split('.').next() == Some(*name)))
            .filter_map(|(name, raw)| Some((*name, serde_json::from_str(raw.get()).ok()?)))
            .collect();
        let leaf = |path: &[&str]| match path {
            [name] => serde_json::from_str(members.get(name)?.get()).ok(),
            [part, name] => serde_json::from_str(parts.get(part)?.get(name)?.get()).ok(),
            [part, name, rest @ ..] => {
                let value: Value = serde_json::from_str(parts.get(part)?.get(name)?.get()).ok()?;
                rest.iter().try_fold(&value, |value, name| value.get(name)).cloned()
            }
            [] => None,
        };
        // What the parser lent lies within what it was given.
        let at = (raw.as_ptr() as usize).checked_sub(stored.as_ptr() as usize)? + 1;
        let version = format!(r#""resourceVersion":"{revision}","#);
        let json = [stored.get(..at)?, version.as_bytes(), stored.get(at..)?].concat();
        let fields = spec.fields().map(|field| field_value(leaf, field)).collect();
        let key = super::key(&metadata.namespace, &metadata.name);
        Some(Self::made(key, revision, fields, &metadata.labels, json.into()))
    }

    /// Encodes an object as it is.
    pub fn of(spec: &ResourceSpec, mut object: Object, revision: i64) -> Self {
        object.set(&["metadata", "resourceVersion"], revision.to_string());
        let leaf = |path: &[&str]| object.get(path).cloned();
        let fields = spec.fields().map(|field| field_value(leaf, field)).collect();
        let key = super::key(object.namespace(), object.name());
        Self::made(key, revision, fields, &object.labels(), Bytes::from(object.to_vec()))
    }

    fn made(key: String, revision: i64, fields: Vec<String>, labels: &BTreeMap<String, String>, json: Bytes) -> Self {
        let labels = labels.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
        Self {
            key: key.into(),
            revision,
            words: Words::new(fields.iter().map(String::as_str).chain(labels)),
            fields: fields.len(),
            json,
            message: Message::default(),
            forms: OnceLock::new(),
        }
    }

    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// Empty where the resource lies in none.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub fn labels(&self) -> Labels<'_> {
        Labels { words: &self.words, begin: self.fields }
    }

    /// The key in the map of the resource's objects, which is `key`.
    pub(super) fn shared_key(&self, key: &str) -> Arc<str> {
        if *self.key == *key { self.key.clone() } else { key.into() }
    }

    /// The place of the object's form in another version. It goes with the entry, so a version's forms are never more than
    /// its objects.
    pub fn form(&self, version: usize) -> Form {
        let mut forms = self.forms.get_or_init(Box::default).lock();
        if let Some((_, form)) = forms.iter().find(|(own, _)| *own == version) {
            return form.clone();
        }
        let form = Form::default();
        forms.push((version, form.clone()));
        form
    }

    /// Whether the object is written in a version.
    pub fn is_in(&self, api_version: &str) -> bool {
        let rest = self.json.strip_prefix(br#"{"apiVersion":""#).and_then(|it| it.strip_prefix(api_version.as_bytes()));
        rest.is_some_and(|rest| rest.starts_with(b"\""))
    }

    /// The object, decoded again; `None` never happens for what [`Entry::new`] made.
    pub fn object(&self) -> Option<Object> {
        Object::from_slice(&self.json).ok()
    }

    /// The object's protobuf message; `None` for kinds that have none.
    pub fn message(&self) -> Option<Bytes> {
        self.message.get(|| {
            let value: Value = serde_json::from_slice(&self.json).ok()?;
            let name = |field: &str| value[field].as_str().unwrap_or_default();
            protobuf::message((name("apiVersion"), name("kind")), &value).map(Bytes::from)
        })
    }

    /// A selectable field's value; empty where it is unset.
    pub fn field<'a>(&'a self, spec: &ResourceSpec, path: &str) -> &'a str {
        match path {
            "metadata.name" => self.name(),
            "metadata.namespace" => self.namespace(),
            _ => spec.fields().position(|own| own == path).map_or("", |at| self.words.get(at)),
        }
    }
}

/// What a field selector compares with: the field's text or, where the field may be absent, its zero value's. `leaf` gives
/// the value at a path.
fn field_value(leaf: impl Fn(&[&str]) -> Option<Value>, path: &str) -> String {
    let text = |path: &[&str]| match leaf(path) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    if path == "source" {
        let component = text(&["source", "component"]);
        return if component.is_empty() { text(&["reportingComponent"]) } else { component };
    }
    let names: Vec<&str> = path.split('.').collect();
    match (leaf(&names), path) {
        (Some(Value::String(text)), _) => text,
        (Some(Value::Bool(value)), _) => value.to_string(),
        (Some(Value::Number(value)), _) => value.to_string(),
        (_, "spec.unschedulable" | "spec.hostNetwork") => false.to_string(),
        (_, "status.replicas" | "status.successful") => 0.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{self, Spec};
    use serde_json::json;

    fn row(group: &str, resource: &str) -> &'static Spec {
        registry::find(group, "v1", resource).unwrap().1
    }

    #[test]
    fn an_entry_keeps_its_form_in_another_version() {
        let object = json!({"apiVersion": "a.b/v1", "metadata": {"name": "a"}});
        let entry = Arc::new(Entry::new(row("", "configmaps"), object.to_string().as_bytes(), 4).unwrap());
        assert!(entry.is_in("a.b/v1") && !entry.is_in("a.b/v") && !entry.is_in("a.b/v2"));
        assert!(entry.form(1).get().is_none());
        assert!(entry.form(1).set(entry.clone()).is_ok());
        assert!(entry.form(1).get().is_some() && entry.form(0).get().is_none());
    }

    #[test]
    fn what_is_spliced_is_what_would_be_read() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "status": {"phase": "Running", "podIP": "10.0.0.1"},
            "metadata": {"name": "a", "namespace": "n", "labels": {"x": "é\"", "y": ""}, "annotations": {"metadata": "{"}},
            "spec": {"nodeName": "node", "hostNetwork": true, "metadata": {"name": "no"}},
        });
        let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "n"}, "type": "Normal",
            "source": {"component": "c"}, "reason": "r", "involvedObject": {"kind": "Pod", "uid": "u"}});
        let bare = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
        for (spec, tree) in [(row("", "pods"), pod), (row("", "events"), event), (row("", "configmaps"), bare)] {
            let object = Object::from_value(tree).unwrap();
            let stored = String::from_utf8(object.to_vec()).unwrap();
            let whole = Entry::of(spec, object, 9);
            for text in [stored.clone(), format!(" {stored}\n")] {
                let spliced = Entry::spliced(spec, text.as_bytes(), 9).unwrap();
                assert_eq!(spliced.object(), whole.object());
                assert_eq!((spliced.name(), spliced.namespace()), (whole.name(), whole.namespace()));
                assert_eq!((&spliced.words, spliced.fields), (&whole.words, whole.fields));
                assert!(spliced.json.len() == whole.json.len() && !spliced.json.ends_with(b"\n"));
            }
        }
    }

    #[test]
    fn what_cannot_be_spliced_is_read_whole() {
        let spec = row("", "configmaps");
        for text in [
            r#"{"kind":"ConfigMap","metadata":{"name":"a","resourceVersion":"3"}}"#,
            r#"{"kind":"ConfigMap","metadata":{"name":"a","labels":{"b":1}}}"#,
            r#"{"kind":"ConfigMap","metadata":{}}"#,
            "{\"kind\":\"ConfigMap\",\n\"metadata\":{\"name\":\"a\"}}",
            r#"{"kind":"ConfigMap","met\u0061data":{"name":"a"}}"#,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#,
        ] {
            assert!(Entry::spliced(spec, text.as_bytes(), 9).is_none(), "{text}");
            let entry = Entry::new(spec, text.as_bytes(), 9).unwrap();
            assert_eq!(entry.object().unwrap().resource_version(), "9", "{text}");
        }
        for text in ["", "[]", "{", r#"{"metadata":{"name":"a"}"#, r#"{"metadata":{"name":"a"}}}"#] {
            assert!(Entry::new(spec, text.as_bytes(), 9).is_none(), "{text}");
        }
    }

    #[test]
    fn a_message_is_the_objects_own() {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}});
        let entry = Entry::new(row("", "configmaps"), map.to_string().as_bytes(), 7).unwrap();
        let bytes = protobuf::enveloped(("v1", "ConfigMap"), &entry.message().unwrap());
        let decoded = protobuf::decode(&bytes, ("", "")).unwrap();
        assert_eq!((&decoded["data"]["a"], &decoded["metadata"]["resourceVersion"]), (&json!("b"), &json!("7")));
        let foreign = json!({"apiVersion": "a.b/v1", "kind": "C", "metadata": {"name": "m"}}).to_string();
        assert!(Entry::new(row("", "configmaps"), foreign.as_bytes(), 7).unwrap().message().is_none());
    }

    #[test]
    fn selectable_fields_have_zero_values() {
        let value = |tree: Value, path| {
            let object = Object::from_value(tree).unwrap();
            field_value(|path: &[&str]| object.get(path).cloned(), path)
        };
        assert_eq!(value(json!({}), "spec.unschedulable"), "false");
        assert_eq!(value(json!({"spec": {"unschedulable": true}}), "spec.unschedulable"), "true");
        assert_eq!(value(json!({}), "status.successful"), "0");
        assert_eq!(value(json!({"status": {"replicas": 3}}), "status.replicas"), "3");
        assert_eq!(value(json!({}), "spec.nodeName"), "");
        assert_eq!(value(json!({"reportingComponent": "a"}), "source"), "a");
        assert_eq!(value(json!({"reportingComponent": "a", "source": {"component": "b"}}), "source"), "b");
    }

    #[test]
    fn an_events_view_selects_by_the_stored_fields() {
        let rows = [row("", "events"), row("events.k8s.io", "events")];
        let [stored, view] = rows.map(|spec| spec.fields().collect::<Vec<_>>());
        for (stored, view) in stored.iter().zip(view) {
            let same = stored.replace("involvedObject", "regarding").replace("Component", "Controller");
            assert_eq!(same, view);
        }
    }
}
