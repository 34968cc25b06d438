//! The `kinit` binary.

fn main() {}
