//! The wire's messages, generated from `proto/`.
//!
//! Names and numbers are etcd's own; `log` and `peer` are ours and stay among the members of one
//! cluster.

pub use wire::authpb as auth;
pub use wire::etcdlog as log;
pub use wire::etcdpeer as peer;
pub use wire::etcdserverpb as rpc;
pub use wire::grpc::health::v1 as health;
pub use wire::leasepb as lease;
pub use wire::mvccpb as mvcc;
pub use wire::v3electionpb as election;
pub use wire::v3lockpb as lock;

mod wire {
    include!(concat!(env!("OUT_DIR"), "/wire.rs"));
}
