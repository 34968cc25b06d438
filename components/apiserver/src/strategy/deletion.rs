//! How an object goes: at once, or marked until those have let go of it who hold it. Pure functions of the object.

use kinit_api::object::Object;
use serde_json::Value;

use super::lives::{self, Dependents};
use crate::registry::ResourceSpec;

/// What a deletion does next.
#[derive(Debug, PartialEq)]
pub enum Deletion {
    /// Remove the object from storage.
    Now,
    /// Store the object as it is now: marked, and waiting for finalizers or for a kubelet.
    Marked,
    /// It already waits; nothing changes.
    Waiting,
}

/// The options of a delete request that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<String>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// Whether the deletion is to be tried only; a query may say it too.
    pub dry_run: bool,
    /// Whether the client said by the field of old that dependents are not to be left alone.
    pub orphans_nothing: bool,
}

/// Whether an object that is being deleted has nothing left to wait for.
pub fn may_go(spec: &ResourceSpec, object: &Object) -> bool {
    let grace = object.get(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
    let waits_for_namespace = spec.is("", "namespaces")
        && object.get(&["spec", "finalizers"]).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    object.is_being_deleted() && !object.has_finalizers() && !waits_for_namespace && grace == 0
}

/// Marks an object for deletion, or says that it may go at once.
pub fn delete(spec: &ResourceSpec, object: &mut Object, options: &DeleteOptions, now: &str) -> Deletion {
    let before = object.clone();
    let is_namespace = spec.is("", "namespaces");
    // A definition is only marked at first: it has no time to wait for, and it is no other wish than before.
    let defines = spec.is("apiextensions.k8s.io", "customresourcedefinitions");
    // What is in a namespace goes with it in any case.
    if !is_namespace {
        hold_for_dependents(spec, object, options);
    }
    let grace = grace_period(spec, object, options);
    if !object.is_being_deleted() {
        object.set(&["metadata", "deletionTimestamp"], now);
        if !is_namespace && !defines {
            object.set(&["metadata", "deletionGracePeriodSeconds"], grace);
        }
        if object.generation() > 0 && !defines {
            object.set(&["metadata", "generation"], object.generation() + 1);
        }
    } else if defines {
        object.set(&["metadata", "deletionGracePeriodSeconds"], grace);
    } else if let Some(wanted) = options.grace_period_seconds.filter(|_| !is_namespace) {
        // A later request may shorten the wait, never lengthen it.
        let current = object.get(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
        object.set(&["metadata", "deletionGracePeriodSeconds"], wanted.clamp(0, current));
    }
    if is_namespace {
        object.set(&["status", "phase"], "Terminating");
    }
    if defines && !before.is_being_deleted() {
        kinit_crd::status::terminate(object, now);
    }
    if may_go(spec, object) {
        Deletion::Now
    } else if *object == before {
        Deletion::Waiting
    } else {
        Deletion::Marked
    }
}

/// Only a Pod that a kubelet may be running waits: the others have no grace period.
fn grace_period(spec: &ResourceSpec, object: &Object, options: &DeleteOptions) -> i64 {
    let ended = matches!(object.str(&["status", "phase"]), "Succeeded" | "Failed");
    if !spec.is("", "pods") || object.str(&["spec", "nodeName"]).is_empty() || ended {
        return 0;
    }
    let own = object.get(&["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(30);
    options.grace_period_seconds.unwrap_or(own).max(0)
}

/// Sets the finalizer by which the garbage collector learns what becomes of the dependents: what the deletion says, else what one
/// that is there says, else what the kind does.
fn hold_for_dependents(spec: &ResourceSpec, object: &mut Object, options: &DeleteOptions) {
    const ORPHAN: &str = "orphan";
    const FOREGROUND: &str = "foregroundDeletion";
    let list = object.get(&["metadata", "finalizers"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let (held, mut kept): (Vec<Value>, Vec<Value>) =
        list.iter().cloned().partition(|one| one == ORPHAN || one == FOREGROUND);
    let wanted = match (lives::dependents(spec), options.propagation.as_deref(), held.first()) {
        (Dependents::None, ..) => None,
        (_, Some("Orphan"), _) => Some(ORPHAN),
        (_, Some("Foreground"), _) => Some(FOREGROUND),
        (_, Some(_), _) => None,
        (_, None, Some(first)) => first.as_str().map(|first| if first == ORPHAN { ORPHAN } else { FOREGROUND }),
        (Dependents::Left, None, None) => Some(ORPHAN),
        (Dependents::Deleted, None, None) => None,
    };
    kept.extend(wanted.map(Value::from));
    if kept.len() != list.len() || !list.iter().all(|one| kept.contains(one)) {
        object.set(&["metadata", "finalizers"], kept);
    }
    if object.get(&["metadata", "finalizers"]).and_then(Value::as_array).is_some_and(Vec::is_empty) {
        object.remove(&["metadata", "finalizers"]);
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::registry::{Registry, find};
    use crate::request::parse;
    use crate::strategy::prepare_create;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn a_running_pod_waits_for_its_kubelet_and_others_go() {
        let pods = find("", "v1", "pods").unwrap().1;
        let now = "2026-01-01T00:00:00Z";
        let mut waiting = object(json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n"}}));
        assert_eq!(delete(pods, &mut waiting, &DeleteOptions::default(), now), Deletion::Marked);
        assert_eq!(waiting.get(&["metadata", "deletionGracePeriodSeconds"]), Some(&json!(30)));
        assert_eq!(delete(pods, &mut waiting, &DeleteOptions::default(), now), Deletion::Waiting);
        let force = DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
        assert_eq!(delete(pods, &mut waiting, &force, now), Deletion::Now);
        let mut pending = object(json!({"metadata": {"name": "a"}, "spec": {}}));
        assert_eq!(delete(pods, &mut pending, &DeleteOptions::default(), now), Deletion::Now);
    }

    #[test]
    fn finalizers_and_namespaces_hold_an_object() {
        let namespaces = find("", "v1", "namespaces").unwrap().1;
        let mut namespace = object(json!({"metadata": {"name": "a"}}));
        let request = parse(&Registry::default(), &Method::PUT, "/api/v1/namespaces/a", None).unwrap().unwrap();
        prepare_create(&request, &mut namespace, "u", "t").unwrap();
        assert_eq!(delete(namespaces, &mut namespace, &DeleteOptions::default(), "t"), Deletion::Marked);
        assert_eq!(namespace.str(&["status", "phase"]), "Terminating");
        namespace.set(&["spec", "finalizers"], json!([]));
        assert!(may_go(namespaces, &namespace));

        let maps = find("", "v1", "configmaps").unwrap().1;
        let orphan = DeleteOptions { propagation: Some("Orphan".into()), ..Default::default() };
        let mut map = object(json!({"metadata": {"name": "a"}}));
        assert_eq!(delete(maps, &mut map, &orphan, "t"), Deletion::Marked);
        assert!(map.has_finalizers());
    }

    #[test]
    fn a_deletion_says_what_becomes_of_dependents() {
        // The kind, its finalizers, what the deletion says; the finalizers then.
        for (group, resource, held, said, wanted) in [
            ("apps", "replicasets", &[][..], None, &[][..]),
            ("apps", "replicasets", &["a"], Some("Foreground"), &["a", "foregroundDeletion"]),
            ("apps", "replicasets", &["orphan", "a"], None, &["orphan", "a"]),
            ("apps", "replicasets", &["foregroundDeletion", "a"], None, &["foregroundDeletion", "a"]),
            ("apps", "replicasets", &["orphan", "a"], Some("Background"), &["a"]),
            ("apps", "replicasets", &["orphan", "a"], Some("Foreground"), &["a", "foregroundDeletion"]),
            ("", "replicationcontrollers", &[], None, &["orphan"]),
            ("", "replicationcontrollers", &[], Some("Background"), &[]),
            ("", "replicationcontrollers", &["foregroundDeletion"], None, &["foregroundDeletion"]),
            ("batch", "jobs", &[], None, &["orphan"]),
            ("batch", "cronjobs", &[], None, &[]),
            ("", "events", &["a"], Some("Orphan"), &["a"]),
        ] {
            let spec = find(group, "v1", resource).unwrap().1;
            let mut one = object(json!({"metadata": {"name": "a", "finalizers": held}}));
            let options = DeleteOptions { propagation: said.map(str::to_owned), ..Default::default() };
            delete(spec, &mut one, &options, "t");
            let left = one.get(&["metadata", "finalizers"]).cloned().unwrap_or_else(|| json!([]));
            assert_eq!(left, json!(wanted), "{resource} {held:?} {said:?}");
        }
    }
}
