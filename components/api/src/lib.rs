//! kinit-api
