//! The `cluster-dns` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    kinit_serving::process::main(
        |options, shutdown| async move { kinit_dns::Server::new(options)?.run(shutdown).await },
    )
}
