//! The corpus as it is written: kinds, what is to be set in them, and what the write is answered with.

use std::collections::BTreeMap;

use kinit_api::defaults;
use kinit_api::object::Object;
use kinit_api::status::Status;
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub base: Value,
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    #[serde(default)]
    pub set: BTreeMap<String, Value>,
    pub from: Option<BTreeMap<String, Value>>,
    pub subresource: Option<String>,
    /// What a Pod's class was and would be, which a resize may not change.
    pub classes: Option<(String, String)>,
    #[serde(default)]
    pub errors: Vec<String>,
}

/// All kinds of the files in a directory.
pub fn read(directory: &std::path::Path) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the corpus is there") {
        let path = entry.expect("the corpus can be read").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).expect("a file of the corpus can be read");
            let found: Vec<Kind> =
                serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            kinds.extend(found);
        }
    }
    kinds
}

/// The reasons of causes, by what their texts begin with.
const REASONS: &[(&str, &str)] = &[
    ("Required value", "FieldValueRequired"),
    ("Invalid value", "FieldValueInvalid"),
    ("Unsupported value", "FieldValueNotSupported"),
    ("Duplicate value", "FieldValueDuplicate"),
    ("Not found", "FieldValueNotFound"),
    ("Forbidden", "FieldValueForbidden"),
    ("Too many", "FieldValueTooMany"),
    ("Too long", "FieldValueTooLong"),
];

/// The differences between what the cases say and what `answer` gives for a kind, an object and perhaps the old one.
pub fn differences<'k>(
    kinds: &'k [Kind],
    answer: impl Fn(&'k Kind, Option<&'k Case>, Option<&Object>, &Object) -> Result<(), Status>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for kind in kinds {
        let taken = causes(kind, answer(kind, None, None, &made(kind, &[])));
        if !taken.is_empty() {
            wrong.push(format!("{} itself: {taken:#?}", kind.kind));
        }
        for case in &kind.cases {
            let from = case.from.clone().unwrap_or_default();
            let (old, new) = (made(kind, &[&from]), made(kind, &[&from, &case.set]));
            let updates = case.from.is_some() || case.subresource.is_some();
            let found = causes(kind, answer(kind, Some(case), updates.then_some(&old), &new));
            if found != case.errors {
                let set = serde_json::to_string(&case.set).expect("it was read");
                wrong.push(format!("{} {set}\n  expected {:#?}\n  found {found:#?}", kind.kind, case.errors));
            }
        }
    }
    wrong
}

fn set(tree: &mut Value, pointer: &str, value: &Value) {
    let mut place = tree;
    let parts: Vec<String> =
        pointer.trim_start_matches('/').split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
    let (last, parents) = parts.split_last().expect("a pointer has a part");
    for part in parents {
        place = match place {
            Value::Array(list) => &mut list[part.parse::<usize>().expect("a list's part is a number")],
            other => {
                if !other.is_object() {
                    *other = Value::Object(Map::new());
                }
                other.as_object_mut().expect("it has just been made one").entry(part).or_insert(Value::Null)
            }
        };
    }
    match place {
        Value::Array(list) => {
            let at: usize = last.parse().expect("a list's part is a number");
            if at == list.len() { list.push(value.clone()) } else { list[at] = value.clone() }
        }
        other => {
            if !other.is_object() {
                *other = Value::Object(Map::new());
            }
            let map = other.as_object_mut().expect("it has just been made one");
            if value.is_null() { drop(map.remove(last)) } else { drop(map.insert(last.clone(), value.clone())) }
        }
    }
}

fn made(kind: &Kind, changes: &[&BTreeMap<String, Value>]) -> Object {
    let mut tree = kind.base.clone();
    let version = if kind.group.is_empty() { kind.version.clone() } else { format!("{}/{}", kind.group, kind.version) };
    tree["apiVersion"] = version.into();
    tree["kind"] = kind.kind.as_str().into();
    for (pointer, value) in changes.iter().copied().flatten() {
        set(&mut tree, pointer, value);
    }
    let mut object = Object::from_value(tree).expect("the base is an object");
    defaults::apply(&kind.group, &kind.version, &kind.kind, &mut object);
    if kind.kind == "Job" {
        defaults::job_selector(&mut object, "11111111-2222-3333-4444-555555555555");
    }
    object
}

fn causes(kind: &Kind, result: Result<(), Status>) -> Vec<String> {
    let Err(status) = result else { return Vec::new() };
    assert_eq!((status.code, &*status.reason), (422, "Invalid"), "{}", kind.kind);
    let details = status.details.expect("an invalid object has details");
    // Events are refused as those of the group that they are stored in.
    let group = if kind.kind == "Event" { "" } else { &*kind.group };
    assert_eq!((details["kind"].as_str(), details["group"].as_str().unwrap_or_default()), (Some(&*kind.kind), group));
    let causes = details["causes"].as_array().expect("it has causes").clone();
    causes
        .iter()
        .map(|cause| {
            let (field, message) =
                (cause["field"].as_str().unwrap_or_default(), cause["message"].as_str().unwrap_or_default());
            let expected = REASONS.iter().find(|(text, _)| message.starts_with(text)).map(|(_, reason)| *reason);
            // A value of another type has the same words and a reason of its own.
            let reason = cause["reason"].as_str().map(|reason| reason.replace("TypeInvalid", "Invalid"));
            assert_eq!(reason.as_deref(), expected, "{message}");
            format!("{field}: {message}")
        })
        .collect()
}
