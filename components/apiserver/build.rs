//! Compiles the definitions of key services with protox, so that no protoc is needed, and packs what OpenAPI says about types.

#[path = "build/descriptions.rs"]
mod descriptions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build");
    // Tests have a key service of their own.
    let kms = protox::compile(["kms.proto"], ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(kms)?;
    let output = std::path::PathBuf::from(std::env::var("OUT_DIR")?).join("descriptions.gz");
    std::fs::write(output, descriptions::packed()?)?;
    Ok(())
}
