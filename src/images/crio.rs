//! Images for CRI-O. It has no call by which it could be given one: what it runs lies in the host's container storage, and
//! skopeo writes there.

use std::path::Path;

use kinit_cri::containerd::Image;
use serde_json::json;
use tokio::process::Command;

use super::Error;
use crate::host::Change;

const PROGRAM: &str = "skopeo";

/// Whether the runtime at `socket` is CRI-O.
pub fn is_crio(socket: &Path) -> bool {
    socket.to_string_lossy().contains("crio")
}

/// Makes the image be in the host's container storage; says whether it had to be written.
pub async fn ensure(image: &Image) -> Result<Change, Error> {
    let target = format!("containers-storage:{}", image.name);
    let present = run(&["inspect", "--format", "{{.Digest}}", &target]).await?;
    let wanted = image.blobs.last().map(|manifest| manifest.digest.as_str()).unwrap_or_default();
    if present.as_deref().is_some_and(|digest| digest.trim() == wanted) {
        return Ok(Change::Unchanged);
    }
    let file = tempfile::NamedTempFile::new().map_err(|source| Error::Read { path: std::env::temp_dir(), source })?;
    archive(image, file.as_file()).map_err(|source| Error::Read { path: file.path().to_owned(), source })?;
    let source = format!("oci-archive:{}", file.path().display());
    match run(&["copy", "--quiet", "--insecure-policy", &source, &target]).await? {
        Some(_) => Ok(Change::Changed),
        None => Err(Error::Skopeo { reason: format!("{PROGRAM} copy did not take {}", image.name) }),
    }
}

/// Removes an image; one that is not there is gone.
pub async fn remove(name: &str) -> Result<(), Error> {
    run(&["delete", &format!("containers-storage:{name}")]).await.map(|_| ())
}

/// What the program wrote, or `None` if it failed.
async fn run(arguments: &[&str]) -> Result<Option<String>, Error> {
    let output = Command::new(PROGRAM).args(arguments).kill_on_drop(true).output().await;
    let output = output.map_err(|error| Error::Skopeo {
        reason: format!("{PROGRAM}: {error}\nhint: `apt-get install {PROGRAM}`; CRI-O is given its images by it"),
    })?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The image as an OCI archive.
fn archive(image: &Image, to: impl std::io::Write) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(to);
    let mut add = |path: String, contents: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(contents.len() as u64);
        archive.append_data(&mut header, path, contents)
    };
    add("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    for blob in &image.blobs {
        let path = format!("blobs/{}", blob.digest.replacen(':', "/", 1));
        add(path, &blob.pieces.concat())?;
    }
    let Some(manifest) = image.blobs.last() else { return archive.finish() };
    let size: usize = manifest.pieces.iter().map(bytes::Bytes::len).sum();
    let entry = json!({"mediaType": image.media_type, "digest": manifest.digest, "size": size});
    add("index.json".into(), json!({"schemaVersion": 2, "manifests": [entry]}).to_string().as_bytes())?;
    archive.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{Binary, pack};

    #[test]
    fn the_archive_is_an_oci_layout() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "binary").unwrap();
        let image = pack("kinit.local/x:v1", &Binary { name: "x".into(), path }).unwrap();
        let mut text = Vec::new();
        archive(&image, &mut text).unwrap();
        let mut read = tar::Archive::new(text.as_slice());
        let mut names: Vec<String> =
            read.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        names.retain(|name| !name.starts_with("blobs/sha256/"));
        assert_eq!(names, ["oci-layout", "index.json"]);
    }

    #[test]
    fn the_socket_tells_the_runtime() {
        assert!(is_crio(Path::new("/var/run/crio/crio.sock")));
        assert!(!is_crio(Path::new("/var/run/containerd/containerd.sock")));
    }
}
