use serde_json::json;

use super::*;
use kinit_api::validate::field;

fn texts(schema: Value, value: Value, old: Option<Value>) -> Vec<String> {
    let schema = Schema::read(&schema);
    let mut errors = check(&value, old.as_ref(), &schema, "");
    lists(&value, &schema, &Path::default(), &mut errors);
    if errors.is_empty() {
        return Vec::new();
    }
    let status = field::status("g", "K", "n", &errors);
    let causes = status.details.unwrap()["causes"].as_array().cloned().unwrap_or_default();
    let text = |cause: &Value| {
        format!("{}: {}", cause["field"].as_str().unwrap_or_default(), cause["message"].as_str().unwrap_or_default())
    };
    causes.iter().map(text).collect()
}

#[test]
fn values_are_refused_in_upstreams_words() {
    let cases = [
        (
            json!({"type": "string"}),
            json!(1),
            "a: Invalid value: \"integer\": a in body must be of type string: \"integer\"",
        ),
        (json!({"type": "integer"}), json!(1.0), ""),
        (
            json!({"type": "integer"}),
            json!(1.5),
            "a: Invalid value: \"number\": a in body must be of type integer: \"number\"; <nil>: Invalid value: \"\": Checked value must be of type integer (default format) in a",
        ),
        (
            json!({"type": "object"}),
            json!(null),
            "a: Invalid value: \"null\": a in body must be of type object: \"null\"",
        ),
        (json!({"type": "object", "nullable": true}), json!(null), ""),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            "a: Invalid value: \"boolean\": a in body must be of type integer,string: \"boolean\"",
        ),
        (json!({"enum": ["x", 1]}), json!("y"), "a: Unsupported value: \"y\": supported values: \"x\", \"1\""),
        (json!({"maximum": 5}), json!(6), "a: Invalid value: 6: a in body should be less than or equal to 5"),
        (
            json!({"minimum": 5, "exclusiveMinimum": true}),
            json!(5),
            "a: Invalid value: 5: a in body should be greater than 5",
        ),
        (json!({"maxLength": 2}), json!("abc"), "a: Too long: may not be more than 2 bytes"),
        (json!({"pattern": "^b"}), json!("abc"), "a: Invalid value: \"abc\": a in body should match '^b'"),
        (json!({"maxItems": 1}), json!([1, 2]), "a: Too many: 2: must have at most 1 item"),
        (
            json!({"format": "date-time"}),
            json!("now"),
            "a: Invalid value: \"now\": a in body must be of type date-time: \"now\"",
        ),
        (json!({"type": "object", "required": ["b"]}), json!({}), "a.b: Required value"),
        (json!({"x-kubernetes-list-type": "set"}), json!(["x", "x"]), "a[1]: Duplicate value: \"x\""),
        (
            json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
            json!([{"k": 1, "v": 1}, {"k": 1, "v": 2}]),
            "a[1]: Duplicate value: {\"k\":1}",
        ),
        (
            json!({"type": "string", "minLength": 2, "pattern": "^[a-z]+$"}),
            json!("A"),
            "a: Invalid value: \"A\": a in body should be at least 2 chars long",
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(3_000_000_000_u32),
            "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in a",
        ),
        (
            json!({"type": "number", "multipleOf": 0.5}),
            json!(5),
            "a: Invalid value: 0: factor MultipleOf declared for a must be positive: 0",
        ),
        (json!({"type": "number", "multipleOf": 0.5}), json!(4.5), ""),
        (
            json!({"type": "string", "format": "ssn"}),
            json!("x"),
            "a: Invalid value: \"x\": a in body must be of type ssn: \"x\"",
        ),
        (
            json!({"not": {"maximum": 5}}),
            json!(3),
            "<nil>: Invalid value: \"\": \"a\" must not validate the schema (not)",
        ),
    ];
    for (schema, value, expected) in cases {
        let found = texts(json!({"properties": {"a": schema}}), json!({"a": value}), None);
        assert_eq!(found.join("; "), expected, "{schema} {value}");
    }
}

#[test]
fn what_has_not_changed_may_stay() {
    let schema = json!({"properties": {
        "a": {"type": "string", "maxLength": 1}, "b": {"type": "integer"},
        "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}}}});
    let old = json!({"a": "long", "b": 1, "l": [{"k": "x", "v": "long"}]});
    let new = json!({"a": "long", "b": 2, "l": [{"k": "y", "v": "1"}, {"k": "x", "v": "long"}]});
    assert_eq!(texts(schema.clone(), new, Some(old.clone())), Vec::<String>::new());
    let new = json!({"a": "longer", "b": 1, "l": [{"k": "x", "v": "other"}]});
    assert_eq!(texts(schema, new, Some(old)).len(), 2);
}

#[test]
fn items_are_told_of_before_their_number_and_fields_before_those_that_lack() {
    let schema = json!({"properties": {
        "l": {"type": "array", "maxItems": 1, "items": {"type": "integer"}},
        "o": {"type": "object", "maxProperties": 1, "required": ["z"], "properties": {"a": {"type": "integer"}}}}});
    let found = texts(schema, json!({"l": [1, "x"], "o": {"a": "x", "b": 1}}), None);
    let expected = [
        "l[1]: Invalid value: \"string\": l[1] in body must be of type integer: \"string\"",
        "l: Too many: 2: must have at most 1 item",
        "o: Too many: 2: must have at most 1 item",
        "o.a: Invalid value: \"string\": o.a in body must be of type integer: \"string\"",
        "o.z: Required value",
    ];
    assert_eq!(found, expected);
}
