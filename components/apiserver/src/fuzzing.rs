//! What is given to strangers' bytes: decoders, patches, selectors, expressions, paths and headers.
//!
//! `fuzz/` runs these without end. They must come to an end without a panic, whatever the bytes are. Text that a target wants more
//! than one of is separated by zero bytes.

mod seeds;

use std::collections::HashMap;
use std::sync::LazyLock;

use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, Method};
use kinit_api::apply::{self, Schema, Writer};
use kinit_api::canonical::canonicalize;
use kinit_api::object::Object;
use kinit_api::patch::operations;
use kinit_api::quantity::Quantity;
use kinit_api::selector::{FieldSelector, LabelSelector};
use kinit_api::{defaults, patch, protobuf, strict, table, validate};
use kinit_cel::{CALL_LIMIT, Program, Scope, Type, Value as Cel};
use kinit_crd::definition::Definition;
use serde_json::{Value, json};

use crate::handlers::paging::Page;
use crate::registry::{RESOURCES, Registry};
use crate::request;
use crate::{fields, negotiate};

pub use seeds::seeds;

/// What is run over an input.
pub type Target = fn(&[u8]);

/// The targets, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("object", object),
    ("patch", patch),
    ("selector", selector),
    ("expression", expression),
    ("path", path),
    ("definition", definition),
];

/// Expressions that are longer are refused before they are read wherever one may be written.
const LONGEST_EXPRESSION: usize = 4096;

/// So many pieces of the input, of which the last has the rest.
fn pieces<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut parts = input.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// An object as it comes in, in each encoding, on its whole way to where it would be stored, and out again.
pub fn object(input: &[u8]) {
    let _ = protobuf::decode(input, ("", ""));
    let Some((which, bytes)) = input.split_first() else { return };
    let kind = &RESOURCES[usize::from(*which) % RESOURCES.len()];
    let _ = strict::parse_yaml(bytes);
    let Ok(parsed) = strict::parse(bytes) else { return };
    if let Some(object) = Object::from_value(parsed.value) {
        take_in(kind.group(), kind.version(), kind.kind(), object);
    }
}

fn take_in(group: &str, version: &str, kind: &str, mut object: Object) -> Option<Object> {
    let schema = kinit_schema::kind(group, version, kind)?;
    strict::conform(object.map_mut(), schema).ok()?;
    object.set(&["apiVersion"], if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") });
    object.set(&["kind"], kind);
    defaults::apply(group, version, kind, &mut object);
    canonicalize(schema, object.map_mut());
    let _ = validate::create(group, kind, &object);
    let _ = validate::update(group, kind, &object, &object);
    let _ = table::row(
        table::columns(group, kind),
        object.clone().into_value(),
        table::Include::Metadata,
        jiff::Timestamp::UNIX_EPOCH,
    );
    let bytes = protobuf::encode(&object.clone().into_value())?;
    let again = protobuf::decode(&bytes, ("", "")).expect("what was encoded is decoded");
    // What the encoding cannot say, such as the difference between nothing and an empty list, is the same after one time.
    let twice = protobuf::encode(&Value::Object(again)).expect("what was decoded has a kind");
    let decoded = |bytes| protobuf::decode(bytes, ("", "")).expect("what was encoded is decoded");
    assert_eq!(decoded(&bytes), decoded(&twice), "an object changes on its way through protobuf");
    Some(object)
}

/// A patch: how, a kind, and two trees, of which the second changes the first.
pub fn patch(input: &[u8]) {
    let [head, target, change] = pieces(input);
    let (Ok(target), Ok(change)) = (strict::parse(target), strict::parse(change)) else { return };
    let (mut target, change) = (target.value, change.value);
    let kind = &RESOURCES[usize::from(head.get(1).copied().unwrap_or_default()) % RESOURCES.len()];
    let schema = kinit_schema::kind(kind.group(), kind.version(), kind.kind());
    match head.first().copied().unwrap_or_default() % 4 {
        0 => patch::merge(&mut target, &change),
        1 => {
            if let Ok(patch) = operations::Patch::read(&change) {
                let _ = operations::apply(&mut target, &patch);
            }
        }
        2 => drop(schema.map(|schema| patch::strategic(&mut target, &change, schema))),
        _ => {
            if let (Some(live), Some(config)) = (Object::from_value(target), Object::from_value(change)) {
                applied(schema.map(Schema::Type), &kind.api_version(), live, config);
            }
        }
    }
}

/// Applies twice in the path's version, which changes nothing the second time.
fn applied(schema: Option<Schema<'_>>, api_version: &str, live: Object, config: Object) {
    let writer = Writer {
        manager: "m",
        subresource: "",
        api_version,
        now: "2026-01-02T03:04:05Z",
        reset: &[&["status"]],
        versions: None,
    };
    let Ok(once) = apply::apply(schema, Some(&live), config.clone(), writer, true) else { return };
    let twice = apply::apply(schema, Some(&once), config, writer, true);
    assert_eq!(twice.as_ref(), Ok(&once), "applying the same again changes the object");
    let mut changed = once.clone();
    changed.set(&["metadata", "labels"], json!({"a": "b"}));
    apply::update(schema, Some(&once), &mut changed, Writer { manager: "n", ..writer });
}

/// Selectors, and amounts, which stand in queries and in objects alike.
pub fn selector(input: &[u8]) {
    let text = text(input);
    if let Ok(selector) = LabelSelector::parse(text) {
        selector.matches(&std::collections::BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        selector.matches(|_| "a");
    }
    if let Ok(amount) = text.parse::<Quantity>() {
        let shown = amount.to_string();
        let again: Quantity = shown.parse().expect("an amount that is shown can be read");
        assert_eq!(again.to_string(), shown, "an amount is shown in another way when it is read again");
    }
}

/// An expression over an object, within its cost.
pub fn expression(input: &[u8]) {
    static SCOPE: LazyLock<Scope> = LazyLock::new(|| {
        let variables = [("self", Type::Dyn), ("n", Type::Int), ("s", Type::String), ("l", Type::list(Type::Int))];
        let variables: HashMap<String, Type> = variables.map(|(name, kind)| (name.to_owned(), kind)).into();
        Scope { variables, structs: vec!["Object", "JSONPatch"] }
    });
    let text = text(&input[..input.len().min(LONGEST_EXPRESSION)]);
    let Ok(program) = Program::compile(text, &SCOPE) else { return };
    let _ = program.estimate(&HashMap::new());
    let object = json!({"a": {"b": [1, 2, 3], "c": "text"}, "m": {"x": 1, "y": 2}, "f": 1.5});
    let list = json!([3, 1, 2]);
    let variables = [
        ("self", Cel::of_json(&object, None)),
        ("n", Cel::Int(7)),
        ("s", Cel::text("hello")),
        ("l", Cel::of_json(&list, None)),
    ];
    let (result, _) = program.run(&variables, CALL_LIMIT / 10);
    if let Ok(value) = result {
        let _ = value.to_json();
    }
}

/// A method, a path, a query and an Accept header.
pub fn path(input: &[u8]) {
    let [method, path, query, accept] = pieces(input);
    let Ok(method) = Method::from_bytes(method) else { return };
    let query = Some(text(query));
    if let Ok(path) = request::decoded(text(path)) {
        let _ = crate::aggregate::path::parse(&method, &path, query);
    }
    let Ok(Some(request)) = request::parse(&Registry::default(), &method, text(path), query) else { return };
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(accept) {
        headers.insert(ACCEPT, value);
    }
    let _ = negotiate::accept(&request, &headers);
    let _ = Page::of(&request);
    let _ = fields::check_options(&request, true);
    let _ = fields::Manager::of(&request, &headers);
    let _ = (request.authorized_name(), request.authorized_namespace());
}

/// A definition, and an object of each of its versions.
pub fn definition(input: &[u8]) {
    const KIND: (&str, &str, &str) = ("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let [definition, object] = pieces(input);
    let (Ok(definition), Ok(object)) = (strict::parse(definition), strict::parse(object)) else { return };
    let Some(definition) = Object::from_value(definition.value) else { return };
    let Some(definition) = take_in(KIND.0, KIND.1, KIND.2, definition) else { return };
    // Only definitions that are taken are ever used.
    if !kinit_crd::validate::definition(None, &definition).is_empty() {
        return;
    }
    let read = Definition::read(&definition);
    let Some(object) = Object::from_value(object.value) else { return };
    for version in &read.versions {
        let mut object = object.clone();
        if version.conform(&mut object, read.preserve_unknown).is_ok() {
            let _ = version.check(None, &object, &mut Vec::new());
            let _ = version.check(Some(&object), &object, &mut Vec::new());
        }
    }
}
