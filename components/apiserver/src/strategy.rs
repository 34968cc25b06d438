//! How kinds' lives differ: what is set on creation and update, and how an object goes. Pure functions of the object.

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};

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
}

/// Prepares an object that a client sent for storage. `name` is the generated name where the client gave a prefix.
pub fn prepare_create(
    spec: &ResourceSpec,
    object: &mut Object,
    namespace: &str,
    uid: &str,
    now: &str,
) -> Result<(), Status> {
    if !object.resource_version().is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    if object.name().is_empty() {
        let field = "metadata.name".to_owned();
        let text = "Required value: name or generateName is required".to_owned();
        return Err(Status::invalid(spec.group, spec.kind, "", &[("FieldValueRequired", field, text)]));
    }
    if !valid_name(object.name()) {
        let text = format!("Invalid value: {:?}: may not contain '/' or '%' and may not be '.' or '..'", object.name());
        let name = object.name().to_owned();
        return Err(Status::invalid(
            spec.group,
            spec.kind,
            &name,
            &[("FieldValueInvalid", "metadata.name".into(), text)],
        ));
    }
    if spec.namespaced() {
        object.set(&["metadata", "namespace"], namespace);
    } else {
        object.remove(&["metadata", "namespace"]);
    }
    object.remove(&["metadata", "deletionTimestamp"]);
    object.remove(&["metadata", "deletionGracePeriodSeconds"]);
    object.set(&["metadata", "uid"], uid);
    object.set(&["metadata", "creationTimestamp"], now);
    if spec.status {
        object.remove(&["status"]);
    }
    if object.get(&["spec"]).is_some() {
        object.set(&["metadata", "generation"], 1);
    }
    match spec.resource {
        "namespaces" => {
            object.set(&["spec", "finalizers"], json!(["kubernetes"]));
            object.set(&["status", "phase"], "Active");
        }
        "pods" => object.set(&["status", "phase"], "Pending"),
        _ => {}
    }
    Ok(())
}

/// A name becomes a segment of a path, so it must not be able to lead elsewhere.
fn valid_name(name: &str) -> bool {
    !matches!(name, "." | "..") && !name.contains(['/', '%'])
}

/// Carries over into `new` what an update of `subresource` may not change.
pub fn prepare_update(spec: &ResourceSpec, old: &Object, new: &mut Object, subresource: &str) -> Result<(), Status> {
    if !new.uid().is_empty() && new.uid() != old.uid() {
        let why = format!("Precondition failed: UID in precondition: {}, UID in object meta: {}", new.uid(), old.uid());
        return Err(Status::conflict(spec.group, spec.resource, old.name(), &why));
    }
    match subresource {
        "status" => {
            // A status write changes the status alone, and the metadata that controllers keep beside it stays as it is.
            let status = new.remove(&["status"]);
            *new = old.clone();
            set_or_remove(new, "status", status);
            return Ok(());
        }
        "finalize" => {
            let finalizers = new.get(&["spec", "finalizers"]).cloned().unwrap_or(Value::Null);
            *new = old.clone();
            new.set(&["spec", "finalizers"], finalizers);
            return Ok(());
        }
        _ => {}
    }
    if spec.status {
        set_or_remove(new, "status", old.get(&["status"]).cloned());
    }
    if spec.resource == "namespaces" {
        let finalizers = old.get(&["spec", "finalizers"]).cloned().unwrap_or(json!([]));
        new.set(&["spec", "finalizers"], finalizers);
    }
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "namespace",
        "name",
    ] {
        match old.get(&["metadata", field]) {
            Some(value) => new.set(&["metadata", field], value.clone()),
            None => {
                new.remove(&["metadata", field]);
            }
        }
    }
    if new.get(&["spec"]) != old.get(&["spec"]) {
        new.set(&["metadata", "generation"], old.generation() + 1);
    }
    Ok(())
}

fn set_or_remove(object: &mut Object, field: &str, value: Option<Value>) {
    match value {
        Some(value) => object.set(&[field], value),
        None => {
            object.remove(&[field]);
        }
    }
}

/// Whether an object that is being deleted has nothing left to wait for.
pub fn may_go(spec: &ResourceSpec, object: &Object) -> bool {
    let grace = object.get(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
    let waits_for_namespace = spec.resource == "namespaces"
        && object.get(&["spec", "finalizers"]).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    object.is_being_deleted() && !object.has_finalizers() && !waits_for_namespace && grace == 0
}

/// Marks an object for deletion, or says that it may go at once.
pub fn delete(spec: &ResourceSpec, object: &mut Object, options: &DeleteOptions, now: &str) -> Deletion {
    let before = object.clone();
    match options.propagation.as_deref() {
        Some("Orphan") => add_finalizer(object, "orphan"),
        Some("Foreground") => add_finalizer(object, "foregroundDeletion"),
        _ => {}
    }
    let grace = grace_period(spec, object, options);
    if !object.is_being_deleted() {
        object.set(&["metadata", "deletionTimestamp"], now);
        object.set(&["metadata", "deletionGracePeriodSeconds"], grace);
        if object.get(&["spec"]).is_some() {
            object.set(&["metadata", "generation"], object.generation() + 1);
        }
    } else if let Some(wanted) = options.grace_period_seconds {
        // A later request may shorten the wait, never lengthen it.
        let current = object.get(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
        object.set(&["metadata", "deletionGracePeriodSeconds"], wanted.clamp(0, current));
    }
    if spec.resource == "namespaces" {
        object.set(&["status", "phase"], "Terminating");
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
    if spec.resource != "pods" || object.str(&["spec", "nodeName"]).is_empty() || ended {
        return 0;
    }
    let own = object.get(&["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(30);
    options.grace_period_seconds.unwrap_or(own).max(0)
}

fn add_finalizer(object: &mut Object, finalizer: &str) {
    let mut list = object.get(&["metadata", "finalizers"]).and_then(Value::as_array).cloned().unwrap_or_default();
    if !list.iter().any(|own| own == finalizer) {
        list.push(finalizer.into());
        object.set(&["metadata", "finalizers"], list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::find;

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
        prepare_create(namespaces, &mut namespace, "", "u", "t").unwrap();
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
    fn updates_keep_status_and_identity_apart() {
        let pods = find("", "v1", "pods").unwrap().1;
        let old = object(
            json!({"metadata": {"name": "a", "uid": "u", "generation": 1}, "spec": {"x": 1}, "status": {"phase": "Running"}}),
        );
        let mut new = object(json!({"metadata": {"name": "b"}, "spec": {"x": 2}, "status": {"phase": "Lied"}}));
        prepare_update(pods, &old, &mut new, "").unwrap();
        assert_eq!((new.name(), new.uid(), new.generation()), ("a", "u", 2));
        assert_eq!(new.str(&["status", "phase"]), "Running");
        let mut status = object(json!({"spec": {"x": 9}, "status": {"phase": "Failed"}}));
        prepare_update(pods, &old, &mut status, "status").unwrap();
        assert_eq!(status.get(&["spec", "x"]), Some(&json!(1)));
        assert_eq!(status.str(&["status", "phase"]), "Failed");
        let mut other = object(json!({"metadata": {"uid": "v"}}));
        assert_eq!(prepare_update(pods, &old, &mut other, "").unwrap_err().code, 409);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let maps = find("", "v1", "configmaps").unwrap().1;
        for name in ["", "..", "a/b"] {
            let mut map = object(json!({"metadata": {"name": name}}));
            assert_eq!(prepare_create(maps, &mut map, "n", "u", "t").unwrap_err().code, 422, "{name}");
        }
    }
}
