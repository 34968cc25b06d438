//! Compiles the part of etcd's wire that kinit uses with protox, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=src/etcd/etcd.proto");
    let descriptors = protox::compile(["etcd.proto"], ["src/etcd"])?;
    tonic_prost_build::configure().build_server(false).bytes(".").compile_fds(descriptors)?;
    Ok(())
}
