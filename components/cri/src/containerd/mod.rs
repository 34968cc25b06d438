//! The small part of containerd's own API that putting an image into it, and showing what is in one, need.
//!
//! CRI has no call to import an image, so this speaks to containerd itself, on the same socket: [`Containerd::import`]
//! writes blobs into the content store under a lease and names the image in the namespace that CRI uses. The messages
//! are in `messages`, by the names and numbers of containerd's public definitions.

mod client;
mod messages;

pub use client::{Containerd, Error};
pub use messages::LayerMount;

/// A blob that an image consists of.
#[derive(Debug, Clone)]
pub struct Blob {
    /// `sha256:...` of the contents.
    pub digest: String,
    /// The contents, in pieces that are written one after the other.
    pub pieces: Vec<bytes::Bytes>,
    /// Labels by which the garbage collector finds what the blob refers to.
    pub labels: Vec<(String, String)>,
}

impl Blob {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

/// An image ready to be put into containerd.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its full name with tag.
    pub name: String,
    /// Digest of its configuration, which is the image's id for CRI.
    pub config_digest: String,
    /// Media type of its manifest.
    pub media_type: String,
    /// Its blobs; the manifest is the last.
    pub blobs: Vec<Blob>,
}
