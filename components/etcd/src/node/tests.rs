//! Random entries, commits and crashes: whatever is replayed comes to the state that was there before.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::inbox::Work;
use super::*;
use crate::apply::Machine;
use crate::membership::{Identity, Roster};
use crate::mvcc::backend::Meta;
use crate::mvcc::hash::Hash;
use crate::mvcc::store::Store;
use crate::peer::{PeerTls, Peers};
use crate::proto::rpc::alarm_request::AlarmAction;
use crate::proto::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::rpc::request_op::Request;
use crate::proto::rpc::{
    AlarmRequest, AlarmType, CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest,
    PutRequest, RequestOp, TxnRequest,
};
use crate::raft::{Config, Place};
use crate::wal::Wal;

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
    run: Run,
}

/// The first start of a member alone: the list of members is the first entry.
fn begin(directory: &Path) {
    let alone = BTreeMap::from([("alone".to_owned(), vec!["http://localhost:2380".to_owned()])]);
    let store = Store::open(&directory.join("store")).expect("the store opens").store;
    let meta = Meta { applied: 1, term: 1, ..Meta::default() };
    store.importer(meta).finish(Roster::begin(&alone, "token").0.changes()).expect("written");
}

impl Member {
    fn open(directory: &Path) -> Self {
        let restored = Store::open(&directory.join("store")).expect("the store opens");
        let machine = Arc::new(Machine::new(restored, Instant::now()).expect("decodes"));
        let (members, meta) = (machine.roster.read().voting(), machine.store.meta());
        let id = *members.voters.first().expect("one voter");
        let wal_dir = directory.join("wal");
        let (wal, found) = Wal::open(&wal_dir, meta.applied + 1).expect("the log is whole");
        let config = Config { id, ..Config::default() };
        let applied = Place { index: meta.applied, term: meta.term };
        let (raft, state) = open::consensus(&wal_dir, config, applied, members, found, 0).expect("no gap");
        let parts = Parts {
            machine: machine.clone(),
            figures: Arc::default(),
            standing: Arc::new(Standing::new(id, 1)),
            peers: Peers::new(Identity { member: id, cluster: 1 }, PeerTls::default(), Arc::default(), Arc::default()),
            kept: 0,
        };
        let mut run = Run::new(raft, wal, state, parts);
        run.drive().expect("the disk works");
        run.raft.campaign();
        run.drive().expect("the disk works");
        Self { machine, run }
    }

    fn apply(&mut self, op: Op) {
        let data = Command { op: Some(op.clone()), asker: None, id: 1 }.encode_to_vec().into();
        let (reply, mut answer) = oneshot::channel();
        let proposals = vec![Proposal { data, op, asker: None, id: 1, reply }];
        self.run.work(Work { proposals, ..Work::default() }, 0).expect("the disk works");
        // Refusals are part of what is compared: they change nothing, then and later.
        assert!(answer.try_recv().is_ok(), "a member alone answers at once");
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
        assert_eq!(self.machine.store.durable(), self.run.raft.last().index);
    }

    fn state(&self) -> State {
        let lessor = self.machine.lessor.lock();
        let mut leases: Vec<_> =
            lessor.ids().into_iter().map(|id| (id, lessor.info(id, Instant::now()).expect("listed").keys)).collect();
        leases.sort();
        State { hash: self.machine.store.hash(0).expect("hashed"), leases, alarms: self.machine.alarm_names() }
    }
}

#[derive(Debug, PartialEq)]
struct State {
    hash: Hash,
    leases: Vec<(i64, Vec<Bytes>)>,
    alarms: Vec<String>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn replay_comes_to_the_same_state(steps in steps()) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let _within = runtime.enter();
        let directory = tempfile::tempdir().expect("a directory");
        begin(directory.path());
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
