//! Volumes that show the files of an image.
//!
//! The runtime is asked to have the image, and containerd for a view of its layers, which is mounted on the host: so it
//! works with every containerd, and not only with those whose CRI mounts images.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod};
use kinit_cri::containerd::{Containerd, LayerMount};
use kinit_cri::v1::{ImageSpec, ImageStatusRequest};
use nix::mount::{MsFlags, mount};

use super::{create, is_mount_point};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::pod::{facts, images};

/// Makes the volume `name` of a pod be at `path`; it is only to be read, and nothing in it can be run.
pub async fn make(
    context: &Context,
    pod: &Pod,
    name: &str,
    source: &ImageVolumeSource,
    path: PathBuf,
) -> Result<PathBuf> {
    create(&path)?;
    if is_mount_point(&path) {
        return Ok(path);
    }
    let wanted = Container {
        name: name.to_owned(),
        image: source.reference.clone(),
        image_pull_policy: source.pull_policy.clone(),
        ..Container::default()
    };
    let image = images::ensure(context, pod, &wanted, &mut images::Pulls::default()).await;
    let image = image.map_err(|(reason, error)| Error::volume(name, format!("{reason}: {error}")))?;
    let fail = |error: kinit_cri::containerd::Error| Error::volume(name, error.to_string());
    let chain = chain(context, name, &image.id).await?;
    let containerd = Containerd::connect(context.config.runtime_socket()).await.map_err(fail)?;
    let layers = containerd.view(&key(pod, name), &chain).await.map_err(fail)?;
    for layer in &layers {
        show(layer, &path).map_err(|error| Error::volume(name, format!("mounting the image: {error}")))?;
    }
    Ok(path)
}

/// Gives back the views of a pod whose volumes are unmounted.
pub async fn release(context: &Context, pod: &Pod) {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    for volume in volumes.filter(|volume| volume.image.is_some()) {
        let released = match Containerd::connect(context.config.runtime_socket()).await {
            Ok(containerd) => containerd.release(&key(pod, &volume.name)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = released {
            tracing::warn!(pod = facts::full_name(pod), volume = volume.name, %error, "a view of an image stays");
        }
    }
}

fn key(pod: &Pod, volume: &str) -> String {
    format!("kubelet-volume-{}-{volume}", facts::uid(pod))
}

/// The name of an image's layers together, as containerd's CRI tells it.
async fn chain(context: &Context, volume: &str, image: &str) -> Result<String> {
    let spec = ImageSpec { image: image.to_owned(), ..Default::default() };
    let request = tonic::Request::new(ImageStatusRequest { image: Some(spec), verbose: true });
    let answer = context.runtime.images.clone().image_status(request).await;
    let info = answer.map_err(|status| Error::volume(volume, status.message().to_owned()))?.into_inner().info;
    chain_in(info.get("info").map_or("", String::as_str))
        .ok_or_else(|| Error::volume(volume, "the runtime does not say of which layers the image is"))
}

/// The chain in what CRI tells of an image. Pure.
fn chain_in(info: &str) -> Option<String> {
    let info: serde_json::Value = serde_json::from_str(info).ok()?;
    info["chainID"].as_str().filter(|chain| !chain.is_empty()).map(str::to_owned)
}

/// How layers are mounted: the flags, and what else the kind of file system is told. Pure.
fn flags(layer: &LayerMount) -> (MsFlags, String) {
    let mut flags = MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC;
    let mut rest: Vec<&str> = Vec::new();
    for option in &layer.options {
        match option.as_str() {
            "ro" | "rw" => {}
            "bind" => flags |= MsFlags::MS_BIND,
            "rbind" => flags |= MsFlags::MS_BIND | MsFlags::MS_REC,
            other => rest.push(other),
        }
    }
    (flags, rest.join(","))
}

fn show(layer: &LayerMount, path: &Path) -> nix::Result<()> {
    let (flags, options) = flags(layer);
    let source = Some(layer.source.as_str());
    if flags.contains(MsFlags::MS_BIND) {
        mount(source, path, None::<&str>, flags & (MsFlags::MS_BIND | MsFlags::MS_REC), None::<&str>)?;
        // What is bound takes other flags only when it is mounted once more.
        return mount(None::<&str>, path, None::<&str>, flags | MsFlags::MS_REMOUNT, None::<&str>);
    }
    mount(source, path, Some(layer.r#type.as_str()), flags, Some(options.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_only_read() {
        let layer = |kind: &str, options: &[&str]| LayerMount {
            r#type: kind.into(),
            source: "s".into(),
            target: String::new(),
            options: options.iter().map(|one| (*one).to_owned()).collect(),
        };
        let fixed = MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC;
        let overlay = layer("overlay", &["index=off", "lowerdir=/a:/b"]);
        assert_eq!(flags(&overlay), (fixed, "index=off,lowerdir=/a:/b".to_owned()));
        let one = layer("bind", &["ro", "rbind"]);
        assert_eq!(flags(&one), (fixed | MsFlags::MS_BIND | MsFlags::MS_REC, String::new()));
        assert_eq!(chain_in("{\"chainID\":\"sha256:1\",\"imageSpec\":{}}").as_deref(), Some("sha256:1"));
        assert_eq!(chain_in(""), None);
    }
}
