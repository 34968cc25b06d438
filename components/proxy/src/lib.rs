//! kube-proxy: has the kernel send packets for Services to their endpoints, by nftables.
//!
//! - [`service`]: what is kept of Services and EndpointSlices: service ports and endpoints, with which of them count for
//!   traffic from within and from outside.
//! - [`render`]: the pure heart: service ports and endpoints -> [`ruleset::Ruleset`], one table for each family.
//! - [`ruleset`]: chains, sets and maps as data, and the difference of two of them as one nftables transaction.
//! - [`conntrack`]: which of the kernel's known UDP flows lead to endpoints that are gone.
//! - [`tune`]: the kernel's table of connections.
//! - [`balancers`]: telling load balancers whether this node has endpoints.
//! - [`run`]: the shell: watches, transactions, health and metrics. [`config`] and [`options`]: what it is told.
//!
//! A change reaches the kernel as one transaction that names only what differs, so its cost does not grow with the
//! number of Services, and no packet ever sees half of it. After a failed transaction the whole table is made anew.
//!
//! **Invariant**: when it ends, the rules stay; `kube-proxy --cleanup` takes them away.

pub mod balancers;
pub mod config;
pub mod conntrack;
pub mod options;
pub mod render;
pub mod ruleset;
pub mod run;
pub mod service;
pub mod tune;

pub use run::Server;
