//! kinit-network
