//! The loops that bring a cluster to where its objects say it should be.
//!
//! - [`context`]: caches that all share, and a client for each controller under its own service account.
//! - [`pods`], [`claim`]: what every controller that makes pods has in common: selecting, owning, creating, deleting.
//! - [`revisions`]: the history of a pod template.
//! - One module per controller; where there is something to decide, the deciding part is a pure function with its tests
//!   beside it: [`nodeipam`], [`nodelifecycle`], [`nodettl`], [`certificates`], [`rootca`], [`serviceaccount`], [`servicecidr`], [`namespace`],
//!   [`replicas`] for [`replicaset`] and [`replication`], [`deployment`], [`daemonset`], [`statefulset`], [`job`], [`cronjob`], [`ttl`],
//!   [`disruption`], [`autoscaling`], [`quota`], [`binder`], [`ephemeral`], [`attach`], [`protection`], [`podgc`], [`endpoints`], [`mirroring`], [`garbage`], [`bootstrap`].
//! - [`server`]: health, leader election, and the table of controllers.
//!
//! **Invariant**: controllers do not call each other. They meet in the API's objects only.
//!
//! Start reading at [`server::Server::run`].

pub mod attach;
pub mod autoscaling;
pub mod binder;
pub mod bootstrap;
pub mod certificates;
pub mod claim;
pub mod context;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod ephemeral;
pub mod garbage;
pub mod job;
pub mod mirroring;
pub mod namespace;
pub mod nodeipam;
pub mod nodelifecycle;
pub mod nodettl;
pub mod options;
pub mod podgc;
pub mod pods;
pub mod protection;
pub mod quota;
pub mod replicas;
pub mod replicaset;
pub mod replication;
pub mod revisions;
pub mod roleaggregation;
pub mod rootca;
pub mod server;
pub mod serviceaccount;
pub mod servicecidr;
pub mod statefulset;
pub mod ttl;
pub mod write;

pub use options::Options;
pub use server::Server;
