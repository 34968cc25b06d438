//! Having the pods that run on every node take the images of this build, on a node whose images came after the upgrade of
//! the control plane: its pods were replaced before, by ones of the images that were there.

use serde_json::Value;

use crate::api::{self, Api};

/// Deletes this node's pods of DaemonSets that run an image of `repository` whose name is `wanted`; gives their names. The
/// DaemonSets make them anew.
pub async fn restart(
    api: &dyn Api,
    node: &str,
    repository: &str,
    wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<String>> {
    let path = format!("/api/v1/namespaces/kube-system/pods?fieldSelector=spec.nodeName%3D{node}");
    let pods = api::get(api, &path).await?.unwrap_or_default();
    let mut names = Vec::new();
    for pod in pods["items"].as_array().into_iter().flatten().filter(|pod| is_daemon(pod, repository, &wanted)) {
        let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        api::delete(api, &format!("/api/v1/namespaces/kube-system/pods/{name}")).await?;
        names.push(name.to_owned());
    }
    Ok(names)
}

fn is_daemon(pod: &Value, repository: &str, wanted: impl Fn(&str) -> bool) -> bool {
    let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let owned = list("/metadata/ownerReferences").any(|owner| owner["kind"] == "DaemonSet");
    let name = |image: &str| Some(image.strip_prefix(repository)?.strip_prefix('/')?.split(':').next()?.to_owned());
    owned && list("/spec/containers").any(|one| one["image"].as_str().and_then(name).is_some_and(|name| wanted(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::MemoryApi;
    use serde_json::json;

    #[tokio::test]
    async fn only_this_clusters_daemons_go() {
        let pod = |name: &str, owner: &str, image: &str| {
            json!({
                "metadata": {"name": name, "ownerReferences": [{"kind": owner}]},
                "spec": {"containers": [{"image": image}]},
            })
        };
        let pods = [
            pod("kube-proxy-1", "DaemonSet", "kinit.local/kube-proxy:v1"),
            pod("kinit-network-1", "DaemonSet", "kinit.local/kinit-network:v1"),
            pod("mine", "DaemonSet", "example.org/kube-proxy:v1"),
            pod("cluster-dns-1", "ReplicaSet", "kinit.local/cluster-dns:v1"),
        ];
        let api = MemoryApi::default();
        api.put("/api/v1/namespaces/kube-system/pods?fieldSelector=spec.nodeName%3Dw1", json!({"items": pods}));
        for pod in &pods {
            let name = pod["metadata"]["name"].as_str().unwrap();
            api.put(&format!("/api/v1/namespaces/kube-system/pods/{name}"), pod.clone());
        }
        let proxy = |name: &str| name == "kube-proxy";
        assert_eq!(restart(&api, "w1", "kinit.local", proxy).await.unwrap(), ["kube-proxy-1"]);
        assert!(api.object("/api/v1/namespaces/kube-system/pods/kinit-network-1").is_some());
        assert!(api.object("/api/v1/namespaces/kube-system/pods/kube-proxy-1").is_none());
        assert!(api.object("/api/v1/namespaces/kube-system/pods/mine").is_some());
    }
}
