use serde_json::json;

use super::*;
use kinit_api::patch;
use kinit_api::validate::field;

fn good() -> Value {
    json!({
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
            "conversion": {"strategy": "None"},
        },
        "status": {"storedVersions": ["v1"]},
    })
}

fn told(change: &Value, old: Option<&Value>) -> String {
    let mut value = good();
    patch::merge(&mut value, change);
    let object = |value: &Value| Object::from_value(value.clone()).unwrap();
    let errors = definition(old.map(object).as_ref(), &object(&value));
    if errors.is_empty() { String::new() } else { field::status("", "CRD", "d", &errors).message }
}

fn version(change: Value) -> Value {
    let mut version = good()["spec"]["versions"][0].clone();
    patch::merge(&mut version, &change);
    json!({"spec": {"versions": [version]}})
}

fn schema(schema: Value) -> Value {
    version(json!({"schema": {"openAPIV3Schema": schema}}))
}

#[test]
fn definitions_are_refused_in_upstreams_words() {
    let field = |own: Value| schema(json!({"properties": {"a": own}}));
    let cases = [
        (json!({}), ""),
        (json!({"spec": {"group": "example"}}), "should be a domain with at least one dot"),
        (
            json!({"spec": {"scope": "World"}}),
            "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (json!({"spec": {"names": {"kind": null}}}), "spec.names.kind: Required value"),
        (version(json!({"storage": false})), "must have exactly one version marked as storage version"),
        (version(json!({"schema": null})), "spec.versions[0].schema.openAPIV3Schema: Required value"),
        (
            json!({"status": {"storedVersions": ["v0", "v1"]}}),
            "status.storedVersions[0]: Invalid value: \"v0\": missing from spec.versions",
        ),
        (
            schema(json!({"type": "string"})),
            "spec.validation.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root",
        ),
        (
            field(json!({})),
            "openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (field(json!({"type": "array"})), "properties[a].items: Required value: must be specified"),
        (field(json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]})), ""),
        (
            field(json!({"type": "string", "anyOf": [{"type": "string"}]})),
            "anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (field(json!({"type": "string", "pattern": "["})), "must be a valid regular expression, but isn't"),
        (
            field(json!({"type": "object", "x-kubernetes-embedded-resource": true})),
            "must not be empty if x-kubernetes-embedded-resource is true",
        ),
        (
            field(json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}}})),
            "properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            schema(json!({"x-kubernetes-validations": [{"rule": "self.a > 1"}]})),
            "x-kubernetes-validations[0].rule: Invalid value",
        ),
        (version(json!({"selectableFields": [{"jsonPath": ".spec.a"}]})), "is an invalid path"),
        (
            version(json!({"additionalPrinterColumns": [{"name": "A", "type": "text", "jsonPath": ".a"}]})),
            "must be one of boolean,date,integer,number,string",
        ),
        (
            version(json!({"subresources": {"scale": {"specReplicasPath": ".a"}}})),
            "scale.specReplicasPath: Invalid value: \".a\": should be a json path under .spec",
        ),
        (
            json!({"spec": {"conversion": {"strategy": "Webhook"}}}),
            "webhookClientConfig: Required value: required when strategy is set to Webhook",
        ),
    ];
    for (change, expected) in cases {
        let found = told(&change, None);
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{change}: {found}");
    }
}

#[test]
fn what_objects_are_stored_by_cannot_change() {
    let mut old = good();
    assert_eq!(told(&json!({"spec": {"scope": "Namespaced"}}), Some(&old)), "");
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    assert!(
        told(&json!({"spec": {"scope": "Namespaced"}}), Some(&old))
            .contains("spec.scope: Invalid value: \"Namespaced\": field is immutable")
    );
}

#[test]
fn stored_versions_are_found_once_and_accepted_names_are_names() {
    let own = good()["spec"]["versions"][0].clone();
    let twice = told(&json!({"spec": {"versions": [own.clone(), own.clone()]}}), None);
    assert!(
        twice.ends_with("status.storedVersions: Invalid value: [\"v1\"]: must have the storage version v1]"),
        "{twice}"
    );
    assert!(
        told(&json!({"spec": {"versions": []}}), None).contains("spec.versions: Invalid value: []: must have exactly")
    );
    assert_eq!(
        told(&json!({"spec": {"conversion": {"strategy": null}}}), None),
        "CRD \"d\" is invalid: spec.conversion.strategy: Required value"
    );
    let mut written = own.clone();
    written["selectableFields"] = json!([{"jsonPath": ".spec.a"}]);
    let mut other = own;
    other["name"] = "v2".into();
    other["storage"] = false.into();
    let shared = told(&json!({"spec": {"versions": [written, other]}}), None);
    assert!(
        shared.contains("spec.versions[0].selectableFields: Invalid value: \"\": may only be set when"),
        "{shared}"
    );
    let status_of = |names: Value| {
        let object = Object::from_value(json!({"status": {"acceptedNames": names}})).unwrap();
        status(&object).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert!(
        status_of(json!({"plural": "A_"}))
            .starts_with("status.acceptedNames.plural: Invalid value: \"A_\": a DNS-1035")
    );
    assert_eq!(status_of(json!({"plural": "a", "kind": ""})), "");
}
