//! Webhooks: servers that the cluster's configuration names, which are asked about objects.
//!
//! [`client`] speaks to them, [`target`] finds them.

pub mod client;
pub mod target;
