//! kinit-cri
