//! kinit-kubelet
