use kinit_schema::{Element, Field, Scalar, Shape};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::canonical::is_struct;

/// Numbers for a generator, one after the other.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn text(&mut self) -> String {
        let length = 1 + self.roll(8);
        (0..length).map(|_| if self.roll(9) == 0 { 'é' } else { 'a' }).collect()
    }
}

/// A value of a type with any of its fields, in the form that Go writes.
fn message(dice: &mut Dice, kind: &Type, depth: u32) -> Value {
    let mut map = Map::new();
    for field in kind.fields.iter().filter(|field| field.number > 0) {
        if let Some(inner) = field.embedded() {
            if let Value::Object(inner) = message(dice, inner, depth) {
                map.extend(inner);
            }
            continue;
        }
        let plain_struct = field.shape == Shape::One && !field.pointer && is_struct(field.element);
        let needed = !field.omit_zero && (plain_struct || !field.omit_empty);
        if needed || depth > 0 && dice.roll(3) > 0 {
            let value = value(dice, field, depth);
            let lacks =
                value.is_null() || value.as_object().is_some_and(|map| map.is_empty() && !is_struct(field.element));
            if needed || !lacks {
                map.insert(field.name.into(), value);
            }
        }
    }
    map.into()
}

/// An object of a kind, in the form that Go writes.
pub(crate) fn any_object(dice: &mut Dice, group: &str, version: &str, kind: &Type) -> Value {
    let mut object = message(dice, kind, 6);
    object["apiVersion"] = if group.is_empty() { version.into() } else { format!("{group}/{version}").into() };
    object["kind"] = kind.name.into();
    object
}

fn value(dice: &mut Dice, field: &Field, depth: u32) -> Value {
    let nested = depth.saturating_sub(1);
    match field.shape {
        Shape::One => element(dice, field.element, nested),
        _ if depth == 0 => Value::Null,
        Shape::List => (0..=dice.roll(2)).map(|_| element(dice, field.element, nested)).collect(),
        Shape::Map => {
            let entries: Map<String, Value> =
                (0..=dice.roll(2)).map(|at| (format!("k{at}"), element(dice, field.element, nested))).collect();
            entries.into()
        }
    }
}

fn element(dice: &mut Dice, element: Element, depth: u32) -> Value {
    let kind = match element {
        Element::Message(reference) => return message(dice, reference.get(), depth),
        Element::Scalar(kind) => kind,
    };
    match kind {
        Scalar::Bool => true.into(),
        Scalar::I32 => (i64::from(i32::MIN) + 1 + i64::try_from(dice.roll(1 << 31)).unwrap()).min(-1).into(),
        Scalar::I64 => (1 + i64::try_from(dice.roll(1 << 31)).unwrap() * 3_000_000_000).into(),
        Scalar::U8 => (1 + dice.roll(255)).into(),
        Scalar::U64 => (1 + dice.roll(1 << 31)).into(),
        Scalar::F64 => 0.5.into(),
        Scalar::String => dice.text().into(),
        Scalar::Bytes => "AAEC".into(),
        Scalar::Quantity => "100m".into(),
        Scalar::IntOrString if dice.roll(2) == 0 => dice.text().into(),
        Scalar::IntOrString => (1 + dice.roll(60_000)).into(),
        Scalar::Time => "2026-01-02T03:04:05Z".into(),
        Scalar::MicroTime => "1926-01-02T03:04:05.000006Z".into(),
        Scalar::Duration => "1s".into(),
        Scalar::Raw | Scalar::Json => json!({"any": [1, null, {"b": dice.text()}]}),
        Scalar::FieldsV1 => json!({"f:spec": {"f:x": {}}}),
        Scalar::Strings => json!([dice.text()]),
        Scalar::PropsOrBool if dice.roll(2) == 0 => (dice.roll(2) == 0).into(),
        Scalar::PropsOrArray if dice.roll(2) == 0 => json!([{"type": "string"}, {"type": "integer"}]),
        Scalar::PropsOrStrings if dice.roll(2) == 0 => json!([dice.text()]),
        Scalar::PropsOrBool | Scalar::PropsOrArray | Scalar::PropsOrStrings => json!({"type": dice.text()}),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn every_kind_comes_back_as_it_went(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        for (group, version, kind) in kinit_schema::kinds() {
            if kind.fields.iter().all(|field| field.number == 0) {
                continue;
            }
            let object = any_object(&mut dice, group, version, kind);
            let bytes = encode(&object).unwrap();
            let back = decode(&bytes, ("", "")).unwrap();
            prop_assert_eq!(Value::Object(back), object, "{}", kind.name);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&[MAGIC, &bytes].concat(), ("v1", "Pod"));
    }
}

#[test]
fn the_wire_is_upstreams() {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    // Names that are no pointers are written though they are empty, and so are the generation and the time of creation.
    let metadata = b"\x0a\x11\x0a\x01a\x12\0\x1a\0\x22\0\x2a\0\x32\0\x38\0\x42\0";
    let expected = [
        b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x1b".as_slice(),
        metadata,
        b"\x12\x06\x0a\x01k\x12\x01v\x1a\0\x22\0",
    ];
    assert_eq!(encode(&object).unwrap(), expected.concat());
    // Fields stand in the order of their numbers, not of their declaration: an owner's version (5) comes after its uid (4).
    let owned = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"ownerReferences": [
        {"apiVersion": "v1", "kind": "K", "name": "n", "uid": "u"}]}});
    let owner = b"\x6a\x0d\x0a\x01K\x1a\x01n\x22\x01u\x2a\x02v1";
    assert!(encode(&owned).unwrap().windows(owner.len()).any(|part| part == owner));
    // Of what a map holds, also the value that is nothing is written.
    let budget =
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "status": {"disruptedPods": {"p": null}}});
    assert!(encode(&budget).unwrap().windows(8).any(|part| part == b"\x12\x05\x0a\x01p\x12\0\x18"));
    // A port's target is the number 0 in all three of its fields.
    let service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}});
    let port = b"\x0a\x10\x0a\0\x12\0\x18\x50\x22\x06\x08\0\x10\0\x1a\0\x28\0";
    assert!(encode(&service).unwrap().windows(port.len()).any(|part| part == port));
}

#[test]
fn zero_values_are_those_that_go_writes() {
    let bytes = encode(&json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}})).unwrap();
    let service = decode(&bytes, ("", "")).unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {}, "status": {"loadBalancer": {}},
        "spec": {"ports": [{"port": 80, "targetPort": 0}]},
    });
    assert_eq!(Value::Object(service), expected);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"});
    let role = decode(&encode(&role).unwrap(), ("", "")).unwrap();
    assert_eq!(role["rules"], Value::Null);
}

#[test]
fn lists_are_made_of_messages_of_any_length() {
    for length in [0, 1, 100, 126, 127, 128, 129, 16_000, 16_383, 16_384, 20_000, 2_200_000] {
        let data = |text: String| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"k": text}});
        let maps = [data("v".repeat(length)), data("w".into())];
        let messages: Vec<Vec<u8>> = maps.iter().map(|map| super::message(("v1", "ConfigMap"), map).unwrap()).collect();
        let lengths = messages.iter().map(Vec::len);
        let frame = list_frame(("v1", "ConfigMapList"), &json!({"resourceVersion": "7"}), lengths).unwrap();
        let items = messages.iter().flat_map(|message| [frame.before(message.len()), message.clone()]);
        let bytes = [vec![frame.head.clone()], items.collect(), vec![ListFrame::TAIL.to_vec()]].concat().concat();
        assert_eq!(frame.length, bytes.len());
        let back = decode(&bytes, ("", "")).unwrap();
        assert_eq!(back["metadata"]["resourceVersion"], "7");
        for (at, map) in maps.iter().enumerate() {
            assert_eq!(back["items"][at]["data"], map["data"], "{length}");
            assert_eq!(enveloped(("v1", "ConfigMap"), &messages[at]), encode(map).unwrap());
        }
    }
    assert!(list_frame(("example.com/v1", "FooList"), &json!({}), [0].into_iter()).is_none());
}

#[test]
fn kinds_that_are_not_known_are_named() {
    assert!(encode(&json!({"apiVersion": "example.com/v1", "kind": "Foo"})).is_none());
    let bytes = encode(&json!({"apiVersion": "v1", "kind": "Pod"})).unwrap();
    let mut other = bytes;
    let at = other.windows(3).position(|part| part == b"Pod").unwrap();
    other[at + 2] = b'x';
    let error = decode(&other, ("", "")).unwrap_err();
    assert_eq!(error.to_string(), "no kind \"Pox\" is registered for version \"v1\"");
    assert!(matches!(decode(b"{}", ("", "")), Err(Error::NoMagic)));
}

#[test]
fn no_type_holds_a_duration() {
    let holds = |field: &Field| field.element == Element::Scalar(Scalar::Duration);
    assert!(kinit_schema::kinds().all(|(_, _, kind)| !kind.json_fields().into_iter().any(holds)));
    assert!(kinit_schema::named("apiextensions/v1", "JSONSchemaProps").is_some());
}
