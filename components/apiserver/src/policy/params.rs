//! What a binding parametrizes its policy with.

use kinit_api::object::Object;
use kinit_api::selector::LabelSelector;
use serde_json::Value;

use crate::admission::{Attributes, Context};

/// Whether the kind of a policy's parameters is served, if it has any; the error is one of configuration.
pub(super) fn known(context: &Context<'_>, kind: &Value) -> Result<(), String> {
    if kind.is_null() {
        return Ok(());
    }
    let text = |field: &str| kind[field].as_str().unwrap_or_default();
    let (api_version, name) = (text("apiVersion"), text("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let found = context.cache.registry().find_kind(group, version, name);
    found.map(|_| ()).ok_or_else(|| unserved(api_version, name))
}

fn unserved(api_version: &str, kind: &str) -> String {
    format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'")
}

/// The parameters to evaluate a policy with, one after another; the error is one of configuration. A policy without
/// parameters is evaluated once.
pub(super) fn collect(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    kind: &Value,
    reference: &Value,
) -> Result<Vec<Option<Object>>, String> {
    if kind.is_null() || reference.is_null() {
        return Ok(vec![None]);
    }
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(kind, "apiVersion"), text(kind, "kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let registry = context.cache.registry();
    let Some((index, spec)) = registry.find_kind(group, version, &kind) else {
        return Err(unserved(&api_version, &kind));
    };
    let (mut namespace, name) = (text(reference, "namespace"), text(reference, "name"));
    if spec.namespaced() {
        if namespace.is_empty() {
            namespace = attributes.request.namespace.clone();
        }
        if namespace.is_empty() {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into());
        }
    } else if !namespace.is_empty() {
        return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
    }
    let shown = |object: Object| {
        let mut object = crate::view::shown(&spec, object);
        object.set(&["apiVersion"], api_version.clone());
        object.set(&["kind"], kind.clone());
        object
    };
    let found: Vec<Option<Object>> = if name.is_empty() {
        let selector = LabelSelector::from_object(&reference["selector"]).map_err(|error| error.to_string())?;
        let (all, _) = context.cache.list(index);
        let selected = all.values().filter(|entry| {
            (!spec.namespaced() || entry.namespace() == namespace) && selector.matches(&entry.labels())
        });
        selected.filter_map(|entry| entry.object()).map(|object| Some(shown(object))).collect()
    } else {
        let entry = context.cache.find_in(index, &namespace, &name);
        entry.and_then(|entry| entry.object()).map(|object| Some(shown(object))).into_iter().collect()
    };
    if found.is_empty() && reference["parameterNotFoundAction"] == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found)
}
