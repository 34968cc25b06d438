//! The clients: many on few connections, each with one request at a time; and watchers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kinit_etcd::proto::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use kinit_etcd::proto::rpc::request_op::Request;
use kinit_etcd::proto::rpc::watch_request::RequestUnion;
use kinit_etcd::proto::rpc::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest,
};
use prost::Message;
use tokio::task::LocalSet;

use super::wire::{Connection, Event};
use super::{Kind, Work};

pub const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

pub fn key(number: usize) -> Bytes {
    Bytes::from(format!("/registry/bench/{number:08}"))
}

fn put(number: usize, size: usize) -> PutRequest {
    PutRequest { key: key(number), value: vec![b'x'; size].into(), ..PutRequest::default() }
}

/// The method, and the message of one operation.
fn method(kind: Kind) -> &'static str {
    match kind {
        Kind::Range { .. } => RANGE,
        Kind::Txn => TXN,
        Kind::Put | Kind::Fill | Kind::Watch { .. } => PUT,
    }
}

fn message(kind: Kind, operation: usize) -> Vec<u8> {
    match kind {
        Kind::Range { keys, serializable } => {
            let range_end = if keys == 1 { Bytes::new() } else { key(keys) };
            let first = if keys == 1 { operation % 1000 } else { 0 };
            RangeRequest { key: key(first), range_end, serializable, ..RangeRequest::default() }.encode_to_vec()
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
            let success = RequestOp { request: Some(Request::RequestPut(put(operation, 256))) };
            let read = RangeRequest { key, ..RangeRequest::default() };
            let failure = RequestOp { request: Some(Request::RequestRange(read)) };
            TxnRequest { compare: vec![compare], success: vec![success], failure: vec![failure] }.encode_to_vec()
        }
        Kind::Put | Kind::Watch { .. } => put(operation % 10_000, 256).encode_to_vec(),
        Kind::Fill => put(operation, 1024).encode_to_vec(),
    }
}

/// Does a work, with the connections spread over the addresses, and says how long each operation took.
pub async fn ask(addresses: &[SocketAddr], work: &Work) -> Vec<Duration> {
    let clients = work.clients / work.connections;
    let next = Rc::new(Cell::new(0));
    let latencies = Rc::new(RefCell::new(Vec::with_capacity(work.operations)));
    let local = LocalSet::new();
    for number in 0..work.connections {
        let connection = Connection::open(addresses[number % addresses.len()], method(work.kind)).await;
        let mut connection = connection.expect("a connection");
        let (next, latencies, work) = (next.clone(), latencies.clone(), *work);
        local.spawn_local(async move {
            let mut under_way = HashMap::new();
            let begin = |connection: &mut Connection, under_way: &mut HashMap<u32, (Instant, usize)>| {
                let operation = next.get();
                if operation < work.operations {
                    next.set(operation + 1);
                    let stream = connection.call(&message(work.kind, operation), true);
                    under_way.insert(stream, (Instant::now(), 0));
                }
            };
            for _ in 0..clients {
                begin(&mut connection, &mut under_way);
            }
            while !under_way.is_empty() {
                let mut ended = Vec::new();
                let mut each = |event: Event<'_>| match event {
                    Event::Data(stream, data) => {
                        if let Some((_, bytes)) = under_way.get_mut(&stream) {
                            *bytes += data.len();
                        }
                    }
                    Event::End(stream) => ended.push(stream),
                };
                connection.turn(&mut each).await.expect("a living server");
                for stream in ended {
                    let (started, bytes) = under_way.remove(&stream).expect("a call of ours");
                    assert!(bytes >= least(work.kind), "a call failed, or its answer is too short: {bytes} bytes");
                    latencies.borrow_mut().push(started.elapsed());
                    begin(&mut connection, &mut under_way);
                }
            }
        });
    }
    local.await;
    latencies.take()
}

/// Bytes that an answer has at least.
fn least(kind: Kind) -> usize {
    if let Kind::Range { keys, .. } = kind { keys * 256 } else { 5 }
}

/// How long after a put was begun each watcher has heard of it; 1,000 puts a second.
pub async fn watch(address: SocketAddr, connections: usize, watchers: usize, puts: usize) -> Vec<Duration> {
    let origin = Instant::now();
    let latencies = Rc::new(RefCell::new(Vec::with_capacity(watchers * puts)));
    let created = Rc::new(Cell::new(0));
    let local = LocalSet::new();
    for _ in 0..connections {
        let mut connection = Connection::open(address, WATCH).await.expect("a connection");
        let create = WatchCreateRequest { key: key(0), range_end: Bytes::from_static(b"\0"), ..Default::default() };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }.encode_to_vec();
        let (latencies, created) = (latencies.clone(), created.clone());
        local.spawn_local(async move {
            let mut streams: HashMap<u32, Vec<u8>> =
                (0..watchers / connections).map(|_| (connection.call(&create, false), Vec::new())).collect();
            let mut wanted = streams.len() * puts;
            while wanted > 0 {
                let mut each = |event: Event<'_>| {
                    let Event::Data(stream, data) = event else { panic!("a watch ended") };
                    let waiting = streams.get_mut(&stream).expect("a call of ours");
                    waiting.extend_from_slice(data);
                    let mut rest = waiting.as_slice();
                    while let Some(size) = rest.get(1..5) {
                        let size = u32::from_be_bytes(size.try_into().expect("four bytes")) as usize;
                        let Some(message) = rest.get(5..5 + size) else { break };
                        rest = &rest[5 + size..];
                        let mut found = 0;
                        events(message, &mut |value| {
                            let begun: u64 = std::str::from_utf8(value).expect("text").parse().expect("a time");
                            latencies.borrow_mut().push(origin.elapsed().saturating_sub(Duration::from_nanos(begun)));
                            found += 1;
                        });
                        wanted -= found;
                        if found == 0 {
                            created.set(created.get() + 1);
                        }
                    }
                    *waiting = rest.to_vec();
                };
                connection.turn(&mut each).await.expect("a living server");
            }
        });
    }
    let put = async {
        while created.get() < watchers {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut connection = Connection::open(address, PUT).await.expect("a connection");
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        let mut number = 0;
        let mut open = 0;
        while number < puts || open > 0 {
            // Before the choice, because half of it must not be given up.
            connection.flush().await.expect("a living server");
            let mut ended = 0;
            let mut each = |event: Event<'_>| ended += usize::from(matches!(event, Event::End(_)));
            tokio::select! {
                answered = connection.turn(&mut each) => answered.expect("a living server"),
                _ = ticks.tick(), if number < puts => {
                    let value = Bytes::from(origin.elapsed().as_nanos().to_string());
                    connection.call(&PutRequest { key: key(number), value, ..Default::default() }.encode_to_vec(), true);
                    (number, open) = (number + 1, open + 1);
                }
            }
            open -= ended;
        }
    };
    local.run_until(put).await;
    local.await;
    latencies.take()
}

/// Hands out the value of each event of a watch's response, without decoding the rest.
fn events(message: &[u8], each: &mut impl FnMut(&[u8])) {
    fields(message, &mut |field, event| {
        if field == 11 {
            fields(event, &mut |field, kv| {
                if field == 2 {
                    fields(kv, &mut |field, value| {
                        if field == 5 {
                            each(value)
                        }
                    });
                }
            });
        }
    });
}

/// The fields of a message that hold bytes.
fn fields(mut message: &[u8], each: &mut dyn FnMut(u64, &[u8])) {
    while !message.is_empty() {
        let (tag, rest) = number(message);
        let (value, rest) = number(rest);
        message = rest;
        if tag & 7 == 2 {
            each(tag >> 3, &rest[..value as usize]);
            message = &rest[value as usize..];
        }
    }
}

fn number(bytes: &[u8]) -> (u64, &[u8]) {
    let (mut value, mut place) = (0, 0);
    loop {
        value |= u64::from(bytes[place] & 0x7f) << (7 * place);
        place += 1;
        if bytes[place - 1] < 0x80 {
            return (value, &bytes[place..]);
        }
    }
}
