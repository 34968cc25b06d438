//! `kill -9` under load, again and again on the same data: nothing acknowledged is lost, nothing is invented.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use common::{Client, Process, own_binary};
use kinit_etcd::proto::rpc::{CompactionRequest, DefragmentRequest, PutRequest, RangeRequest};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What the clients know: for each key the last value acknowledged, and the values that were sent after it.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeMap<String, (u64, i64)>,
    sent: BTreeMap<String, u64>,
    count: usize,
}

async fn write_until_it_dies(mut client: Client, name: usize, round: u64, ledger: Arc<Mutex<Ledger>>) {
    for number in 0_u64.. {
        let key = format!("{name}/{}", number % 50);
        let value = (round << 32) + number;
        ledger.lock().sent.insert(key.clone(), value);
        let request =
            PutRequest { key: Bytes::from(key.clone()), value: Bytes::from(value.to_string()), ..Default::default() };
        let Ok(response) = client.kv.put(request).await else { return };
        let revision = response.into_inner().header.expect("a header").revision;
        let mut ledger = ledger.lock();
        ledger.acknowledged.insert(key, (value, revision));
        ledger.count += 1;
    }
}

/// Compacts and defragments while others write, because recovery has the most to get wrong there.
async fn tidy_until_it_dies(mut client: Client) {
    for round in 0_u64.. {
        let request = RangeRequest { key: Bytes::from_static(b"0/0"), ..RangeRequest::default() };
        let Ok(response) = client.kv.range(request).await else { return };
        let revision = response.into_inner().header.expect("a header").revision;
        let compact = CompactionRequest { revision: revision - 20, physical: round % 2 == 0 };
        match client.kv.compact(compact).await {
            Err(status) if status.code() != tonic::Code::OutOfRange => return,
            _ => {}
        }
        if round % 8 == 7 && client.maintenance.defragment(DefragmentRequest {}).await.is_err() {
            return;
        }
    }
}

async fn check(client: &mut Client, ledger: &Mutex<Ledger>) {
    let request = RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        ..RangeRequest::default()
    };
    let response = client.kv.range(request).await.expect("readable").into_inner();
    let revision = response.header.expect("a header").revision;
    let mut found = BTreeMap::new();
    for kv in response.kvs {
        let key = String::from_utf8(kv.key.to_vec()).expect("text");
        let value: u64 = std::str::from_utf8(&kv.value).expect("text").parse().expect("a number");
        found.insert(key, (value, kv.mod_revision));
    }
    let mut ledger = ledger.lock();
    for (key, (value, written)) in &ledger.acknowledged {
        assert!(*written <= revision, "{key}: acknowledged at {written}, the store is at {revision}");
        let (held, at) = found.get(key).unwrap_or_else(|| panic!("{key} is lost"));
        // A value that was sent and never answered may be there instead of the last acknowledged one.
        let later = *held == ledger.sent[key] && at > written;
        assert!((held, at) == (value, written) || later, "{key}: {held} at {at} instead of {value} at {written}");
    }
    let known: BTreeSet<&String> = ledger.sent.keys().collect();
    assert!(found.keys().all(|key| known.contains(key)), "a key that nobody wrote");
    // What was read is there for good, whether its writer heard of it or not.
    ledger.acknowledged = found;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut random = StdRng::seed_from_u64(7);
    for round in 0..8 {
        let server = Process::start(&own_binary(), &data, &[]);
        let mut client = Client::connect(server.address).await;
        check(&mut client, &ledger).await;
        let before = ledger.lock().count;
        let mut writers = Vec::new();
        for name in 0..12 {
            let client = Client::connect(server.address).await;
            writers.push(tokio::spawn(write_until_it_dies(client, name, round, ledger.clone())));
        }
        if round % 2 == 1 {
            writers.push(tokio::spawn(tidy_until_it_dies(client)));
        }
        // Some rounds end before the first commit of the backend, some after one.
        let target = before + random.random_range(50..4000);
        while ledger.lock().count < target {
            tokio::task::yield_now().await;
        }
        server.kill();
        for writer in writers {
            writer.await.expect("no panic");
        }
    }
    let server = Process::start(&own_binary(), &data, &[]);
    let mut client = Client::connect(server.address).await;
    check(&mut client, &ledger).await;
}
