//! Phase `upload-config`: the configuration, kept in the cluster in kubeadm's format for later joins and upgrades.

use futures::FutureExt;
use serde_json::{Value, json};

use super::init::InitContext;
use super::{Phase, Result, kubelet};
use crate::agent::{ANNOTATION, LOCAL_ENDPOINT};
use crate::api::{self, Api};
use crate::host::Change;
use crate::templates;

/// Phase `cluster-admins`: until it has run, only super-admin.conf may do anything.
pub const ADMINS: Phase<InitContext> =
    Phase::leaf("cluster-admins", "makes the group of admin.conf administrators", |context| {
        async move {
            let objects = templates::objects(templates::CLUSTER_ADMINS, json!({}))?;
            Ok(ensure_all(context.super_api.as_ref(), &objects).await?.into())
        }
        .boxed()
    });

/// Phase `upload-config`.
pub const PHASE: Phase<InitContext> = Phase::node(
    "upload-config",
    "keeps the configuration in the cluster",
    &[
        Phase::leaf("kubeadm", "keeps the ClusterConfiguration in ConfigMap kubeadm-config", |context| {
            async move { kubeadm(context).await }.boxed()
        }),
        Phase::leaf("kubelet", "keeps the KubeletConfiguration in ConfigMap kubelet-config", |context| {
            async move { kubelet_config(context).await }.boxed()
        }),
    ],
);

/// Makes all objects be there, in their order.
pub async fn ensure_all(api: &dyn Api, objects: &[Value]) -> std::result::Result<Change, api::Error> {
    let mut change = Change::Unchanged;
    for object in objects {
        change = change.or(api::ensure(api, object).await?);
    }
    Ok(change)
}

fn config_map(name: &str, key: &str, text: String) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": {key: text},
    })
}

async fn kubeadm(context: &InitContext) -> Result {
    let text = serde_yaml::to_string(&context.settings.cluster.to_document())?;
    let mut map = config_map("kubeadm-config", "ClusterConfiguration", text);
    if context.settings.cluster.balanced {
        map["metadata"]["annotations"] = json!({ANNOTATION: LOCAL_ENDPOINT});
    }
    let mut objects = vec![map];
    objects.extend(templates::objects(templates::CONFIG_MAPS, json!({}))?);
    Ok(ensure_all(context.api.as_ref(), &objects).await?.into())
}

async fn kubelet_config(context: &InitContext) -> Result {
    let settings = &context.settings;
    let config = kubelet::configuration(context.host.as_ref(), &settings.cluster, &settings.node)?;
    let object = config_map("kubelet-config", "kubelet", serde_yaml::to_string(&config)?);
    Ok(api::ensure(context.api.as_ref(), &object).await?.into())
}
