//! kinit-schema
