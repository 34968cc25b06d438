//! What every controller is built from: clients, caches that follow the API, work queues and leader election.
//!
//! - [`client`]: a client from a kubeconfig file, for components that run for months.
//! - [`informer`]: [`Informer`], a cache of all objects of one kind, kept by a watch; handlers turn its events into keys.
//! - [`queue`]: [`Queue`], keys to work on: each once at a time, later ones merged, failures with growing pauses.
//! - [`figures`]: how much went through the queues, for `/metrics`.
//! - [`events`]: what people are told through the API.
//! - [`span`]: [`Span`], a duration in a configuration file.
//! - [`leader`]: leader election by a Lease, so that one of several replicas works.
//!
//! The road is always the same: watch -> cache -> key -> plan, made from caches alone -> actions through the client. A
//! controller that fails at a key tries it again; it never keeps a truth of its own.
//!
//! **Invariant**: nothing here knows of any kind of object but its own two: Lease and Event.

pub mod client;
pub mod events;
pub mod figures;
pub mod informer;
pub mod leader;
pub mod queue;
pub use client::{Error, from_kubeconfig, on_node};
pub use informer::{Change, Informer, key_of};
pub use queue::{Queue, work};
