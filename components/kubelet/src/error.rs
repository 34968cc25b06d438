//! The crate's error type.

use std::path::{Path, PathBuf};

/// What can go wrong in a kubelet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds what it should not.
    #[error("{path}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The container runtime refused.
    #[error(transparent)]
    Runtime(#[from] kinit_cri::Error),
    /// The API refused, or is not there.
    #[error("API: {0}")]
    Api(Box<kube::Error>),
    /// A key or certificate.
    #[error(transparent)]
    Pki(#[from] kinit_pki::Error),
    /// A volume cannot be made.
    #[error("volume {volume}: {reason}")]
    Volume {
        /// Its name.
        volume: String,
        /// Why not.
        reason: String,
    },
    /// A container cannot be configured.
    #[error("container {container}: {reason}")]
    Container {
        /// Its name.
        container: String,
        /// Why not.
        reason: String,
    },
    /// Something that is told in its own words alone, as upstream tells it.
    #[error("{0}")]
    Told(String),
    /// There is no connection to a cluster yet.
    #[error("the kubelet is not connected to a cluster yet")]
    NotConnected,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A file that could not be read or written.
    pub fn file(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::File { path: path.as_ref().to_owned(), source }
    }

    /// A volume that cannot be made.
    pub fn volume(volume: &str, reason: impl ToString) -> Self {
        Self::Volume { volume: volume.to_owned(), reason: reason.to_string() }
    }

    /// A container that cannot be configured.
    pub fn container(container: &str, reason: impl ToString) -> Self {
        Self::Container { container: container.to_owned(), reason: reason.to_string() }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}
