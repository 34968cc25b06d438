//! Load that checks what it is told: whatever a cluster acknowledged must be there, through every member, for ever.
//!
//! Writers count up, each on a key of its own, and go on with another member when one fails them; a number that was not
//! acknowledged is written again, never skipped. Each write asks that nothing came between: one that was given up may lie in
//! a member that stands still, and must not undo later ones when it goes on. Readers ask each member in turn, linearizably: no key may be behind what
//! was acknowledged before the question, and no answer older than the one before. It runs until its standard input ends,
//! says what it saw, and fails if anything was lost or went back.

#![expect(clippy::print_stdout, reason = "what it saw is what it is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use kinit_etcd::proto::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use kinit_etcd::proto::rpc::kv_client::KvClient;
use kinit_etcd::proto::rpc::request_op::Request;
use kinit_etcd::proto::rpc::response_op::Response;
use kinit_etcd::proto::rpc::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tonic::transport::{Channel, Endpoint};

/// A request that takes longer is asked of another member.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts after a failure.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(clap::Parser)]
struct Options {
    /// The members' client URLs.
    #[arg(required = true)]
    members: Vec<String>,
    #[arg(long, default_value_t = 8)]
    writers: usize,
    /// The most that may pass between two acknowledged writes, in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    longest_gap: u64,
}

/// What all know together.
struct Shared {
    clients: Vec<KvClient<Channel>>,
    /// The last number of each writer that was acknowledged.
    acknowledged: Vec<AtomicU64>,
    /// The newest revision that any answer was about.
    revision: AtomicI64,
    writes: AtomicU64,
    reads: AtomicU64,
    failures: AtomicU64,
    last: Mutex<(Instant, Duration)>,
    wrong: Mutex<Vec<String>>,
    stop: AtomicBool,
}

fn key(writer: usize) -> Bytes {
    Bytes::from(format!("/steady/{writer:03}"))
}

/// Writes a number if the key is as of a revision, and otherwise reads the key.
fn write(key: Bytes, number: u64, revision: i64) -> TxnRequest {
    let compare = Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Mod as i32,
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        range_end: Bytes::new(),
    };
    let put = PutRequest { key: key.clone(), value: number.to_string().into(), ..PutRequest::default() };
    let read = RangeRequest { key, ..RangeRequest::default() };
    TxnRequest {
        compare: vec![compare],
        success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
        failure: vec![RequestOp { request: Some(Request::RequestRange(read)) }],
    }
}

/// The revision at which the number was written, by this attempt or by one before it that was given up.
fn written(response: &TxnResponse, number: u64) -> Option<i64> {
    if response.succeeded {
        return response.header.as_ref().map(|header| header.revision);
    }
    let Some(Response::ResponseRange(found)) = &response.responses.first()?.response else { return None };
    let kv = found.kvs.first()?;
    (kv.value == number.to_string().as_bytes()).then_some(kv.mod_revision)
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    fn complain(&self, text: String) {
        self.wrong.lock().push(text);
    }

    /// Notes how long nothing was acknowledged.
    fn progress(&self) {
        let mut last = self.last.lock();
        let now = Instant::now();
        last.1 = last.1.max(now - last.0);
        last.0 = now;
    }

    async fn write(&self, writer: usize) {
        let (mut member, mut last) = (writer, 0);
        for number in 1_u64.. {
            loop {
                if !self.goes_on() {
                    return;
                }
                let mut client = self.clients[member % self.clients.len()].clone();
                let txn = client.txn(write(key(writer), number, last));
                let Ok(Ok(response)) = tokio::time::timeout(PATIENCE, txn).await else {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    member += 1;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let Some(revision) = written(&response.into_inner(), number) else {
                    return self.complain(format!(
                        "writer {writer} finds something else than {number} or what it wrote before"
                    ));
                };
                if revision <= last {
                    self.complain(format!("a write got revision {revision}, but the one before had {last}"));
                }
                last = revision;
                self.acknowledged[writer].store(number, Ordering::SeqCst);
                self.revision.fetch_max(revision, Ordering::SeqCst);
                self.writes.fetch_add(1, Ordering::Relaxed);
                self.progress();
                break;
            }
        }
    }

    async fn read(&self, member: usize) {
        let mut client = self.clients[member].clone();
        while self.goes_on() {
            if self.look(&mut client, member).await.is_err() {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Reads all keys through a member and compares with what was known before.
    async fn look(&self, client: &mut KvClient<Channel>, member: usize) -> Result<(), tonic::Status> {
        let expected: Vec<u64> = self.acknowledged.iter().map(|number| number.load(Ordering::SeqCst)).collect();
        let before = self.revision.load(Ordering::SeqCst);
        let range = RangeRequest { key: key(0), range_end: key(1000), ..RangeRequest::default() };
        let asked = tokio::time::timeout(PATIENCE, client.range(range)).await;
        let response = asked.map_err(|_| tonic::Status::deadline_exceeded("no answer"))??.into_inner();
        let revision = response.header.map_or(0, |header| header.revision);
        if revision < before {
            self.complain(format!("member {member} answered as of {revision}, but {before} was known before"));
        }
        self.revision.fetch_max(revision, Ordering::SeqCst);
        self.reads.fetch_add(1, Ordering::Relaxed);
        for (writer, expected) in expected.into_iter().enumerate().filter(|(_, expected)| *expected > 0) {
            let found = response.kvs.iter().find(|kv| kv.key == key(writer));
            let value = found.and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse::<u64>().ok());
            // One more may be written already, which the writer has yet to hear.
            if value.is_none_or(|value| value < expected) {
                self.complain(format!("member {member} has {value:?} of writer {writer}, who was told of {expected}"));
            }
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let options = Options::parse();
    let connect = |url: &String| {
        // A connection to a host without power would otherwise be waited on for minutes.
        let endpoint = Endpoint::from_shared(url.clone()).expect("a URL").keep_alive_timeout(PATIENCE);
        KvClient::new(endpoint.connect_timeout(PATIENCE).http2_keep_alive_interval(PATIENCE).connect_lazy())
    };
    let shared = Arc::new(Shared {
        clients: options.members.iter().map(connect).collect(),
        acknowledged: (0..options.writers).map(|_| AtomicU64::new(0)).collect(),
        revision: AtomicI64::new(0),
        writes: AtomicU64::new(0),
        reads: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        last: Mutex::new((Instant::now(), Duration::ZERO)),
        wrong: Mutex::default(),
        stop: AtomicBool::new(false),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..options.writers {
        let shared = shared.clone();
        tasks.spawn(async move { shared.write(writer).await });
    }
    for member in 0..options.members.len() {
        let shared = shared.clone();
        tasks.spawn(async move { shared.read(member).await });
    }
    let mut rest = Vec::new();
    let _ = tokio::io::stdin().read_to_end(&mut rest).await;
    shared.progress();
    shared.stop.store(true, Ordering::SeqCst);
    while tasks.join_next().await.is_some() {}
    for member in 0..options.members.len() {
        if let Err(status) = shared.look(&mut shared.clients[member].clone(), member).await {
            shared.complain(format!("member {member} does not answer at the end: {}", status.message()));
        }
    }
    let gap = shared.last.lock().1;
    if gap > Duration::from_millis(options.longest_gap) {
        shared.complain(format!("nothing was acknowledged for {} ms", gap.as_millis()));
    }
    let wrong = shared.wrong.lock();
    for text in wrong.iter().take(20) {
        println!("{text}");
    }
    println!(
        "{} writes acknowledged, {} reads, {} requests failed and asked again, longest gap {} ms, {} wrong",
        shared.writes.load(Ordering::Relaxed),
        shared.reads.load(Ordering::Relaxed),
        shared.failures.load(Ordering::Relaxed),
        gap.as_millis(),
        wrong.len(),
    );
    std::process::ExitCode::from(u8::from(!wrong.is_empty()))
}
