//! Every Pod is somebody: its ServiceAccount must exist, and its token is mounted where clients look for it.

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Context, Operation};

const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Seconds of a token's life that stand for "as long as clients which never read it again need"; upstream's number.
pub const WARN_ONLY_SECONDS: i64 = 3607;

pub fn admit(context: &Context<'_>, attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    if !attributes.is("pods") || attributes.operation != Operation::Create {
        return Ok(());
    }
    if pod.get(&["metadata", "annotations", MIRROR]).is_some() {
        return mirror(attributes, pod);
    }
    if pod.str(&["spec", "serviceAccountName"]).is_empty() {
        pod.set(&["spec", "serviceAccountName"], "default");
    }
    let name = pod.str(&["spec", "serviceAccountName"]).to_owned();
    pod.set(&["spec", "serviceAccount"], name.clone());
    let namespace = &attributes.request.namespace;
    let account = context.cache.find("", "serviceaccounts", namespace, &name).and_then(|entry| entry.object());
    let Some(account) = account else {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(attributes.forbidden(why));
    };
    let automount = pod
        .get(&["spec", "automountServiceAccountToken"])
        .or_else(|| account.get(&["automountServiceAccountToken"]))
        .and_then(Value::as_bool)
        .unwrap_or(true);
    if automount {
        mount_token(pod, &volume_name());
    }
    let no_secrets =
        pod.get(&["spec", "imagePullSecrets"]).and_then(Value::as_array).is_none_or(std::vec::Vec::is_empty);
    if let (true, Some(secrets)) = (no_secrets, account.get(&["imagePullSecrets"])) {
        pod.set(&["spec", "imagePullSecrets"], secrets.clone());
    }
    Ok(())
}

/// A mirror Pod is a picture of a static one, which the kubelet runs without asking: it can use nothing of the API.
fn mirror(attributes: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    if !pod.str(&["spec", "serviceAccountName"]).is_empty() {
        return Err(attributes.forbidden("a mirror pod may not reference service accounts"));
    }
    let tree = pod.value();
    let volumes = tree["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut sources = volumes.iter().flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    if sources.any(|source| source.get("serviceAccountToken").is_some()) {
        return Err(attributes.forbidden("a mirror pod may not use ServiceAccountToken volume projections"));
    }
    if uses_secrets(&tree["spec"]) {
        return Err(attributes.forbidden("a mirror pod may not reference secrets"));
    }
    Ok(())
}

/// Whether Pods have Secrets as volumes or in the environment of a container.
fn uses_secrets(spec: &Value) -> bool {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let containers = ["initContainers", "containers", "ephemeralContainers"].map(|field| items(&spec[field])).concat();
    let in_env = |container: &Value| {
        items(&container["env"]).iter().any(|one| one["valueFrom"].get("secretKeyRef").is_some())
            || items(&container["envFrom"]).iter().any(|one| one.get("secretRef").is_some())
    };
    let in_volume = |volume: &Value| {
        let kinds = volume.as_object().into_iter().flatten().map(|(_, kind)| kind);
        let named = |kind: &Value| kind["secretRef"].is_object() || kind["nodePublishSecretRef"].is_object();
        volume.get("secret").is_some()
            || volume.get("azureFile").is_some()
            || items(&volume["projected"]["sources"]).iter().any(|source| source["secret"].is_object())
            || kinds.into_iter().any(named)
    };
    !items(&spec["imagePullSecrets"]).is_empty()
        || items(&spec["volumes"]).iter().any(in_volume)
        || containers.iter().any(in_env)
}

fn volume_name() -> String {
    format!("{VOLUME_PREFIX}{}", crate::names::suffix())
}

/// Adds the token's mount to every container that has nothing there, and the volume if one needs it.
fn mount_token(pod: &mut Object, new_name: &str) {
    let volumes = pod.get(&["spec", "volumes"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let existing =
        volumes.iter().filter_map(|volume| volume["name"].as_str()).find(|name| name.starts_with(VOLUME_PREFIX));
    let name = existing.unwrap_or(new_name).to_owned();
    let exists = existing.is_some();
    let mut needed = false;
    for field in ["initContainers", "containers"] {
        let Some(containers) = pod.get_mut(&["spec", field]).and_then(Value::as_array_mut) else { continue };
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            needed = true;
        }
    }
    if needed && !exists {
        let mut volumes = volumes;
        volumes.push(json!({"name": name, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": WARN_ONLY_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
            ]}},
        ]}}));
        pod.set(&["spec", "volumes"], volumes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_in_volumes_and_environments() {
        for (spec, uses) in [
            (json!({"containers": [{"name": "c", "env": [{"name": "A", "value": "b"}]}]}), false),
            (json!({"volumes": [{"name": "v", "secret": {}}]}), true),
            (json!({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]}), true),
            (json!({"volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "s"}}]}}]}), false),
            (json!({"volumes": [{"name": "v", "csi": {"nodePublishSecretRef": {"name": "s"}}}]}), true),
            (json!({"imagePullSecrets": [{"name": "s"}]}), true),
            (json!({"containers": [{"envFrom": [{"configMapRef": {}}, {"secretRef": {"name": "s"}}]}]}), true),
            (json!({"initContainers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]}]}), true),
        ] {
            assert_eq!(uses_secrets(&spec), uses, "{spec}");
        }
    }

    #[test]
    fn a_token_is_mounted_where_there_is_room() {
        let mut pod = Object::from_value(json!({"spec": {
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}],
        }}))
        .unwrap();
        mount_token(&mut pod, "kube-api-access-x");
        let tree = pod.clone().into_value();
        assert_eq!(tree["spec"]["initContainers"][0]["volumeMounts"][0]["name"], "kube-api-access-x");
        assert_eq!(tree["spec"]["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
        assert_eq!(tree["spec"]["volumes"].as_array().unwrap().len(), 1);
        // Doing it again changes nothing.
        mount_token(&mut pod, "kube-api-access-y");
        assert_eq!(pod.into_value(), tree);
    }
}
