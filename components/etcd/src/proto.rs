//! The wire's messages: etcd's own, and those of `proto/`, which stay among the members of one cluster.

pub use kinit_etcd_api::{auth, election, health, lease, lock, mvcc, rpc};
pub use wire::etcdlog as log;
pub use wire::etcdpeer as peer;

mod wire {
    include!(concat!(env!("OUT_DIR"), "/wire.rs"));
}
