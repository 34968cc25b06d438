//! OCI images of one static binary each. The same binary always gives the same image, byte for byte.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kinit_cri::containerd::{Blob, Image};
use ring::digest;
use serde_json::json;

use super::Error;

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
/// gRPC messages of containerd may have 16 MB; small pieces keep its buffers small.
const PIECE: usize = 1 << 20;

/// The binary that an image is made of.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Its name, and that of the file in the image below /usr/local/bin.
    pub name: String,
    /// Where it is now.
    pub path: PathBuf,
}

/// `sha256:...` of `contents`.
pub fn digest_of(contents: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest::digest(&digest::SHA256, contents)))
}

/// `sha256:...` of a file.
pub fn digest_of_file(path: &Path) -> io::Result<String> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; PIECE];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(format!("sha256:{}", hex::encode(context.finish())));
        }
        context.update(&buffer[..count]);
    }
}

/// Packs a binary as the image `name`: one file in an otherwise empty root, and that file as entry point.
pub fn pack(name: &str, binary: &Binary) -> Result<Image, Error> {
    let fail = |source| Error::Read { path: binary.path.clone(), source };
    let layer = Bytes::from(layer(binary).map_err(fail)?);
    let layer_digest = digest_of(&layer);
    let config = json!({
        "architecture": kinit_version::architecture(),
        "config": {
            "Entrypoint": [format!("/usr/local/bin/{}", binary.name)],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "WorkingDir": "/",
        },
        "created": "1970-01-01T00:00:00Z",
        "os": "linux",
        "rootfs": {"diff_ids": [layer_digest], "type": "layers"},
    })
    .to_string();
    let config_digest = digest_of(config.as_bytes());
    let manifest = json!({
        "config": {"digest": config_digest, "mediaType": CONFIG_TYPE, "size": config.len()},
        "layers": [{"digest": layer_digest, "mediaType": LAYER_TYPE, "size": layer.len()}],
        "mediaType": MANIFEST_TYPE,
        "schemaVersion": 2,
    })
    .to_string();
    let refers = |label: &str, digest: &str| (format!("containerd.io/gc.ref.content.{label}"), digest.to_owned());
    let layer_pieces =
        (0..layer.len()).step_by(PIECE).map(|start| layer.slice(start..layer.len().min(start + PIECE))).collect();
    Ok(Image {
        name: name.to_owned(),
        media_type: MANIFEST_TYPE.into(),
        blobs: vec![
            Blob { digest: layer_digest.clone(), pieces: layer_pieces, labels: Vec::new() },
            Blob { digest: config_digest.clone(), pieces: vec![config.into()], labels: Vec::new() },
            Blob {
                digest: digest_of(manifest.as_bytes()),
                pieces: vec![manifest.into()],
                labels: vec![refers("config", &config_digest), refers("l.0", &layer_digest)],
            },
        ],
        config_digest,
    })
}

/// The layer: the folders above the binary and the binary, all of root and of time zero.
fn layer(binary: &Binary) -> io::Result<Vec<u8>> {
    let contents = fs::read(&binary.path)?;
    let mut archive = tar::Builder::new(Vec::with_capacity(contents.len() + 8192));
    let header = |kind: tar::EntryType, size: u64| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header
    };
    for folder in ["usr/", "usr/local/", "usr/local/bin/", "tmp/"] {
        archive.append_data(&mut header(tar::EntryType::Directory, 0), folder, io::empty())?;
    }
    let path = format!("usr/local/bin/{}", binary.name);
    archive.append_data(&mut header(tar::EntryType::Regular, contents.len() as u64), path, contents.as_slice())?;
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(contents: &[u8]) -> Image {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anything");
        fs::write(&path, contents).unwrap();
        pack("kinit.local/x:v1", &Binary { name: "x".into(), path }).unwrap()
    }

    #[test]
    fn the_same_binary_gives_the_same_image() {
        let (one, two, other) = (packed(b"abc"), packed(b"abc"), packed(b"abd"));
        let digests = |image: &Image| image.blobs.iter().map(|blob| blob.digest.clone()).collect::<Vec<_>>();
        assert_eq!(digests(&one), digests(&two));
        assert_ne!(digests(&one), digests(&other));
    }

    #[test]
    fn digests_and_references_are_right() {
        let image = packed(&vec![7; 3 * PIECE]);
        for blob in &image.blobs {
            assert_eq!(digest_of(&blob.pieces.concat()), blob.digest);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&image.blobs[2].pieces.concat()).unwrap();
        assert_eq!(manifest["layers"][0]["digest"], image.blobs[0].digest.as_str());
        assert_eq!(manifest["config"]["digest"], image.config_digest.as_str());
        assert!(image.blobs[0].pieces.len() > 3);
        let layer = image.blobs[0].pieces.concat();
        let mut archive = tar::Archive::new(layer.as_slice());
        let names: Vec<String> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names.last().unwrap(), "usr/local/bin/x");
    }
}
