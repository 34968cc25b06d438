//! Random entries, commits and crashes: whatever is replayed comes to the state that was there before.

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::mvcc::hash::Hash;
use crate::mvcc::store::Store;
use crate::proto::rpc::alarm_request::AlarmAction;
use crate::proto::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::rpc::request_op::Request;
use crate::proto::rpc::{
    AlarmRequest, AlarmType, CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest,
    PutRequest, RequestOp, TxnRequest,
};

#[derive(Clone, Debug)]
enum Step {
    Apply(Op),
    Commit,
    Crash,
    /// Compactions are carried out, then the member ends in good order.
    Restart,
}

fn key() -> impl Strategy<Value = Bytes> {
    (0u8..6).prop_map(|key| Bytes::from(vec![b'a' + key]))
}

fn put() -> impl Strategy<Value = PutRequest> {
    (key(), any::<u8>(), 0i64..4).prop_map(|(key, value, lease)| PutRequest {
        key,
        value: Bytes::from(vec![value]),
        lease,
        ..PutRequest::default()
    })
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), key()).prop_map(|(key, range_end)| DeleteRangeRequest { key, range_end, prev_kv: false })
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    (key(), 0i64..4, put(), delete()).prop_map(|(key, version, put, delete)| TxnRequest {
        compare: vec![Compare {
            result: CompareResult::Greater as i32,
            target: CompareTarget::Version as i32,
            key,
            target_union: Some(TargetUnion::Version(version)),
            range_end: Bytes::new(),
        }],
        success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
        failure: vec![RequestOp { request: Some(Request::RequestDeleteRange(delete)) }],
    })
}

fn alarm() -> impl Strategy<Value = AlarmRequest> {
    prop::bool::ANY.prop_map(|raise| AlarmRequest {
        action: if raise { AlarmAction::Activate } else { AlarmAction::Deactivate } as i32,
        member_id: 1,
        alarm: AlarmType::Nospace as i32,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => put().prop_map(|request| Step::Apply(Op::Put(request))),
        3 => delete().prop_map(|request| Step::Apply(Op::DeleteRange(request))),
        3 => txn().prop_map(|request| Step::Apply(Op::Txn(request))),
        2 => (1i64..4).prop_map(|id| Step::Apply(Op::LeaseGrant(LeaseGrantRequest { id, ttl: 600 }))),
        1 => (1i64..4).prop_map(|id| Step::Apply(Op::LeaseRevoke(LeaseRevokeRequest { id }))),
        1 => (1i64..40).prop_map(|revision| Step::Apply(Op::Compact(CompactionRequest { revision, physical: false }))),
        1 => alarm().prop_map(|request| Step::Apply(Op::Alarm(request))),
        2 => Just(Step::Commit),
        2 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

struct Member {
    machine: Arc<Machine>,
    wal: Wal,
}

impl Member {
    fn open(directory: &Path) -> Self {
        let restored = Store::open(&directory.join("store")).expect("the store opens");
        let machine = Arc::new(Machine::new(restored, Instant::now()).expect("decodes"));
        let wal = replay(&directory.join("wal"), &machine, 1).expect("the log is whole");
        Self { machine, wal }
    }

    fn apply(&mut self, op: Op) {
        let data = Command { op: Some(op.clone()), asker: None }.encode_to_vec();
        let (index, term) = (self.wal.next_index(), self.wal.hard_state().term);
        self.wal.append(term, [data.as_slice()]).expect("the disk works");
        // Refusals are part of what is compared: they change nothing, then and later.
        let _ = self.machine.apply(index, term, op, None, Instant::now());
    }

    fn carry_out_compactions(&self) {
        let store = &self.machine.store;
        let asked = store.meta().compacted;
        let thread = store.spawn_commits(|error| panic!("{error}")).expect("a thread");
        while *store.compaction_done().borrow() < asked {
            std::thread::yield_now();
        }
        drop(thread);
        self.wal_is_not_needed_any_more();
    }

    fn wal_is_not_needed_any_more(&self) {
        assert_eq!(self.machine.store.durable(), self.wal.next_index() - 1);
    }

    fn state(&self) -> State {
        let meta = self.machine.store.meta();
        let lessor = self.machine.lessor.lock();
        let mut leases: Vec<_> =
            lessor.ids().into_iter().map(|id| (id, lessor.info(id, Instant::now()).expect("listed").keys)).collect();
        leases.sort();
        State {
            hash: self.machine.store.hash(0).expect("hashed"),
            applied: meta.applied,
            leases,
            alarms: self.machine.alarm_names(),
        }
    }
}

#[derive(Debug, PartialEq)]
struct State {
    hash: Hash,
    applied: u64,
    leases: Vec<(i64, Vec<Bytes>)>,
    alarms: Vec<String>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn replay_comes_to_the_same_state(steps in steps()) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut member = Member::open(directory.path());
        for step in steps {
            match step {
                Step::Apply(op) => member.apply(op),
                Step::Commit => member.machine.store.commit_now().expect("committed"),
                Step::Crash | Step::Restart => {
                    if matches!(step, Step::Restart) {
                        member.carry_out_compactions();
                    }
                    let before = member.state();
                    drop(member);
                    member = Member::open(directory.path());
                    prop_assert_eq!(member.state(), before);
                }
            }
        }
    }
}
