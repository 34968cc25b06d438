//! Compiles the protocol's definitions with protox, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["runtime.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .include_file("wire.rs")
        .build_server(false)
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
