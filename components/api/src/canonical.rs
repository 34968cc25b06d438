//! The one form of an object that Go's types would write: what is left out where it is empty, what stands there although it
//! is empty, and how quantities and times are spelled. Objects are kept in it, so that two that mean the same are the same,
//! whichever client and whichever encoding they came from.

use jiff::Timestamp;
use kinit_schema::{Element, Field, Scalar, Shape, Type};
use serde_json::{Map, Value};

use crate::quantity::Quantity;

/// Brings an object of a kind of the schema into its form. Fields that the kind does not have stay as they are.
pub fn canonicalize(kind: &Type, object: &mut Map<String, Value>) {
    for field in &kind.fields {
        match field.embedded() {
            Some(inner) => canonicalize(inner, object),
            None => settle(field, object),
        }
    }
}

/// Whether Go has a struct for a value, which `omitempty` does not leave out.
pub(crate) fn is_struct(element: Element) -> bool {
    match element {
        Element::Message(_) => true,
        Element::Scalar(kind) => !matches!(
            kind,
            Scalar::Bool
                | Scalar::I32
                | Scalar::I64
                | Scalar::U8
                | Scalar::U64
                | Scalar::F64
                | Scalar::String
                | Scalar::Bytes
                | Scalar::Strings
        ),
    }
}

/// The JSON of a value's zero in Go.
pub(crate) fn zero(element: Element) -> Value {
    let kind = match element {
        Element::Message(reference) => {
            let mut map = Map::new();
            canonicalize(reference.get(), &mut map);
            return map.into();
        }
        Element::Scalar(kind) => kind,
    };
    match kind {
        Scalar::Bool | Scalar::PropsOrBool => false.into(),
        Scalar::I32 | Scalar::I64 | Scalar::U8 | Scalar::U64 | Scalar::F64 | Scalar::IntOrString => 0.into(),
        Scalar::String => "".into(),
        Scalar::Quantity => "0".into(),
        Scalar::Duration => "0s".into(),
        Scalar::FieldsV1 => Map::new().into(),
        Scalar::Bytes
        | Scalar::Time
        | Scalar::MicroTime
        | Scalar::Raw
        | Scalar::Json
        | Scalar::Strings
        | Scalar::PropsOrArray
        | Scalar::PropsOrStrings => Value::Null,
    }
}

/// Whether Go leaves the field out when it has its zero value.
pub(crate) fn zero_is_left_out(field: &Field) -> bool {
    let plain_struct = field.shape == Shape::One && !field.pointer && is_struct(field.element);
    field.omit_zero || (field.omit_empty && !plain_struct)
}

fn settle(field: &Field, object: &mut Map<String, Value>) {
    if let Some(value) = object.get_mut(field.name).filter(|value| !value.is_null()) {
        spell(field, value);
    }
    let plain = field.shape == Shape::One && !field.pointer;
    let is_zero = match object.get(field.name) {
        None | Some(Value::Null) => true,
        Some(_) if field.shape == Shape::One && field.pointer => false,
        Some(Value::Array(list)) => field.shape == Shape::List && list.is_empty(),
        Some(Value::Object(map)) if field.shape == Shape::Map => map.is_empty(),
        // Bytes that are none are written as an empty text.
        Some(value) if matches!(field.element, Element::Scalar(Scalar::Bytes)) => {
            plain && zero_is_left_out(field) && (*value == "" || value.is_null())
        }
        Some(value) => plain && zero_is_left_out(field) && *value == zero(field.element),
    };
    if !is_zero {
        return;
    }
    if zero_is_left_out(field) {
        object.remove(field.name);
    } else {
        let zero = if plain { zero(field.element) } else { Value::Null };
        object.insert(field.name.into(), zero);
    }
}

/// Spells a field's value, or each of its list's or map's.
fn spell(field: &Field, value: &mut Value) {
    match (field.shape, value) {
        (Shape::One, value) => spell_one(field.element, value),
        (Shape::List, Value::Array(list)) => list.iter_mut().for_each(|item| spell_one(field.element, item)),
        (Shape::Map, Value::Object(map)) => map.values_mut().for_each(|item| spell_one(field.element, item)),
        (Shape::List | Shape::Map, _) => {}
    }
}

/// Values that do not parse are left for validation to refuse.
fn spell_one(element: Element, value: &mut Value) {
    if value.is_null() {
        *value = zero(element);
        return;
    }
    let spelled = match (element, &mut *value) {
        (Element::Message(reference), Value::Object(map)) => {
            canonicalize(reference.get(), map);
            None
        }
        (Element::Scalar(Scalar::Quantity), Value::String(text)) => {
            text.parse().ok().map(|it: Quantity| it.to_string())
        }
        (Element::Scalar(Scalar::Quantity), Value::Number(number)) => {
            number.to_string().parse().ok().map(|it: Quantity| it.to_string())
        }
        (Element::Scalar(Scalar::Time), Value::String(text)) => {
            text.parse().ok().map(|it: Timestamp| it.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        }
        (Element::Scalar(Scalar::MicroTime), Value::String(text)) => {
            text.parse().ok().map(|it: Timestamp| it.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
        }
        _ => None,
    };
    if let Some(spelled) = spelled {
        *value = spelled.into();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::protobuf;
    use crate::protobuf::tests::{Dice, any_object};

    fn canonical(kind: &str, group: &str, value: Value) -> Value {
        let Value::Object(mut object) = value else { panic!("a test gives an object") };
        canonicalize(kinit_schema::kind(group, "v1", kind).unwrap(), &mut object);
        object.into()
    }

    #[test]
    fn empty_fields_go_or_stay_as_in_go() {
        let given = json!({
            "metadata": {"name": "a", "labels": {}, "creationTimestamp": null, "deletionTimestamp": null},
            "spec": {
                "hostNetwork": false, "nodeName": "", "priority": 0, "volumes": [], "securityContext": {},
                "containers": [{"name": "c", "resources": {"limits": {"memory": "1024Mi"}}, "stdin": true}],
            },
            "status": {"startTime": "2026-01-01T01:00:00+01:00", "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let expected = json!({
            "metadata": {"name": "a"},
            "spec": {
                "priority": 0, "securityContext": {},
                "containers": [{"name": "c", "resources": {"limits": {"memory": "1Gi"}}, "stdin": true}],
            },
            "status": {
                "startTime": "2026-01-01T00:00:00Z",
                "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": null}],
            },
        });
        assert_eq!(canonical("Pod", "", given), expected);
        let role = canonical("Role", "rbac.authorization.k8s.io", json!({"rules": []}));
        assert_eq!(role, json!({"metadata": {}, "rules": null}));
        let set = canonical("ReplicaSet", "apps", json!({"spec": {"replicas": null}}));
        assert_eq!(
            set,
            json!({"metadata": {}, "spec": {"selector": null, "template": {"metadata": {}, "spec": {"containers": null}}}, "status": {"replicas": 0}})
        );
    }

    /// Takes fields away and puts empty ones in.
    fn muddle(dice: &mut Dice, value: &mut Value) {
        match value {
            Value::Object(map) => {
                let names: Vec<String> = map.keys().cloned().collect();
                for name in names {
                    match dice.roll(12) {
                        0 => drop(map.remove(&name)),
                        1 => drop(map.insert(name, Value::Null)),
                        _ => {}
                    }
                }
                map.values_mut().for_each(|value| muddle(dice, value));
            }
            Value::Array(list) if dice.roll(8) == 0 => list.clear(),
            Value::Array(list) => list.iter_mut().for_each(|value| muddle(dice, value)),
            _ => {}
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn the_form_is_what_comes_out_of_protobuf(seed in any::<u64>()) {
            let mut dice = Dice(seed);
            for (group, version, kind) in kinit_schema::kinds() {
                // Schemas of custom resources hold values that have no type, where null is one of them.
                if kind.package == "apiextensions/v1" || kind.fields.iter().all(|field| field.number == 0) {
                    continue;
                }
                let mut object = any_object(&mut dice, group, version, kind);
                let names = (object["apiVersion"].clone(), object["kind"].clone());
                for field in ["metadata", "spec", "status"] {
                    if let Some(part) = object.get_mut(field) {
                        muddle(&mut dice, part);
                    }
                }
                let through = protobuf::decode(&protobuf::encode(&object).unwrap(), ("", "")).unwrap();
                let Value::Object(mut formed) = object else { unreachable!("any_object makes objects") };
                canonicalize(kind, &mut formed);
                formed.insert("apiVersion".into(), names.0);
                formed.insert("kind".into(), names.1);
                prop_assert_eq!(Value::Object(formed), Value::Object(through), "{}", kind.name);
            }
        }
    }
}
