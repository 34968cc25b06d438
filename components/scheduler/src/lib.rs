//! kube-scheduler: gives each pod a node.
//!
//! Layers, bottom up:
//! - [`pod`] and [`node`]: what the scheduler keeps of pods and nodes, read once from the API's objects; everything else
//!   is dropped, so that memory grows with what decisions need.
//! - [`volumes`]: what it keeps of claims, volumes and storage classes.
//! - [`snapshot`]: an immutable picture of all nodes with their pods, which one decision works on; unchanged nodes are
//!   shared between pictures.
//! - [`plugins`]: what makes a node fit or better, one file each, and the one table of them with their weights.
//! - [`config`]: the configuration file; [`profile`]: what it makes of the table for a scheduler of some name.
//! - [`cycle`]: one decision: filter, score, choose; and the sentence that says why no node fits.
//! - [`preemption`]: which pods of lower priority would make room, found by deciding again on changed pictures.
//! - [`cache`] and [`queue`]: nodes with bound and assumed pods; pods that wait, and what may make them fit.
//! - [`core`]: the pure heart: `step(Event)`, `next() -> Action`. It knows no clock, no task and no client.
//! - [`run`]: the shell around it: watches, binding in the background, events, the Lease, health and metrics.
//!
//! Start reading at [`core::Core`].
//!
//! **Invariant**: nothing below [`run`] waits for anything. **Invariant**: a plugin sees a pod and a snapshot, no more.

pub mod cache;
pub mod config;
pub mod core;
pub mod cycle;
mod figures;
pub mod node;
pub mod options;
pub mod plugins;
pub mod pod;
pub mod preemption;
pub mod profile;
pub mod queue;
pub mod run;
mod selector;
pub mod snapshot;
#[cfg(test)]
mod testing;
pub mod volumes;
mod watches;
mod writes;

pub use run::Server;
