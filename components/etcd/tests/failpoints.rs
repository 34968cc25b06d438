//! The member ends at each step of its write path in turn, by a power cut or because the disk says no: what was
//! acknowledged is there after the next start, and nothing is acknowledged behind a failure.

mod common;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use common::{Client, Process, own_binary};
use kinit_etcd::proto::rpc::{CompactionRequest, PutRequest, RangeRequest};

/// Steps that a member alone takes, each with how often it is passed before it fails.
const STEPS: &[(&str, &[u32])] = &[
    ("wal.write", &[1, 4, 40]),
    ("wal.sync", &[1, 4, 40]),
    ("wal.synced", &[1, 4, 40]),
    // The first segment, and the one after it.
    ("wal.create", &[1, 2]),
    ("wal.rename", &[1, 2]),
    ("wal.renamed", &[1, 2]),
    ("wal.release", &[1]),
    ("store.commit", &[1, 3, 8, 12]),
    ("store.committed", &[1, 3, 8, 12]),
    ("compaction", &[1, 2]),
];

/// Large enough that a segment of the log is full after a few dozen.
const VALUE: usize = 600 << 10;
const WRITES: u32 = 60;

/// The values that were acknowledged, and the one that was sent last.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeMap<u32, u32>,
    sent: Option<(u32, u32)>,
}

fn value(number: u32) -> Bytes {
    let mut value = number.to_string().into_bytes();
    value.resize(VALUE, b' ');
    value.into()
}

/// Writes until the member ends or has had its fill.
async fn write(process: &mut Process, ledger: &mut Ledger) {
    let Some(mut client) = reach(process).await else { return };
    for number in 0..WRITES {
        let key = number % 7;
        ledger.sent = Some((key, number));
        let request = PutRequest { key: Bytes::from(key.to_string()), value: value(number), ..Default::default() };
        let Ok(response) = client.kv.put(request).await else { return };
        ledger.acknowledged.insert(key, number);
        let revision = response.into_inner().header.expect("a header").revision;
        if number % 20 == 19 {
            let compact = CompactionRequest { revision: revision - 5, physical: true };
            if client.kv.compact(compact).await.is_err() {
                return;
            }
        }
    }
}

/// A client, unless the member ends before it serves.
async fn reach(process: &mut Process) -> Option<Client> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let Ok(client) = Client::try_connect(process.address).await {
            return Some(client);
        }
        if process.child.try_wait().expect("asked").is_some() {
            return None;
        }
        assert!(tokio::time::Instant::now() < deadline, "the member neither serves nor ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ended(process: &mut Process) -> std::process::ExitStatus {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = process.child.try_wait().expect("asked") {
            return status;
        }
        assert!(tokio::time::Instant::now() < deadline, "the member goes on after the failure");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn check(data: &Path, ledger: &Ledger, what: &str) {
    let mut process = Process::start(&own_binary(), data, &[]);
    let mut client = reach(&mut process).await.unwrap_or_else(|| panic!("{what}: it does not start again"));
    let range =
        RangeRequest { key: Bytes::from_static(b"\0"), range_end: Bytes::from_static(b"\0"), ..Default::default() };
    let found = client.kv.range(range).await.expect("readable").into_inner().kvs;
    let held: BTreeMap<u32, u32> = found
        .iter()
        .map(|kv| {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).expect("text").trim().parse().expect("a number");
            (text(&kv.key), text(&kv.value))
        })
        .collect();
    for (key, number) in &ledger.acknowledged {
        let last = ledger.sent == Some((*key, held[key]));
        assert!(held[key] == *number || last, "{what}: {key} is {} and was {number}", held[key]);
    }
    for (key, number) in &held {
        assert!(ledger.acknowledged.get(key) == Some(number) || ledger.sent == Some((*key, *number)), "{what}: {key}");
    }
}

async fn fail_at(place: &str, number: u32, kind: &str) -> bool {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let what = format!("{place}={number}*{kind}");
    let mut ledger = Ledger::default();
    let mut process = Process::start_with(&own_binary(), &data, &["--snapshot-count=5"], &[("FAILPOINT", &what)]);
    write(&mut process, &mut ledger).await;
    if ledger.acknowledged.values().max() == Some(&(WRITES - 1)) {
        // It was not passed so often.
        process.kill();
        return false;
    }
    let status = ended(&mut process).await;
    match kind {
        "crash" => assert_eq!(status.signal(), Some(6), "{what}"),
        _ => assert_eq!(status.code(), Some(1), "{what}"),
    }
    check(&data, &ledger, &what).await;
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_step_loses_nothing() {
    for (place, numbers) in STEPS {
        let mut reached = false;
        for number in *numbers {
            reached |= fail_at(place, *number, "crash").await;
        }
        assert!(reached, "{place} is never passed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_at_any_step_ends_the_member() {
    for (place, numbers) in STEPS {
        for number in *numbers {
            fail_at(place, *number, "error").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_may_be_cut_anywhere_and_the_next_be_elsewhere() {
    let moved =
        ["--initial-advertise-peer-urls=http://127.0.0.1:2390", "--initial-cluster=default=http://127.0.0.1:2390"];
    for place in ["store.commit", "store.committed", "wal.create", "wal.renamed", "wal.synced"] {
        for number in 1..=6 {
            let directory = tempfile::tempdir().expect("a directory");
            let what = format!("{place}={number}*crash");
            let mut process = Process::start_with(&own_binary(), directory.path(), &[], &[("FAILPOINT", &what)]);
            let passed = put(&mut process).await;
            process.kill();
            let mut process = Process::start(&own_binary(), directory.path(), &moved);
            assert!(put(&mut process).await, "{what}: the next start does not serve");
            if passed {
                break;
            }
        }
    }
}

/// Whether the member takes a write before it ends.
async fn put(process: &mut Process) -> bool {
    let Some(mut client) = reach(process).await else { return false };
    let request = PutRequest { key: Bytes::from_static(b"key"), ..Default::default() };
    let written = tokio::time::timeout(Duration::from_secs(60), client.kv.put(request)).await;
    written.expect("the member answers or ends").is_ok()
}
