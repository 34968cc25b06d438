//! Reading a configuration file: several YAML documents, each told apart by its kind.

use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_json::Value;

use super::Error;
use super::components::Typed;
use super::v1beta4::{
    API_VERSION, ClusterConfiguration, InitConfiguration, JoinConfiguration, ResetConfiguration, UpgradeConfiguration,
};

const KUBELET_API: &str = "kubelet.config.k8s.io/v1beta1";
const PROXY_API: &str = "kubeproxy.config.k8s.io/v1alpha1";

/// What one file held; absent documents are `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Documents {
    /// `InitConfiguration`.
    pub init: Option<InitConfiguration>,
    /// `ClusterConfiguration`.
    pub cluster: Option<ClusterConfiguration>,
    /// `JoinConfiguration`.
    pub join: Option<JoinConfiguration>,
    /// `ResetConfiguration`.
    pub reset: Option<ResetConfiguration>,
    /// `UpgradeConfiguration`.
    pub upgrade: Option<UpgradeConfiguration>,
    /// `KubeletConfiguration`, laid over kinit's own.
    pub kubelet: Option<Value>,
    /// `KubeProxyConfiguration`, laid over kinit's own.
    pub proxy: Option<Value>,
}

impl Documents {
    /// Reads a file; no file gives no documents.
    pub fn load(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self::default()) };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: name.clone(), source })?;
        Self::parse(&text, &name)
    }

    /// Parses the text of a file called `name`.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let mut all = Self::default();
        let invalid = |reason: String| Error::Invalid { path: name.to_owned(), reason };
        for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
            let head = Value::deserialize(document).map_err(|error| invalid(error.to_string()))?;
            if head.is_null() {
                continue;
            }
            let field = |key: &str| head.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (api_version, kind) = (field("apiVersion"), field("kind"));
            match (api_version.as_str(), kind.as_str()) {
                (API_VERSION, "InitConfiguration") => set(&mut all.init, typed(text, index, &kind), &kind),
                (API_VERSION, "ClusterConfiguration") => set(&mut all.cluster, typed(text, index, &kind), &kind),
                (API_VERSION, "JoinConfiguration") => set(&mut all.join, typed(text, index, &kind), &kind),
                (API_VERSION, "ResetConfiguration") => set(&mut all.reset, typed(text, index, &kind), &kind),
                (API_VERSION, "UpgradeConfiguration") => set(&mut all.upgrade, typed(text, index, &kind), &kind),
                (KUBELET_API, "KubeletConfiguration") => {
                    set(&mut all.kubelet, component(text, index, "KubeletConfiguration"), &kind)
                }
                (PROXY_API, "KubeProxyConfiguration") => {
                    set(&mut all.proxy, component(text, index, "KubeProxyConfiguration"), &kind)
                }
                ("", _) | (_, "") => Err(format!("document {} has no apiVersion or no kind", index + 1)),
                (version, _) if version.starts_with("kubeadm.k8s.io/") && version != API_VERSION => Err(format!(
                    "{kind}: {version} is not supported, only {API_VERSION} is\nhint: `kinit config migrate \
                         --old-config {name}` writes it again as {API_VERSION}"
                )),
                _ => Err(format!("document {}: {api_version}, kind {kind} is not known here", index + 1)),
            }
            .map_err(invalid)?;
        }
        if all == Self::default() {
            return Err(invalid("it holds no document".into()));
        }
        Ok(all)
    }

    /// Refuses documents that `command` does not use; `wanted` are the kinds that it does.
    pub fn only(&self, command: &str, wanted: &[&str]) -> Result<(), Error> {
        let present = [
            ("InitConfiguration", self.init.is_some(), "init"),
            ("ClusterConfiguration", self.cluster.is_some(), "init"),
            ("JoinConfiguration", self.join.is_some(), "join"),
            ("ResetConfiguration", self.reset.is_some(), "reset"),
            ("UpgradeConfiguration", self.upgrade.is_some(), "upgrade"),
        ];
        match present.iter().find(|(kind, is, _)| *is && !wanted.contains(kind)) {
            Some((kind, _, other)) => Err(Error::value(
                "--config",
                kind,
                format!("is no document of {command}"),
                format!("give it to kinit {other}"),
            )),
            None => Ok(()),
        }
    }
}

fn set<T>(slot: &mut Option<T>, value: Result<T, String>, kind: &str) -> Result<(), String> {
    if slot.is_some() {
        return Err(format!("{kind} stands there twice"));
    }
    *slot = Some(value?);
    Ok(())
}

/// Reads the document at `index` again, now with its type; serde_yaml's errors carry path and line.
fn typed<T: DeserializeOwned>(text: &str, index: usize, kind: &str) -> Result<T, String> {
    let document = serde_yaml::Deserializer::from_str(text)
        .nth(index)
        .ok_or_else(|| format!("document {} went away", index + 1))?;
    T::deserialize(document).map_err(|error| format!("{kind}: {error}"))
}

/// Reads the document at `index` again, now with the fields of a component's configuration.
fn component(text: &str, index: usize, kind: &'static str) -> Result<Value, String> {
    let document = serde_yaml::Deserializer::from_str(text)
        .nth(index)
        .ok_or_else(|| format!("document {} went away", index + 1))?;
    Typed(kind).deserialize(document).map_err(|error| format!("{kind}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeadm_files_are_read() {
        let text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nnodeRegistration:\n  name: cp1\n  \
                    taints: []\n---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\napiServer:\n  \
                    extraArgs:\n  - name: v\n    value: \"2\"\n---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: \
                    KubeletConfiguration\nmaxPods: 50\n";
        let all = Documents::parse(text, "f").unwrap();
        let init = all.init.unwrap();
        assert_eq!(init.node_registration.name, "cp1");
        assert_eq!(init.node_registration.taints, Some(vec![]));
        assert_eq!(all.cluster.unwrap().api_server.extra_args[0].name, "v");
        assert_eq!(all.kubelet.unwrap()["maxPods"], 50);
    }

    #[test]
    fn errors_name_file_path_and_line() {
        let head = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ";
        for (text, wanted) in [
            (
                format!("{head}InitConfiguration\nnodeRegistration:\n  nam: x\n"),
                &["nodeRegistration", "nam", "line 4"][..],
            ),
            (
                format!("{head}ClusterConfiguration\nnetworking:\n  podSubnet: [1]\n"),
                &["networking.podSubnet", "line 4"],
            ),
            (format!("{head}InitConfiguration\n---\n{head}InitConfiguration\n"), &["twice"]),
            (format!("{head}Nonsense\n"), &["Nonsense"]),
            ("apiVersion: kubeadm.k8s.io/v1beta3\nkind: InitConfiguration\n".into(), &["v1beta3", "v1beta4"]),
            ("kind: [\n".into(), &["line"]),
            ("".into(), &["no document"]),
            ("hello".into(), &["apiVersion"]),
        ] {
            let error = Documents::parse(&text, "some.yaml").unwrap_err().to_string();
            assert!(error.contains("some.yaml"), "{error}");
            for part in wanted {
                assert!(error.contains(part), "{text:?}: {error:?} lacks {part:?}");
            }
        }
    }
}
