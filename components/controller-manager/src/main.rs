//! The `kube-controller-manager` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    kinit_serving::process::main(|options, shutdown| async move {
        kinit_controller_manager::Server::new(options)?.run(shutdown).await
    })
}
