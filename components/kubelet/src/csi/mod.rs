//! Drivers of storage (CSI): how they become known to the node, and what they are asked.
//!
//! - [`messages`], [`wire`]: the part of CSI v1 and of plugin registration that a kubelet speaks.
//! - [`registry`]: drivers announce themselves by a socket in a folder; the cluster is told of them by CSINode.
//!
//! What pods mount by them is made in [`crate::volumes::csi`].

pub mod messages;
pub mod registry;
pub mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;

use parking_lot::Mutex;

/// The drivers of this node.
#[derive(Debug, Default)]
pub struct Drivers {
    /// Where each answers, by name.
    sockets: Mutex<BTreeMap<String, PathBuf>>,
    /// Whose turn it is: mounting and unmounting by drivers are one after the other, as what one pod leaves another may
    /// just be about to use.
    pub turn: tokio::sync::Mutex<()>,
}

impl Drivers {
    /// The socket of a driver.
    pub fn socket(&self, name: &str) -> Option<PathBuf> {
        self.sockets.lock().get(name).cloned()
    }
}
