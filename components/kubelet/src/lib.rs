//! A kubelet: runs the pods that are bound to this node, and reports how they and the node are.
//!
//! Layers, lowest first:
//! - [`config`], [`options`]: what kubeadm's files say.
//! - [`context`]: what all parts share; [`volumes`], [`probes`], [`logs`]: services for pods.
//! - [`pod`]: where pods come from ([`pod::source`]), what has to be done for one ([`pod::actions`], pure), what is said
//!   of it ([`pod::status`], pure), and the task that does it ([`pod::worker`]).
//! - [`relist`]: noticing what happens in the runtime. [`node`], `lease`: registering the node, its status and its sign of life.
//! - [`certificates`]: getting and renewing the kubelet's certificates. [`server`]: logs, exec, port-forward and figures.
//! - [`csi`]: drivers of storage.
//! - `eviction`: ending pods when the node runs short. `shutdown`: ending them in order before the host ends. `upkeep`: unused images, and logs that grow.
//! - [`events`]: what people are told through the API.
//!
//! **Invariant**: the runtime is the only memory. A kubelet that is killed and started again finds every pod's sandboxes
//! and containers by their labels and goes on; nothing is written for its own use.
//!
//! Static pods run without any API server: that is how the API server itself is started.
//!
//! Start reading at [`pod::worker::Worker::run`].

pub mod certificates;
mod cgroups;
pub mod config;
pub mod context;
pub mod csi;
mod error;
pub mod events;
mod eviction;
mod lease;
pub mod logs;
pub mod node;
pub mod options;
pub mod pod;
pub mod probes;
pub mod relist;
mod run;
pub mod server;
mod shutdown;
mod tls;
mod upkeep;
pub mod volumes;

pub use error::{Error, Result};
pub use options::Options;
pub use run::Server;
