//! kinit-preflight
