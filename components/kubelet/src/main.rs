//! The `kubelet` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    kinit_serving::process::main_with_flags(|options, flags, shutdown| async move {
        kinit_kubelet::Server::new(options, flags)?.run(shutdown).await
    })
}
