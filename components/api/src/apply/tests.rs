use super::*;
use serde_json::json;

const NOW: &str = "2026-01-01T00:00:00Z";

fn deployment() -> Option<Schema<'static>> {
    kinit_schema::kind("apps", "v1", "Deployment").map(Schema::Type)
}

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, api_version: "apps/v1", subresource: "", now: NOW, reset: &[], versions: None }
}

fn config(fields: Value) -> Object {
    let mut object =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "x"}});
    crate::patch::merge(&mut object, &fields);
    Object::from_value(object).unwrap()
}

fn applied(live: Option<&Object>, fields: Value, manager: &str, force: bool) -> Result<Object, ApplyError> {
    apply(deployment(), live, config(fields), Writer { reset: &[&["status"]], ..writer(manager) }, force)
}

fn owned(object: &Object, manager: &str) -> Value {
    let entries = object.get(&["metadata", "managedFields"]).and_then(Value::as_array).unwrap();
    entries.iter().find(|entry| entry["manager"] == manager).map(|entry| entry["fieldsV1"].clone()).unwrap_or_default()
}

fn containers(list: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": list}}}})
}

#[test]
fn what_is_written_as_go_writes_nothing_is_nobodys() {
    let owned_of = |group: &str, kind: &str, tree: Value| {
        let schema = kinit_schema::kind(group, "v1", kind).map(Schema::Type);
        let mut object = Object::from_value(tree).unwrap();
        update(schema, None, &mut object, writer("m"));
        owned(&object, "m")
    };
    let policy = json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}});
    assert_eq!(owned_of("networking.k8s.io", "NetworkPolicy", policy), json!({"f:spec": {"f:policyTypes": {}}}));
    let event =
        json!({"involvedObject": {"kind": "Pod"}, "eventTime": null, "reportingComponent": "", "type": "Normal"});
    assert_eq!(owned_of("", "Event", event), json!({"f:involvedObject": {}, "f:type": {}}));
}

#[test]
fn what_is_applied_is_owned_and_what_is_no_longer_applied_goes() {
    let first =
        applied(None, json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 1, "paused": true}}), "m", false);
    let first = first.unwrap();
    let fields = json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:paused": {}, "f:replicas": {}}});
    assert_eq!(owned(&first, "m"), fields);
    let mut stored = first;
    stored.set(&["metadata", "uid"], "u");
    stored.set(&["spec", "minReadySeconds"], 5);
    let second = applied(Some(&stored), json!({"spec": {"replicas": 1}}), "m", false).unwrap();
    assert_eq!(second.get(&["spec"]), Some(&json!({"replicas": 1, "minReadySeconds": 5})));
    assert_eq!(second.get(&["metadata", "labels"]), None);
    assert_eq!(second.uid(), "u");
    assert_eq!(owned(&second, "m"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(applied(Some(&second), json!({"spec": {"replicas": 1}}), "m", false).unwrap(), second);
}

#[test]
fn what_has_another_type_is_refused_before_anything_is_merged() {
    let cases = [
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (json!({"metadata": {"labels": ["a"]}}), ".metadata.labels: expected map, got &{[a]}"),
        (json!({"spec": {"replicas": "1"}}), ".spec.replicas: expected numeric (int or float), got string"),
        (json!({"spec": {"paused": "x"}}), ".spec.paused: expected boolean, got &{x}"),
        (containers(json!({})), ".spec.template.spec.containers: expected list, got &{map[]}"),
        (
            containers(json!(["x"])),
            ".spec.template.spec.containers: element 0: associative list with keys may not have non-map elements",
        ),
        (
            containers(json!([null])),
            ".spec.template.spec.containers: element 0: associative list with keys may not have a null element",
        ),
        (json!({"bogus": 1}), ".bogus: field not declared in schema"),
    ];
    for (fields, wanted) in cases {
        let error = applied(None, fields, "m", false).unwrap_err().to_string();
        assert_eq!(error, format!("failed to create typed patch object (x/web; apps/v1, Kind=Deployment): {wanted}"));
    }
    // A key that Go always writes is there even where it is not.
    assert!(applied(None, containers(json!([{"image": "i"}])), "m", false).is_ok());
    assert_eq!(kind_text(&Object::from_value(json!({"apiVersion": "v1", "kind": "Pod"})).unwrap()), "/v1, Kind=Pod");
}

#[test]
fn null_leaves_what_is_within_and_elements_can_be_whole() {
    let first = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let first = applied(None, first, "one", false).unwrap();
    let second = json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}});
    let second = applied(Some(&first), second, "two", true).unwrap();
    assert_eq!(second.get(&["spec", "strategy", "rollingUpdate"]), Some(&json!({"maxSurge": 1})));
    let owner =
        json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u"}]}});
    let owner = applied(None, owner, "m", false).unwrap();
    let fields = json!({"f:metadata": {"f:ownerReferences": {"k:{\"uid\":\"u\"}": {}}}});
    assert_eq!(owned(&owner, "m"), fields);
}

#[test]
fn who_changes_nothing_has_come_at_no_time() {
    let entry = |object: &Object, at: usize| object.get(&["metadata", "managedFields"]).unwrap()[at].clone();
    let first = applied(None, json!({"spec": {"replicas": 1}}), "m", false).unwrap();
    let same = applied(Some(&first), json!({"spec": {"replicas": 1}}), "n", false).unwrap();
    assert_eq!((entry(&same, 0)["manager"].clone(), entry(&same, 0)["time"].clone()), (json!("n"), Value::Null));
    assert_eq!(entry(&same, 1)["time"], NOW);
}

#[test]
fn managers_can_be_sent_and_forgotten() {
    let old = applied(None, json!({"spec": {"replicas": 1}}), "m", false).unwrap();
    let sent = |entries: Value, subresource: &'static str| {
        let mut new = old.clone();
        new.set(&["spec", "paused"], true);
        new.set(&["metadata", "managedFields"], entries);
        update(deployment(), Some(&old), &mut new, Writer { subresource, ..writer("w") });
        let entries = new.get(&["metadata", "managedFields"]).and_then(Value::as_array).cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["manager"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let other = |operation: &str, version: &str| {
        json!([{"manager": "x", "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}}])
    };
    let cases = [
        (json!([]), "", vec![]),
        (json!([{}]), "", vec![]),
        (json!([]), "status", vec!["m", "w"]),
        (json!(null), "", vec!["m", "w"]),
        (other("Update", "apps/v1"), "", vec!["x", "w"]),
        (other("Bogus", "apps/v1"), "", vec!["m", "w"]),
        (other("Update", "apps/v7"), "", vec!["w"]),
    ];
    for (entries, subresource, wanted) in cases {
        assert_eq!(sent(entries.clone(), subresource), wanted, "{entries} {subresource}");
    }
}

#[test]
fn elements_are_owned_by_their_keys() {
    let first = containers(json!([{"name": "a", "image": "1", "ports": [{"containerPort": 80}]}]));
    let first = applied(None, first, "m", false).unwrap();
    let port = r#"k:{"containerPort":80,"protocol":"TCP"}"#;
    let fields = json!({"k:{\"name\":\"a\"}": {
        ".": {}, "f:image": {}, "f:name": {}, "f:ports": {port: {".": {}, "f:containerPort": {}}},
    }});
    assert_eq!(owned(&first, "m").pointer("/f:spec/f:template/f:spec/f:containers"), Some(&fields));
    let other = containers(json!([{"name": "b", "image": "2"}]));
    let both = applied(Some(&first), other, "n", false).unwrap();
    let names = |object: &Object| -> Vec<String> {
        let list = object.get(&["spec", "template", "spec", "containers"]).and_then(Value::as_array).unwrap();
        list.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&both), ["a", "b"]);
    // Who has changed something in an element does not hold the element.
    let mut changed = both.clone();
    changed.set(&["spec", "template", "spec", "containers"], json!([{"name": "a", "image": "9"}, {"name": "b"}]));
    update(deployment(), Some(&both), &mut changed, writer("updater"));
    for live in [both, changed] {
        let without = applied(Some(&live), json!({"spec": {"paused": true}}), "m", false).unwrap();
        assert_eq!(names(&without), ["b"]);
        assert_eq!(owned(&without, "updater"), Value::Null);
    }
}

#[test]
fn others_values_are_not_taken_without_force() {
    let first = applied(None, json!({"spec": {"replicas": 1, "paused": true}}), "m", false).unwrap();
    let wanted = json!({"spec": {"replicas": 2}});
    let error = applied(Some(&first), wanted.clone(), "n", false).unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"m\": .spec.replicas");
    let both = json!({"spec": {"replicas": 2, "paused": false}});
    let text = "Apply failed with 2 conflicts: conflicts with \"m\":\n- .spec.paused\n- .spec.replicas";
    assert_eq!(applied(Some(&first), both, "n", false).unwrap_err().to_string(), text);
    let forced = applied(Some(&first), wanted, "n", true).unwrap();
    assert_eq!(forced.get(&["spec", "replicas"]), Some(&json!(2)));
    assert_eq!(owned(&forced, "m"), json!({"f:spec": {"f:paused": {}}}));
    let shared = applied(Some(&first), json!({"spec": {"replicas": 1}}), "n", false).unwrap();
    assert_eq!(owned(&shared, "m"), json!({"f:spec": {"f:paused": {}, "f:replicas": {}}}));
    let mut scaled = first.clone();
    scaled.set(&["spec", "replicas"], 3);
    update(deployment(), Some(&first), &mut scaled, writer("kubectl"));
    let error = applied(Some(&scaled), json!({"spec": {"replicas": 1}}), "m", false).unwrap_err();
    let text = "Apply failed with 1 conflict: conflict with \"kubectl\" using apps/v1: .spec.replicas";
    assert_eq!(error.to_string(), text);
}

#[test]
fn bad_configurations_are_told_with_their_place() {
    let unknown = applied(None, containers(json!([{"name": "a", "imag": "x"}])), "m", false).unwrap_err();
    let text = "failed to create typed patch object (x/web; apps/v1, Kind=Deployment): \
                .spec.template.spec.containers[name=\"a\"].imag: field not declared in schema";
    assert_eq!(unknown.to_string(), text);
    let twice = applied(None, containers(json!([{"name": "a"}, {"name": "a"}])), "m", false).unwrap_err().to_string();
    assert!(twice.ends_with(".spec.template.spec.containers: duplicate entries for key [name=\"a\"]"), "{twice}");
    let managed = applied(None, json!({"metadata": {"managedFields": []}}), "m", false).unwrap_err();
    assert_eq!(managed.to_string(), "metadata.managedFields must be nil");
}

#[test]
fn updates_are_noted_as_upstream_notes_them() {
    let mut object = config(json!({"metadata": {"labels": {"a": "1"}}, "spec": {
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, "selector": {"matchLabels": {"a": "1"}},
        "template": {"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }}));
    update(deployment(), None, &mut object, writer("kubectl-create"));
    let expected = json!({
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {
            "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                    ".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                }}},
            },
        },
    });
    assert_eq!(owned(&object, "kubectl-create"), expected);
    let before = object.clone();
    object.remove(&["metadata", "labels"]);
    object.set(&["spec", "replicas"], 2);
    update(deployment(), Some(&before), &mut object, writer("other"));
    assert_eq!(owned(&object, "other"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(owned(&object, "kubectl-create").get("f:metadata"), None);
    let mut forgotten = object.clone();
    forgotten.set(&["metadata", "managedFields"], json!([{}]));
    update(deployment(), Some(&object), &mut forgotten, writer("other"));
    assert_eq!(forgotten.get(&["metadata", "managedFields"]), None);
}

#[test]
fn kinds_without_a_schema_are_owned_field_by_field() {
    let config = |fields: Value| {
        let mut object = json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"}});
        crate::patch::merge(&mut object, &fields);
        Object::from_value(object).unwrap()
    };
    let own = Writer { api_version: "x/v1", ..writer("m") };
    let first = config(json!({"data": {"a": 1, "list": [1]}, "more": {"b": 2}}));
    let first = apply(None, None, first, own, false).unwrap();
    let fields = json!({
        "f:data": {".": {}, "f:a": {}, "f:list": {}}, "f:more": {".": {}, "f:b": {}},
    });
    assert_eq!(owned(&first, "m"), fields);
    let second = apply(None, Some(&first), config(json!({"data": {"a": 1}})), own, false).unwrap();
    assert_eq!((second.get(&["data"]), second.get(&["more"])), (Some(&json!({"a": 1})), None));
    assert_eq!(second.name(), "a");
}

#[test]
fn kubectl_takes_over_what_it_applied_on_the_client() {
    let last = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}}).to_string();
    let mut live =
        config(json!({"metadata": {"annotations": {LAST_APPLIED: last}}, "spec": {"replicas": 1, "paused": true}}));
    update(deployment(), None, &mut live, writer("kubectl-client-side-apply"));
    let taken = applied(Some(&live), json!({"spec": {"replicas": 2}}), "kubectl", false).unwrap();
    assert_eq!(taken.get(&["spec", "replicas"]), Some(&json!(2)));
    let annotation = taken.str(&["metadata", "annotations", LAST_APPLIED]);
    assert!(annotation.contains("\"replicas\":2"), "{annotation}");
    assert!(applied(Some(&live), json!({"spec": {"paused": false}}), "kubectl", false).is_err());
}

/// Two versions of a kind: what `v1` calls `size` is `big` in `v2`, in tens.
struct Toys(Structure, Structure);

impl Toys {
    fn new() -> Self {
        let of = |name: &str| {
            let spec = Fields {
                named: [(name.to_owned(), Structure::Leaf), ("color".to_owned(), Structure::Leaf)].into(),
                rest: None,
            };
            let top = [
                ("spec", Structure::Object(spec)),
                ("metadata", Structure::Free),
                ("apiVersion", Structure::Leaf),
                ("kind", Structure::Leaf),
            ];
            Structure::Object(Fields { named: top.map(|(name, inner)| (name.to_owned(), inner)).into(), rest: None })
        };
        Self(of("size"), of("big"))
    }

    fn write(&self, live: Option<&Object>, config: Value, manager: &str, force: bool) -> Result<Object, ApplyError> {
        let mut config = Object::from_value(config).unwrap();
        config.set(&["kind"], "Toy");
        config.set(&["metadata", "name"], "t");
        let version = config.api_version().to_owned();
        let live =
            live.map(|live| Object::from_value(self.view(&live.clone().into_value(), &version).unwrap()).unwrap());
        let writer =
            Writer { manager, api_version: &version, subresource: "", now: NOW, reset: &[], versions: Some(self) };
        apply(self.schema(&version), live.as_ref(), config, writer, force)
    }
}

impl Versions for Toys {
    fn schema(&self, version: &str) -> Option<Schema<'_>> {
        match version {
            "x/v1" => Some(Schema::Own(&self.0)),
            "x/v2" => Some(Schema::Own(&self.1)),
            _ => None,
        }
    }

    fn view(&self, object: &Value, version: &str) -> Option<Value> {
        let mut object = object.clone();
        let from = std::mem::replace(&mut object["apiVersion"], version.into());
        if from != version
            && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
        {
            if let Some(size) = spec.remove("size") {
                spec.insert("big".into(), (size.as_i64()? / 10).into());
            } else if let Some(big) = spec.remove("big") {
                spec.insert("size".into(), (big.as_i64()? * 10).into());
            }
        }
        Some(object)
    }
}

#[test]
fn managers_own_fields_of_the_version_that_they_write_in() {
    let toys = Toys::new();
    let v1 = |size: i64, color: &str| json!({"apiVersion": "x/v1", "spec": {"size": size, "color": color}});
    let first = toys.write(None, v1(10, "red"), "one", false).unwrap();
    // Another field of another version is the same thing.
    let big = |big: i64| json!({"apiVersion": "x/v2", "spec": {"big": big}});
    let Err(ApplyError::Conflicts(conflicts)) = toys.write(Some(&first), big(2), "two", false) else {
        panic!("no conflict")
    };
    assert_eq!(conflicts, [Conflict { manager: "\"one\"".into(), field: ".spec.size".into() }]);
    let shared = toys.write(Some(&first), big(1), "two", false).unwrap();
    assert_eq!(owned(&shared, "one"), json!({"f:spec": {"f:color": {}, "f:size": {}}}));
    let taken = toys.write(Some(&first), big(3), "two", true).unwrap();
    assert_eq!(
        (owned(&taken, "one"), owned(&taken, "two")),
        (json!({"f:spec": {"f:color": {}}}), json!({"f:spec": {"f:big": {}}}))
    );
    // Who goes on in another version gives up what it no longer says, unless somebody owns it under another name.
    let only = |color: &str| json!({"apiVersion": "x/v2", "spec": {"color": color}});
    let moved = toys.write(Some(&first), only("red"), "one", false).unwrap();
    assert_eq!(moved.get(&["spec"]), Some(&json!({"color": "red"})));
    let kept =
        toys.write(Some(&shared), json!({"apiVersion": "x/v1", "spec": {"color": "red"}}), "one", false).unwrap();
    assert_eq!(kept.get(&["spec"]), Some(&json!({"color": "red", "size": 10})));
    // Whose version is no more owns nothing.
    let mut old = first.clone();
    old.set(
        &["metadata", "managedFields"],
        json!([{"manager": "gone", "operation": "Update", "apiVersion": "x/v0",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:size": {}}}}]),
    );
    let free = toys.write(Some(&old), v1(30, "red"), "one", false).unwrap();
    assert_eq!(owned(&free, "gone"), Value::Null);
}

#[test]
fn what_is_owned_as_a_whole_has_types_too() {
    let slice = kinit_schema::kind("discovery.k8s.io", "v1", "EndpointSlice").map(Schema::Type);
    let cases = [
        (json!({"endpoints": "a"}), ".endpoints: expected list, got &{a}"),
        (json!({"endpoints": ["a"]}), ".endpoints[0]: expected map, got &{a}"),
        (json!({"endpoints": [{"addresses": "a"}]}), ".endpoints[0].addresses: expected list, got &{a}"),
        (json!({"endpoints": [{"hints": {}, "x": 1}]}), ".endpoints[0].x: field not declared in schema"),
        (
            json!({"endpoints": [{"addresses": ["a", "a"]}]}),
            ".endpoints[0].addresses: duplicate entries for key [=\"a\"]",
        ),
        (json!({"ports": [{"port": "1"}]}), ".ports[0].port: expected numeric (int or float), got string"),
    ];
    for (fields, why) in cases {
        let error = walk::fields(Node::root(slice), &fields).unwrap_err();
        assert_eq!(error, why, "{fields}");
    }
    let whole = json!({"endpoints": [{"addresses": ["a"]}, null], "ports": null});
    let set = walk::fields(Node::root(slice), &whole).unwrap();
    assert_eq!(set.encode(), json!({"f:endpoints": {}, "f:ports": {}}));
}

#[test]
fn what_stands_twice_is_compared_as_one() {
    let schema = Node::root(deployment());
    let containers = |images: &[&str]| {
        let list: Vec<Value> = images.iter().map(|image| json!({"name": "c", "image": image})).collect();
        containers(list.into())
    };
    let below = |set: &Set| {
        let path = ["f:spec", "f:template", "f:spec", "f:containers", "k:{\"name\":\"c\"}"];
        path.iter().try_fold(set, |set, name| set.children.get(*name)).map(|set| (set.member, set.children.len()))
    };
    // Two states, and how many fields are added, modified and removed below the element, which may be so itself.
    let cases = [
        (&["a", "b"][..], &["a", "b"][..], [None, None, None]),
        (&["a", "b"], &["b", "a"], [None, Some((true, 0)), None]),
        (&["a", "b"], &["a"], [Some((true, 3)), None, Some((true, 0))]),
        (&["a"], &["a", "b"], [Some((true, 0)), None, Some((true, 3))]),
        (&["a", "b"], &[], [None, None, Some((true, 0))]),
    ];
    for (old, new, expected) in cases {
        let found = walk::compare(schema, Some(&containers(old)), Some(&containers(new)));
        let seen = [&found.added, &found.modified, &found.removed].map(below);
        assert_eq!(seen, expected, "{old:?} {new:?}");
    }
    let merged = merge::merge(schema, Some(&containers(&["a", "b"])), &containers(&["c"]));
    assert_eq!(merged, containers(&["c"]));
}

#[test]
fn what_a_way_of_writing_does_not_set_is_merged_and_is_nobodys() {
    let made = applied(None, json!({"spec": {"replicas": 1}, "status": {"replicas": 2}}), "m", false).unwrap();
    assert_eq!(made.get(&["status"]), Some(&json!({"replicas": 2})));
    assert_eq!(owned(&made, "m"), json!({"f:spec": {"f:replicas": {}}}));
    let other = applied(Some(&made), json!({"status": {"replicas": 3}}), "n", false).unwrap();
    assert_eq!(other.get(&["status"]), Some(&json!({"replicas": 3})));
    assert_eq!(owned(&other, "n"), Value::Null);
}

#[test]
fn a_place_that_nobody_owns_was_there_before() {
    let mut live = config(json!({"spec": {"replicas": 1}}));
    let scale = Writer { subresource: "scale", ..writer("m") };
    claim(&mut live, &["spec", "replicas"], scale);
    assert_eq!(owned(&live, BEFORE_APPLY), json!({"f:spec": {"f:replicas": {}}}));
    let mut live = applied(None, json!({"spec": {"replicas": 1}}), "n", false).unwrap();
    let before = live.clone();
    claim(&mut live, &["spec", "replicas"], scale);
    assert_eq!(live, before);
    claim(&mut live, &["spec", "paused"], scale);
    assert_eq!(live, before);
}
