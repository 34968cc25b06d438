//! The `pause` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    match kinit_pause::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
