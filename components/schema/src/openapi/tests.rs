use super::*;

struct Named;

impl Words for Named {
    fn of_type(&self, definition: &str) -> Option<&str> {
        definition.ends_with(".Pod").then_some("a Pod")
    }

    fn of_field(&self, definition: &str, field: &str) -> Option<&str> {
        (definition.ends_with(".PodSpec") && field == "nodeName").then_some("where it runs")
    }
}

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn pods() -> Vec<Resource<'static>> {
    let pods = Resource {
        group: "",
        version: "v1",
        plural: "pods",
        subresource: "",
        kind: ("", "v1", "Pod"),
        parent: "Pod",
        namespaced: true,
        custom: None,
        verbs: ALL,
    };
    let exec =
        Resource { subresource: "exec", kind: ("", "v1", "PodExecOptions"), verbs: &["create", "get"], ..pods.clone() };
    let eviction =
        Resource { subresource: "eviction", kind: ("policy", "v1", "Eviction"), verbs: &["create"], ..pods.clone() };
    vec![pods, exec, eviction]
}

/// Every reference in a document leads somewhere.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(text) if key == "$ref" => found.push(text.to_owned()),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn documents_say_what_clients_look_for() {
    let document = document(Dialect::V3);
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"], json!({"group": "", "version": "v1", "kind": "Pod"}));
    let parameters = patch["parameters"].as_array().unwrap();
    for name in ["dryRun", "fieldValidation", "fieldManager", "force"] {
        assert!(parameters.iter().any(|parameter| parameter["name"] == name && parameter["in"] == "query"), "{name}");
    }
    assert_eq!(patch["operationId"], "patchCoreV1NamespacedPod");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths["/api/v1/pods"]["get"]["operationId"], "listCoreV1PodForAllNamespaces");
    let exec = &paths["/api/v1/namespaces/{namespace}/pods/{name}/exec"]["post"];
    assert_eq!(exec["operationId"], "connectCoreV1PostNamespacedPodExec");
    let words = |path: &str, method: &str| paths[path][method]["description"].as_str().unwrap().to_owned();
    let (all, one) = ("/api/v1/namespaces/{namespace}/pods", "/api/v1/namespaces/{namespace}/pods/{name}");
    assert_eq!(words(all, "get"), "list or watch objects of kind Pod");
    assert_eq!(words(one, "get"), "read the specified Pod");
    assert_eq!(words(one, "delete"), "delete a Pod");
    assert_eq!(words(&format!("{one}/exec"), "post"), "connect POST requests to exec of Pod");
    assert_eq!(words(&format!("{one}/eviction"), "post"), "create eviction of a Pod");
    let watch = &paths["/api/v1/watch/namespaces/{namespace}/pods/{name}"];
    assert_eq!(watch["get"]["operationId"], "watchCoreV1NamespacedPod");
    // What all methods of a path have stands beside them.
    let names: Vec<&str> = paths["/api/v1/pods"]["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"pretty") && names.contains(&"watch") && names.is_sorted(), "{names:?}");
    assert!(paths["/api/v1/pods"]["get"].get("parameters").is_none());
    let schemas = &document["components"]["schemas"];
    let policy = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["restartPolicy"];
    assert_eq!(policy["enum"], json!(["Always", "Never", "OnFailure"]));
    let spec = &schemas["io.k8s.api.core.v1.PodSpec"];
    assert_eq!(spec["properties"]["nodeName"], json!({"type": "string", "description": "where it runs"}));
    assert_eq!(spec["required"], json!(["containers"]));
    let containers = &spec["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(schemas["io.k8s.api.core.v1.Pod"]["description"], "a Pod");
    assert!(schemas.get("io.k8s.api.policy.v1.Eviction").is_some());
}

#[test]
fn references_resolve_in_both_dialects() {
    let documents = [(document(Dialect::V3), "/components/schemas"), (document(Dialect::V2), "/definitions")];
    for (document, place) in documents {
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100);
        assert!(found.iter().any(|reference| reference.starts_with(&format!("#{place}/"))));
        for reference in found {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
    }
}

fn document(dialect: Dialect) -> Value {
    let (resources, custom) = (pods(), Custom::default());
    let roots = roots::all(&["", "rbac.authorization.k8s.io"]);
    let content = Content { resources: &resources, roots: &roots, custom: &custom, words: &Named };
    serde_json::from_slice(&json(&content, dialect)).unwrap()
}
