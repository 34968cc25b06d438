//! The wire's messages, generated from `proto/`.
//!
//! Names and numbers are etcd's own; `log` is ours and never leaves this member's disk.

pub use wire::authpb as auth;
pub use wire::etcdlog as log;
pub use wire::etcdserverpb as rpc;
pub use wire::grpc::health::v1 as health;
pub use wire::leasepb as lease;
pub use wire::mvccpb as mvcc;
pub use wire::v3electionpb as election;
pub use wire::v3lockpb as lock;

mod wire {
    include!(concat!(env!("OUT_DIR"), "/wire.rs"));
}
