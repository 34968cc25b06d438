//! kinit-network: the pod network of one node.
//!
//! It runs on each node in the host's network. It tells the container runtime, by a CNI configuration, to put pods on a
//! bridge with addresses of the node's own range; keeps a route to each other node's range by that node's address; and
//! has pod traffic that leaves the cluster leave with the node's address. It needs all nodes on one network (each the
//! others' neighbour); a node that is not is said so, and the rest goes on.
//!
//! - [`plan`]: the pure heart: what the cluster is like and what this host has -> what is to be done.
//! - [`conflist`]: the CNI configuration as text. [`masquerade`]: the nftables table as text.
//! - [`routes`]: routes by netlink. Only routes with this program's own protocol number are ever touched.
//! - [`run`]: the shell: a watch of the nodes, and putting plans into effect.
//!
//! **Invariant**: when it ends, everything stays as it is; pods keep their network.

pub mod conflist;
pub mod masquerade;
pub mod options;
pub mod plan;
pub mod routes;
pub mod run;

pub use run::Server;
