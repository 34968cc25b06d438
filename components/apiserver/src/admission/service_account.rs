//! Every Pod is somebody: its ServiceAccount must exist, and its token is mounted where clients look for it.

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Context, Operation};

const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What has an account's Pods use no Secrets but those that it lists.
const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";
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
    let account = account_of(context, attributes, &name)?;
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
    check(context, attributes, pod)
}

fn account_of(context: &Context<'_>, attributes: &Attributes<'_>, name: &str) -> Result<Object, Status> {
    let namespace = &attributes.request.namespace;
    let found = context.cache.find("", "serviceaccounts", namespace, name).and_then(|entry| entry.object());
    found.ok_or_else(|| {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        attributes.forbidden(why)
    })
}

/// Refuses Secrets that the Pod's account does not name, where an annotation of the account asks for that.
pub fn check(context: &Context<'_>, attributes: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    let creates = attributes.is("pods") && attributes.operation == Operation::Create;
    let debugs = attributes.is("pods/ephemeralcontainers") && attributes.operation == Operation::Update;
    if !creates && !debugs {
        return Ok(());
    }
    if creates && pod.get(&["metadata", "annotations", MIRROR]).is_some() {
        return mirror(attributes, pod);
    }
    let name = pod.str(&["spec", "serviceAccountName"]);
    if name.is_empty() {
        let place = format!("{}/{}", attributes.request.namespace, pod.name());
        return Err(attributes.forbidden(format!("no service account specified for pod {place}")));
    }
    let account = account_of(context, attributes, name)?;
    // What Go reads as true.
    let is_true = |text: &str| matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True");
    if !is_true(account.str(&["metadata", "annotations", MOUNTABLE])) {
        return Ok(());
    }
    match foreign_secret(account.value(), &pod.value()["spec"], debugs) {
        None => Ok(()),
        // Upstream forgets to call this one a refusal.
        Some(why) if debugs => Err(Status::failed(why)),
        Some(why) => Err(attributes.forbidden(why)),
    }
}

/// What a Pod's spec takes of Secrets that its account does not list; only what debugs the Pod is looked at once it is there.
fn foreign_secret(account: &Value, spec: &Value, debugs: bool) -> Option<String> {
    let items = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let listed = |field: &str, name: &str| items(&account[field]).iter().any(|one| one["name"] == name);
    let owner = account["metadata"]["name"].as_str().unwrap_or_default();
    let that = format!("is not allowed because service account {owner} does not reference that");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut kinds = vec![("initContainers", "init container"), ("containers", "container")];
    if debugs {
        kinds = vec![("ephemeralContainers", "ephemeral container")];
    } else {
        for volume in items(&spec["volumes"]).iter().filter(|volume| volume["secret"].is_object()) {
            let name = text(&volume["secret"]["secretName"]);
            if !listed("secrets", &name) {
                return Some(format!("volume with secret.secretName=\"{name}\" {that} secret"));
            }
        }
    }
    for (field, kind) in kinds {
        for container in items(&spec[field]) {
            let shown = format!("{kind} {}", text(&container["name"]));
            for one in items(&container["env"]).iter().filter(|one| one["valueFrom"]["secretKeyRef"].is_object()) {
                let name = text(&one["valueFrom"]["secretKeyRef"]["name"]);
                if !listed("secrets", &name) {
                    let variable = text(&one["name"]);
                    let what = format!("{shown} with envVar {variable} referencing secret.secretName=\"{name}\"");
                    return Some(format!("{what} {that} secret"));
                }
            }
            for one in items(&container["envFrom"]).iter().filter(|one| one["secretRef"].is_object()) {
                let name = text(&one["secretRef"]["name"]);
                if !listed("secrets", &name) {
                    let what = format!("{shown} with envFrom referencing secret.secretName=\"{name}\"");
                    return Some(format!("{what} {that} secret"));
                }
            }
        }
    }
    if debugs {
        return None;
    }
    let pulls = items(&spec["imagePullSecrets"]);
    let mut foreign = pulls.iter().map(|one| text(&one["name"])).enumerate();
    let (index, name) = foreign.find(|(_, name)| !listed("imagePullSecrets", name))?;
    Some(format!("imagePullSecrets[{index}].name=\"{name}\" {that} imagePullSecret"))
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
    fn secrets_are_those_that_an_account_lists() {
        let account =
            json!({"metadata": {"name": "a"}, "secrets": [{"name": "s"}], "imagePullSecrets": [{"name": "p"}]});
        let env =
            |name: &str| json!([{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": name}}}]}]);
        let from = |name: &str| json!([{"name": "c", "envFrom": [{"secretRef": {"name": name}}]}]);
        for (spec, wanted) in [
            (json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}], "containers": env("s")}), None),
            (json!({"imagePullSecrets": [{"name": "p"}], "ephemeralContainers": env("x")}), None),
            (
                json!({"volumes": [{"name": "v", "secret": {"secretName": "x"}}]}),
                Some("volume with secret.secretName=\"x\""),
            ),
            (json!({"containers": env("x")}), Some("container c with envVar E referencing secret.secretName=\"x\"")),
            (
                json!({"initContainers": from("x")}),
                Some("init container c with envFrom referencing secret.secretName=\"x\""),
            ),
        ] {
            let that = "is not allowed because service account a does not reference that secret";
            let wanted = wanted.map(|text| format!("{text} {that}"));
            assert_eq!(foreign_secret(&account, &spec, false), wanted, "{spec}");
        }
        let told = foreign_secret(&account, &json!({"imagePullSecrets": [{"name": "p"}, {"name": "x"}]}), false);
        let text = "imagePullSecrets[1].name=\"x\" is not allowed because service account a does not reference that imagePullSecret";
        assert_eq!(told.as_deref(), Some(text));
        let told = foreign_secret(&account, &json!({"containers": env("x"), "ephemeralContainers": from("x")}), true);
        assert!(told.is_some_and(|told| told.starts_with("ephemeral container c with envFrom")));
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
