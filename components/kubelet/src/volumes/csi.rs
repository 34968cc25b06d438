//! Volumes that a driver of storage mounts.
//!
//! What is mounted for a pod is noted in `vol_data.json` beside its mount point, in upstream's form, before the driver is
//! asked: so a kubelet that starts anew, of whichever make, knows what to take back.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{CSIVolumeSource, PersistentVolume, Pod, Secret};
use k8s_openapi::api::storage::v1::{CSIDriver, CSIDriverSpec, VolumeAttachment};
use kube::Api;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::create;
use crate::context::Context;
use crate::csi::messages::{
    AccessMode, Mode, MountVolume, Nothing, PublishVolume, RpcType, StageVolume, UnpublishVolume, UnstageVolume,
    VolumeCapability,
};
use crate::csi::wire;
use crate::error::{Error, Result};
use crate::pod::facts;

const FOLDER: &str = "volumes/kubernetes.io~csi";
const NOTE: &str = "vol_data.json";
/// How long a volume is waited for to be attached before that is told, and how often it is looked.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(500);

/// What a pod is to mount.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wanted {
    /// The driver.
    driver: String,
    /// What the driver calls the volume.
    handle: String,
    /// The name of the persistent volume, or of the pod's own.
    name: String,
    /// Whether it lives and ends with the pod.
    inline: bool,
    read_only: bool,
    fs_type: String,
    flags: Vec<String>,
    modes: Vec<String>,
    attributes: BTreeMap<String, String>,
    /// Secrets by namespace and name.
    stage_secret: Option<(String, String)>,
    publish_secret: Option<(String, String)>,
}

/// What is noted of a mounted volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    #[serde(rename = "attachmentID", default)]
    attachment_id: String,
    driver_name: String,
    node_name: String,
    #[serde(rename = "specVolID")]
    name: String,
    volume_handle: String,
    #[serde(default)]
    volume_lifecycle_mode: String,
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// The name of the object by which a volume is attached to a node.
pub fn attachment(handle: &str, driver: &str, node: &str) -> String {
    format!("csi-{}", digest(&format!("{handle}{driver}{node}")))
}

impl Wanted {
    /// What a persistent volume asks for, if a driver has it.
    pub fn persistent(volume: &PersistentVolume) -> Result<Option<Self>, String> {
        let spec = volume.spec.clone().unwrap_or_default();
        let Some(source) = spec.csi else { return Ok(None) };
        if spec.volume_mode.as_deref() == Some("Block") {
            return Err("raw block volumes of drivers are not there yet; volumeMode Filesystem is".into());
        }
        let secret = |one: Option<k8s_openapi::api::core::v1::SecretReference>| {
            one.and_then(|one| Some((one.namespace.unwrap_or_default(), one.name?)))
        };
        Ok(Some(Self {
            driver: source.driver,
            handle: source.volume_handle,
            name: volume.metadata.name.clone().unwrap_or_default(),
            inline: false,
            read_only: source.read_only.unwrap_or(false),
            fs_type: source.fs_type.unwrap_or_default(),
            flags: spec.mount_options.unwrap_or_default(),
            modes: spec.access_modes.unwrap_or_default(),
            attributes: source.volume_attributes.unwrap_or_default(),
            stage_secret: secret(source.node_stage_secret_ref),
            publish_secret: secret(source.node_publish_secret_ref),
        }))
    }

    /// What a pod's own volume asks for.
    pub fn inline(pod: &Pod, name: &str, source: &CSIVolumeSource) -> Self {
        let secret = source.node_publish_secret_ref.as_ref().map(|one| one.name.clone());
        Self {
            driver: source.driver.clone(),
            handle: format!("csi-{}", digest(&format!("{}{name}", facts::uid(pod)))),
            name: name.to_owned(),
            inline: true,
            read_only: source.read_only.unwrap_or(false),
            fs_type: source.fs_type.clone().unwrap_or_default(),
            attributes: source.volume_attributes.clone().unwrap_or_default(),
            publish_secret: secret.map(|name| (facts::namespace(pod).to_owned(), name)),
            ..Self::default()
        }
    }

    fn capability(&self, can: &[RpcType], group: Option<i64>) -> VolumeCapability {
        let many = can.contains(&RpcType::SingleNodeMultiWriter);
        let mode = match self.modes.first().map_or("ReadWriteOnce", String::as_str) {
            "ReadWriteMany" => Mode::MultiNodeMultiWriter,
            "ReadOnlyMany" => Mode::MultiNodeReaderOnly,
            "ReadWriteOncePod" if many => Mode::SingleNodeSingleWriter,
            _ if many && !self.inline => Mode::SingleNodeMultiWriter,
            _ => Mode::SingleNodeWriter,
        };
        let group = group.filter(|_| can.contains(&RpcType::VolumeMountGroup));
        let mount = MountVolume {
            fs_type: self.fs_type.clone(),
            mount_flags: self.flags.clone(),
            volume_mount_group: group.map(|group| group.to_string()).unwrap_or_default(),
        };
        VolumeCapability { block: None, mount: Some(mount), access_mode: Some(AccessMode { mode: mode.into() }) }
    }

    /// What a driver is told that wants to know of the pod.
    fn context(&self, pod: &Pod, spec: &CSIDriverSpec) -> HashMap<String, String> {
        let mut all: HashMap<String, String> = self.attributes.clone().into_iter().collect();
        if spec.pod_info_on_mount == Some(true) {
            let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_default();
            for (key, value) in [
                ("pod.name", facts::name(pod)),
                ("pod.namespace", facts::namespace(pod)),
                ("pod.uid", facts::uid(pod)),
                ("serviceAccount.name", &account),
                ("ephemeral", if self.inline { "true" } else { "false" }),
            ] {
                all.insert(format!("csi.storage.k8s.io/{key}"), value.to_owned());
            }
        }
        all
    }

    /// Whether the kubelet gives the files to the pod's group.
    fn is_given(&self, spec: &CSIDriverSpec) -> bool {
        match spec.fs_group_policy.as_deref() {
            Some("None") => false,
            Some("File") => !self.read_only,
            _ => !self.fs_type.is_empty() && self.modes.iter().all(|mode| mode == "ReadWriteOnce") && !self.read_only,
        }
    }
}

/// Makes a volume of a pod be mounted; gives where.
pub async fn make(context: &Context, pod: &Pod, wanted: &Wanted) -> Result<PathBuf> {
    let folder = context.pod_folder(facts::uid(pod)).join(FOLDER).join(&wanted.name);
    let target = folder.join("mount");
    if folder.join(NOTE).exists() && is_mounted(&target) {
        return Ok(target);
    }
    let bad = |reason: String| Error::volume(&wanted.name, reason);
    let missing = || bad(format!("driver name {} not found in the list of registered CSI drivers", wanted.driver));
    let socket = context.drivers.socket(&wanted.driver).ok_or_else(missing)?;
    let drivers: Api<CSIDriver> = Api::all(context.client()?);
    let spec = drivers.get_opt(&wanted.driver).await?.map(|driver| driver.spec).unwrap_or_default();
    let attached = !wanted.inline && spec.attach_required.unwrap_or(true);
    let told = if attached { wait(context, wanted).await? } else { HashMap::new() };
    let can = wire::capabilities(&socket).await.map_err(|status| bad(status.message().to_owned()))?;
    let (stage_secrets, secrets) = (
        secrets(context, wanted.stage_secret.as_ref()).await?,
        secrets(context, wanted.publish_secret.as_ref()).await?,
    );
    let group = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()?.fs_group);
    let capability = wanted.capability(&can, group);
    let volume_context = wanted.context(pod, &spec);
    let _turn = context.drivers.turn.lock().await;
    create(&folder)?;
    let note = Note {
        attachment_id: if attached {
            attachment(&wanted.handle, &wanted.driver, &context.node_name)
        } else {
            String::new()
        },
        driver_name: wanted.driver.clone(),
        node_name: context.node_name.clone(),
        name: wanted.name.clone(),
        volume_handle: wanted.handle.clone(),
        volume_lifecycle_mode: if wanted.inline { "Ephemeral" } else { "Persistent" }.into(),
    };
    write(&folder.join(NOTE), &note)?;
    let mut staging = String::new();
    if can.contains(&RpcType::StageUnstageVolume) && !wanted.inline {
        let path = stage(context, &note);
        create(&path)?;
        staging = path.display().to_string();
        let request = StageVolume {
            volume_id: wanted.handle.clone(),
            publish_context: told.clone(),
            staging_target_path: staging.clone(),
            volume_capability: Some(capability.clone()),
            secrets: stage_secrets,
            volume_context: wanted.attributes.clone().into_iter().collect(),
        };
        let staged: Result<Nothing, _> = wire::call(&socket, "csi.v1.Node/NodeStageVolume", request).await;
        staged.map_err(|status| bad(format!("NodeStageVolume: {}", status.message())))?;
    }
    let request = PublishVolume {
        volume_id: wanted.handle.clone(),
        publish_context: told,
        staging_target_path: staging,
        target_path: target.display().to_string(),
        volume_capability: Some(capability),
        readonly: wanted.read_only,
        secrets,
        volume_context,
    };
    let published: Result<Nothing, _> = wire::call(&socket, "csi.v1.Node/NodePublishVolume", request).await;
    published.map_err(|status| bad(format!("NodePublishVolume: {}", status.message())))?;
    let group = group.filter(|_| wanted.is_given(&spec) && !can.contains(&RpcType::VolumeMountGroup));
    if let Some(group) = group.and_then(|group| u32::try_from(group).ok()) {
        let path = target.clone();
        let given = tokio::task::spawn_blocking(move || give(&path, group)).await;
        given
            .map_err(|error| bad(error.to_string()))?
            .map_err(|error| bad(format!("giving it to a group: {error}")))?;
    }
    Ok(target)
}

/// Takes back all that drivers mounted for a pod. What fails stays, and is tried again with the pod's end.
pub async fn release(context: &Context, uid: &str) -> Result<()> {
    let notes = notes(&context.pod_folder(uid));
    if notes.is_empty() {
        return Ok(());
    }
    let _turn = context.drivers.turn.lock().await;
    for (folder, note) in notes {
        let bad = |reason: String| Error::volume(&note.name, reason);
        let missing = || bad(format!("driver {} is not there to unmount it", note.driver_name));
        let socket = context.drivers.socket(&note.driver_name).ok_or_else(missing)?;
        let target_path = folder.join("mount").display().to_string();
        let request = UnpublishVolume { volume_id: note.volume_handle.clone(), target_path };
        let done: Result<Nothing, _> = wire::call(&socket, "csi.v1.Node/NodeUnpublishVolume", request).await;
        done.map_err(|status| bad(format!("NodeUnpublishVolume: {}", status.message())))?;
        let path = stage(context, &note);
        if path.exists() && !is_used_elsewhere(context, &folder, &note) {
            let staging_target_path = path.display().to_string();
            let request = UnstageVolume { volume_id: note.volume_handle.clone(), staging_target_path };
            let done: Result<Nothing, _> = wire::call(&socket, "csi.v1.Node/NodeUnstageVolume", request).await;
            done.map_err(|status| bad(format!("NodeUnstageVolume: {}", status.message())))?;
            // Drivers may or may not have removed it; what is still mounted stays.
            let _ = fs::remove_dir(&path);
            let _ = path.parent().map(fs::remove_dir);
        }
        fs::remove_file(folder.join(NOTE)).map_err(|error| Error::file(&folder, error))?;
        let _ = fs::remove_dir(folder.join("mount"));
    }
    Ok(())
}

/// The volumes that are attached to this node and in use, as a node's status names them.
pub fn in_use(context: &Context) -> Vec<String> {
    let all = pods(context).into_iter().flat_map(|folder| notes(&folder)).map(|(_, note)| note);
    let attached = all.filter(|note| !note.attachment_id.is_empty());
    let names = attached.map(|note| format!("kubernetes.io/csi/{}^{}", note.driver_name, note.volume_handle));
    names.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// Waits until a volume is attached; gives what its attacher says of it.
async fn wait(context: &Context, wanted: &Wanted) -> Result<HashMap<String, String>> {
    let name = attachment(&wanted.handle, &wanted.driver, &context.node_name);
    let api: Api<VolumeAttachment> = Api::all(context.client()?);
    let mut problem = None;
    for _ in 0..LOOKS {
        let status = api.get_opt(&name).await?.and_then(|one| one.status);
        match status {
            Some(status) if status.attached => {
                return Ok(status.attachment_metadata.unwrap_or_default().into_iter().collect());
            }
            other => problem = other.and_then(|status| status.attach_error?.message),
        }
        tokio::time::sleep(LOOK).await;
    }
    let problem = problem.map(|text| format!(": {text}")).unwrap_or_default();
    Err(Error::volume(&wanted.name, format!("it is not attached to this node yet{problem}")))
}

async fn secrets(context: &Context, of: Option<&(String, String)>) -> Result<HashMap<String, String>> {
    let Some((namespace, name)) = of else { return Ok(HashMap::new()) };
    let api: Api<Secret> = Api::namespaced(context.client()?, namespace);
    let data = api.get(name).await?.data.unwrap_or_default();
    Ok(data.into_iter().map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned())).collect())
}

/// Where a volume is mounted once for all pods of this node.
fn stage(context: &Context, note: &Note) -> PathBuf {
    let folder = context.root.join("plugins/kubernetes.io/csi").join(&note.driver_name);
    folder.join(digest(&note.volume_handle)).join("globalmount")
}

fn pods(context: &Context) -> Vec<PathBuf> {
    fs::read_dir(context.root.join("pods")).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// What is noted of a pod's volumes, with the folder of each.
fn notes(pod: &Path) -> Vec<(PathBuf, Note)> {
    let folders = fs::read_dir(pod.join(FOLDER)).into_iter().flatten().flatten().map(|entry| entry.path());
    let read = |folder: PathBuf| {
        let note = serde_json::from_slice(&fs::read(folder.join(NOTE)).ok()?).ok()?;
        Some((folder, note))
    };
    folders.filter_map(read).collect()
}

fn is_used_elsewhere(context: &Context, own: &Path, note: &Note) -> bool {
    let mut all = pods(context).into_iter().flat_map(|folder| notes(&folder));
    all.any(|(folder, other)| {
        folder != own && (&other.driver_name, &other.volume_handle) == (&note.driver_name, &note.volume_handle)
    })
}

fn write(path: &Path, note: &Note) -> Result<()> {
    let text = serde_json::to_vec(note).map_err(|error| Error::file(path, error.into()))?;
    fs::write(path, text).map_err(|error| Error::file(path, error))
}

/// Whether something is mounted there, be it a folder of the same disk.
fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(|line| line.split(' ').nth(4)).any(|at| Path::new(&at.replace("\\040", " ")) == path)
}

/// Gives a folder with all that is in it to a group, which may then write.
fn give(path: &Path, group: u32) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
    let facts = fs::symlink_metadata(path)?;
    if facts.gid() != group {
        lchown(path, None, Some(group))?;
    }
    if facts.is_symlink() {
        return Ok(());
    }
    let more = if facts.is_dir() { 0o2770 } else { 0o660 };
    fs::set_permissions(path, fs::Permissions::from_mode(facts.mode() | more))?;
    if facts.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), group)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wanted(spec: serde_json::Value) -> Result<Option<Wanted>, String> {
        Wanted::persistent(&serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": spec})).unwrap())
    }

    #[test]
    fn a_volume_says_what_its_driver_is_asked() {
        let source = json!({"driver": "d", "volumeHandle": "h", "fsType": "ext4",
            "nodeStageSecretRef": {"name": "s", "namespace": "n"}});
        let mode = |modes: &[&str], can: &[RpcType]| {
            let one = wanted(json!({"csi": source, "accessModes": modes})).unwrap().unwrap();
            one.capability(can, None).access_mode.unwrap().mode()
        };
        let many = [RpcType::SingleNodeMultiWriter];
        for (modes, can, expected) in [
            (vec!["ReadWriteOnce"], &[][..], Mode::SingleNodeWriter),
            (vec!["ReadWriteOnce"], &many, Mode::SingleNodeMultiWriter),
            (vec!["ReadWriteOncePod"], &many, Mode::SingleNodeSingleWriter),
            (vec!["ReadWriteOncePod"], &[], Mode::SingleNodeWriter),
            (vec!["ReadWriteMany"], &many, Mode::MultiNodeMultiWriter),
            (vec!["ReadOnlyMany"], &[], Mode::MultiNodeReaderOnly),
        ] {
            assert_eq!(mode(&modes, can), expected, "{modes:?} {can:?}");
        }
        let one = wanted(json!({"csi": source})).unwrap().unwrap();
        assert_eq!(one.stage_secret, Some(("n".into(), "s".into())));
        let group = one.capability(&[RpcType::VolumeMountGroup], Some(7)).mount.unwrap().volume_mount_group;
        assert_eq!(group, "7");
        assert!(wanted(json!({"hostPath": {"path": "/"}})).unwrap().is_none());
        assert!(wanted(json!({"csi": source, "volumeMode": "Block"})).is_err());
    }

    #[test]
    fn a_driver_is_told_of_the_pod_if_it_asks() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}})).unwrap();
        let source = CSIVolumeSource { driver: "d".into(), ..CSIVolumeSource::default() };
        let one = Wanted::inline(&pod, "data", &source);
        assert!(one.inline && one.handle.starts_with("csi-") && one.handle.len() == 68);
        let asks = |asks| CSIDriverSpec { pod_info_on_mount: Some(asks), ..CSIDriverSpec::default() };
        assert!(one.context(&pod, &asks(false)).is_empty());
        let told = one.context(&pod, &asks(true));
        assert_eq!(told.get("csi.storage.k8s.io/ephemeral").map(String::as_str), Some("true"));
        assert_eq!(told.get("csi.storage.k8s.io/pod.name").map(String::as_str), Some("p"));
    }

    #[test]
    fn notes_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join(FOLDER).join("v");
        fs::create_dir_all(&volume).unwrap();
        let note = Note {
            attachment_id: attachment("h", "d", "n"),
            driver_name: "d".into(),
            node_name: "n".into(),
            name: "v".into(),
            volume_handle: "h".into(),
            volume_lifecycle_mode: "Persistent".into(),
        };
        write(&volume.join(NOTE), &note).unwrap();
        let text = fs::read_to_string(volume.join(NOTE)).unwrap();
        assert!(text.contains("\"specVolID\":\"v\"") && text.contains("\"attachmentID\":\"csi-"), "{text}");
        assert_eq!(notes(folder.path()), [(volume, note)]);
        assert!(notes(&folder.path().join("none")).is_empty());
    }

    #[test]
    fn a_group_is_given_what_it_may_write() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let own = fs::metadata(&file).unwrap().gid();
        give(folder.path(), own).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o660);
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o2070, 0o2070);
    }
}
