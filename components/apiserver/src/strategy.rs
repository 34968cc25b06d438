//! How kinds' lives differ: what is set on creation and update, and how an object goes ([`deletion`]). Pure functions of the object.

pub mod deletion;
pub mod lives;
mod off;
pub mod pods;
mod subresources;

use kinit_api::object::Object;
use kinit_api::status::{Status, unmet};
use kinit_api::validate::text;
use serde_json::{Value, json};

use crate::handlers::now;
use crate::registry::ResourceSpec;
use crate::request::{ResourceRequest, Verb};
use crate::services;
pub use deletion::{DeleteOptions, Deletion, delete, may_go};
use off::drop_disabled;

/// Drops owners that an object names more than once in the same words; tells their UIDs.
pub fn drop_repeated_owners(object: &mut Object) -> Vec<String> {
    let Some(owners) = object.get(&["metadata", "ownerReferences"]).and_then(Value::as_array) else {
        return Vec::new();
    };
    let (mut kept, mut repeated) = (Vec::<Value>::with_capacity(owners.len()), Vec::new());
    for owner in owners {
        if kept.contains(owner) {
            repeated.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            kept.push(owner.clone());
        }
    }
    if !repeated.is_empty() {
        object.set(&["metadata", "ownerReferences"], kept);
    }
    repeated
}

/// That a new object names no version: looked at last, as upstream's store does it and not what validates.
pub fn check_unversioned(object: &Object) -> Result<(), Status> {
    if object.resource_version().is_empty() {
        return Ok(());
    }
    Err(Status::failure("resourceVersion should not be set on objects to be created"))
}

/// Prepares an object that a client sent for storage. `name` is the generated name where the client gave a prefix.
pub fn prepare_create(request: &ResourceRequest, object: &mut Object, uid: &str, now: &str) -> Result<(), Status> {
    let spec = &request.spec;
    if object.name().is_empty() {
        let field = "metadata.name".to_owned();
        let text = "Required value: name or generateName is required".to_owned();
        return Err(Status::invalid(spec.group(), spec.kind(), "", &[("FieldValueRequired", field, text)]));
    }
    if spec.namespaced() {
        object.set(&["metadata", "namespace"], request.namespace.clone());
    } else {
        object.remove(&["metadata", "namespace"]);
    }
    object.remove(&["metadata", "deletionTimestamp"]);
    object.remove(&["metadata", "deletionGracePeriodSeconds"]);
    object.set(&["metadata", "uid"], uid);
    object.set(&["metadata", "creationTimestamp"], now);
    // A kubelet that makes its node says at once what the node is like.
    if spec.status && !spec.is("", "nodes") {
        object.remove(&["status"]);
    }
    if lives::begins(spec) {
        object.set(&["metadata", "generation"], 1);
    }
    drop_disabled(spec, None, object);
    match (spec.group(), spec.resource()) {
        ("", "namespaces") => {
            let own = object.get(&["spec", "finalizers"]).and_then(Value::as_array);
            let mut finalizers = own.cloned().unwrap_or_default();
            if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
                finalizers.push("kubernetes".into());
            }
            object.set(&["spec", "finalizers"], finalizers);
            object.set(&["status", "phase"], "Active");
            // One whose name is generated has it only now.
            object.set(&["metadata", "labels", "kubernetes.io/metadata.name"], object.name().to_owned());
        }
        ("", "nodes") => {
            object.remove(&["spec", "configSource"]);
            object.remove(&["status", "config"]);
        }
        ("apiregistration.k8s.io", "apiservices") if object.get(&["spec", "service"]).is_none_or(Value::is_null) => {
            let condition = json!({"type": "Available", "status": "True", "reason": "Local",
                "message": "Local APIServices are always available", "lastTransitionTime": now});
            object.set(&["status", "conditions"], vec![condition]);
        }
        ("", "pods") => {
            pods::prepare(object);
            pods::confine(object, &request.warnings);
        }
        ("", "persistentvolumeclaims") => {
            data_sources(None, object);
            object.set(&["status", "phase"], "Pending");
        }
        ("", "persistentvolumes") => {
            object.set(&["status", "phase"], "Pending");
            object.set(&["status", "lastPhaseTransitionTime"], now);
        }
        ("apps", "daemonsets") => set_template_generation(object, 1),
        ("batch", "jobs") => kinit_api::defaults::job_selector(object, uid),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            // Who asks is what the server says, not what the request claims.
            let user = &request.user;
            object.set(&["spec", "username"], user.name.clone());
            object.set(&["spec", "groups"], user.groups.clone());
            for (field, value) in [("uid", json!(user.uid)), ("extra", json!(user.extra))] {
                if value == "" || value == json!({}) {
                    object.remove(&["spec", field]);
                } else {
                    object.set(&["spec", field], value);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// What clients send in another form than it is kept in: a Secret's text becomes data, and is never shown again. A DaemonSet's
/// count of templates begins with none, which is whoever's who made it.
pub fn normalize(spec: &ResourceSpec, object: &mut Object) {
    use base64::Engine;
    const MANAGERS: &[&str] = &["metadata", "managedFields"];
    // A list of nothing would pass for none; it asks for the same as one of an empty entry.
    if object.get(MANAGERS).and_then(Value::as_array).is_some_and(Vec::is_empty) {
        object.set(MANAGERS, json!([{}]));
    }
    object.remove(&["metadata", "selfLink"]);
    if spec.is("apps", "daemonsets") {
        set_template_generation(object, 0);
    }
    if (spec.group(), spec.resource()) != ("", "secrets") {
        return;
    }
    let Some(Value::Object(text)) = object.remove(&["stringData"]) else { return };
    for (key, value) in text {
        let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
        object.set(&["data", &key], encoded);
    }
}

/// Refuses a new object whose name, though its kind may have it, would lead elsewhere as a segment of a path.
pub fn check_name(spec: &ResourceSpec, object: &Object) -> Result<(), Status> {
    let name = object.name();
    let wrong = text::path_segment(name).into_iter();
    let wrong =
        wrong.map(|why| ("FieldValueInvalid", "metadata.name".to_owned(), format!("Invalid value: {name:?}: {why}")));
    let wrong: Vec<_> = wrong.collect();
    if wrong.is_empty() { Ok(()) } else { Err(Status::invalid(spec.group(), spec.kind(), name, &wrong)) }
}

/// Whether a new Job's labels are its template's, because it has none of its own: then what its template gets, it gets too.
pub fn shares_labels(spec: &ResourceSpec, object: &Object) -> bool {
    spec.is("batch", "jobs") && object.labels().is_empty()
}

/// Gives a Job the labels of its template.
pub fn share_labels(job: &mut Object) {
    if let Some(labels) = job.get(&["spec", "template", "metadata", "labels"]).cloned() {
        job.set(&["metadata", "labels"], labels);
    }
}

/// Drops what no client says of a new object, before anybody is noted as having said it.
pub fn wipe(object: &mut Object) {
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        object.remove(&["metadata", field]);
    }
}

/// Carries over into `new` what an update of the request's subresource may not change.
pub fn prepare_update(request: &ResourceRequest, old: &Object, new: &mut Object) -> Result<(), Status> {
    let spec = &request.spec;
    if !new.uid().is_empty() && new.uid() != old.uid() {
        if request.verb == Verb::Patch {
            let text = format!("Invalid value: {:?}: field is immutable", new.uid());
            // Upstream looks twice, but at events and budgets only once.
            let times = if matches!(spec.kind(), "Event" | "PodDisruptionBudget") { 1 } else { 2 };
            let errors = vec![("FieldValueInvalid", "metadata.uid".to_owned(), text); times];
            return Err(Status::invalid(spec.group(), spec.kind(), old.name(), &errors));
        }
        let why = unmet("UID", new.uid(), old.uid());
        return Err(Status::conflict(spec.group(), spec.resource(), old.name(), &why));
    }
    match request.subresource.as_str() {
        "status" => {
            only(old, new, &["status"], metadata_with_status(spec));
            match (spec.group(), spec.resource()) {
                ("certificates.k8s.io", "certificatesigningrequests") => {
                    subresources::keep_conditions(old, new, &["Approved", "Denied"]);
                    subresources::date_conditions(old, new, &now());
                }
                ("", "pods") => subresources::pod_status(old, new),
                ("", "nodes") => forget(old, new, &["status", "config"]),
                ("", "persistentvolumes") => subresources::phase(old, new, &now()),
                _ => {}
            }
        }
        "cleanup" => only(old, new, &["status"], &["finalizers"]),
        "finalize" => only(old, new, &["spec", "finalizers"], FREE_METADATA),
        "ephemeralcontainers" => only(old, new, &["spec", "ephemeralContainers"], &[]),
        "approval" => {
            only(old, new, &["status", "conditions"], FREE_METADATA);
            subresources::date_conditions(old, new, &now());
        }
        "resize" => subresources::resize(old, new),
        _ => main_update(spec, old, new),
    }
    Ok(())
}

/// What clients may change of metadata, as far as the resource lets them.
const FREE_METADATA: &[&str] = &["labels", "annotations", "finalizers", "ownerReferences"];

/// What a write of the status may change of metadata, as upstream's strategies have it.
fn metadata_with_status(spec: &ResourceSpec) -> &'static [&'static str] {
    match (spec.group(), spec.resource()) {
        ("apps", "deployments") => &["annotations", "finalizers", "ownerReferences"],
        ("", "pods") => &["labels", "annotations", "finalizers"],
        (
            "apiregistration.k8s.io"
            | "admissionregistration.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "resource.k8s.io"
            | "storage.k8s.io",
            _,
        )
        | ("networking.k8s.io", "servicecidrs") => &[],
        _ if spec.custom.is_some() => &[],
        _ => FREE_METADATA,
    }
}

/// The fields that a way of writing leaves as they are, so that who writes this way cannot own them.
pub fn reset_by(spec: &ResourceSpec, subresource: &str) -> Vec<&'static [&'static str]> {
    let mut fields: Vec<&[&str]> = match (spec.group(), spec.resource(), subresource) {
        (_, _, "scale") | ("", "pods", "ephemeralcontainers" | "resize") => vec![],
        ("certificates.k8s.io", "certificatesigningrequests", "") => vec![&["spec"], &["status"]],
        ("certificates.k8s.io", "certificatesigningrequests", "status") => vec![&["spec"], &["status", "conditions"]],
        ("certificates.k8s.io", "certificatesigningrequests", _) => vec![&["spec"], &["status", "certificate"]],
        ("", "pods", "status") => vec![&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
        ("apps", "deployments", "status") => vec![&["spec"], &["metadata", "labels"]],
        (_, _, "status") => vec![&["spec"]],
        _ if spec.status => vec![&["status"]],
        _ => vec![],
    };
    if subresource == "status" && metadata_with_status(spec).is_empty() {
        fields.push(&["metadata"]);
    }
    fields
}

/// Takes `path` and these fields of the metadata from what was sent, and all else from what is stored.
fn only(old: &Object, new: &mut Object, path: &[&str], metadata: &[&str]) {
    let mut kept = old.clone();
    let managed = new.get(&["metadata", "managedFields"]).is_some().then_some("managedFields");
    for field in metadata.iter().copied().chain(managed) {
        copy(new, &mut kept, &["metadata", field]);
    }
    copy(new, &mut kept, path);
    *new = kept;
}

fn copy(from: &Object, to: &mut Object, path: &[&str]) {
    match from.get(path) {
        Some(value) => to.set(path, value.clone()),
        None => drop(to.remove(path)),
    }
}

/// A field of a feature that is gone comes no more where it was not.
fn forget(old: &Object, new: &mut Object, path: &[&str]) {
    if old.get(path).is_none() {
        new.remove(path);
    }
}

/// An update of the object itself leaves alone what the server and the subresources keep.
fn main_update(spec: &ResourceSpec, old: &Object, new: &mut Object) {
    if spec.status {
        copy(old, new, &["status"]);
    }
    drop_disabled(spec, Some(old), new);
    match (spec.group(), spec.resource()) {
        ("apiextensions.k8s.io", "customresourcedefinitions") => kinit_crd::status::note_storage(new),
        ("", "namespaces") => {
            let finalizers = old.get(&["spec", "finalizers"]).cloned().unwrap_or(json!([]));
            new.set(&["spec", "finalizers"], finalizers);
        }
        ("certificates.k8s.io", "certificatesigningrequests") => {
            copy(old, new, &["spec"]);
        }
        ("", "nodes") => {
            forget(old, new, &["spec", "configSource"]);
        }
        ("", "services") => services::drop_type_dependent(old, new),
        ("", "secrets") if new.str(&["type"]).is_empty() => copy(old, new, &["type"]),
        ("", "persistentvolumeclaims") => data_sources(Some(old), new),
        ("apps", "daemonsets") => copy(old, new, &["metadata", "annotations", TEMPLATE_GENERATION]),
        ("", "pods") => {
            if let Some(containers) = old.get(&["spec", "ephemeralContainers"]) {
                new.set(&["spec", "ephemeralContainers"], containers.clone());
            }
        }
        _ => {}
    }
    for field in ["uid", "creationTimestamp", "generation", "namespace", "name"] {
        copy(old, new, &["metadata", field]);
    }
    // That it is being deleted nobody takes back; that it is not is for validation to say.
    if old.is_being_deleted() {
        copy(old, new, &["metadata", "deletionTimestamp"]);
    }
    let grace = ["metadata", "deletionGracePeriodSeconds"];
    if new.get(&grace).is_none() {
        copy(old, new, &grace);
    }
}

/// Counts a change of what is wished for.
pub fn set_generation(request: &ResourceRequest, old: &Object, new: &mut Object) {
    let spec = &request.spec;
    let watched = !matches!(request.subresource.as_str(), "status" | "approval" | "finalize" | "cleanup");
    if !watched || !lives::advances(spec, old, new) {
        return;
    }
    new.set(&["metadata", "generation"], old.generation() + 1);
    if spec.is("apps", "daemonsets") {
        let path = ["spec", "template"];
        let count = old.str(&["metadata", "annotations", TEMPLATE_GENERATION]).parse().unwrap_or(1);
        let changed = i64::from(old.get(&path) != new.get(&path));
        set_template_generation(new, count + changed);
    }
}

/// Where a DaemonSet counts the changes of its template alone.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn set_template_generation(object: &mut Object, least: i64) {
    let path = ["metadata", "annotations", TEMPLATE_GENERATION];
    let own: i64 = object.str(&path).parse().unwrap_or(0);
    object.set(&path, own.max(least).to_string());
}

/// Either of a claim's two sources stands for the other, where that can be.
fn data_sources(before: Option<&Object>, claim: &mut Object) {
    let (old, new) = (["spec", "dataSource"], ["spec", "dataSourceRef"]);
    let used = before.is_some_and(|before| before.get(&old).is_some() || before.get(&new).is_some());
    let (group, kind) = (claim.str(&["spec", "dataSource", "apiGroup"]), claim.str(&["spec", "dataSource", "kind"]));
    let known = [("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")].contains(&(group, kind));
    // The field of old takes nothing else, and says nothing of it.
    if !used && !known && claim.get(&new).is_none() {
        claim.remove(&old);
    }
    match (claim.get(&old).cloned(), claim.get(&new).cloned()) {
        (Some(source), None) => claim.set(&new, source),
        (None, Some(source)) if source["namespace"].as_str().unwrap_or_default().is_empty() => claim.set(&old, source),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::find;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    fn request(path: &str) -> ResourceRequest {
        crate::request::parse(&crate::registry::Registry::default(), &http::Method::PUT, path, None).unwrap().unwrap()
    }

    #[test]
    fn text_of_a_secret_becomes_data() {
        let secrets = find("", "v1", "secrets").unwrap().1;
        let mut secret = object(json!({"data": {"a": "eA=="}, "stringData": {"a": "y", "b": "z"}}));
        normalize(secrets, &mut secret);
        assert_eq!(secret.into_value(), json!({"data": {"a": "eQ==", "b": "eg=="}}));
    }

    #[test]
    fn updates_keep_status_and_identity_apart() {
        let pods = |rest: &str| request(&format!("/api/v1/namespaces/n/pods/a{rest}"));
        let old = object(
            json!({"metadata": {"name": "a", "uid": "u", "generation": 1}, "spec": {"x": 1}, "status": {"phase": "Running"}}),
        );
        let mut new = object(json!({"metadata": {"name": "b"}, "spec": {"x": 2}, "status": {"phase": "Lied"}}));
        prepare_update(&pods(""), &old, &mut new).unwrap();
        set_generation(&pods(""), &old, &mut new);
        assert_eq!((new.name(), new.uid(), new.generation()), ("a", "u", 2));
        assert_eq!(new.str(&["status", "phase"]), "Running");
        let mut status = object(json!({"spec": {"x": 9}, "status": {"phase": "Failed"}}));
        prepare_update(&pods("/status"), &old, &mut status).unwrap();
        assert_eq!(status.get(&["spec", "x"]), Some(&json!(1)));
        assert_eq!(status.str(&["status", "phase"]), "Failed");
        let mut other = object(json!({"metadata": {"uid": "v"}}));
        assert_eq!(prepare_update(&pods(""), &old, &mut other).unwrap_err().code, 409);
    }

    #[test]
    fn a_status_write_changes_the_metadata_that_upstream_lets_it() {
        let old = object(json!({"metadata": {"name": "a", "labels": {"x": "1"}}}));
        let sent = json!({"metadata": {"labels": {"x": "2"}, "annotations": {"y": "2"}}, "status": {}});
        let written = |path: &str| {
            let mut new = object(sent.clone());
            prepare_update(&request(path), &old, &mut new).unwrap();
            (new.str(&["metadata", "labels", "x"]).to_owned(), new.str(&["metadata", "annotations", "y"]).to_owned())
        };
        let pair = |labels: &str, annotations: &str| (labels.to_owned(), annotations.to_owned());
        assert_eq!(written("/apis/batch/v1/namespaces/n/cronjobs/a/status"), pair("2", "2"));
        assert_eq!(written("/apis/apps/v1/namespaces/n/deployments/a/status"), pair("1", "2"));
        assert_eq!(written("/apis/networking.k8s.io/v1/servicecidrs/a/status"), pair("1", ""));
    }

    #[test]
    fn a_node_gets_no_configuration_from_the_cluster_unless_it_had_one() {
        let sent =
            json!({"metadata": {"name": "a"}, "spec": {"configSource": {}}, "status": {"config": {"error": "e"}}});
        let (own, status) = (request("/api/v1/nodes/a"), request("/api/v1/nodes/a/status"));
        let mut node = object(sent.clone());
        prepare_create(&own, &mut node, "u", "t").unwrap();
        assert!(node.get(&["spec", "configSource"]).is_none() && node.get(&["status", "config"]).is_none());
        let had = object(sent.clone());
        for (old, kept) in [(&node, false), (&had, true)] {
            let (mut spec, mut config) = (object(sent.clone()), object(sent.clone()));
            prepare_update(&own, old, &mut spec).unwrap();
            prepare_update(&status, old, &mut config).unwrap();
            assert_eq!(spec.get(&["spec", "configSource"]).is_some(), kept);
            assert_eq!(config.get(&["status", "config"]).is_some(), kept);
        }
    }

    #[test]
    fn a_job_without_labels_has_its_templates() {
        let jobs = find("batch", "v1", "jobs").unwrap().1;
        let mut job = object(json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}));
        assert!(shares_labels(jobs, &job));
        share_labels(&mut job);
        assert_eq!(job.str(&["metadata", "labels", "a"]), "b");
        assert!(!shares_labels(jobs, &job));
    }

    #[test]
    fn owners_are_named_once() {
        let owner = |uid: &str, name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
        let of = |owners: &[Value]| object(json!({"metadata": {"name": "a", "ownerReferences": owners}}));
        let (one, two, other) = (owner("u", "a"), owner("v", "a"), owner("u", "b"));
        let mut pod = of(&[one.clone(), two.clone(), one.clone(), other.clone(), two.clone(), one.clone()]);
        assert_eq!(drop_repeated_owners(&mut pod), ["u", "v", "u"]);
        assert_eq!(pod, of(&[one, two, other]));
        assert!(drop_repeated_owners(&mut pod).is_empty() && drop_repeated_owners(&mut object(json!({}))).is_empty());
    }

    #[test]
    fn a_version_of_a_new_object_is_refused_after_what_validates() {
        let maps = request("/api/v1/namespaces/n/configmaps/x");
        let mut map = object(json!({"metadata": {"name": "a", "resourceVersion": "1"}}));
        prepare_create(&maps, &mut map, "u", "t").unwrap();
        let told = check_unversioned(&map).unwrap_err();
        assert_eq!(
            (told.code, told.message.as_str()),
            (500, "resourceVersion should not be set on objects to be created")
        );
        assert!(check_unversioned(&object(json!({"metadata": {"name": "a"}}))).is_ok());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let maps = request("/api/v1/namespaces/n/configmaps/x");
        for name in ["", "..", "a/b"] {
            let mut map = object(json!({"metadata": {"name": name}}));
            let made = prepare_create(&maps, &mut map, "u", "t").and_then(|()| check_name(&maps.spec, &map));
            assert_eq!(made.unwrap_err().code, 422, "{name}");
        }
    }
}
