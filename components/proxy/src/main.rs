//! The `kube-proxy` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // When it was started to run one of the host's programs it becomes that program.
    kinit_serving::host::become_host_program();
    kinit_serving::process::main_with_flags(|options, flags, shutdown| async move {
        kinit_proxy::Server::new(options, flags)?.run(shutdown).await
    })
}
