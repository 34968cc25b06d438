//! `kinit upgrade`: from the build that a cluster runs to the one that this kinit brings.
//!
//! [`version`] and [`skew`] are the rules; [`cluster`] is what the cluster says of itself; [`apply`] does it, one static
//! pod after the other, taking back what does not come up.

pub mod apply;
pub mod cluster;
pub mod daemons;
pub mod phases;
pub mod skew;
pub mod version;

pub use cluster::Cluster;
pub use version::Version;
