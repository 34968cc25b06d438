//! The `kube-apiserver` binary.

use std::process::ExitCode;

use kinit_apiserver::options::Options;
use kinit_apiserver::server::Server;

fn main() -> ExitCode {
    kinit_serving::process::main(|options: Options, shutdown| async move { Server::new(options)?.run(shutdown).await })
}
