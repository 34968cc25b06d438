//! kinit-controller-manager
