//! What a Pod asks of its node: amounts of resources, and ports of the host. The scheduler and the kubelet both judge by
//! it, so that a Pod which the one places is not refused by the other.

mod ports;
mod resources;

pub use ports::{HostPort, host_ports};
pub use resources::{Resources, requests, scoring_requests};
