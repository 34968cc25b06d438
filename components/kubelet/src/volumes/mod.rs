//! Volumes: making what a pod's containers mount, and taking it away again.

mod claims;
pub mod csi;
mod hosts;
pub mod image;
mod payload;
mod writer;

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume};
use kinit_cri::v1::{Mount, MountPropagation};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::pod::container::message_path;
use crate::pod::env::expand;
use crate::pod::facts;

/// Where each volume of a pod is on the host.
pub type Volumes = HashMap<String, PathBuf>;

/// Makes all volumes of a pod, or brings those that are there up to date.
pub async fn make(context: &Context, pod: &Pod, ips: &[String]) -> Result<Volumes> {
    let mut all = Volumes::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        all.insert(volume.name.clone(), one(context, pod, volume, ips).await?);
    }
    Ok(all)
}

async fn one(context: &Context, pod: &Pod, volume: &Volume, ips: &[String]) -> Result<PathBuf> {
    let name = volume.name.as_str();
    let folder = |plugin: &str| {
        context.pod_folder(facts::uid(pod)).join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
    };
    if let Some(source) = &volume.host_path {
        return host_path(name, source);
    }
    if let Some(source) = &volume.empty_dir {
        let path = folder("empty-dir");
        let group = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()?.fs_group);
        empty_dir(name, source, &path, group)?;
        return Ok(path);
    }
    if let Some(claim) = claims::name(pod, volume) {
        return match claims::find(context, pod, volume, &claim).await? {
            claims::Found::HostPath(source) => host_path(name, &source),
            claims::Found::Csi(wanted) => csi::make(context, pod, &wanted).await,
        };
    }
    if let Some(source) = &volume.csi {
        return csi::make(context, pod, &csi::Wanted::inline(pod, name, source)).await;
    }
    if let Some(source) = &volume.image {
        return image::make(context, pod, name, source, folder("image")).await;
    }
    let plugin = if volume.config_map.is_some() {
        "configmap"
    } else if volume.secret.is_some() {
        "secret"
    } else if volume.projected.is_some() {
        "projected"
    } else if volume.downward_api.is_some() {
        "downward-api"
    } else {
        return Err(Error::volume(
            name,
            "its kind is not there yet; emptyDir, hostPath, claims, configMap, secret, projected, downwardAPI, csi and image are",
        ));
    };
    let path = folder(plugin);
    let files = payload::of(context, pod, volume, ips, &path).await?;
    // What may be secret stays out of the disk.
    if plugin != "configmap" {
        tmpfs(name, &path, None)?;
    } else {
        create(&path)?;
    }
    let group = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()?.fs_group);
    writer::write(&path, &files, group).map_err(|error| Error::volume(name, error))?;
    Ok(path)
}

fn create(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::file(path, error))
}

fn host_path(name: &str, source: &HostPathVolumeSource) -> Result<PathBuf> {
    let path = PathBuf::from(&source.path);
    let facts = fs::metadata(&path).ok();
    let is_dir = facts.as_ref().is_some_and(fs::Metadata::is_dir);
    let is_file = facts.as_ref().is_some_and(fs::Metadata::is_file);
    let refuse = |wanted: &str| Err(Error::volume(name, format!("{} is not {wanted}", path.display())));
    match source.type_.as_deref().unwrap_or_default() {
        "DirectoryOrCreate" if facts.is_none() => create(&path)?,
        "FileOrCreate" if facts.is_none() => {
            if let Some(parent) = path.parent() {
                create(parent)?;
            }
            fs::File::create(&path).map_err(|error| Error::file(&path, error))?;
        }
        "Directory" | "DirectoryOrCreate" if !is_dir => return refuse("a directory"),
        "File" | "FileOrCreate" if !is_file => return refuse("a file"),
        "" | "Directory" | "DirectoryOrCreate" | "File" | "FileOrCreate" => {}
        "Socket" | "CharDevice" | "BlockDevice" if facts.is_some() => {}
        "Socket" | "CharDevice" | "BlockDevice" => return refuse("there"),
        other => return Err(Error::volume(name, format!("hostPath type {other} is not known"))),
    }
    Ok(path)
}

fn empty_dir(name: &str, source: &EmptyDirVolumeSource, path: &Path, group: Option<i64>) -> Result<()> {
    if source.medium.as_deref() == Some("Memory") {
        let limit = source.size_limit.as_ref().and_then(|limit| facts::milli(&limit.0)).map(|milli| milli / 1000);
        tmpfs(name, path, limit)?;
    } else {
        create(path)?;
    }
    let mut mode = 0o777;
    if let Some(group) = group.and_then(|group| u32::try_from(group).ok()) {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(|error| Error::file(path, error))?;
        // What is made in it is the group's as well.
        mode |= 0o2000;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|error| Error::file(path, error))
}

/// Mounts memory at `path`, unless it is there already.
fn tmpfs(name: &str, path: &Path, limit: Option<i64>) -> Result<()> {
    create(path)?;
    if is_mount_point(path) {
        return Ok(());
    }
    let options = limit.map(|bytes| format!("size={bytes}"));
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), options.as_deref())
        .map_err(|error| Error::volume(name, format!("mounting memory at {}: {error}", path.display())))
}

fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|facts| facts.dev()).ok();
    path.parent().is_some_and(|parent| device(path) != device(parent))
}

/// Unmounts and removes all of a pod's files.
pub async fn remove(context: &Context, uid: &str) -> Result<()> {
    csi::release(context, uid).await?;
    let folder = context.pod_folder(uid);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut mounts: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(path.replace("\\040", " ")))
        .filter(|path| path.starts_with(&folder))
        .collect();
    mounts.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
    for path in mounts {
        umount2(&path, MntFlags::MNT_DETACH).map_err(|error| Error::file(&path, error.into()))?;
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file(&folder, error)),
        _ => Ok(()),
    }
}

/// The mounts of a container: its volumes, its last words, and names of hosts.
pub fn mounts(
    context: &Context,
    pod: &Pod,
    container: &Container,
    volumes: &Volumes,
    restarts: u32,
    ips: &[String],
    variables: &HashMap<String, String>,
) -> Result<Vec<Mount>> {
    let mut all = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        let volume = volumes
            .get(&wanted.name)
            .ok_or_else(|| Error::container(&container.name, format!("there is no volume {}", wanted.name)))?;
        let sub = match (&wanted.sub_path, &wanted.sub_path_expr) {
            (Some(path), _) if !path.is_empty() => Some(path.clone()),
            (_, Some(path)) if !path.is_empty() => Some(expand(path, variables)),
            _ => None,
        };
        let host_path = match sub {
            Some(sub) => inside(volume, &sub).map_err(|reason| Error::container(&container.name, reason))?,
            None => volume.clone(),
        };
        let propagation = match wanted.mount_propagation.as_deref() {
            Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => MountPropagation::PropagationBidirectional,
            _ => MountPropagation::PropagationPrivate,
        };
        all.push(Mount {
            container_path: wanted.mount_path.clone(),
            host_path: host_path.display().to_string(),
            readonly: wanted.read_only.unwrap_or(false) || is_image(pod, &wanted.name),
            propagation: propagation.into(),
            ..Default::default()
        });
    }
    let has = |all: &[Mount], path: &str| all.iter().any(|mount| mount.container_path.trim_end_matches('/') == path);
    let folder = context.pod_folder(facts::uid(pod)).join("containers").join(&container.name);
    create(&folder)?;
    let words = folder.join(restarts.to_string());
    write(&words, "", 0o666)?;
    if !has(&all, message_path(container)) {
        all.push(plain(message_path(container), &words));
    }
    if !has(&all, "/etc/hosts") && (facts::host_network(pod) || !ips.is_empty()) {
        let path = context.pod_folder(facts::uid(pod)).join("etc-hosts");
        write(&path, &hosts::file(context, pod, ips), 0o644)?;
        all.push(plain("/etc/hosts", &path));
    }
    Ok(all)
}

/// Whether a volume of a pod shows an image.
fn is_image(pod: &Pod, name: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().any(|volume| volume.name == name && volume.image.is_some())
}

/// File with the last words of a container.
pub fn last_words(context: &Context, uid: &str, container: &str, restarts: u32) -> PathBuf {
    context.pod_folder(uid).join("containers").join(container).join(restarts.to_string())
}

fn plain(container_path: &str, host_path: &Path) -> Mount {
    Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.display().to_string(),
        ..Default::default()
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let fail = |error| Error::file(path, error);
    fs::write(path, text).map_err(fail)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(fail)
}

/// A path below a volume, made as a folder if it is not there. A link on the way could lead out of the volume: it is
/// followed only as far as it stays inside.
fn inside(volume: &Path, sub: &str) -> Result<PathBuf, String> {
    let sub = Path::new(sub);
    if sub.is_absolute() || sub.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("subPath {} must stay inside its volume", sub.display()));
    }
    let path = volume.join(sub);
    if fs::symlink_metadata(&path).is_err() {
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let real = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
    let root = volume.canonicalize().map_err(|error| format!("{}: {error}", volume.display()))?;
    if real.starts_with(&root) { Ok(real) } else { Err(format!("subPath {} leads out of its volume", sub.display())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_paths_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        assert_eq!(inside(&root, "a/b").unwrap(), root.join("a/b"));
        std::os::unix::fs::symlink("/etc", root.join("out")).unwrap();
        for bad in ["../x", "/etc", "out", "a/../../x"] {
            assert!(inside(&root, bad).is_err(), "{bad}");
        }
    }
}
