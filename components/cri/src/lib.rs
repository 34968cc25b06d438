//! The container runtime's wire: CRI v1, and the part of containerd's own API that CRI lacks.
//!
//! - [`v1`]: messages and calls of CRI, compiled from `proto/runtime.proto`, which holds the part that is used.
//! - [`Runtime`]: both CRI services over one unix socket.
//! - [`sandboxes`]: the few calls that installing and removing a node need.
//! - [`containerd`]: putting an image into containerd, which CRI has no call for.
//!
//! Nothing here knows of pods: what a sandbox is for stands in its labels, which the kubelet writes and reads.
//! Nothing is retried either; a broken connection is made again by the next call.

pub mod containerd;
mod runtime;
pub mod sandboxes;

/// CRI v1, compiled from `proto/runtime.proto`.
#[expect(missing_docs, clippy::all, reason = "generated code")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/runtime.v1.rs"));
}

pub use runtime::{Error, Runtime};
