//! The default roles parse, hold together and give what the components of a cluster need, and no more.

use std::collections::{BTreeMap, BTreeSet};

use super::super::policy::Policy;
use super::super::rbac::Ask;
use super::*;

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name).expect(name)
}

#[test]
fn every_object_is_whole() {
    let objects = objects();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for object in &objects {
        let kind = object["kind"].as_str().unwrap();
        let metadata = &object["metadata"];
        *counts.entry(kind).or_default() += 1;
        assert!(seen.insert((kind, metadata["namespace"].as_str(), metadata["name"].as_str())), "{metadata} twice");
        assert_eq!(metadata.get("namespace").is_some(), !kind.starts_with("Cluster"), "{metadata}");
        for rule in rules_of(object) {
            assert!(!rule.verbs.is_empty(), "{metadata}: {rule:?}");
            assert_ne!(rule.urls.is_empty(), rule.resources.is_empty(), "{metadata}: {rule:?}");
            assert_eq!(rule.groups.is_empty(), rule.resources.is_empty(), "{metadata}: {rule:?}");
        }
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert_eq!(subject["kind"] == "ServiceAccount", subject.get("namespace").is_some(), "{subject}");
        }
    }
    assert_eq!(
        counts,
        BTreeMap::from([("ClusterRole", 69), ("ClusterRoleBinding", 50), ("Role", 7), ("RoleBinding", 7)]),
    );
}

#[test]
fn every_binding_finds_its_role() {
    let objects = objects();
    for binding in objects.iter().filter(|object| object.get("roleRef").is_some()) {
        let wanted = &binding["roleRef"];
        let found = objects.iter().any(|role| {
            role["kind"] == wanted["kind"]
                && role["metadata"]["name"] == wanted["name"]
                && role["metadata"].get("namespace") == binding["metadata"].get("namespace")
        });
        assert!(found, "{binding}");
    }
}

#[test]
fn the_roles_of_people_contain_each_other() {
    let objects = objects();
    let [view, edit, admin, all] =
        ["view", "edit", "admin", "cluster-admin"].map(|name| rules_of(named(&objects, "ClusterRole", name)));
    for (small, big) in [(&view, &edit), (&edit, &admin), (&admin, &all)] {
        assert!(!small.is_empty());
        assert_eq!(uncovered(big, small), &[] as &[Rule]);
        assert!(!uncovered(small, big).is_empty());
    }
    let secrets =
        Ask::Resource { verb: "get", group: "", resource: "secrets", subresource: "", name: "a", namespace: "x" };
    assert!(!view.iter().any(|rule| rule.allows(&secrets)));
    assert!(edit.iter().any(|rule| rule.allows(&secrets)));
}

#[test]
fn components_may_do_their_work_and_no_more() {
    let mut policy = Policy::default();
    objects().iter().for_each(|object| policy.insert(object));
    let everybody = "system:authenticated";
    // (user, group, verb, API group, resource/subresource, name, namespace, allowed)
    let cases = [
        ("system:kube-scheduler", everybody, "create", "", "pods/binding", "a", "x", true),
        (
            "system:kube-scheduler",
            everybody,
            "update",
            "coordination.k8s.io",
            "leases",
            "kube-scheduler",
            "kube-system",
            true,
        ),
        ("system:kube-scheduler", everybody, "update", "", "nodes", "a", "", false),
        ("system:kube-scheduler", everybody, "get", "", "secrets", "a", "x", false),
        ("system:kube-controller-manager", everybody, "watch", "example.com", "anythings", "", "", true),
        ("system:kube-controller-manager", everybody, "create", "apps", "deployments", "", "x", false),
        ("system:kube-proxy", everybody, "watch", "discovery.k8s.io", "endpointslices", "", "", true),
        ("system:kube-proxy", everybody, "get", "", "secrets", "a", "x", false),
        ("system:node:w1", "system:nodes", "get", "", "pods", "a", "x", false),
        ("system:serviceaccount:kube-system:replicaset-controller", everybody, "create", "", "pods", "", "x", true),
        (
            "system:serviceaccount:kube-system:token-cleaner",
            everybody,
            "delete",
            "",
            "secrets",
            "a",
            "kube-system",
            true,
        ),
        ("system:serviceaccount:kube-system:token-cleaner", everybody, "delete", "", "secrets", "a", "x", false),
        ("ann", everybody, "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", "", true),
        ("ann", everybody, "list", "", "pods", "", "x", false),
        ("ann", "system:masters", "escalate", "example.com", "anythings/whatever", "a", "x", true),
    ];
    for (user, own_group, verb, group, what, name, namespace, allowed) in cases {
        let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
        let ask = Ask::Resource { verb, group, resource, subresource, name, namespace };
        assert_eq!(policy.allows(user, &[own_group.to_owned()], &ask), allowed, "{user} {verb} {what}");
    }
    for (group, path, allowed) in [
        ("system:unauthenticated", "/readyz", true),
        ("system:unauthenticated", "/version", true),
        ("system:unauthenticated", "/api", false),
        (everybody, "/apis/apps/v1", true),
        (everybody, "/openapi/v3", true),
        (everybody, "/metrics", false),
        ("system:monitoring", "/metrics", true),
        ("system:serviceaccounts", "/openid/v1/jwks", true),
        ("system:masters", "/debug/pprof", true),
    ] {
        let ask = Ask::Path { verb: "get", path };
        assert_eq!(policy.allows("ann", &[group.to_owned()], &ask), allowed, "{group} {path}");
    }
}

#[test]
fn reconciling_gives_back_what_is_missing_and_takes_nothing() {
    let objects = objects();
    for default in &objects {
        assert_eq!(reconciled(default, default), None);
    }
    let default = named(&objects, "ClusterRole", "system:kube-dns");
    let mut stored = default.clone();
    stored["rules"] = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["list"], "apiGroups": [""], "resources": ["*"]}]);
    stored["metadata"]["labels"] = json!({"own": "label"});
    let mended = reconciled(&stored, default).unwrap();
    assert_eq!(mended["rules"].as_array().unwrap().len(), 4);
    assert_eq!(uncovered(&rules_of(&mended), &rules_of(default)), &[] as &[Rule]);
    assert_eq!(uncovered(&rules_of(&mended), &rules_of(&stored)), &[] as &[Rule]);
    assert_eq!(mended["metadata"]["labels"], json!({"own": "label", "kubernetes.io/bootstrapping": "rbac-defaults"}));
    stored["metadata"]["annotations"][AUTOUPDATE] = json!("false");
    assert_eq!(reconciled(&stored, default), None);

    let default = named(&objects, "ClusterRoleBinding", "system:public-info-viewer");
    let mut stored = default.clone();
    stored["subjects"] = json!([{"apiGroup": GROUP, "kind": "User", "name": "ann"}, default["subjects"][1]]);
    let mended = reconciled(&stored, default).unwrap();
    assert_eq!(mended["subjects"], json!([stored["subjects"][0], default["subjects"][1], default["subjects"][0]]));
}
