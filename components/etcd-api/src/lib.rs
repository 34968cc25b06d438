//! etcd's wire: API v3, for its server and its clients. Names and numbers are etcd's own.

pub use wire::authpb as auth;
pub use wire::etcdserverpb as rpc;
pub use wire::grpc::health::v1 as health;
pub use wire::leasepb as lease;
pub use wire::mvccpb as mvcc;
pub use wire::v3electionpb as election;
pub use wire::v3lockpb as lock;

/// The definitions as protobuf describes them (a `FileDescriptorSet`), for JSON.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[expect(missing_docs, clippy::all, rustdoc::all, reason = "generated code")]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/wire.rs"));
}
