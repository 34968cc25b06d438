//! Compiles what members say to each other and write to their logs with protox, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=../etcd-api/proto");
    let descriptors = protox::compile(["log.proto", "peer.proto"], ["proto", "../etcd-api/proto"])?;
    tonic_prost_build::configure()
        .include_file("wire.rs")
        .build_transport(false)
        .bytes(".")
        .extern_path(".etcdserverpb", "::kinit_etcd_api::rpc")
        .extern_path(".authpb", "::kinit_etcd_api::auth")
        .extern_path(".mvccpb", "::kinit_etcd_api::mvcc")
        .compile_fds(descriptors)?;
    Ok(())
}
