//! The `etcd` binary.

use std::process::ExitCode;

use kinit_etcd::options::Options;
use kinit_etcd::server::Server;

fn main() -> ExitCode {
    kinit_serving::process::main(|options: Options, shutdown| async move {
        Server::new(options)?.run(shutdown).await?;
        Ok(())
    })
}
