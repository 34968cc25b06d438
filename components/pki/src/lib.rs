//! kinit-pki
