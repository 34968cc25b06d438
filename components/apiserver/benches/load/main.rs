//! What an API server can do: any one, by its kubeconfig, so that two can be put beside each other on the same etcd.
//!
//! `cargo bench -p kinit-apiserver --bench load -- --kubeconfig admin.conf --pid $(pidof kube-apiserver) crud lists` runs some
//! of the rows, without names all of those that fill no more than 10,000 objects. `--pid` is the server's process, whose CPU
//! seconds and memory stand beside each row where it is on this machine. The load generator shares the machine.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod client;
mod crud;
mod lists;
mod memory;
mod pods;
mod ready;
mod soak;
mod stats;
mod watches;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use client::Client;
use stats::Server;

/// Measures an API server.
#[derive(Debug, Parser)]
struct Options {
    /// The kubeconfig of somebody who may do everything.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The server's process, if it is on this machine.
    #[arg(long)]
    pid: Option<u32>,
    /// How long the soak takes, in seconds; ten minutes tell more.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// What the soak runs at times, to disturb etcd: a command that comes back when it has been disturbed.
    #[arg(long)]
    disturb: Option<String>,
    /// How many objects the soak and the fill are about.
    #[arg(long, default_value_t = 10_000)]
    objects: usize,
    /// A command that starts a server, for the row `ready`; its process is ended afterwards.
    #[arg(long)]
    start: Option<String>,
    /// Over how many connections requests and watches are spread.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How many clients write and read at once; without, 1 and then 100.
    #[arg(long)]
    clients: Option<usize>,
    /// How many watchers there are; without, 1,000 and then 10,000.
    #[arg(long)]
    watchers: Option<usize>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    /// The rows: crud, lists, watches, memory, ready, soak.
    rows: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = std::env::args_os();
    // `cargo test` runs benches too; without a server there is nothing to measure.
    if arguments.len() < 2 || std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return Ok(());
    }
    let mut all: Vec<_> = arguments.collect();
    all.retain(|argument| argument != "--bench");
    if all.len() < 2 {
        return Ok(());
    }
    let options = Options::parse_from(all);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> Result<()> {
    let server = Server::new(options.pid);
    let wanted = |row: &str, usual: bool| {
        if options.rows.is_empty() { usual } else { options.rows.iter().any(|name| name == row) }
    };
    if wanted("ready", false) {
        ready::run(&options.kubeconfig, options.start.as_deref()).await?;
    }
    let client = Client::load(&options.kubeconfig, options.connections)?;
    if wanted("crud", true) {
        crud::run(&client, &server, options.clients).await?;
    }
    if wanted("lists", true) {
        lists::run(&client, &server).await?;
    }
    if wanted("watches", true) {
        for count in options.watchers.map_or_else(|| vec![1_000, 10_000], |count| vec![count]) {
            watches::run(&client, &server, count).await?;
        }
    }
    if wanted("memory", false) {
        memory::run(&client, &server, options.objects).await?;
    }
    if wanted("soak", false) {
        let time = Duration::from_secs(options.seconds);
        soak::run(&client, options.objects, time, options.disturb.as_deref()).await?;
    }
    Ok(())
}
