//! The `kinit` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    kinit::cli::main()
}
