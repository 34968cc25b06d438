use super::*;
use serde_json::json;

fn patched(kind: &str, mut target: Value, patch: Value) -> Result<Value, String> {
    let (group, version) = match kind {
        "Deployment" => ("apps", "v1"),
        "PodDisruptionBudget" => ("policy", "v1"),
        _ => ("", "v1"),
    };
    let schema = kinit_schema::kind(group, version, kind).unwrap();
    strategic(&mut target, &patch, schema).map(|()| target).map_err(|error| error.to_string())
}

fn pod(spec: Value) -> Value {
    json!({ "spec": spec })
}

#[test]
fn lists_merge_as_the_schema_says() {
    let cases = [
        (
            "a container is changed by its name and keeps its place",
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}),
            json!({"containers": [{"name": "b", "image": "2"}]}),
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}),
        ),
        (
            "container ports merge by containerPort",
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1, "name": "x"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 2}, {"containerPort": 1, "name": "y"}]}]}),
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 2}, {"containerPort": 1, "name": "y"}]}]}),
        ),
        (
            "a list without a merge key is replaced",
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "b"}]}),
        ),
        (
            "an element is deleted, and what was never there is not made",
            json!({"volumes": [{"name": "a"}, {"name": "b"}]}),
            json!({"volumes": [{"name": "a", "$patch": "delete"}], "hostAliases": [{"ip": "::1", "$patch": "delete"}]}),
            json!({"volumes": [{"name": "b"}], "hostAliases": []}),
        ),
        (
            "a list is replaced by a directive in it",
            json!({"volumes": [{"name": "a"}, {"name": "b"}]}),
            json!({"volumes": [{"$patch": "replace"}, {"name": "c", "emptyDir": null}]}),
            json!({"volumes": [{"name": "c"}]}),
        ),
        (
            "only the retained keys stay",
            json!({"volumes": [{"name": "a", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "a", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}),
            json!({"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}),
        ),
        (
            "an object is replaced without its nulls",
            json!({"securityContext": {"runAsUser": 1}}),
            json!({"securityContext": {"$patch": "replace", "fsGroup": 2, "runAsGroup": null}}),
            json!({"securityContext": {"fsGroup": 2}}),
        ),
        (
            "names that look like directives are names",
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$other": "2"}}),
            json!({"nodeSelector": {"a": "1", "$other": "2"}}),
        ),
    ];
    for (name, target, patch, expected) in cases {
        assert_eq!(patched("Pod", pod(target), pod(patch)), Ok(pod(expected)), "{name}");
    }
}

#[test]
fn ordered_lists_keep_what_only_the_server_has() {
    let list = |names: &str| names.chars().map(|name| json!({ "name": name.to_string() })).collect::<Vec<_>>();
    let cases =
        [("ab", "", "ba", "ba"), ("xab", "", "ba", "xba"), ("axb", "c", "acb", "acxb"), ("abx", "c", "cab", "cabx")];
    for (before, patch, order, expected) in cases {
        let target = pod(json!({"containers": list(before)}));
        let patch = pod(json!({"$setElementOrder/containers": list(order), "containers": list(patch)}));
        assert_eq!(patched("Pod", target, patch), Ok(pod(json!({"containers": list(expected)}))), "{before:?}");
    }
    let target = json!({"metadata": {"finalizers": ["x", "a", "b"]}});
    let patch = json!({"metadata": {
        "$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"],
    }});
    assert_eq!(patched("Pod", target, patch).unwrap(), json!({"metadata": {"finalizers": ["c", "x", "b"]}}));
}

#[test]
fn the_kind_decides() {
    let port = |port: u16, name: &str| json!({"port": port, "name": name});
    let target = pod(json!({"ports": [port(80, "a"), port(81, "b")]}));
    let patch = pod(json!({"ports": [port(81, "c")]}));
    let expected = pod(json!({"ports": [port(80, "a"), port(81, "c")]}));
    assert_eq!(patched("Service", target, patch), Ok(expected));
    let target = pod(json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}));
    let patch = pod(json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}));
    assert_eq!(patched("Deployment", target, patch), Ok(pod(json!({"strategy": {"type": "Recreate"}}))));
    let labels = |labels: Value| pod(json!({"selector": {"matchLabels": labels}}));
    let replaced = patched("PodDisruptionBudget", labels(json!({"a": "1"})), labels(json!({"b": "2"})));
    assert_eq!(replaced, Ok(labels(json!({"b": "2"}))));
}

#[test]
fn bad_patches_are_refused_in_upstreams_words() {
    let cases = [
        (json!({"containers": [{"image": "x"}]}), "map: map[image:x] does not contain declared merge key: name"),
        (json!({"$patch": "other", "a": 1}), "unknown patch type: other in map: map[$patch:other a:1]"),
        (json!({"$retainKeys": ["a"], "b": 1}), "invalid patch format of retainKeys"),
        (json!({"containers": ["x"]}), "list element types are not identical: [[map[name:a]] [x]]"),
        (json!({"$setElementOrder/containers": 1}), "invalid patch format of setElementOrder list"),
        (
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}),
            "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
    ];
    for (patch, expected) in cases {
        let target = pod(json!({"containers": [{"name": "a"}]}));
        assert_eq!(patched("Pod", target, pod(patch.clone())), Err(expected.to_owned()), "{patch}");
    }
}

#[test]
fn numbers_without_a_fraction_are_integers() {
    let before = json!({"spec": {"replicas": 1}});
    for (sent, stored) in
        [(json!(2.0), json!(2)), (json!(-0.0), json!(0)), (json!(2.5), json!(2.5)), (json!(1e300), json!(1e300))]
    {
        let after = patched("Deployment", before.clone(), json!({"spec": {"replicas": sent}})).unwrap();
        assert_eq!(after["spec"]["replicas"].to_string(), stored.to_string());
    }
}
