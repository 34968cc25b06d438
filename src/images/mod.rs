//! Images of the components: which there are, how they are packed and how they get into the container runtime.

pub mod crio;
mod pack;
mod store;

use std::path::{Path, PathBuf};

pub use pack::{Binary, digest_of_file, pack};
pub use store::{ImageStore, RuntimeImages, WouldImport};

/// One component that runs from an image: name of the image, of the binary, and where it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component {
    /// Name of the image and of the binary.
    pub name: &'static str,
    /// Whether workers need it too.
    pub on_workers: bool,
}

/// Every component that runs from an image.
pub const COMPONENTS: &[Component] = &[
    Component { name: "etcd", on_workers: false },
    Component { name: "kube-apiserver", on_workers: false },
    Component { name: "kube-controller-manager", on_workers: false },
    Component { name: "kube-scheduler", on_workers: false },
    Component { name: "kube-proxy", on_workers: true },
    Component { name: "cluster-dns", on_workers: true },
    Component { name: "kinit-network", on_workers: true },
    Component { name: "pause", on_workers: true },
];

/// Binaries that are installed on the host itself.
pub const HOST_BINARIES: &[&str] = &["kubelet"];

/// What is wrong with images.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A component's binary is nowhere.
    #[error(
        "the binary {name} is not in {searched}\nhint: put it beside kinit, or name its folder by --bin-dir or KINIT_BIN_DIR"
    )]
    Missing {
        /// The binary.
        name: String,
        /// Where it was looked for.
        searched: String,
    },
    /// A binary could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// CRI-O's images could not be looked after.
    #[error("{reason}")]
    Skopeo {
        /// Why.
        reason: String,
    },
    /// containerd did not take an image.
    #[error(transparent)]
    Containerd(#[from] kinit_cri::containerd::Error),
}

/// Where binaries are looked for.
#[derive(Debug, Clone)]
pub struct Binaries {
    folders: Vec<PathBuf>,
}

impl Binaries {
    /// Folder of kinit's own components on an installed host.
    pub const INSTALLED: &'static str = "/usr/local/lib/kinit";

    /// Looks in `folder` if it is given, else beside kinit and in [`Binaries::INSTALLED`].
    pub fn new(folder: Option<&Path>) -> Self {
        let beside =
            || std::env::current_exe().ok().and_then(|path| path.canonicalize().ok()?.parent().map(Path::to_owned));
        let folders = match folder {
            Some(folder) => vec![folder.to_owned()],
            None => beside().into_iter().chain([PathBuf::from(Self::INSTALLED)]).collect(),
        };
        Self { folders }
    }

    /// What tells this build of the binary `name` from others; `None` where it is not at hand.
    pub fn build(&self, name: &str) -> Result<Option<String>, Error> {
        let Ok(path) = self.find(name) else { return Ok(None) };
        let digest = digest_of_file(&path).map_err(|source| Error::Read { path, source })?;
        Ok(Some(digest.trim_start_matches("sha256:").chars().take(12).collect()))
    }

    /// Path of the binary `name`.
    pub fn find(&self, name: &str) -> Result<PathBuf, Error> {
        self.folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| Error::Missing {
            name: name.to_owned(),
            searched: self.folders.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or "),
        })
    }
}
