//! Validation: whether an object may be stored, in upstream's words.
//!
//! [`create`] and [`update`] look at objects of built-in kinds whose defaults have been set. They collect everything that is
//! wrong; the answer lists it all. The rules of a kind are in the file of its group; kinds without rules of their own have
//! their metadata checked.

pub(crate) mod address;
mod amounts;
mod autoscaler;
pub mod certificates;
mod claim_status;
mod claims;
mod claims_of_devices;
mod cluster;
mod config;
mod containers;
mod core;
mod counts;
mod cron;
mod env;
mod events;
pub mod field;
mod flow;
mod job_policies;
mod job_status;
mod jobs;
mod limits;
pub mod metadata;
mod mounts;
mod network;
mod paths;
mod placement;
mod pod;
mod pod_status;
mod pod_update;
mod policy;
mod probes;
mod profiles;
mod rbac;
mod remote_volumes;
mod reviews;
mod security;
mod service;
mod service_update;
mod signer;
mod slices;
mod statuses;
mod storage;
mod surroundings;
#[cfg(test)]
mod tests;
pub mod text;
mod volumes;
mod webhooks;
mod windows;
mod workloads;

use serde_json::Value;

use crate::object::Object;
use crate::status::Status;
use field::{Error, Errors, Path};
pub use security::allow_privileged;

/// Whether a new object may be stored.
pub fn create(group: &str, kind: &str, object: &Object) -> Result<(), Status> {
    let mut errors = metadata::create(group, kind, metadata::is_core(group), object);
    errors.extend(whole(group, kind, object));
    errors.extend(match (group, kind) {
        ("", "Pod") => pod::created(object),
        ("batch", "CronJob") => jobs::created(object),
        ("events.k8s.io", "Event") => events::created(object),
        ("networking.k8s.io", "Ingress") => network::created(object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::target(object),
        _ => Errors::new(),
    });
    finished(group, kind, object, &errors)
}

/// Whether a question may be asked: a resource that is answered and not stored.
pub fn review(group: &str, kind: &str, object: &Object) -> Result<(), Status> {
    match (group, kind) {
        ("authorization.k8s.io", "SelfSubjectRulesReview") => Ok(()),
        ("authorization.k8s.io", kind) => finished(group, kind, object, &reviews::whole(kind, object)),
        _ => Ok(()),
    }
}

/// Whether a write of a subresource may be stored. `classes` are what a Pod's quality of service was and would be.
pub fn subresource(
    group: &str,
    kind: &str,
    name: &str,
    old: &Object,
    new: &Object,
    classes: (&str, &str),
) -> Result<(), Status> {
    let mut errors = metadata::update(group, kind, name, old, new);
    errors.extend(match (group, kind, name) {
        ("", "Pod", "status") => pod_status::status(old, new),
        ("", "Pod", "ephemeralcontainers") => pod_status::debugging(old, new),
        ("", "Pod", "resize") => pod_status::resize(old, new, classes),
        ("", "Node", "status") => {
            let mut errors = core::node_status(new);
            errors.extend(core::node_changed(old, new));
            errors
        }
        ("", "Namespace", "status") => core::namespace_status(new),
        ("", "Namespace", "finalize") => core::namespace(new, true),
        ("", "Service", "status") => service::status(new),
        ("", "ResourceQuota", "status") => limits::quota_status(new),
        ("resource.k8s.io", "ResourceClaim", "status") => claim_status::status(old, new),
        ("storage.k8s.io", "VolumeAttachment", "status") => storage::attachment_status(new),
        ("certificates.k8s.io", _, "approval" | "status") => certificates::status(old, new, name == "approval"),
        (_, _, "status") => {
            let mut errors = statuses::status(kind, new);
            errors.extend(counts::status(kind, old, new));
            errors
        }
        _ => Errors::new(),
    });
    finished(group, kind, new, &errors)
}

/// Whether an object may become another. Neither is looked at for what the server keeps in any case.
pub fn update(group: &str, kind: &str, old: &Object, new: &Object) -> Result<(), Status> {
    let mut errors = metadata::update(group, kind, "", old, new);
    let (before, after) = looks(group, kind);
    // What of a StatefulSet may not change is not looked at again: it may be of a time with other rules.
    let fixed: &[&str] = match (group, kind) {
        ("apps", "StatefulSet") => &["spec.serviceName", "spec.volumeClaimTemplates"],
        _ => &[],
    };
    for _ in 0..before {
        let state = whole(group, kind, new).into_iter();
        errors.extend(state.filter(|error| !fixed.iter().any(|field| error.is_within(field))));
    }
    errors.extend(changed(group, kind, old, new));
    for _ in 0..after {
        errors.extend(whole(group, kind, new));
    }
    finished(group, kind, new, &errors)
}

/// How often upstream looks at the new state before it asks what has changed, and how often after. What is wrong is told each
/// time.
fn looks(group: &str, kind: &str) -> (usize, usize) {
    match (group, kind) {
        // What may not change is not looked at for anything else.
        ("resource.k8s.io", "ResourceClaim") | ("networking.k8s.io", "ServiceCIDR") => (0, 0),
        ("storage.k8s.io", "VolumeAttributesClass") => (0, 1),
        ("", "PersistentVolume") | ("batch", "Job") => (2, 0),
        ("", "Node" | "Pod" | "PersistentVolumeClaim" | "ResourceQuota")
        | ("apps", "Deployment" | "ReplicaSet" | "StatefulSet")
        | ("resource.k8s.io", "ResourceClaimTemplate" | "ResourceSlice")
        | (
            "autoscaling"
            | "rbac.authorization.k8s.io"
            | "storage.k8s.io"
            | "node.k8s.io"
            | "events.k8s.io"
            | "discovery.k8s.io",
            _,
        )
        | ("networking.k8s.io", "IPAddress") => (1, 0),
        _ => (0, 1),
    }
}

/// [`create`], or with `old` [`update`], of a custom resource, whose own rules have found `errors`.
pub fn custom(group: &str, kind: &str, old: Option<&Object>, new: &Object, errors: Errors) -> Result<(), Status> {
    let mut all = match old {
        Some(old) => metadata::custom_update(old, new),
        None => metadata::create(group, kind, false, new),
    };
    all.extend(errors);
    finished(group, kind, new, &all)
}

/// What is wrong with how a webhook is to be reached, by URL or as a Service.
pub fn webhook_client(config: &Value, path: &Path, errors: &mut Errors) {
    webhooks::client(config, path, errors);
}

/// What is wrong with a rule that says which requests a webhook or a policy is about.
pub fn webhook_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    webhooks::rule(rule, path, errors);
}

/// What is wrong with the metadata of an object within another, which need not have a name.
pub fn embedded_metadata(metadata: &Value, path: &Path, errors: &mut Errors) {
    metadata::embedded(metadata, path, errors);
}

/// What is wrong with a path whose first part is a domain, as an error at `field`.
pub fn domain_prefixed_path(text: &str, field: &str) -> Result<(), Error> {
    let mut errors = Errors::new();
    jobs::domain_path(text, &Path::new(field), &mut errors);
    errors.into_iter().next().map_or(Ok(()), Err)
}

fn finished(group: &str, kind: &str, object: &Object, errors: &[Error]) -> Result<(), Status> {
    // Events are refused as those of the group that they are stored in.
    let group = if (group, kind) == ("events.k8s.io", "Event") { "" } else { group };
    if errors.is_empty() { Ok(()) } else { Err(field::status(group, kind, object.name(), errors)) }
}

/// The rules for a state.
fn whole(group: &str, kind: &str, object: &Object) -> Errors {
    match (group, kind) {
        ("", "Pod") => pod::whole(object),
        ("", "Node") => core::node(object),
        ("" | "events.k8s.io", "Event") => events::whole(object, !group.is_empty()),
        ("", "Namespace") => core::namespace(object, false),
        ("", "Endpoints") => core::endpoints(object),
        ("", "LimitRange") => limits::range(object),
        ("", "ResourceQuota") => limits::quota(object),
        ("", "PodTemplate") => pod::template(object, &["template"], &Path::new("template")),
        ("", "Service") => service::whole(object),
        ("", "ConfigMap") => config::config_map(object),
        ("", "Secret") => config::secret(object),
        ("", "PersistentVolumeClaim") => claims::whole(object),
        ("", "ReplicationController") | ("apps", _) => workloads::whole(kind, object),
        ("batch", _) => jobs::whole(kind, object),
        ("", "PersistentVolume") | ("storage.k8s.io", _) => storage::whole(kind, object),
        ("resource.k8s.io", _) => claims_of_devices::whole(kind, object),
        ("flowcontrol.apiserver.k8s.io", _) => flow::whole(kind, object),
        ("rbac.authorization.k8s.io", _) => rbac::whole(kind, object),
        ("networking.k8s.io" | "discovery.k8s.io", _) => network::whole(kind, object),
        ("autoscaling" | "policy", _) => policy::whole(kind, object),
        (_, "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => webhooks::configuration(object),
        ("apiregistration.k8s.io", "APIService") => webhooks::service(object),
        _ => cluster::whole(group, kind, object),
    }
}

/// The rules for a change.
fn changed(group: &str, kind: &str, old: &Object, new: &Object) -> Errors {
    match (group, kind) {
        ("", "Pod") => pod_update::changed(old, new),
        ("", "Service") => service_update::changed(old, new),
        ("events.k8s.io", "Event") => events::changed(old, new),
        ("", "Node") => core::node_changed(old, new),
        ("", "ResourceQuota") => limits::quota_changed(old, new),
        ("", "ConfigMap" | "Secret") => config::changed(kind, old, new),
        ("", "PersistentVolumeClaim") => claims::changed(old, new),
        ("apps", _) => workloads::changed(kind, old, new),
        ("batch", _) => jobs::changed(kind, old, new),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::changed(old, new),
        ("", "PersistentVolume") | ("storage.k8s.io", _) => storage::changed(kind, old, new),
        ("resource.k8s.io", _) => claims_of_devices::changed(kind, old, new),
        ("rbac.authorization.k8s.io", _) => rbac::changed(kind, old, new),
        ("networking.k8s.io" | "discovery.k8s.io", _) => network::changed(kind, old, new),
        _ => cluster::changed(group, kind, old, new),
    }
}

/// A list by its field; absent is empty.
fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A string by its field; absent is empty.
fn str_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Whether two values mean the same: what is absent, null or empty is all alike.
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    let lacks = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    };
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            a.keys().chain(b.keys()).all(|key| same(a.get(key), b.get(key)))
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (a, b) => lacks(a) && lacks(b) || a == b,
    }
}

const IMMUTABLE: &str = "field is immutable";

/// That a field has not changed.
fn immutable(old: &Object, new: &Object, path: &[&str], errors: &mut Errors) {
    if !same(old.get(path), new.get(path)) {
        let value = new.get(path).cloned().or_else(|| unset(new, path)).unwrap_or(Value::Null);
        errors.push(Error::invalid(&Path::new(&path.join(".")), value, IMMUTABLE));
    }
}

/// What Go has in a field that is not given and is no pointer: an empty text.
fn unset(object: &Object, path: &[&str]) -> Option<Value> {
    let version = object.api_version();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let (last, way) = path.split_last()?;
    let kind = kinit_schema::kind(group, version, object.kind())?;
    let schema = way.iter().try_fold(kind, |schema, name| schema.field(name)?.message())?;
    let field = schema.field(last)?;
    let plain = field.shape == kinit_schema::Shape::One && !field.pointer;
    let text = matches!(field.element, kinit_schema::Element::Scalar(kinit_schema::Scalar::String));
    (plain && text).then(|| "".into())
}

/// That a number, where there is one, is not negative.
fn not_negative(value: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(number) = value[field].as_i64()
        && number < 0
    {
        errors.push(Error::invalid(&path.child(field), number, "must be greater than or equal to 0"));
    }
}

/// That a text is one of a few. An empty one is required.
fn one_of(value: &Value, field: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    match str_of(value, field) {
        "" => errors.push(Error::required(&path.child(field), "")),
        text if supported.contains(&text) => {}
        text => errors.push(Error::not_supported(&path.child(field), text, supported)),
    }
}

/// The complaints about a text as errors at a field.
fn complain(complaints: text::Complaints, text: &str, path: &Path, errors: &mut Errors) {
    errors.extend(complaints.into_iter().map(|complaint| Error::invalid(path, text, complaint)));
}
