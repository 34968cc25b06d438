//! kinit-runtime
