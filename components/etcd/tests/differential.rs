//! The same requests to this server and to Debian's etcd: every response, revision and event must be the same.

mod common;

use bytes::Bytes;
use common::{Client, Ours, Process, Watches, installed};
use kinit_etcd::proto::mvcc::Event;
use kinit_etcd::proto::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use kinit_etcd::proto::rpc::request_op::Request;
use kinit_etcd::proto::rpc::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const KEYS: [&str; 8] = ["a", "a/1", "a/2", "a/2/x", "b", "b/1", "c", "z"];

struct Dice {
    random: StdRng,
    /// The newest revision that the servers told of.
    revision: i64,
    leases: Vec<i64>,
}

impl Dice {
    fn one_in(&mut self, sides: u32) -> bool {
        self.random.random_ratio(1, sides)
    }

    fn below(&mut self, most: i64) -> i64 {
        self.random.random_range(0..most)
    }

    fn key(&mut self) -> Bytes {
        if self.one_in(80) {
            return Bytes::new();
        }
        Bytes::from_static(KEYS[self.below(KEYS.len() as i64) as usize].as_bytes())
    }

    fn end(&mut self) -> Bytes {
        match self.below(6) {
            0 | 1 => Bytes::new(),
            2 => Bytes::from_static(b"\0"),
            _ => self.key(),
        }
    }

    fn value(&mut self) -> Bytes {
        let length = self.below(12) as usize;
        Bytes::from((0..length).map(|_| self.random.random_range(b'a'..=b'd')).collect::<Vec<u8>>())
    }

    /// A revision that exists, or nearly.
    fn some_revision(&mut self) -> i64 {
        let newest = self.revision;
        if self.one_in(2) { 0 } else { self.random.random_range(-1..=newest + 2) }
    }

    fn lease(&mut self) -> i64 {
        match self.below(8) {
            0 => 77,
            1 | 2 if !self.leases.is_empty() => {
                let place = self.below(self.leases.len() as i64) as usize;
                self.leases[place]
            }
            _ => 0,
        }
    }

    fn range(&mut self) -> RangeRequest {
        let mut bound = |sides: u32| if self.one_in(sides) { self.some_revision() } else { 0 };
        RangeRequest {
            min_mod_revision: bound(8),
            max_mod_revision: bound(8),
            min_create_revision: bound(8),
            max_create_revision: bound(8),
            revision: bound(2),
            key: self.key(),
            range_end: self.end(),
            limit: if self.one_in(3) { self.below(5) } else { 0 },
            sort_order: if self.one_in(3) { self.below(3) as i32 } else { 0 },
            // Only keys differ in every case; an order over equal properties is nobody's promise.
            sort_target: if self.one_in(3) { range_request::SortTarget::Mod as i32 } else { 0 },
            serializable: self.one_in(2),
            keys_only: self.one_in(4),
            count_only: self.one_in(6),
        }
    }

    fn put(&mut self) -> PutRequest {
        let ignore_value = self.one_in(8);
        let ignore_lease = self.one_in(8);
        PutRequest {
            key: self.key(),
            value: if ignore_value && !self.one_in(6) { Bytes::new() } else { self.value() },
            lease: if ignore_lease && !self.one_in(6) { 0 } else { self.lease() },
            prev_kv: self.one_in(3),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        DeleteRangeRequest { key: self.key(), range_end: self.end(), prev_kv: self.one_in(2) }
    }

    fn compare(&mut self) -> Compare {
        let target = CompareTarget::try_from(self.below(5) as i32).expect("a target");
        let result = CompareResult::try_from(self.below(4) as i32).expect("a result");
        let number = if self.one_in(3) { 0 } else { self.some_revision() };
        let union = match target {
            CompareTarget::Version => TargetUnion::Version(self.below(4)),
            CompareTarget::Create => TargetUnion::CreateRevision(number),
            CompareTarget::Mod => TargetUnion::ModRevision(number),
            CompareTarget::Value => TargetUnion::Value(self.value()),
            CompareTarget::Lease => TargetUnion::Lease(self.lease()),
        };
        Compare {
            result: result as i32,
            target: target as i32,
            key: self.key(),
            target_union: (!self.one_in(12)).then_some(union),
            range_end: if self.one_in(3) { self.end() } else { Bytes::new() },
        }
    }

    fn ops(&mut self, depth: u32) -> Vec<RequestOp> {
        let count = self.below(4);
        let mut ops = Vec::new();
        for _ in 0..count {
            let request = match self.below(if depth > 0 { 8 } else { 6 }) {
                0 | 1 => Request::RequestRange(self.range()),
                2 | 3 => Request::RequestPut(self.put()),
                4 | 5 => Request::RequestDeleteRange(self.delete()),
                _ => Request::RequestTxn(self.txn(depth - 1)),
            };
            ops.push(RequestOp { request: Some(request) });
        }
        ops
    }

    fn txn(&mut self, depth: u32) -> TxnRequest {
        let compares = self.below(3);
        TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: self.ops(depth),
            failure: self.ops(depth),
        }
    }
}

/// What is the same whoever answers.
fn essence(header: &mut Option<ResponseHeader>) -> i64 {
    header.as_mut().map_or(0, |header| {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
        header.revision
    })
}

/// Sends one request to one server; the answer as text, with what differs by nature taken out.
async fn ask(client: &mut Client, request: &Asked) -> (String, i64) {
    macro_rules! answer {
        ($call:expr) => {
            match $call.await {
                Ok(response) => {
                    let mut response = response.into_inner();
                    let revision = essence(&mut response.header);
                    (format!("{response:?}"), revision)
                }
                Err(status) => (format!("{:?}: {}", status.code(), status.message()), 0),
            }
        };
    }
    match request.clone() {
        Asked::Range(request) => answer!(client.kv.range(request)),
        Asked::Put(request) => answer!(client.kv.put(request)),
        Asked::Delete(request) => answer!(client.kv.delete_range(request)),
        Asked::Txn(request) => {
            let (answer, revision) = answer!(client.kv.txn(request));
            // Debian's etcd looks for missing keys and leases of a whole transaction before it looks at revisions; since
            // 3.6 operations are checked one after the other. With two faults in one request the answers differ.
            let faults = ["etcdserver: key not found", "requested lease not found", "mvcc: required revision"];
            let faulty = faults.iter().any(|fault| answer.contains(fault)) && !answer.starts_with("TxnResponse");
            if faulty { ("refused".to_owned(), 0) } else { (answer, revision) }
        }
        Asked::Compact(request) => answer!(client.kv.compact(request)),
        Asked::Grant(request) => answer!(client.lease.lease_grant(request)),
        Asked::Revoke(request) => answer!(client.lease.lease_revoke(request)),
        Asked::TimeToLive(request) => match client.lease.lease_time_to_live(request).await {
            Ok(response) => {
                let mut response = response.into_inner();
                // Seconds pass while both are asked.
                response.ttl = response.ttl.min(1);
                let revision = essence(&mut response.header);
                response.keys.sort();
                (format!("{response:?}"), revision)
            }
            Err(status) => (format!("{:?}: {}", status.code(), status.message()), 0),
        },
    }
}

#[derive(Clone, Debug)]
enum Asked {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    Grant(LeaseGrantRequest),
    Revoke(LeaseRevokeRequest),
    TimeToLive(LeaseTimeToLiveRequest),
}

fn next(dice: &mut Dice, compact: bool) -> Asked {
    match dice.below(100) {
        0..25 => Asked::Range(dice.range()),
        25..55 => Asked::Put(dice.put()),
        55..65 => Asked::Delete(dice.delete()),
        65..88 => Asked::Txn(dice.txn(2)),
        88..90 if compact => {
            Asked::Compact(CompactionRequest { revision: dice.some_revision() - 3, physical: dice.one_in(2) })
        }
        88..94 => {
            let id = 1000 + dice.below(12);
            dice.leases.push(id);
            Asked::Grant(LeaseGrantRequest { ttl: 600, id })
        }
        94..97 => Asked::Revoke(LeaseRevokeRequest { id: dice.lease() }),
        _ => Asked::TimeToLive(LeaseTimeToLiveRequest { id: dice.lease(), keys: true }),
    }
}

async fn watch_everything(client: &mut Client) -> Watches {
    let table =
        [("\0", "\0", false, vec![]), ("a", "b", true, vec![]), ("a", "", true, vec![0]), ("a", "z", false, vec![1])];
    let creates = table.map(|(key, range_end, prev_kv, filters)| WatchCreateRequest {
        key: Bytes::from_static(key.as_bytes()),
        range_end: Bytes::from_static(range_end.as_bytes()),
        start_revision: 2,
        prev_kv,
        filters,
        ..WatchCreateRequest::default()
    });
    client.watches(creates).await
}

/// The events of each watch up to `revision`; responses may group revisions differently, but never part one.
async fn events(watches: &mut Watches, revision: i64, last: &Bytes) -> Vec<Vec<Event>> {
    let mut seen: Vec<Vec<Event>> = vec![Vec::new(); 4];
    // The first watch hears of everything and so tells when the others have been told; all share one connection.
    let mut finished = [false; 4];
    while !finished.iter().all(|finished| *finished) {
        let response = watches.next().await;
        assert!(!response.canceled, "{response:?}");
        let watch = response.watch_id as usize;
        for event in response.events {
            let kv = event.kv.as_ref().expect("a key");
            if let Some(before) = seen[watch].last().and_then(|event| event.kv.as_ref()) {
                assert!(before.mod_revision <= kv.mod_revision, "events out of order");
            }
            finished[watch] |= kv.mod_revision >= revision && kv.key == *last;
            seen[watch].push(event);
        }
    }
    seen
}

async fn compare(seed: u64, steps: usize, compact: bool) {
    let Some(program) = installed("etcd") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let theirs = Process::start(&program, &directory.path().join("theirs"), &[]);
    let ours = Ours::start(&directory.path().join("ours"), &[]).await;
    let (mut our, mut their) = (ours.client().await, Client::connect(theirs.address).await);
    let mut watches = (watch_everything(&mut our).await, watch_everything(&mut their).await);

    let mut dice = Dice { random: StdRng::seed_from_u64(seed), revision: 1, leases: Vec::new() };
    for step in 0..steps {
        let request = next(&mut dice, compact);
        let (mine, revision) = ask(&mut our, &request).await;
        let (other, _) = ask(&mut their, &request).await;
        assert_eq!(mine, other, "seed {seed}, step {step}: {request:?}");
        dice.revision = dice.revision.max(revision);
    }

    // A put that every watch hears of ends the comparison of events; two, because one watch wants no deletions and one
    // no puts.
    let last = Bytes::from_static(b"a");
    for client in [&mut our, &mut their] {
        let put = PutRequest { key: last.clone(), ..PutRequest::default() };
        client.kv.put(put).await.expect("put");
        let delete = DeleteRangeRequest { key: last.clone(), ..DeleteRangeRequest::default() };
        let header = client.kv.delete_range(delete).await.expect("deleted").into_inner().header;
        dice.revision = header.expect("a header").revision - 1;
    }
    let mine = events(&mut watches.0, dice.revision, &last).await;
    let other = events(&mut watches.1, dice.revision, &last).await;
    let upto = |events: &[Vec<Event>]| -> Vec<Vec<Event>> {
        let within = |event: &&Event| event.kv.as_ref().is_some_and(|kv| kv.mod_revision <= dice.revision);
        events.iter().map(|events| events.iter().filter(within).cloned().collect()).collect()
    };
    assert_eq!(upto(&mine), upto(&other), "seed {seed}: events");

    if !compact {
        let hash =
            |response: HashKvResponse| (response.hash, response.compact_revision, response.header.map(|h| h.revision));
        let mine = our.maintenance.hash_kv(HashKvRequest { revision: 0 }).await.expect("hashed").into_inner();
        let other = their.maintenance.hash_kv(HashKvRequest { revision: 0 }).await.expect("hashed").into_inner();
        assert_eq!(hash(mine), hash(other), "seed {seed}: the history's hash");
    }
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_events_are_etcds() {
    compare(1, 1500, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_events_are_etcds_with_compactions() {
    for seed in 2..5 {
        compare(seed, 700, true).await;
    }
}
