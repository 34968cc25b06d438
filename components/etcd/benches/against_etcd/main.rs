//! This server against Debian's etcd: the same work, the same disk, in turns.
//!
//! `cargo bench -p kinit-etcd` prints a table; `cargo bench -p kinit-etcd -- puts` only the rows with that word.
//! `--other PATH` measures against another program than `/usr/bin/etcd`, such as an earlier build; `--rounds N` says how
//! often each takes its turn; `--host NAMESPACE=ADDRESS`, three times, gives each member of three a network of its own (see
//! `network.sh`); `--own-flag FLAG` is for ours alone. The load generator shares the machine, so each row also gives the server's CPU seconds per
//! 10,000 operations. A row says the median of the rounds, and the least and the most.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "../../tests/common/mod.rs"]
mod common;
mod full;
mod load;
mod servers;
mod wire;

use std::time::{Duration, Instant};

use clap::Parser;
use common::{Client, own_binary};
use servers::{Host, Program, Servers};

#[derive(clap::Parser)]
struct Options {
    /// Only rows with one of these words.
    words: Vec<String>,
    /// Turns that each program takes.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The program to measure.
    #[arg(long)]
    own: Option<std::path::PathBuf>,
    /// The program to measure against.
    #[arg(long, default_value = "/usr/bin/etcd")]
    other: std::path::PathBuf,
    /// Told to the program that is measured and not to the other.
    #[arg(long = "own-flag", allow_hyphen_values = true)]
    own_flags: Vec<String>,
    /// Where members run if they are several.
    #[arg(long = "host")]
    hosts: Vec<Host>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One row's work on one server.
#[derive(Clone, Copy)]
pub struct Work {
    name: &'static str,
    members: usize,
    connections: usize,
    clients: usize,
    operations: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
pub enum Kind {
    Put,
    Range {
        keys: usize,
        serializable: bool,
    },
    Txn,
    Watch {
        watchers: usize,
    },
    /// Keys of 1 KiB; what counts is the memory, and then how long a start and a snapshot take.
    Fill,
}

const fn work(name: &'static str, clients: usize, operations: usize, kind: Kind) -> Work {
    let connections = if clients < 100 { clients } else { 100 };
    Work { name, members: 1, connections, clients, operations, kind }
}

const fn range(keys: usize, serializable: bool) -> Kind {
    Kind::Range { keys, serializable }
}

const WORKS: [Work; 17] = [
    work("puts, 1 client", 1, 3000, Kind::Put),
    work("puts, 1000 clients", 1000, 100_000, Kind::Put),
    work("range of 1 key, linearizable", 1000, 150_000, range(1, false)),
    work("range of 1 key, serializable", 1000, 150_000, range(1, true)),
    work("range of 1000 keys, linearizable", 100, 3000, range(1000, false)),
    work("range of 1000 keys, serializable", 100, 3000, range(1000, true)),
    work("compare-and-put, 1 client", 1, 3000, Kind::Txn),
    work("compare-and-put, 1000 clients", 1000, 60_000, Kind::Txn),
    Work { connections: 200, ..work("puts, 200 connections", 200, 20_000, Kind::Put) },
    Work { connections: 200, ..work("compare-and-put, 200 connections", 200, 20_000, Kind::Txn) },
    Work { connections: 200, ..work("range of 1 key, 200 connections", 200, 50_000, range(1, false)) },
    Work { connections: 20, ..work("1000 watchers, 1000 puts/s", 1, 500, Kind::Watch { watchers: 1000 }) },
    Work { members: 3, ..work("three members, puts, 1 client", 1, 1000, Kind::Put) },
    Work { members: 3, ..work("three members, puts, 1000 clients", 1000, 60_000, Kind::Put) },
    Work { members: 3, ..work("three members, range of 1 key, 1 client", 1, 3000, range(1, false)) },
    Work { members: 3, ..work("three members, range of 1 key, 1000 clients", 1000, 150_000, range(1, false)) },
    work("fill with 1 million keys of 1 KiB", 1000, 1_000_000, Kind::Fill),
];

/// What one turn came to.
struct Outcome {
    throughput: f64,
    p50: f64,
    p99: f64,
    /// Seconds per 10,000 operations.
    cpu: f64,
    megabytes: f64,
    /// Of these, not of files.
    anonymous: f64,
}

type Figure = fn(&Outcome) -> f64;

fn median(outcomes: &[Outcome], figure: Figure) -> f64 {
    let mut values: Vec<f64> = outcomes.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn row(who: &str, work: &Work, outcomes: &[Outcome]) -> String {
    let least = outcomes.iter().map(|outcome| outcome.throughput).fold(f64::MAX, f64::min);
    let most = outcomes.iter().map(|outcome| outcome.throughput).fold(0.0, f64::max);
    format!(
        "{:<34} {who:<5} {:>8.0}/s ({least:>7.0} to {most:>7.0})  p50 {:>7.2} ms  p99 {:>7.2} ms  {:>6.3} CPU s per 10,000  {:>4.0} MB ({:.0})",
        work.name,
        median(outcomes, |outcome| outcome.throughput),
        median(outcomes, |outcome| outcome.p50),
        median(outcomes, |outcome| outcome.p99),
        median(outcomes, |outcome| outcome.cpu),
        median(outcomes, |outcome| outcome.megabytes),
        median(outcomes, |outcome| outcome.anonymous),
    )
}

fn main() {
    let options = Options::parse();
    let own = Program { path: options.own.clone().unwrap_or_else(own_binary), flags: options.own_flags };
    let other = Program { path: options.other, flags: Vec::new() };
    if !other.path.exists() {
        return println!("skipped: {} is not installed (Debian's etcd-server has it)", other.path.display());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let wanted = |work: &&Work| options.words.is_empty() || options.words.iter().any(|word| work.name.contains(word));
    for work in WORKS.iter().filter(wanted) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let rounds = if matches!(work.kind, Kind::Fill) { 1 } else { options.rounds };
        for _ in 0..rounds {
            ours.push(runtime.block_on(measure(&own, work, &options.hosts)));
            theirs.push(runtime.block_on(measure(&other, work, &options.hosts)));
        }
        println!("{}", row("ours", work, &ours));
        println!("{}", row("other", work, &theirs));
        let ratio = |figure: Figure| median(&ours, figure) / median(&theirs, figure).max(1e-9);
        println!(
            "{:<34} {:.2} times the throughput, {:.2} of p50, {:.2} of p99, {:.2} of the CPU",
            "",
            ratio(|outcome| outcome.throughput),
            ratio(|outcome| outcome.p50),
            ratio(|outcome| outcome.p99),
            ratio(|outcome| outcome.cpu),
        );
    }
}

async fn measure(program: &Program, work: &Work, hosts: &[Host]) -> Outcome {
    let servers = Servers::start(program, work.members, hosts);
    for address in &servers.addresses {
        // The first request is answered once there is a leader.
        let mut client = Client::connect(*address).await;
        while client.kv.range(full::any()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    if let Kind::Range { keys, .. } = work.kind {
        let keys = keys.max(1000);
        let fill = Work { clients: 1, connections: 1, operations: keys, kind: Kind::Put, ..*work };
        load::ask(&servers.addresses[..1], &fill).await;
    }
    let (cpu, started) = (servers.cpu(), Instant::now());
    let mut latencies = match work.kind {
        Kind::Watch { watchers } => {
            load::watch(servers.addresses[0], work.connections, watchers, work.operations).await
        }
        _ => load::ask(&servers.addresses, work).await,
    };
    let (took, cpu, memory) = (started.elapsed(), servers.cpu() - cpu, servers.memory());
    latencies.sort_unstable();
    if matches!(work.kind, Kind::Fill) {
        full::measure(program, servers).await;
    }
    let percentile = |percent: usize| latencies[latencies.len() * percent / 100].as_secs_f64() * 1000.0;
    let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let count = latencies.len() as f64;
    Outcome {
        throughput: count / took.as_secs_f64(),
        p50: percentile(50),
        p99: percentile(99),
        cpu: cpu * 10_000.0 / count,
        megabytes: megabytes(memory.resident),
        anonymous: megabytes(memory.anonymous),
    }
}
