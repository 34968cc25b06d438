//! An etcd v3 server.
//!
pub mod apply;
pub mod error;
pub mod lease;
pub mod mvcc;
pub mod proto;
pub mod wal;
pub mod watch;
