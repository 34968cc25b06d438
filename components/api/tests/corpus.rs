//! The corpus: for each kind an object that v1.36 takes, and what becomes of it when something about it is different.
//!
//! `corpus/*.yaml` hold lists of kinds. A kind has a `base`; its `cases` say what to `set` in it, by pointers whose missing
//! parts are made and where null removes, and the `errors` that the write is answered with; none means that it is taken.
//! A case with `from` is an update of the base that `from` has been set in, and one with `subresource` a write of that.

use std::collections::BTreeMap;

use kinit_api::defaults;
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::validate;
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    group: String,
    version: String,
    kind: String,
    base: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    set: BTreeMap<String, Value>,
    from: Option<BTreeMap<String, Value>>,
    subresource: Option<String>,
    /// What a Pod's class was and would be, which a resize may not change.
    classes: Option<(String, String)>,
    #[serde(default)]
    errors: Vec<String>,
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
    assert_eq!(
        (details["kind"].as_str(), details["group"].as_str().unwrap_or_default()),
        (Some(&*kind.kind), &*kind.group)
    );
    let causes = details["causes"].as_array().expect("it has causes").clone();
    causes
        .iter()
        .map(|cause| {
            let (field, message) =
                (cause["field"].as_str().unwrap_or_default(), cause["message"].as_str().unwrap_or_default());
            let expected = REASONS.iter().find(|(text, _)| message.starts_with(text)).map(|(_, reason)| *reason);
            assert_eq!(cause["reason"].as_str(), expected, "{message}");
            format!("{field}: {message}")
        })
        .collect()
}

#[test]
fn every_kind_is_taken_and_refused_as_upstream_does() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).expect("the corpus is there") {
        let path = entry.expect("the corpus can be read").path();
        let text = std::fs::read_to_string(&path).expect("a file of the corpus can be read");
        let kinds: Vec<Kind> =
            serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for kind in &kinds {
            let base = made(kind, &[]);
            let taken = causes(kind, validate::create(&kind.group, &kind.kind, &base));
            if !taken.is_empty() {
                wrong.push(format!("{} itself: {taken:#?}", kind.kind));
            }
            for case in &kind.cases {
                count += 1;
                let from = case.from.clone().unwrap_or_default();
                let old = made(kind, &[&from]);
                let new = made(kind, &[&from, &case.set]);
                let result = match (&case.subresource, &case.from) {
                    (Some(name), _) => {
                        let classes = case.classes.clone().unwrap_or_default();
                        let classes = (classes.0.as_str(), classes.1.as_str());
                        validate::subresource(&kind.group, &kind.kind, name, &old, &new, classes)
                    }
                    (None, Some(_)) => validate::update(&kind.group, &kind.kind, &old, &new),
                    (None, None) => validate::create(&kind.group, &kind.kind, &new),
                };
                let found = causes(kind, result);
                if found != case.errors {
                    let set = serde_json::to_string(&case.set).expect("it was read");
                    wrong.push(format!("{} {set}\n  expected {:#?}\n  found {found:#?}", kind.kind, case.errors));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 300, "the corpus has only {count} cases");
}
