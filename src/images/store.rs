//! Getting images into the container runtime.

use std::path::PathBuf;

use async_trait::async_trait;
use kinit_cri::containerd::{Containerd, Image};

use super::{Error, crio};
use crate::host::Change;

/// Where images are put.
#[async_trait]
pub trait ImageStore: Send + Sync {
    /// Makes the image be there; says whether it had to be written.
    async fn ensure(&self, image: Image) -> Result<Change, Error>;
}

/// The container runtime at a socket.
pub struct RuntimeImages {
    socket: PathBuf,
}

impl RuntimeImages {
    /// The runtime at `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }
}

#[async_trait]
impl ImageStore for RuntimeImages {
    async fn ensure(&self, image: Image) -> Result<Change, Error> {
        if crio::is_crio(&self.socket) {
            return crio::ensure(&image).await;
        }
        let containerd = Containerd::connect(&self.socket).await?;
        let digest = image.blobs.last().map(|manifest| manifest.digest.clone()).unwrap_or_default();
        if containerd.has(&image.name, &digest).await? && containerd.has(&image.config_digest, &digest).await? {
            return Ok(Change::Unchanged);
        }
        containerd.import(&image).await?;
        Ok(Change::Changed)
    }
}

/// Imports nothing: for dry runs and tests.
pub struct WouldImport;

#[async_trait]
impl ImageStore for WouldImport {
    async fn ensure(&self, _image: Image) -> Result<Change, Error> {
        Ok(Change::Changed)
    }
}
