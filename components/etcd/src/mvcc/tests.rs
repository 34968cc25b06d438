//! The store against a plain model: random changes, commits, compactions and restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::range::KeyRange;
use super::read::Query;
use super::store::{ReadView, Store};
use crate::error::Error;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8, u8),
    Commit,
    Compact(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u8..6, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0u8..6, 0u8..7).prop_map(|(from, to)| Step::Delete(from, to)),
        1 => Just(Step::Commit),
        1 => (0u8..100).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

/// Key to (value, create, modified, version), one map per revision.
type State = BTreeMap<Vec<u8>, (u8, i64, i64, i64)>;

struct Model {
    states: Vec<State>,
    compacted: i64,
}

impl Model {
    fn revision(&self) -> i64 {
        self.states.len() as i64
    }

    fn newest(&self) -> State {
        self.states.last().cloned().unwrap_or_default()
    }
}

fn open(path: &Path) -> Arc<Store> {
    Arc::new(Store::open(path).expect("the store opens").store)
}

fn check(store: &Store, model: &Model) {
    for revision in 1..=model.revision() {
        let query = Query { range: KeyRange::all(), revision, limit: 0, count_only: false };
        let found = store.range(&query);
        if revision < model.compacted {
            assert_eq!(found, Err(Error::Compacted), "revision {revision}");
            continue;
        }
        let found = found.expect("readable");
        let seen: State = found
            .key_values
            .iter()
            .map(|kv| (kv.key.to_vec(), (kv.value[0], kv.create_revision, kv.mod_revision, kv.version)))
            .collect();
        assert_eq!(seen, model.states[revision as usize - 1], "revision {revision}");
        assert_eq!(found.revision, model.revision());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_kept_revision_reads_as_it_was(steps in steps()) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store");
        let mut store = open(&path);
        // The store begins at revision 1, which is empty.
        let mut model = Model { states: vec![State::new()], compacted: -1 };
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    let mut state = model.newest();
                    let main = model.revision() + 1;
                    let entry = state.entry(vec![key]).or_insert((0, main, 0, 0));
                    *entry = (value, entry.1, main, entry.3 + 1);
                    model.states.push(state);
                    let mut txn = store.write();
                    txn.put(Bytes::from(vec![key]), Bytes::from(vec![value]), 0);
                    prop_assert_eq!(txn.end().0, main);
                }
                Step::Delete(from, to) => {
                    let mut state = model.newest();
                    let before = state.len();
                    state.retain(|key, _| key[0] < from || key[0] >= to);
                    let deleted = before - state.len();
                    if deleted > 0 {
                        model.states.push(state);
                    }
                    let mut txn = store.write();
                    prop_assert_eq!(txn.delete_range(KeyRange::Between(&[from], &[to])), deleted);
                    prop_assert_eq!(txn.revision(), model.revision());
                    txn.end();
                }
                Step::Commit => store.commit_now().expect("committed"),
                Step::Compact(percent) => {
                    let main = model.revision() * i64::from(percent) / 100;
                    let expected = if main <= model.compacted { Err(Error::Compacted) } else { Ok(()) };
                    prop_assert_eq!(store.compact(main), expected.clone());
                    if expected.is_ok() {
                        model.compacted = main;
                        let thread = store.spawn_commits(|error| panic!("{error}")).expect("a thread");
                        let mut done = store.compaction_done();
                        while *done.borrow_and_update() < main {
                            std::thread::yield_now();
                        }
                        drop(thread);
                        // The thread's end is the store's end; go on with a new one.
                        drop(store);
                        store = open(&path);
                    }
                }
                Step::Reopen => {
                    store.commit_now().expect("committed");
                    let before = store.hash(0).expect("hashed");
                    drop(store);
                    store = open(&path);
                    prop_assert_eq!(store.hash(0).expect("hashed"), before);
                }
            }
            check(&store, &model);
        }
    }
}

#[test]
fn a_write_in_progress_sees_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory.path().join("store"));
    let mut txn = store.write();
    txn.put(Bytes::from_static(b"a"), Bytes::from_static(b"1"), 0);
    let found = txn.range(&Query::newest(KeyRange::One(b"a"))).expect("readable");
    assert_eq!((found.count, found.revision), (1, 2));
    txn.end();
    assert_eq!(store.revision(), 2);
}

#[test]
fn history_gives_whole_transactions_from_disk_and_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory.path().join("store"));
    for round in 0..4u8 {
        let mut txn = store.write();
        txn.put(Bytes::from_static(b"a"), Bytes::from(vec![round]), 0);
        txn.put(Bytes::from_static(b"b"), Bytes::from(vec![round]), 0);
        txn.end();
        if round == 1 {
            store.commit_now().expect("committed");
        }
    }
    let mains = |from, to, limit| -> Vec<i64> {
        let history = store.history(from, to, limit).expect("readable");
        history.iter().map(|(revision, _)| revision.main).collect()
    };
    assert_eq!(mains(2, 5, 100), [2, 2, 3, 3, 4, 4, 5, 5]);
    assert_eq!(mains(2, 5, 3), [2, 2, 3, 3]);
    assert_eq!(mains(4, 4, 1), [4, 4]);
    assert_eq!(mains(3, 9, 3), [3, 3, 4, 4]);
    assert_eq!(mains(6, 9, 3), Vec::<i64>::new());
}

#[test]
fn a_commit_never_parts_an_entry() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let store = open(&path);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                store.commit_now().expect("committed");
                let meta = store.backend.meta().expect("readable");
                // Every entry makes one revision, the first being the second.
                assert_eq!(meta.revision, meta.applied.cast_signed() + 1);
            }
        });
        for index in 1..3000 {
            store.entry(index, 1, || {
                let mut txn = store.write();
                txn.put(Bytes::from_static(b"a"), Bytes::new(), 0);
                txn.end();
                std::thread::yield_now();
            });
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn defragmenting_keeps_everything() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory.path().join("store"));
    for round in 0..200 {
        let mut txn = store.write();
        txn.put(Bytes::from(format!("k{round}")), Bytes::from(vec![1; 2000]), 0);
        txn.end();
    }
    store.commit_now().expect("committed");
    let before = store.hash(0).expect("hashed");
    store.defragment().expect("defragmented");
    assert_eq!(store.hash(0).expect("hashed"), before);
}
