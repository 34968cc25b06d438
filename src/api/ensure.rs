//! Making an object be there.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use super::{Api, Error, Verb};
use crate::host::Change;

const PAUSE: Duration = Duration::from_millis(100);

/// The kinds that kinit writes: kind, plural, whether they live in a namespace.
const KINDS: &[(&str, &str, bool)] = &[
    ("ClusterRole", "clusterroles", false),
    ("ClusterRoleBinding", "clusterrolebindings", false),
    ("ConfigMap", "configmaps", true),
    ("DaemonSet", "daemonsets", true),
    ("Deployment", "deployments", true),
    ("Node", "nodes", false),
    ("Role", "roles", true),
    ("RoleBinding", "rolebindings", true),
    ("Secret", "secrets", true),
    ("Service", "services", true),
    ("ServiceAccount", "serviceaccounts", true),
];

/// Path of the collection that an object belongs to, and of the object.
pub fn object_path(object: &Value) -> Result<(String, String), Error> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    let unknown = || Error::Kind { api_version: api_version.to_owned(), kind: kind.to_owned() };
    let (_, plural, namespaced) = KINDS.iter().find(|(known, ..)| *known == kind).ok_or_else(unknown)?;
    let root = if api_version.contains('/') { "/apis" } else { "/api" };
    let collection = if *namespaced {
        format!("{root}/{api_version}/namespaces/{}/{plural}", text("/metadata/namespace"))
    } else {
        format!("{root}/{api_version}/{plural}")
    };
    let name = text("/metadata/name");
    Ok((collection.clone(), format!("{collection}/{name}")))
}

/// Makes an object be there with at least the fields given, waiting out a cluster that is still coming up.
pub async fn ensure(api: &dyn Api, object: &Value) -> Result<Change, Error> {
    patiently(api, &[409], || ensure_once(api, object).boxed()).await
}

/// Tries again what fails because the cluster is still coming up, or with one of `codes`, as long as the API's patience lasts.
async fn patiently<'a, T>(
    api: &dyn Api,
    codes: &[u16],
    attempt: impl Fn() -> BoxFuture<'a, Result<T, Error>>,
) -> Result<T, Error> {
    let end = Instant::now() + api.patience();
    loop {
        match attempt().await {
            Err(error)
                if (error.is_passing() || error.code().is_some_and(|code| codes.contains(&code)))
                    && Instant::now() < end =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

async fn ensure_once(api: &dyn Api, object: &Value) -> Result<Change, Error> {
    let (collection, path) = object_path(object)?;
    match api.call(Verb::Post, &collection, Some(object)).await {
        Ok(_) => return Ok(Change::Changed),
        Err(Error::Refused { code: 409, .. }) => {}
        // A Service that is there holds its own address, which another of its name cannot have.
        Err(error) if error.code() == Some(422) => match get(api, &path).await {
            Ok(Some(_)) => {}
            _ => return Err(error),
        },
        Err(error) => return Err(error),
    }
    let present = api.call(Verb::Get, &path, None).await?;
    if covers(&present, object) {
        return Ok(Change::Unchanged);
    }
    let mut wanted = object.clone();
    if let (Some(version), Some(metadata)) =
        (present.pointer("/metadata/resourceVersion"), wanted.get_mut("metadata").and_then(Value::as_object_mut))
    {
        metadata.insert("resourceVersion".into(), version.clone());
    }
    api.call(Verb::Put, &path, Some(&wanted)).await?;
    Ok(Change::Changed)
}

/// Whether `present` has all that `wanted` says. Lists must have the same length: an element more is a difference.
/// `stringData` of a Secret is never seen again, so it never matches.
fn covers(present: &Value, wanted: &Value) -> bool {
    match (present, wanted) {
        (Value::Object(present), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            let empty = value.is_null() || value.as_object().is_some_and(|object| object.is_empty());
            present.get(key).map_or(empty, |found| covers(found, value))
        }),
        (Value::Array(present), Value::Array(wanted)) => {
            present.len() == wanted.len() && present.iter().zip(wanted).all(|(found, value)| covers(found, value))
        }
        (present, wanted) => present == wanted,
    }
}

/// Reads an object; `None` when it is not there.
pub async fn get(api: &dyn Api, path: &str) -> Result<Option<Value>, Error> {
    match api.call(Verb::Get, path, None).await {
        Ok(value) => Ok(Some(value)),
        Err(Error::Refused { code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Patches an object, waiting out a cluster that is still coming up.
pub async fn patch(api: &dyn Api, path: &str, verb: Verb, body: &Value) -> Result<Value, Error> {
    patiently(api, &[404, 409], || api.call(verb, path, Some(body))).await
}

/// Deletes an object that was there a moment ago, waiting out a cluster that does not answer just now.
pub async fn take_back(api: &dyn Api, path: &str) -> Result<bool, Error> {
    patiently(api, &[409], || delete(api, path).boxed()).await
}

/// Deletes an object; says whether it was there.
pub async fn delete(api: &dyn Api, path: &str) -> Result<bool, Error> {
    match api.call(Verb::Delete, path, None).await {
        Ok(_) => Ok(true),
        Err(Error::Refused { code: 404, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_follow_the_kind() {
        for (api_version, kind, namespace, wanted) in [
            ("v1", "ConfigMap", "kube-system", "/api/v1/namespaces/kube-system/configmaps/x"),
            ("v1", "Node", "", "/api/v1/nodes/x"),
            ("apps/v1", "DaemonSet", "a", "/apis/apps/v1/namespaces/a/daemonsets/x"),
            ("rbac.authorization.k8s.io/v1", "ClusterRole", "", "/apis/rbac.authorization.k8s.io/v1/clusterroles/x"),
        ] {
            let object =
                json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "namespace": namespace}});
            assert_eq!(object_path(&object).unwrap().1, wanted);
        }
        assert!(object_path(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}})).is_err());
    }

    #[test]
    fn what_covers_what() {
        let present = json!({"a": 1, "b": {"c": [1, {"d": 2, "e": 3}]}, "more": true});
        assert!(covers(&present, &json!({"a": 1, "b": {"c": [1, {"d": 2}]}})));
        assert!(covers(&present, &json!({"empty": {}})));
        for other in [json!({"a": 2}), json!({"b": {"c": [1]}}), json!({"x": 1}), json!({"b": {"c": [1, {"d": 9}]}})] {
            assert!(!covers(&present, &other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_service_that_has_its_address_is_left_alone() {
        let api = crate::api::MemoryApi::default();
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns", "namespace": "a"},
            "spec": {"clusterIP": "10.96.0.10"}});
        assert_eq!(ensure(&api, &service).await.unwrap(), Change::Changed);
        assert_eq!(ensure(&api, &service).await.unwrap(), Change::Unchanged);
    }
}
