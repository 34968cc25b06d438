//! What a cluster says of itself when it is to be upgraded.

use serde_json::Value;

use super::Version;
use crate::api::{self, Api};
use crate::config::settings::{HostDefaults, InitOverrides};
use crate::config::v1beta4::{ApiEndpoint, ClusterConfiguration, InitConfiguration, NodeRegistration};
use crate::config::{Documents, InitSettings, NodeSettings};

const CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config";
/// Where kubeadm and kinit note the address of a node's API server.
const ADDRESS: &str = "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint";

/// The cluster before the upgrade.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// The version that it runs.
    pub version: Version,
    /// Its configuration, of that version.
    pub configuration: ClusterConfiguration,
    /// The configuration of its kubelets, without what is each host's own.
    pub kubelet: Option<Value>,
    /// The configuration of kube-proxy.
    pub proxy: Option<Value>,
    /// Whether its nodes have a balancer each.
    pub balanced: bool,
    /// Its kubelets by node; none where a worker asks, which may not list them.
    pub kubelets: Vec<(String, Version)>,
}

impl Cluster {
    /// Asks the cluster.
    pub async fn read(api: &dyn Api) -> anyhow::Result<Self> {
        let configuration = configuration(api).await?;
        let version = configuration.kubernetes_version.parse().map_err(anyhow::Error::msg)?;
        let nodes = match api::get(api, "/api/v1/nodes").await {
            Err(error) if error.code() == Some(403) => Value::Null,
            other => other?.unwrap_or_default(),
        };
        let balanced = api::get(api, CONFIG).await?.is_some_and(|object| crate::agent::is_balanced(&object));
        let mut kubelets = Vec::new();
        for node in nodes["items"].as_array().into_iter().flatten() {
            let text = |pointer: &str| node.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            if let Ok(version) = text("/status/nodeInfo/kubeletVersion").parse() {
                kubelets.push((text("/metadata/name").to_owned(), version));
            }
        }
        let mut kubelet = document(api, "kubelet-config", "kubelet").await;
        if let Some(fields) = kubelet.as_mut().and_then(Value::as_object_mut) {
            for own in ["cgroupDriver", "containerRuntimeEndpoint", "resolvConf"] {
                fields.remove(own);
            }
        }
        let proxy = document(api, "kube-proxy", "config.conf").await;
        Ok(Self { version, configuration, kubelet, proxy, balanced, kubelets })
    }
}

/// A document in a ConfigMap; `None` where there is none, or a worker may not read it.
async fn document(api: &dyn Api, name: &str, key: &str) -> Option<Value> {
    let path = format!("/api/v1/namespaces/kube-system/configmaps/{name}");
    let object = api::get(api, &path).await.ok()??;
    serde_yaml::from_str(object.pointer("/data")?.get(key)?.as_str()?).ok()
}

/// The configuration that is kept in the cluster.
pub async fn configuration(api: &dyn Api) -> anyhow::Result<ClusterConfiguration> {
    let object = api::get(api, CONFIG).await?.ok_or_else(|| {
        anyhow::anyhow!("the cluster has no ConfigMap kubeadm-config\nhint: was it made by kinit or kubeadm? `kinit init phase upload-config kubeadm` writes it again\ncode: ClusterConfig")
    })?;
    let text = object.pointer("/data/ClusterConfiguration").and_then(Value::as_str);
    let text = text
        .ok_or_else(|| anyhow::anyhow!("ConfigMap kubeadm-config has no ClusterConfiguration\ncode: ClusterConfig"))?;
    let documents = Documents::parse(text, "kubeadm-config")?;
    documents
        .cluster
        .ok_or_else(|| anyhow::anyhow!("ConfigMap kubeadm-config has no ClusterConfiguration\ncode: ClusterConfig"))
}

/// What this build would write on the control plane `node`, whose static pod of the API server is `manifest`.
pub fn settings(
    cluster: &Cluster,
    node: &NodeSettings,
    manifest: &Value,
    flags: InitOverrides,
) -> anyhow::Result<InitSettings> {
    let annotation = manifest.pointer("/metadata/annotations").and_then(|all| all.get(ADDRESS)).and_then(Value::as_str);
    let endpoint = annotation.ok_or_else(|| {
        anyhow::anyhow!("the manifest of kube-apiserver does not say where it is reached\nhint: it has the annotation {ADDRESS} when kinit or kubeadm wrote it")
    })?;
    let (address, port) = crate::config::net::split_host_port(endpoint, crate::config::settings::API_PORT)
        .map_err(|reason| anyhow::anyhow!("{ADDRESS}: {endpoint:?} {reason}"))?;
    let documents = Documents {
        init: Some(InitConfiguration {
            local_api_endpoint: ApiEndpoint { advertise_address: address, bind_port: port },
            node_registration: NodeRegistration {
                name: node.name.clone(),
                cri_socket: node.cri_socket.clone(),
                taints: Some(Vec::new()),
                ..NodeRegistration::default()
            },
            ..InitConfiguration::default()
        }),
        // The version is the one that this build brings.
        cluster: Some(ClusterConfiguration { kubernetes_version: String::new(), ..cluster.configuration.clone() }),
        kubelet: cluster.kubelet.clone(),
        proxy: cluster.proxy.clone(),
        ..Documents::default()
    };
    let host = HostDefaults { host_name: node.host_name.clone(), address: None, cri_socket: None };
    let mut settings = InitSettings::resolve(documents, flags, &host)?;
    settings.cluster.balanced = cluster.balanced;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::MemoryApi;
    use serde_json::json;

    #[tokio::test]
    async fn an_older_cluster_is_read_and_its_settings_are_those_of_this_build() {
        let api = MemoryApi::default();
        let text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.35.2\n\
                    networking:\n  podSubnet: 10.9.0.0/16\n";
        api.put(CONFIG, json!({"data": {"ClusterConfiguration": text}}));
        api.put(
            "/api/v1/namespaces/kube-system/configmaps/kubelet-config",
            json!({"data": {"kubelet": "maxPods: 7\ncgroupDriver: x\n"}}),
        );
        let node = |name: &str, version: &str| json!({"metadata": {"name": name}, "status": {"nodeInfo": {"kubeletVersion": version}}});
        api.put("/api/v1/nodes", json!({"items": [node("cp1", "v1.35.2"), node("w1", "v1.34.0")]}));
        let cluster = Cluster::read(&api).await.unwrap();
        assert_eq!((cluster.version.minor, cluster.kubelets.len()), (35, 2));
        let host = HostDefaults { host_name: "cp1".into(), address: None, cri_socket: None };
        let node = NodeSettings::resolve(&NodeRegistration::default(), &host, true).unwrap();
        let manifest = json!({"metadata": {"annotations": {ADDRESS: "10.0.0.7:7443"}}});
        let settings = settings(&cluster, &node, &manifest, InitOverrides::default()).unwrap();
        assert_eq!(settings.cluster.kubernetes_version, kinit_version::kubernetes());
        assert_eq!((settings.advertise_address.to_string().as_str(), settings.bind_port), ("10.0.0.7", 7443));
        assert_eq!(settings.cluster.kubelet, Some(json!({"maxPods": 7})));
        assert_eq!(settings.cluster.pod_subnet.to_string(), "10.9.0.0/16");
    }
}
