//! An etcd v3 server: a durable, versioned key-value store with watches and leases, on etcd's own wire.
//!
//! A request's road, top to bottom:
//! - [`server`]: a member from start to end; [`options`] as typed, [`config`] as meant.
//! - [`direct`]: what clients' connections speak, and the calls that come by the thousand.
//! - [`rpc`]: the gRPC services and the plain HTTP paths. Reads are answered from the store; writes are proposed.
//! - [`gateway`]: the same services as JSON.
//! - [`node`]: the loop between a proposal and its answer: agree, log, sync, apply.
//! - [`raft`]: consensus as a pure state machine, which [`node`] drives; [`peer`]: the wire to the other members.
//! - [`wal`]: the write-ahead log. A write is acknowledged only when it is synced to it.
//! - [`apply`]: the state machine, the store's only writer: requests in, answers and events out.
//! - [`mvcc`]: the versioned store: an index in memory, a table of revisions on disk.
//! - [`auth`]: users and roles; who may do what is decided where entries are applied.
//! - [`lease`] and [`watch`]: what hangs on keys, and who hears of them.
//! - [`snapshot`]: the state as one file in the format of etcd's own backend ([`bolt`]), out and in.
//!
//! [`expiry`] and [`compactor`] propose writes by themselves. [`error`] holds every answer that is a failure, with
//! etcd's codes and texts. [`membership`] is who is in the cluster. Start reading at [`node`], then [`apply`], then
//! [`mvcc::store`].

pub mod apply;
pub mod auth;
pub mod bolt;
pub mod compactor;
pub mod config;
pub mod corruption;
mod direct;
mod dispatch;
pub mod downgrade;
pub mod error;
pub mod expiry;
pub mod failpoint;
pub mod fatal;
pub mod fuzzing;
pub mod gateway;
pub mod lease;
pub mod membership;
pub mod metrics;
pub mod mvcc;
pub mod node;
pub mod options;
pub mod peer;
pub mod proto;
mod publish;
pub mod raft;
pub mod rpc;
pub mod server;
pub mod snapshot;
mod start;
pub mod tool;
pub mod wal;
pub mod watch;
