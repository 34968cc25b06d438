use kinit_api::validate::field::Path;
use serde_json::{Value as Json, json};

use super::{Validator, check_schema};

fn checked(schema: &Json) -> Vec<String> {
    check_schema(schema, &Path::new("schema")).iter().map(|error| format!("{error:?}")).collect()
}

fn wrong(schema: &Json, new: &Json, old: Option<&Json>) -> Vec<String> {
    let validator = Validator::new(schema, true).expect("the schema has rules");
    validator.validate(&Path::default(), new, old, &mut Vec::new()).iter().map(ToString::to_string).collect()
}

/// A schema of an object with these properties in `spec`, and these rules on it.
fn spec(properties: Json, rules: Json) -> Json {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": properties, "x-kubernetes-validations": rules},
    }})
}

#[test]
fn schemas_with_wrong_rules_are_refused() {
    let number = json!({"x": {"type": "integer"}});
    for (schema, wanted) in [
        (spec(number.clone(), json!([{"rule": "self.x > 0"}])), None),
        (spec(number.clone(), json!([{"rule": "self.z == 100"}])), Some("undefined field 'z'")),
        (spec(json!({}), json!([{"rule": "self = 42"}])), Some("Syntax error")),
        (spec(number.clone(), json!([{"rule": "self.x"}])), Some("cel expression must evaluate to a bool")),
        (spec(number.clone(), json!([{"rule": ""}])), Some("rule is not specified")),
        (spec(number.clone(), json!([{"rule": "self.x > 0", "reason": "No"}])), Some("supported values")),
        (spec(number.clone(), json!([{"rule": "self.x > 0", "fieldPath": ".y"}])), Some("must be a valid path")),
        (
            spec(number.clone(), json!([{"rule": "self.x > 0", "messageExpression": "self.x"}])),
            Some("messageExpression must evaluate to a string"),
        ),
        (spec(number, json!([{"rule": "self.x > 0", "optionalOldSelf": true}])), Some("may not be set if oldSelf")),
        (
            spec(
                json!({"list": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [
                    {"rule": "self > oldSelf"}
                ]}}}),
                json!([]),
            ),
            Some("uncorrelatable portion"),
        ),
        (
            spec(
                json!({"x": {"type": "array", "items": {
                    "type": "array",
                    "items": {"type": "string"},
                    "x-kubernetes-validations": [{"rule": "self.all(s, s == 'string constant')"}],
                }}}),
                json!([]),
            ),
            Some("estimated rule cost exceeds budget by factor of more than 100x"),
        ),
    ] {
        let found = checked(&schema);
        match wanted {
            None => assert!(found.is_empty(), "{schema}: {found:?}"),
            Some(wanted) => assert!(found.iter().any(|text| text.contains(wanted)), "{schema}: {found:?}"),
        }
    }
}

#[test]
fn bounded_loops_within_loops_are_cheap_enough() {
    let schema = spec(
        json!({
            "first": {"type": "array", "maxItems": 1000, "items": {"type": "integer"}},
            "large": {"type": "array", "maxItems": 725, "items": {"type": "integer"}},
        }),
        json!([{"rule": "self.first.isSorted() && self.first.sum() % 2 == 0"},
               {"rule": "self.large.all(x, self.large.all(y, y == x))"}]),
    );
    assert_eq!(checked(&schema), Vec::<String>::new());
    let many: Vec<i64> = std::iter::repeat_n(20, 725).collect();
    let found = wrong(&schema, &json!({"spec": {"first": [1, 1], "large": many}}), None);
    assert!(found.iter().any(|text| text.contains("call cost exceeds limit")), "{found:?}");
    assert_eq!(wrong(&schema, &json!({"spec": {"first": [1, 3], "large": [2, 2]}}), None), Vec::<String>::new());
}

#[test]
fn messages_say_what_failed_and_where() {
    let schema = spec(
        json!({"x": {"type": "integer"}, "s": {"type": "string"}}),
        json!([
            {"rule": "self.x > 0", "messageExpression": "'x is ' + string(self.x)", "fieldPath": ".x"},
            {"rule": "self.s == 'a'", "message": "  s must be a ", "reason": "FieldValueForbidden"},
            {"rule": "self.s == 'a'", "message": "not shown", "reason": "FieldValueDuplicate"},
        ]),
    );
    let found = wrong(&schema, &json!({"spec": {"x": -1, "s": "b"}}), None);
    assert_eq!(found, ["spec.x: Invalid value: x is -1", "spec: Forbidden: s must be a", "spec: Duplicate value"]);
    let found = wrong(&schema, &json!({"spec": {"s": "a"}}), None);
    assert!(found[0].contains("no such key: x evaluating rule: self.x > 0"), "{found:?}");
}

#[test]
fn transition_rules_compare_with_what_belongs_together() {
    let item = json!({"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v"}]});
    let schema = spec(
        json!({"num": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > oldSelf"}]},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": item}}),
        json!([{"rule": "!oldSelf.hasValue() || self == oldSelf.value() || true", "optionalOldSelf": true}]),
    );
    assert_eq!(checked(&schema), Vec::<String>::new());
    let old = json!({"spec": {"num": 10, "list": [{"k": "a", "v": 3}, {"k": "b", "v": 5}]}});
    assert_eq!(wrong(&schema, &old, None), Vec::<String>::new());
    let moved = json!({"spec": {"num": 11, "list": [{"k": "b", "v": 5}, {"k": "a", "v": 3}, {"k": "c", "v": 0}]}});
    assert_eq!(wrong(&schema, &moved, Some(&old)), Vec::<String>::new());
    let less = json!({"spec": {"num": 9, "list": [{"k": "b", "v": 4}]}});
    let found = wrong(&schema, &less, Some(&old));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|text| text.contains("failed rule")), "{found:?}");
}

#[test]
fn what_was_wrong_before_stands() {
    let schema = spec(
        json!({"x": {"type": "integer"}, "y": {"type": "integer", "x-kubernetes-validations": [
        {"rule": "self < 5"}]}}),
        json!([]),
    );
    let old = json!({"spec": {"x": 1, "y": 9}});
    assert_eq!(wrong(&schema, &json!({"spec": {"x": 2, "y": 9}}), Some(&old)), Vec::<String>::new());
    assert_eq!(wrong(&schema, &json!({"spec": {"x": 2, "y": 8}}), Some(&old)).len(), 1);
}

#[test]
fn what_is_null_is_not_there() {
    let nullable =
        json!({"type": "string", "nullable": true, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]});
    let schema = spec(json!({"s": nullable}), json!([{"rule": "!has(self.s) || self.s.size() > 0"}]));
    let (null, text) = (json!({"spec": {"s": null}}), json!({"spec": {"s": "a"}}));
    assert_eq!(wrong(&schema, &null, None), Vec::<String>::new());
    assert_eq!(wrong(&schema, &text, Some(&null)), Vec::<String>::new());
    assert_eq!(wrong(&schema, &json!({"spec": {"s": "b"}}), Some(&text)).len(), 1);
}

#[test]
fn what_lists_are_made_into_costs_what_upstream_estimates() {
    // Strings and lists without bounds, as a request can have them.
    let told = |rule: &str| {
        let strings = json!({"type": "array", "items": {"type": "string"}});
        let map = json!({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 100});
        checked(&spec(json!({"l": strings, "u": {"type": "string"}, "m": map}), json!([{"rule": rule}]))).len()
    };
    for (rule, refused) in [
        ("self.l.distinct().size() == 1", true),
        ("self.l.sort() == self.l", true),
        ("sets.contains(self.l, self.l)", true),
        ("self.l.all(x, self.l.all(y, x == y))", true),
        ("lists.range(5).map(x, x * x) == [0]", false),
        ("self.l.slice(0, 1).all(x, x.contains('a'))", false),
        ("self.l.reverse().all(x, x.contains('a'))", false),
        ("type(self.u) == string", false),
        // Keys count as having no size, values have that of the whole request.
        ("self.m.all(k, k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z]$'))", false),
        ("self.m.all(k, !k.find('^([^/]+)').endsWith('karpenter.sh'))", false),
        ("self.m.all(k, self.m[k].matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z]$'))", true),
        ("format.labelValue().validate('a b').value()[0].contains('valid label')", false),
    ] {
        assert_eq!(told(rule) > 0, refused, "{rule}");
    }
}

#[test]
fn items_with_keys_may_change_places_and_what_stood_is_told() {
    let list = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object", "properties": {"k": {"type": "string"}}},
        "x-kubernetes-validations": [{"rule": "self.size() < 2"}]});
    let schema = spec(json!({"l": list}), json!([]));
    let of = |keys: &[&str]| json!({"spec": {"l": keys.iter().map(|key| json!({"k": key})).collect::<Vec<_>>()}});
    assert_eq!(wrong(&schema, &of(&["b", "a"]), Some(&of(&["a", "b"]))), Vec::<String>::new());
    assert_eq!(wrong(&schema, &of(&["b", "c"]), Some(&of(&["a", "b"]))).len(), 1);
    let mut stood = Vec::new();
    let validator = Validator::new(&schema, true).unwrap();
    let errors = validator.validate(&Path::default(), &of(&["b", "a"]), Some(&of(&["a", "b"])), &mut stood);
    let stood: Vec<String> = stood.iter().map(ToString::to_string).collect();
    assert_eq!((errors.len(), stood), (0, vec!["spec.l: Invalid value: failed rule: self.size() < 2".to_owned()]));
}
