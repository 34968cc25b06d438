//! Telling the API of a pod's status; a static pod's goes to its image in the API.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::conditions::RESIZING;
use super::facts;
use crate::context::Context;
use crate::error::{Error, Result};

/// How long the API server may take to say something before it is asked again later.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a status; gives the version of the pod that has it. A pod that the API no longer has is not an error; the watch
/// will tell.
pub async fn send(context: &Context, pod: &Pod, status: &PodStatus) -> Result<Option<u64>> {
    let api: Api<Pod> = Api::namespaced(context.client()?, facts::namespace(pod));
    let mut uid = pod.metadata.uid.clone();
    if facts::is_static(pod) {
        uid = mirror(context, &api, pod).await?.metadata.uid;
    }
    let patch = patch(uid, status);
    match api.patch_status(facts::name(pod), &PatchParams::default(), &Patch::Strategic(patch)).await {
        // A pod of the same name in its place has another uid.
        Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => Ok(None),
        other => Ok(version(&other?)),
    }
}

/// The version of an object as a number. Versions of one resource rise, and since v1.35 clients may rely on it.
fn version(pod: &Pod) -> Option<u64> {
    pod.metadata.resource_version.as_deref()?.parse().ok()
}

/// Whether somebody else has changed the kubelet's own conditions since it told them at version `told`.
pub fn is_overwritten(pod: &Pod, status: &PodStatus, told: Option<u64>) -> bool {
    if version(pod) <= told || told.is_none() {
        return false;
    }
    let ready = |status: &PodStatus| {
        let all = status.conditions.iter().flatten();
        all.into_iter().find(|one| one.type_ == "Ready").map(|one| one.status.clone())
    };
    pod.status.as_ref().is_some_and(|theirs| ready(theirs) != ready(status))
}

/// The strategic patch that makes the API's status this one. A merge keeps what it is not told to drop: fields that
/// are unset are sent as nulls, and lists that merge by key replace what was there.
fn patch(uid: Option<String>, status: &PodStatus) -> Value {
    let mut value = json!(status);
    for field in ["reason", "message", "podIP"] {
        if value.get(field).is_none() {
            value[field] = Value::Null;
        }
    }
    for field in ["podIPs", "hostIPs"] {
        if let Some(all) = value.get_mut(field).and_then(Value::as_array_mut) {
            all.insert(0, json!({"$patch": "replace"}));
        }
    }
    if let Some(all) = value.get_mut("conditions").and_then(Value::as_array_mut) {
        for kind in RESIZING {
            if !all.iter().any(|one| one["type"] == kind) {
                all.push(json!({"$patch": "delete", "type": kind}));
            }
        }
    }
    for condition in value.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if condition.get("$patch").is_some() {
            continue;
        }
        for field in ["reason", "message"] {
            if condition.get(field).is_none() {
                condition[field] = Value::Null;
            }
        }
    }
    json!({"metadata": {"uid": uid}, "status": value})
}

/// The API's image of a static pod, made anew when it is of an earlier manifest.
async fn mirror(context: &Context, api: &Api<Pod>, pod: &Pod) -> Result<Pod> {
    let hash = facts::annotation(pod, facts::HASH).unwrap_or_default();
    let found = match api.get_opt(facts::name(pod)).await {
        // A kubelet may look at the pods of its node alone, and one that is not there yet is none of them.
        Err(kube::Error::Api(answer)) if answer.code == 403 => None,
        other => other?,
    };
    if let Some(found) = found {
        if facts::annotation(&found, facts::MIRROR) == Some(hash) && found.metadata.deletion_timestamp.is_none() {
            return Ok(found);
        }
        delete(api, &found).await?;
    }
    let Some(node_uid) = context.node_uid.read().clone() else { return Err(Error::NotConnected) };
    let mut made = pod.clone();
    made.metadata.uid = None;
    made.status = None;
    made.metadata.annotations.get_or_insert_default().insert(facts::MIRROR.into(), hash.into());
    made.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: context.node_name.clone(),
        uid: node_uid,
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    Ok(api.create(&PostParams::default(), &made).await?)
}

/// Deletes a pod at once whose containers have ended, or which is an image; no other that took its name.
pub async fn delete(api: &Api<Pod>, pod: &Pod) -> Result<()> {
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let params =
        DeleteParams { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..Default::default() };
    match api.delete(facts::name(pod), &params).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => {
            other?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_may_be_overwritten() {
        let status = |ready: &str| -> PodStatus {
            serde_json::from_value(json!({"conditions": [{"type": "Ready", "status": ready}]})).unwrap()
        };
        let pod = |version: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"resourceVersion": version}, "status": status("False")}))
                .unwrap()
        };
        assert!(is_overwritten(&pod("12"), &status("True"), Some(11)));
        assert!(!is_overwritten(&pod("12"), &status("False"), Some(11)));
        assert!(!is_overwritten(&pod("12"), &status("True"), Some(12)));
        assert!(!is_overwritten(&pod("12"), &status("True"), None));
    }

    #[test]
    fn what_is_unset_is_dropped() {
        let status: PodStatus = serde_json::from_value(json!({"phase": "Running", "podIP": "1.1.1.1",
            "podIPs": [{"ip": "1.1.1.1"}], "conditions": [{"type": "Ready", "status": "True"}]}))
        .unwrap();
        let patch = patch(Some("u".into()), &status);
        assert_eq!(patch["metadata"]["uid"], "u");
        assert_eq!(patch["status"]["podIPs"], json!([{"$patch": "replace"}, {"ip": "1.1.1.1"}]));
        assert_eq!(patch["status"]["podIP"], "1.1.1.1");
        let condition = &patch["status"]["conditions"][0];
        assert!(condition.get("reason").is_some_and(Value::is_null), "{patch}");
        assert!(patch["status"].get("message").is_some_and(Value::is_null), "{patch}");
    }
}
