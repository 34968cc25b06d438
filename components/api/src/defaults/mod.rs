//! Defaults: what an object of a built-in kind holds in fields that its writer left out.
//!
//! Most defaults are rows of tables ([`rules`]); the ones that depend on other fields are functions beside them, a file per
//! API group. They start from the form that [`canonical`](crate::canonical) gives, so a field that is empty is absent, and
//! what always stands there is there. Applying them twice changes nothing more.

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod core;
mod discovery;
mod extensions;
mod flowcontrol;
mod image;
mod networking;
mod pod;
mod pod_resources;
mod rbac;
mod resource;
mod resources;
mod rules;
mod storage;
#[cfg(test)]
mod tests;
mod volumes;

use serde_json::{Map, Value};

use crate::canonical::canonicalize;
use crate::object::Object;

pub use batch::job_selector;

/// Sets the defaults of `object`, which is of the named kind. Kinds that are not built in are left as they are.
pub fn apply(group: &str, version: &str, kind: &str, object: &mut Object) {
    let map = object.map_mut();
    if let Some(kind) = kinit_schema::kind(group, version, kind) {
        canonicalize(kind, map);
    }
    match group {
        "" => core::apply(kind, map),
        "apps" => apps::apply(kind, map),
        "batch" => batch::apply(kind, map),
        "autoscaling" => autoscaling::apply(version, kind, map),
        "admissionregistration.k8s.io" => admission::apply(kind, map),
        "apiextensions.k8s.io" | "apiregistration.k8s.io" => extensions::apply(kind, map),
        "authentication.k8s.io" => extensions::authentication(kind, map),
        "discovery.k8s.io" => discovery::apply(kind, map),
        "flowcontrol.apiserver.k8s.io" => flowcontrol::apply(kind, map),
        "networking.k8s.io" => networking::apply(kind, map),
        "rbac.authorization.k8s.io" => rbac::apply(kind, map),
        "resource.k8s.io" => resource::apply(kind, map),
        "scheduling.k8s.io" => storage::scheduling(kind, map),
        "storage.k8s.io" => storage::apply(kind, map),
        _ => {}
    }
}

/// What a Pod's containers want of each resource at once.
pub(crate) fn totals_of_containers(
    spec: &Value,
    field: &str,
) -> std::collections::BTreeMap<String, crate::quantity::Quantity> {
    spec.as_object().map(|spec| pod_resources::totals(spec, field)).unwrap_or_default()
}

/// A list by its field; absent is empty.
fn list<'a>(map: &'a Map<String, Value>, field: &str) -> &'a [Value] {
    map.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A string by its field; absent and other types are empty.
fn text<'a>(map: &'a Map<String, Value>, field: &str) -> &'a str {
    map.get(field).and_then(Value::as_str).unwrap_or_default()
}
