//! kinit-serving
