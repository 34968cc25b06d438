//! What a full store costs: a snapshot, and a start on it after a kill.

use std::time::{Duration, Instant};

use kinit_etcd::proto::rpc::{RangeRequest, SnapshotRequest};

use super::common::Client;
use super::load::key;
use super::servers::{Program, Servers};

/// Asks for one key.
pub fn any() -> RangeRequest {
    RangeRequest { key: key(1), ..RangeRequest::default() }
}

pub async fn measure(program: &Program, servers: Servers) {
    let started = Instant::now();
    let mut client = Client::connect(servers.addresses[0]).await;
    let mut pieces = client.maintenance.snapshot(SnapshotRequest {}).await.expect("a snapshot").into_inner();
    let mut bytes = 0;
    while let Some(piece) = pieces.message().await.expect("a piece") {
        bytes += piece.blob.len();
    }
    let snapshot = started.elapsed();
    let data = servers.kill_and_keep();
    let started = Instant::now();
    let servers = Servers::start_on(program, data.path());
    let mut client = Client::connect(servers.addresses[0]).await;
    while client.kv.range(any()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (start, memory) = (started.elapsed(), servers.memory());
    println!(
        "{}: snapshot of {} MB in {:.2} s, start after a kill in {:.2} s, {} MB resident then, {} of it no file's",
        program.path.display(),
        bytes >> 20,
        snapshot.as_secs_f64(),
        start.as_secs_f64(),
        memory.resident >> 20,
        memory.anonymous >> 20,
    );
}
