//! kinit-apiserver
