//! What is given to strangers' bytes: the readers of the log and of snapshots, and the road of a request.
//!
//! `fuzz/` runs these without end, `tests/fuzzing.rs` for a while. They must come to an end without a panic, whatever the
//! bytes are; seeds are made by the code itself, so that they never get old.

use std::sync::LazyLock;
use std::time::Instant;

use bytes::Bytes;
use prost::Message as _;

use crate::apply::{Machine, check};
use crate::gateway;
use crate::mvcc::store::Store;
use crate::proto::log::command::Op;
use crate::proto::log::{Asker, Command};
use crate::proto::rpc::request_op::Request;
use crate::proto::rpc::*;
use crate::raft::{Entry, HardState};
use crate::wal::{Wal, frame};

/// Operations of a transaction at most.
const MOST_OPS: usize = 128;

/// A segment of the log. Odd inputs are taken as what stands within frames, because hardly any bytes have the right
/// checksum by chance.
pub fn wal(input: &[u8]) {
    let Some((how, bytes)) = input.split_first() else { return };
    let framed;
    let bytes = if how % 2 == 0 {
        bytes
    } else {
        framed = frames(bytes);
        &framed
    };
    if let Ok((found, end)) = Wal::read(bytes) {
        // What counts is what stands before the end, and nothing else.
        let again = Wal::read(&bytes[..(end as usize).min(bytes.len())]).expect("what was read is read again");
        assert_eq!(again.0, found, "the log's end changes what is before it");
    }
}

/// Frames of pieces: a kind, a first index, a length, and so many bytes.
fn frames(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let [kind, index, length, rest @ ..] = bytes {
        let (payload, behind) = rest.split_at(rest.len().min(usize::from(*length)));
        let start = frame::begin(&mut out);
        out.extend_from_slice(payload);
        frame::finish(&mut out, start, frame::Kind::from_number(*kind), u64::from(*index));
        bytes = behind;
    }
    out
}

/// A snapshot's file.
pub fn snapshot(input: &[u8]) {
    // It may be read or not; the checksums of its pages are set right half of the time.
    let _ = crate::snapshot::restore::read_through(input);
    let mut mended = input.to_vec();
    if crate::bolt::mend(&mut mended) {
        let _ = crate::snapshot::restore::read_through(&mended);
    }
}

/// Requests as they come over the wire, one behind the other, each after its length: checked, applied, read back. The
/// same bytes as JSON go to the gateway.
pub fn request(input: &[u8]) {
    gateway::understand(input);
    let restored = Store::in_memory().expect("memory");
    let machine = Machine::new(restored, Instant::now()).expect("an empty store");
    let mut index = 0;
    let mut rest = Bytes::copy_from_slice(input);
    while rest.len() > 1 {
        let length = usize::from(rest[0]) | usize::from(rest[1] & 3) << 8;
        let at = rest.len().min(2);
        let _ = rest.split_to(at);
        let piece = rest.split_to(length.min(rest.len()));
        if let Ok(range) = RangeRequest::decode(piece.clone())
            && check::range(&range).is_ok()
        {
            let _ = machine.range(&range);
        }
        let Ok(Command { op: Some(op), asker, .. }) = Command::decode(piece) else { continue };
        if !checked(&op) {
            continue;
        }
        index += 1;
        let asker = asker.map(|Asker { user, revision }| crate::auth::Asker { user, revision });
        let before = machine.store.revision();
        let outcome = machine.apply(index, 1, op, asker.as_ref(), Instant::now());
        let after = machine.store.revision();
        assert!(after == before || (outcome.is_ok() && after == before + 1), "a request makes one revision or none");
    }
}

/// As the services do it before they propose.
fn checked(op: &Op) -> bool {
    match op {
        Op::Put(request) => check::put(request).is_ok(),
        Op::DeleteRange(request) => check::delete_range(request).is_ok(),
        Op::Txn(request) => {
            let good = check::txn(request, MOST_OPS).is_ok();
            good && !check::is_read_only(request)
        }
        _ => true,
    }
}

/// Inputs of [`wal`].
pub fn wal_seeds() -> Vec<Vec<u8>> {
    let entry = |index: u64| Entry { index, term: 2, members: index == 2, data: vec![index as u8; 40].into() };
    let state = HardState { term: 2, vote: 1, commit: 1 };
    let segment = Wal::image(state, &[entry(1), entry(2)], &[entry(2), entry(3)]);
    let raw = [&[0][..], &segment].concat();
    // An append's payload: the hard state, then an entry with term, length and bytes.
    let append = [&[0; 24][..], &[1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0], b"abc"].concat();
    let framed = [&[1, 1, 1, 0, 4, 1, append.len() as u8][..], &append, &[5, 2, 40], &[7; 40]].concat();
    vec![raw, framed]
}

/// Inputs of [`snapshot`].
pub fn snapshot_seeds() -> Vec<Vec<u8>> {
    static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| [0, 3, 300].map(snapshot_of).to_vec());
    SEEDS.clone()
}

fn snapshot_of(keys: u64) -> Vec<u8> {
    let snapshot = crate::snapshot::save::Snapshot::of(&small_machine(keys)).expect("a snapshot");
    snapshot.write_to(Vec::new()).expect("written")
}

fn small_machine(keys: u64) -> Machine {
    let machine = Machine::new(Store::in_memory().expect("memory"), Instant::now()).expect("an empty store");
    for (index, command) in (1..).zip(commands(keys)) {
        let _ = machine.apply(index, 1, command, None, Instant::now());
    }
    machine
}

fn text(text: impl ToString) -> Bytes {
    Bytes::from(text.to_string())
}

/// One of most kinds.
fn commands(keys: u64) -> Vec<Op> {
    let put = |key: u64, lease: i64| PutRequest { key: text(key), value: text("value"), lease, ..Default::default() };
    let compare = Compare { key: text(1), target_union: Some(compare::TargetUnion::Version(1)), ..Default::default() };
    let op = |request| RequestOp { request: Some(request) };
    let delete = DeleteRangeRequest { key: text(1), range_end: text(3), prev_kv: true };
    let nested = TxnRequest {
        compare: vec![compare.clone()],
        success: vec![op(Request::RequestPut(put(9, 0)))],
        failure: vec![],
    };
    let txn = TxnRequest {
        compare: vec![compare],
        success: vec![op(Request::RequestDeleteRange(delete.clone())), op(Request::RequestTxn(nested))],
        failure: vec![op(Request::RequestRange(RangeRequest { key: text(0), revision: 2, ..Default::default() }))],
    };
    let user = AuthUserAddRequest { name: "anna".into(), hashed_password: "x".into(), ..Default::default() };
    let mut ops = vec![Op::LeaseGrant(LeaseGrantRequest { id: 7, ttl: 60 })];
    ops.extend((0..keys).map(|key| Op::Put(put(key, i64::from(key == 2) * 7))));
    ops.extend([
        Op::Txn(txn),
        Op::DeleteRange(delete),
        Op::Compact(CompactionRequest { revision: 2, physical: false }),
        Op::LeaseRevoke(LeaseRevokeRequest { id: 7 }),
        Op::Alarm(AlarmRequest { action: 1, member_id: 3, alarm: 1 }),
        Op::AuthUserAdd(user),
        Op::AuthRoleAdd(AuthRoleAddRequest { name: "readers".into() }),
    ]);
    ops
}

/// Inputs of [`request`].
pub fn request_seeds() -> Vec<Vec<u8>> {
    let pieces = commands(4).into_iter().map(|op| {
        let bytes = Command { op: Some(op), asker: None, id: 0 }.encode_to_vec();
        [&[bytes.len() as u8, (bytes.len() >> 8) as u8][..], &bytes].concat()
    });
    let json =
        br#"{"compare":[{"target":"VERSION","key":"YQ==","version":"1"}],"success":[{"requestPut":{"key":"YQ=="}}]}"#;
    vec![pieces.collect::<Vec<_>>().concat(), json.to_vec()]
}
