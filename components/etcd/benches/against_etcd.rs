//! This server against Debian's etcd: the same work, the same disk, one after the other in the same run.
//!
//! `cargo bench -p kinit-etcd` prints a table; `cargo bench -p kinit-etcd -- puts` only the rows with that word. The load
//! generator shares the machine, so each row also gives the server's CPU seconds per 10,000 operations.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Client, Process, installed, own_binary};
use kinit_etcd::proto::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use kinit_etcd::proto::rpc::request_op::Request;
use kinit_etcd::proto::rpc::*;

/// One row's work on one server.
#[derive(Clone, Copy)]
struct Work {
    name: &'static str,
    connections: usize,
    clients: usize,
    operations: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
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

const WORKS: [Work; 10] = [
    Work { name: "puts, 1 client", connections: 1, clients: 1, operations: 3000, kind: Kind::Put },
    Work {
        name: "puts, 100 connections, 1000 clients",
        connections: 100,
        clients: 1000,
        operations: 60_000,
        kind: Kind::Put,
    },
    Work {
        name: "range of 1 key, linearizable",
        connections: 100,
        clients: 1000,
        operations: 60_000,
        kind: Kind::Range { keys: 1, serializable: false },
    },
    Work {
        name: "range of 1 key, serializable",
        connections: 100,
        clients: 1000,
        operations: 60_000,
        kind: Kind::Range { keys: 1, serializable: true },
    },
    Work {
        name: "range of 1000 keys, linearizable",
        connections: 20,
        clients: 100,
        operations: 1500,
        kind: Kind::Range { keys: 1000, serializable: false },
    },
    Work {
        name: "range of 1000 keys, serializable",
        connections: 20,
        clients: 100,
        operations: 1500,
        kind: Kind::Range { keys: 1000, serializable: true },
    },
    Work { name: "compare-and-put, 1 client", connections: 1, clients: 1, operations: 3000, kind: Kind::Txn },
    Work {
        name: "compare-and-put, 1000 clients",
        connections: 100,
        clients: 1000,
        operations: 40_000,
        kind: Kind::Txn,
    },
    Work {
        name: "1000 watchers of one range, delivery",
        connections: 20,
        clients: 1,
        operations: 300,
        kind: Kind::Watch { watchers: 1000 },
    },
    Work { name: "fill with keys of 1 KiB", connections: 100, clients: 1000, operations: 1_000_000, kind: Kind::Fill },
];

struct Outcome {
    latencies: Vec<Duration>,
    took: Duration,
    cpu: f64,
    resident: u64,
}

impl Outcome {
    fn percentile(&self, percent: usize) -> f64 {
        let place = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(place).map_or(0.0, Duration::as_secs_f64) * 1000.0
    }

    fn row(&self, who: &str, work: &Work) -> String {
        let done = self.latencies.len();
        format!(
            "{:<38} {who:<6} {:>9.0}/s  p50 {:>7.2} ms  p99 {:>7.2} ms  {:>6.2} CPU s per 10,000  {:>5} MB",
            work.name,
            done as f64 / self.took.as_secs_f64(),
            self.percentile(50),
            self.percentile(99),
            self.cpu * 10_000.0 / done as f64,
            self.resident >> 20,
        )
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let Some(theirs) = installed("etcd") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for work in WORKS.iter().filter(|work| wanted.is_empty() || wanted.iter().any(|word| work.name.contains(word))) {
        let ours = runtime.block_on(measure(&own_binary(), work));
        let other = runtime.block_on(measure(&theirs, work));
        println!("{}", ours.row("ours", work));
        println!("{}", other.row("etcd", work));
        let (mine, upstream) = (
            ours.latencies.len() as f64 / ours.took.as_secs_f64(),
            other.latencies.len() as f64 / other.took.as_secs_f64(),
        );
        println!(
            "{:<38} {:>6.2} times the throughput, {:.2} of the CPU",
            "",
            mine / upstream,
            ours.cpu / other.cpu.max(0.01)
        );
    }
}

async fn measure(program: &Path, work: &Work) -> Outcome {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Process::start(program, &directory.path().join("data"), &["--quota-backend-bytes=16000000000"]);
    let mut clients = Vec::new();
    for _ in 0..work.connections {
        clients.push(Client::connect(server.address).await);
    }
    prepare(&mut clients[0], work).await;
    let process = server.child.id();
    let (cpu, started) = (cpu_seconds(process), Instant::now());
    let mut latencies = match work.kind {
        Kind::Watch { watchers } => watch(&clients, watchers, work.operations).await,
        _ => ask(&clients, work).await,
    };
    let took = started.elapsed();
    latencies.sort_unstable();
    let (cpu, memory) = (cpu_seconds(process) - cpu, resident(process));
    if matches!(work.kind, Kind::Fill) {
        full(program, &directory.path().join("data"), server, &mut clients[0]).await;
    }
    Outcome { latencies, took, cpu, resident: memory }
}

/// A snapshot of a full store, and a start on it.
async fn full(program: &Path, data: &Path, server: Process, client: &mut Client) {
    let started = Instant::now();
    let mut pieces = client.maintenance.snapshot(SnapshotRequest {}).await.expect("a snapshot").into_inner();
    let mut bytes = 0;
    while let Some(piece) = pieces.message().await.expect("a piece") {
        bytes += piece.blob.len();
    }
    let snapshot = started.elapsed();
    server.kill();
    let started = Instant::now();
    let server = Process::start(program, data, &["--quota-backend-bytes=16000000000"]);
    let mut client = Client::connect(server.address).await;
    let range = RangeRequest { key: key(1), ..RangeRequest::default() };
    while client.kv.range(range.clone()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!(
        "{}: snapshot of {} MB in {:.2} s, start after a kill in {:.2} s, {} MB resident then",
        program.display(),
        bytes >> 20,
        snapshot.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        resident(server.child.id()) >> 20
    );
}

fn key(number: usize) -> Bytes {
    Bytes::from(format!("/registry/bench/{number:08}"))
}

async fn prepare(client: &mut Client, work: &Work) {
    let keys = match work.kind {
        Kind::Range { keys, .. } => keys.max(1000),
        Kind::Put | Kind::Txn => 1,
        Kind::Watch { .. } | Kind::Fill => 0,
    };
    for number in 0..keys {
        let put = PutRequest { key: key(number), value: Bytes::from(vec![b'x'; 256]), ..PutRequest::default() };
        client.kv.put(put).await.expect("put");
    }
}

/// Many clients, each with one request at a time.
async fn ask(clients: &[Client], work: &Work) -> Vec<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for number in 0..work.clients {
        let (mut client, next, work) = (clients[number % clients.len()].clone(), next.clone(), *work);
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let operation = next.fetch_add(1, Ordering::Relaxed);
                if operation >= work.operations {
                    return latencies;
                }
                let started = Instant::now();
                one(&mut client, &work, operation).await;
                latencies.push(started.elapsed());
            }
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("no panic"));
    }
    latencies
}

async fn one(client: &mut Client, work: &Work, operation: usize) {
    let put = |key: Bytes| PutRequest { key, value: Bytes::from(vec![b'x'; 256]), ..PutRequest::default() };
    match work.kind {
        Kind::Put => drop(client.kv.put(put(key(operation % 10_000))).await.expect("put")),
        Kind::Range { keys, serializable } => {
            let range_end = if keys == 1 { Bytes::new() } else { key(keys) };
            let first = if keys == 1 { operation % 1000 } else { 0 };
            let request = RangeRequest { key: key(first), range_end, serializable, ..RangeRequest::default() };
            let response = client.kv.range(request).await.expect("range").into_inner();
            assert_eq!(response.kvs.len(), keys);
        }
        Kind::Txn => {
            // As the apiserver creates an object: put if the key is not there, else give what is there.
            let key = key(operation);
            let compare = Compare {
                result: CompareResult::Equal as i32,
                target: CompareTarget::Mod as i32,
                key: key.clone(),
                target_union: Some(TargetUnion::ModRevision(0)),
                range_end: Bytes::new(),
            };
            let success = RequestOp { request: Some(Request::RequestPut(put(key.clone()))) };
            let read = RangeRequest { key, ..RangeRequest::default() };
            let failure = RequestOp { request: Some(Request::RequestRange(read)) };
            let txn = TxnRequest { compare: vec![compare], success: vec![success], failure: vec![failure] };
            drop(client.kv.txn(txn).await.expect("txn"));
        }
        Kind::Fill => {
            let put = PutRequest { key: key(operation), value: Bytes::from(vec![b'x'; 1024]), ..Default::default() };
            drop(client.kv.put(put).await.expect("put"));
        }
        Kind::Watch { .. } => {}
    }
}

/// How long after a put was begun each watcher has heard of it; 1,000 puts a second.
async fn watch(clients: &[Client], watchers: usize, puts: usize) -> Vec<Duration> {
    let origin = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..watchers {
        let mut client = clients[number % clients.len()].clone();
        let create = WatchCreateRequest { key: key(0), range_end: Bytes::from_static(b"\0"), ..Default::default() };
        let mut watches = client.watches([create]).await;
        assert!(watches.next().await.created);
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            while latencies.len() < puts {
                for event in watches.next().await.events {
                    let value = event.kv.expect("a key").value;
                    let begun: u64 = std::str::from_utf8(&value).expect("text").parse().expect("nanoseconds");
                    latencies.push(origin.elapsed().saturating_sub(Duration::from_nanos(begun)));
                }
            }
            latencies
        }));
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    for number in 0..puts {
        ticks.tick().await;
        let mut client = clients[number % clients.len()].clone();
        let value = Bytes::from(origin.elapsed().as_nanos().to_string());
        let put = PutRequest { key: key(number), value, ..PutRequest::default() };
        tokio::spawn(async move { client.kv.put(put).await.expect("put") });
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("no panic"));
    }
    latencies
}

fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = after.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024)
}
