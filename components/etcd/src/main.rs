//! The `etcd` binary.

use std::process::ExitCode;

use kinit_etcd::options::Options;
use kinit_etcd::server::Server;

fn main() -> ExitCode {
    kinit_serving::process::start(Options::of_process(), |mut options: Options, shutdown| async move {
        if let Some(tool) = options.tool.take() {
            return kinit_etcd::tool::run(tool, &mut std::io::stdout());
        }
        Server::new(options)?.run(shutdown).await?;
        Ok(())
    })
}
