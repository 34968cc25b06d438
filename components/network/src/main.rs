//! The `kinit-network` binary.

fn main() {}
