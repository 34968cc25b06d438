//! A user's folder of patches, as kubeadm reads it: files named `TARGET[SUFFIX][+TYPE].(yaml|json)`, laid over what is
//! written in the order of their names.

use std::path::Path;

use kinit_api::patch;
use serde_json::Value;

use crate::templates;

/// What can be patched.
pub const TARGETS: &[&str] = &[
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubeletconfiguration",
    "corednsdeployment",
];

/// What is wrong with the folder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or the folder could not be read.
    #[error("patches {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A patch is not one, or does not fit.
    #[error("patch {file}: {reason}")]
    Invalid {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

/// How a patch changes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Strategic,
    Merge,
    Json,
}

#[derive(Debug, Clone, PartialEq)]
struct Patch {
    file: String,
    target: &'static str,
    kind: Kind,
    body: Value,
}

/// All patches of a folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patches {
    all: Vec<Patch>,
}

impl Patches {
    /// Reads a folder; no folder has no patches. Files that are named otherwise are left alone, as kubeadm does.
    pub fn load(folder: Option<&Path>) -> Result<Self, Error> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let fail = |source| Error::Read { path: folder.display().to_string(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            names.push(entry.map_err(fail)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        let mut all = Vec::new();
        for file in names {
            let Some((target, kind)) = named(&file).map_err(|reason| Error::Invalid { file: file.clone(), reason })?
            else {
                continue;
            };
            let path = folder.join(&file);
            let text = std::fs::read_to_string(&path)
                .map_err(|source| Error::Read { path: path.display().to_string(), source })?;
            let bodies = templates::parse(&text).map_err(|reason| Error::Invalid { file: file.clone(), reason })?;
            all.extend(bodies.into_iter().map(|body| Patch { file: file.clone(), target, kind, body }));
        }
        Ok(Self { all })
    }

    /// Whether any patch is for `target`.
    pub fn has(&self, target: &str) -> bool {
        self.all.iter().any(|patch| patch.target == target)
    }

    /// Lays the patches for `target` over an object.
    pub fn apply(&self, target: &str, object: &mut Value) -> Result<(), Error> {
        for patch in self.all.iter().filter(|patch| patch.target == target) {
            let invalid = |reason: String| Error::Invalid { file: patch.file.clone(), reason };
            match (patch.kind, schema(target)) {
                (Kind::Json, _) => {
                    let operations = patch::operations::Patch::read(&patch.body).map_err(invalid)?;
                    patch::operations::apply(object, &operations).map_err(|error| invalid(error.to_string()))?;
                }
                (Kind::Strategic, Some(schema)) => {
                    patch::strategic(object, &patch.body, schema).map_err(|error| invalid(error.to_string()))?;
                }
                // The lists of component configurations have no keys to merge by.
                (Kind::Strategic | Kind::Merge, _) => patch::merge(object, &patch.body),
            }
        }
        Ok(())
    }

    /// Lays the patches for `target` over a document; without any it stays as it is, to the byte.
    pub fn apply_text(&self, target: &str, text: String) -> anyhow::Result<String> {
        if !self.has(target) {
            return Ok(text);
        }
        let mut object: Value = serde_yaml::from_str(&text)?;
        self.apply(target, &mut object)?;
        Ok(serde_yaml::to_string(&object)?)
    }
}

fn schema(target: &str) -> Option<&'static kinit_schema::Type> {
    match target {
        "kubeletconfiguration" => None,
        "corednsdeployment" => kinit_schema::kind("apps", "v1", "Deployment"),
        _ => kinit_schema::kind("", "v1", "Pod"),
    }
}

/// What a file's name says; `None` for a file that is no patch.
fn named(file: &str) -> Result<Option<(&'static str, Kind)>, String> {
    let Some((stem, "yaml" | "json")) = file.rsplit_once('.') else { return Ok(None) };
    let Some(target) = TARGETS.iter().find(|target| stem.starts_with(**target)) else { return Ok(None) };
    let kind = match stem[target.len()..].split_once('+').map(|(_, kind)| kind) {
        None => Kind::Strategic,
        Some(kind) if kind.starts_with("strategic") => Kind::Strategic,
        Some(kind) if kind.starts_with("merge") => Kind::Merge,
        Some(kind) if kind.starts_with("json") => Kind::Json,
        Some(kind) => return Err(format!("{kind:?} is no type of patch; there are strategic, merge and json")),
    };
    Ok(Some((target, kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_tell_target_and_type() {
        for (file, wanted) in [
            ("etcd.yaml", Some(("etcd", Kind::Strategic))),
            ("kube-apiserver0+merge.yaml", Some(("kube-apiserver", Kind::Merge))),
            ("kubeletconfiguration+json.json", Some(("kubeletconfiguration", Kind::Json))),
            ("kube-apiserver.txt", None),
            ("readme.yaml", None),
        ] {
            assert_eq!(named(file), Ok(wanted), "{file}");
        }
        assert!(named("etcd+cooked.yaml").is_err());
    }

    #[test]
    fn patches_are_laid_over_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("etcd0.yaml", "spec:\n  containers:\n  - name: etcd\n    tty: true\n");
        write("etcd1+json.json", r#"[{"op": "add", "path": "/spec/containers/0/stdin", "value": true}]"#);
        write("kubeletconfiguration+merge.yaml", "maxPods: 3\nx: null\n");
        let patches = Patches::load(Some(folder.path())).unwrap();
        let mut pod = json!({"spec": {"containers": [{"name": "etcd", "image": "i"}]}});
        patches.apply("etcd", &mut pod).unwrap();
        assert_eq!(pod["spec"]["containers"], json!([{"name": "etcd", "image": "i", "tty": true, "stdin": true}]));
        let mut kubelet = json!({"maxPods": 1, "x": 1});
        patches.apply("kubeletconfiguration", &mut kubelet).unwrap();
        assert_eq!(kubelet, json!({"maxPods": 3}));
        assert!(!patches.has("kube-scheduler"));
        assert_eq!(patches.apply_text("kube-scheduler", "a: 1".into()).unwrap(), "a: 1");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("etcd+json.yaml"), "- op: remove\n  path: /nowhere\n").unwrap();
        let patches = Patches::load(Some(folder.path())).unwrap();
        let error = patches.apply("etcd", &mut json!({})).unwrap_err().to_string();
        assert!(error.contains("etcd+json.yaml"), "{error}");
        assert!(Patches::load(Some(Path::new("/nowhere"))).unwrap_err().to_string().contains("/nowhere"));
    }
}
