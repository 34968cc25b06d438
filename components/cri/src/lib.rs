//! kinit-cri

pub mod containerd;
pub mod sandboxes;
