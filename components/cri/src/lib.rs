//! kinit-cri

pub mod containerd;
