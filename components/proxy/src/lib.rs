//! kinit-proxy
