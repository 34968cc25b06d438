//! Upkeep of the node's disk: logs that have grown are begun anew, and images that nobody uses go when space runs out.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kinit_cri::v1::{ContainerId, ContainerState, Empty, Image, ImageSpec, ImageStatusRequest, ListContainersRequest};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::pod::facts;

/// How often logs are looked at.
const LOGS: Duration = Duration::from_secs(10);
/// How often images are.
const IMAGES: Duration = Duration::from_secs(300);
/// An image is kept this long after it was first seen or last used.
const LEAST_AGE: Duration = Duration::from_secs(120);
const IMAGE_DISK: &str = "/var/lib/containerd";

/// Works until shutdown.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let mut used: HashMap<String, Instant> = HashMap::new();
    let mut images_due = Instant::now() + IMAGES;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOGS) => {}
            () = shutdown.cancelled() => return,
        }
        if let Err(error) = rotate_all(&context).await {
            tracing::debug!(%error, "logs are not looked at");
        }
        if Instant::now() >= images_due {
            images_due = Instant::now() + IMAGES;
            if let Err(error) = remove_images(&context, &mut used).await {
                tracing::debug!(%error, "images are not looked at");
            }
        }
    }
}

/// Begins the logs of running containers anew that are too large.
async fn rotate_all(context: &Context) -> Result<()> {
    let most = facts::milli(&context.config.container_log_max_size).map_or(10 << 20, |milli| milli / 1000);
    let mut runtime = context.runtime.runtime.clone();
    let request = tonic::Request::new(ListContainersRequest::default());
    let fail = |what: &str, status| Error::from(kinit_cri::Error::new(what, status));
    let all = runtime.list_containers(request).await.map_err(|status| fail("listing containers", status))?;
    for container in all.into_inner().containers {
        if container.state() != ContainerState::ContainerRunning {
            continue;
        }
        let Some(path) = log_of(&container.labels, &container.annotations) else { continue };
        if std::fs::metadata(&path).is_ok_and(|facts| facts.len() as i64 > most) {
            tracing::info!(log = %path.display(), "begins a log anew");
            rotate(&path, context.config.container_log_max_files, &stamp())?;
            let request = tonic::Request::new(ContainerId { container_id: container.id });
            runtime.reopen_container_log(request).await.map_err(|status| fail("reopening a log", status))?;
        }
    }
    Ok(())
}

/// The log of a container, from what the runtime was told when it was made.
fn log_of(labels: &HashMap<String, String>, annotations: &HashMap<String, String>) -> Option<PathBuf> {
    use crate::pod::state::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID, RESTART_COUNT};
    let label = |name: &str| labels.get(name);
    let folder = format!("{}_{}_{}", label(POD_NAMESPACE)?, label(POD_NAME)?, label(POD_UID)?);
    let restarts = annotations.get(RESTART_COUNT)?.parse().ok()?;
    let file = crate::pod::container::log_path(label(CONTAINER_NAME)?, restarts);
    Some(Path::new(crate::pod::sandbox::LOGS).join(folder).join(file))
}

fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string()
}

/// Gives a log another name and removes the oldest of its former ones: `most` files stay, the new one included.
fn rotate(log: &Path, most: usize, stamp: &str) -> Result<()> {
    let name = log.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = log.parent().unwrap_or(Path::new("/"));
    let rotated = folder.join(format!("{name}.{stamp}"));
    std::fs::rename(log, &rotated).map_err(|error| Error::file(log, error))?;
    let entries = std::fs::read_dir(folder).map_err(|error| Error::file(folder, error))?;
    let prefix = format!("{name}.");
    let mut former: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|other| other.to_string_lossy().starts_with(&prefix)))
        .collect();
    former.sort();
    let surplus = (former.len() + 1).saturating_sub(most.max(2));
    for path in former.into_iter().take(surplus) {
        std::fs::remove_file(&path).map_err(|error| Error::file(&path, error))?;
    }
    Ok(())
}

/// Which images to remove to free `bytes`: unused ones, those longest unused first. Pure.
fn surplus<'a>(images: &'a [Image], last_used: &HashMap<String, Instant>, bytes: u64, now: Instant) -> Vec<&'a Image> {
    let old = |image: &&Image| {
        last_used.get(&image.id).is_none_or(|at| now.duration_since(*at) >= LEAST_AGE) && !is_pinned(image)
    };
    let mut all: Vec<&Image> = images.iter().filter(old).collect();
    all.sort_by_key(|image| (last_used.get(&image.id).copied(), std::cmp::Reverse(image.size)));
    let mut freed = 0;
    all.into_iter()
        .take_while(|image| {
            let needed = freed < bytes;
            freed += image.size;
            needed
        })
        .collect()
}

/// What no registry has cannot be had again.
fn is_pinned(image: &Image) -> bool {
    image.repo_tags.iter().any(|tag| tag.starts_with("kinit.local/"))
}

async fn remove_images(context: &Context, last_used: &mut HashMap<String, Instant>) -> Result<()> {
    let fail = |what: &str, status| Error::from(kinit_cri::Error::new(what, status));
    let mut service = context.runtime.images.clone();
    let images = service.list_images(tonic::Request::new(Empty {})).await;
    let images = images.map_err(|status| fail("listing images", status))?.into_inner().images;
    let request = tonic::Request::new(ListContainersRequest::default());
    let containers = context.runtime.runtime.clone().list_containers(request).await;
    let containers = containers.map_err(|status| fail("listing containers", status))?.into_inner().containers;
    let in_use: HashSet<String> = containers.into_iter().map(|container| container.image_ref).collect();
    let now = Instant::now();
    for image in &images {
        if in_use.contains(&image.id) || !last_used.contains_key(&image.id) {
            last_used.insert(image.id.clone(), now);
        }
    }
    last_used.retain(|id, _| images.iter().any(|image| image.id == *id));
    let disk = nix::sys::statvfs::statvfs(IMAGE_DISK).map_err(|error| Error::file(IMAGE_DISK, error.into()))?;
    let (all, free) = (disk.blocks() * disk.fragment_size(), disk.blocks_available() * disk.fragment_size());
    let percent = |part: u8| all / 100 * u64::from(part);
    if all - free < percent(context.config.image_gc_high_threshold_percent) {
        return Ok(());
    }
    let bytes = (all - free).saturating_sub(percent(context.config.image_gc_low_threshold_percent));
    for image in surplus(&images, last_used, bytes, now) {
        tracing::info!(image = image.id, tags = ?image.repo_tags, "removes an image that nobody uses");
        let spec = ImageSpec { image: image.id.clone(), ..Default::default() };
        let request = tonic::Request::new(ImageStatusRequest { image: Some(spec), verbose: false });
        service.remove_image(request).await.map_err(|status| fail("removing an image", status))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_its_latest_files() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("0.log");
        for stamp in ["1", "2", "3", "4"] {
            std::fs::write(&log, stamp).unwrap();
            rotate(&log, 3, stamp).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["0.log.3", "0.log.4"]);
    }

    #[test]
    fn images_longest_unused_go_first() {
        let image = |id: &str, size| Image { id: id.into(), size, ..Image::default() };
        let images = [image("new", 10), image("old", 10), image("older", 10)];
        let begin = Instant::now();
        let now = begin + LEAST_AGE * 3;
        let used = [("new", now), ("old", begin + LEAST_AGE), ("older", begin)];
        let used = used.map(|(id, at)| (id.to_owned(), at)).into();
        let ids = |bytes| surplus(&images, &used, bytes, now).iter().map(|image| image.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(5), ["older"]);
        assert_eq!(ids(15), ["older", "old"]);
        assert_eq!(ids(500), ["older", "old"]);
        assert!(ids(0).is_empty());
    }
}
