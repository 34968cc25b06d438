//! Index, pending changes and backend together behind one lock.
//!
//! One writer, the apply loop; any number of readers. A reader holds the lock only to find revisions in the index; it
//! loads the values afterwards, from records it already holds or from a snapshot of the backend.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard};

use super::Revision;
use super::backend::{Backend, BackendError, Change, Held, Meta, Record, SharedView};
use super::commit::Signal;
use super::index::Index;
use super::pending::{Encoded, Pending};
use super::range::KeyRange;
use super::read::{Extent, Found, Query};
use super::txn::WriteTxn;
use crate::auth::Stored;
use crate::error::Error;
use crate::proto::mvcc::KeyValue;

/// The versioned store.
pub struct Store {
    pub(super) inner: RwLock<Inner>,
    pub(super) backend: Backend,
    pub(super) signal: Signal,
    /// Held while an entry is applied; a commit is only taken between entries.
    pub(super) entry: Mutex<()>,
    histories: Arc<Histories>,
}

/// How many [`History`] there are. The file is not shrunk meanwhile.
#[derive(Default)]
struct Histories {
    count: Mutex<usize>,
    ended: Condvar,
}

/// Counts as one as long as it lives.
struct Counted(Arc<Histories>);

impl Counted {
    fn new(histories: &Arc<Histories>) -> Self {
        *histories.count.lock() += 1;
        Self(histories.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.count.lock() -= 1;
        self.0.ended.notify_all();
    }
}

/// What the lock guards.
pub struct Inner {
    pub(super) index: Index,
    pub(super) pending: Pending,
    /// The backend as of the last commit. Only taken away while the backend is shrunk, under the lock.
    pub(super) view: Option<SharedView>,
    pub(super) meta: Meta,
}

/// What a start finds on disk besides the store itself.
pub struct Restored {
    pub store: Store,
    /// Leases with their time to live in seconds.
    pub leases: Vec<(i64, i64)>,
    /// Seconds that some had left at their last checkpoint.
    pub leases_left: Vec<(i64, i64)>,
    /// Keys with the lease they are attached to.
    pub attached: HashMap<Bytes, i64>,
    pub alarms: Vec<(u64, i32)>,
    pub auth: Stored,
    /// Members by their ids, encoded; empty for one that is gone.
    pub members: Vec<(u64, Vec<u8>)>,
}

impl Store {
    /// Opens the store's file and builds the index from it.
    pub fn open(path: &Path) -> Result<Restored, BackendError> {
        Self::over(Backend::open(path)?)
    }

    /// An empty store that is kept nowhere.
    pub fn in_memory() -> Result<Restored, BackendError> {
        Self::over(Backend::in_memory()?)
    }

    fn over(backend: Backend) -> Result<Restored, BackendError> {
        let meta = backend.meta()?;
        let view = Arc::new(backend.view()?);
        let mut index = Index::default();
        let mut attached = HashMap::new();
        view.scan(Revision::default(), |revision, record| {
            backend.count_used(record.len());
            let (tombstone, key_value) = Record::decode(Bytes::copy_from_slice(record))?;
            if tombstone {
                index.restore(&key_value.key, revision, 0, 0);
            } else {
                index.restore(&key_value.key, revision, key_value.create_revision, key_value.version);
            }
            if key_value.lease != 0 {
                attached.insert(Bytes::copy_from_slice(&key_value.key), key_value.lease);
            } else if !attached.is_empty() {
                attached.remove(&key_value.key);
            }
            Ok(true)
        })?;
        let (leases, alarms, auth) = (backend.leases()?, backend.alarms()?, backend.auth()?);
        let (leases_left, members) = (backend.leases_left()?, backend.members()?);
        let unfinished = (meta.compaction_done < meta.compacted).then_some(meta.compacted);
        let signal = Signal::new(meta.applied, meta.compaction_done, unfinished);
        let inner = Inner { index, pending: Pending::default(), view: Some(view), meta };
        let histories = Arc::default();
        let store = Store { inner: RwLock::new(inner), backend, signal, entry: Mutex::new(()), histories };
        Ok(Restored { store, leases, leases_left, attached, alarms, auth, members })
    }

    /// The ids of this member and of its cluster, once they were given.
    pub fn identity(&self) -> Result<Option<(u64, u64)>, BackendError> {
        self.backend.identity()
    }

    /// Gives this member its id and its cluster's, durably.
    pub fn set_identity(&self, member: u64, cluster: u64) -> Result<(), BackendError> {
        self.importer(self.meta()).finish(vec![Change::Identity { member, cluster }]).map(drop)
    }

    /// Reads a range.
    pub fn range(&self, query: &Query<'_>) -> Result<Found, Error> {
        let located = self.inner.read().locate(query, None)?;
        located.load()
    }

    /// Reads a range for an answer that is made of encoded keys and values: `begin` is told how many there are, and then
    /// `each` of them, until it wants no more.
    pub fn range_encoded<T>(
        &self,
        query: &Query<'_>,
        begin: impl FnOnce(Extent) -> T,
        mut each: impl FnMut(&mut T, &[u8]) -> bool,
    ) -> Result<T, Error> {
        let located = self.inner.read().locate(query, None)?;
        let mut answer = begin(located.extent());
        located.visit(|key_value| each(&mut answer, key_value))?;
        Ok(answer)
    }

    /// A state that does not change while it is held; the writer waits for it, so hold it shortly.
    pub fn read(&self) -> ReadTxn<'_> {
        ReadTxn { inner: self.inner.read() }
    }

    /// Begins a write. Nothing is visible before it ends.
    pub fn write(&self) -> WriteTxn<'_> {
        WriteTxn::new(self.inner.write())
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        self.inner.read().meta.revision
    }

    /// The figures as of now.
    pub fn meta(&self) -> Meta {
        self.inner.read().meta
    }

    /// The last log entry that the store has seen.
    pub fn applied(&self) -> u64 {
        self.inner.read().meta.applied
    }

    /// Applies one log entry: what `work` changes and the entry's index become durable together or not at all, so that
    /// no start applies an entry twice. Waits when the commit thread is far behind, because what is pending is held in
    /// memory.
    pub fn entry<T>(&self, index: u64, term: u64, work: impl FnOnce() -> T) -> T {
        let whole = self.entry.lock();
        let result = work();
        let bytes = {
            let mut inner = self.inner.write();
            inner.meta.applied = index;
            inner.meta.term = term;
            inner.pending.bytes()
        };
        drop(whole);
        self.signal.note_pending(bytes);
        result
    }

    /// Records a change of a small table; it is written together with the entry that is being applied.
    pub fn change(&self, change: Change) {
        self.inner.write().pending.change(change);
    }

    /// Forgets revisions before `main`, except what a read at `main` can see. The work is done in the background.
    pub fn compact(&self, main: i64) -> Result<(), Error> {
        {
            let mut inner = self.inner.write();
            if main <= inner.meta.compacted {
                return Err(Error::Compacted);
            }
            if main > inner.meta.revision {
                return Err(Error::FutureRevision);
            }
            inner.meta.compacted = main;
        }
        self.signal.request_compaction(main);
        Ok(())
    }

    /// The changes from revision `from` to `to`, in order, whole transactions only: it stops after the transaction in
    /// which `limit` is reached.
    pub fn history(&self, from: i64, to: i64, limit: usize) -> Result<Vec<Encoded>, Error> {
        let start = Revision::start_of(from);
        let (view, first_pending, pending) = {
            let inner = self.inner.read();
            if from < inner.meta.compacted {
                return Err(Error::Compacted);
            }
            let mut pending = Slice::new(to, limit);
            for (revision, record) in inner.pending.from(start) {
                if !pending.push(*revision, || record.clone()) {
                    break;
                }
            }
            (inner.view(), inner.pending.first(), pending)
        };
        if first_pending.is_some_and(|first| first <= start) {
            return Ok(pending.found);
        }
        let mut slice = Slice::new(to, limit);
        let mut complete = true;
        view.scan(start, |revision, record| {
            complete = slice.push(revision, || Bytes::copy_from_slice(record));
            Ok(complete)
        })
        .map_err(storage)?;
        // What is pending is newer than anything in the view.
        if complete {
            let mut rest = pending.found.into_iter();
            while let Some((revision, record)) = rest.next()
                && slice.push(revision, || record)
            {}
        }
        Ok(slice.found)
    }

    /// The key's value as of `main`, `None` when it was not there or cannot be known any more.
    pub fn get(&self, key: &[u8], main: i64) -> Result<Option<KeyValue>, Error> {
        let query = Query { range: KeyRange::One(key), revision: main, limit: 0, count_only: false };
        match self.range(&query) {
            Ok(found) => Ok(found.key_values.into_iter().next()),
            Err(Error::Compacted | Error::FutureRevision) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The whole history as it is between two entries, with `beside` called at the same moment.
    pub fn snapshot<T>(&self, beside: impl FnOnce() -> T) -> (History, T) {
        let counted = Counted::new(&self.histories);
        let _between_entries = self.entry.lock();
        let inner = self.inner.read();
        let pending: Vec<Encoded> = inner.pending.from(Revision::default()).cloned().collect();
        (History { view: inner.view(), pending, meta: inner.meta, _counted: counted }, beside())
    }

    /// Keys, those among them whose deletion has not been compacted.
    pub fn keys(&self) -> usize {
        self.inner.read().index.size()
    }

    /// Snapshots that are being read.
    pub fn histories(&self) -> usize {
        *self.histories.count.lock()
    }

    /// Bytes of the file, and bytes in use within it.
    pub fn size(&self) -> (u64, u64) {
        let file = self.backend.file_size();
        (file, self.backend.used().min(file))
    }

    /// Bytes of the file and of what will be written to it next; what the quota is about.
    pub fn size_for_quota(&self) -> u64 {
        self.backend.file_size() + self.inner.read().pending.bytes() as u64
    }

    /// Gives free space back to the file system, once no snapshot is being sent. Requests wait meanwhile.
    pub fn defragment(&self) -> Result<(), Error> {
        let mut histories = self.histories.count.lock();
        while *histories > 0 {
            self.histories.ended.wait(&mut histories);
        }
        self.commit_now().map_err(storage)?;
        let mut inner = self.inner.write();
        let mut view = inner.view.take();
        while let Some(held) = view.take() {
            // Readers that located something before the lock was taken still load it; no new ones can come.
            match Arc::try_unwrap(held) {
                Ok(last) => drop(last),
                Err(shared) => {
                    view = Some(shared);
                    std::thread::yield_now();
                }
            }
        }
        let shrunk = self.backend.shrink();
        inner.view = Some(Arc::new(self.backend.view().map_err(storage)?));
        shrunk.map_err(storage)
    }
}

/// The history at one moment. It does not change, and keeps nothing from changing.
pub struct History {
    view: SharedView,
    pending: Vec<Encoded>,
    pub meta: Meta,
    /// Goes last, when the view is let go already.
    _counted: Counted,
}

impl History {
    /// A revision that about half of all records are before, if they are as old as they are many.
    pub fn middle(&self) -> Revision {
        Revision::start_of((self.meta.compacted.max(0) + self.meta.revision) / 2)
    }

    /// The records from one revision to before another, in their order.
    pub fn rows(
        &self,
        from: Revision,
        to: Revision,
    ) -> Result<impl Iterator<Item = Result<(Revision, Raw), BackendError>> + use<'_>, BackendError> {
        let first_pending = self.pending.first().map(|(revision, _)| *revision);
        let committed = self.view.rows(from, to)?.take_while(move |row| match (row, first_pending) {
            (Ok((revision, _)), Some(first)) => *revision < first,
            _ => true,
        });
        let committed = committed.map(|row| row.map(|(revision, record)| (revision, Raw::Stored(record))));
        let pending = self.pending.iter().filter(move |(revision, _)| (from..to).contains(revision));
        let pending = pending.map(|(revision, record)| Ok((*revision, Raw::Pending(record.clone()))));
        Ok(committed.chain(pending))
    }
}

/// A record where it lies.
pub enum Raw {
    Stored(Held),
    Pending(Bytes),
}

impl AsRef<[u8]> for Raw {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Stored(held) => held.as_ref(),
            Self::Pending(bytes) => bytes,
        }
    }
}

/// A part of the history, cut between transactions.
struct Slice {
    found: Vec<Encoded>,
    to: i64,
    limit: usize,
}

impl Slice {
    fn new(to: i64, limit: usize) -> Self {
        Self { found: Vec::new(), to, limit }
    }

    /// Says whether the record belongs to it.
    fn push(&mut self, revision: Revision, record: impl FnOnce() -> Bytes) -> bool {
        let another = self.found.last().is_some_and(|(last, _)| last.main != revision.main);
        if revision.main > self.to || (self.found.len() >= self.limit && another) {
            return false;
        }
        self.found.push((revision, record()));
        true
    }
}

impl Inner {
    pub(super) fn view(&self) -> SharedView {
        self.view.clone().expect("the view is only away under the write lock")
    }
}

/// See [`Store::read`].
pub struct ReadTxn<'a> {
    inner: RwLockReadGuard<'a, Inner>,
}

/// What transactions read from: a state between writes, or one within a write.
pub trait ReadView {
    /// Reads a range as the transaction sees it.
    fn range(&self, query: &Query<'_>) -> Result<Found, Error>;
    /// The newest revision that the transaction sees.
    fn revision(&self) -> i64;
    /// The last compaction, -1 before the first.
    fn compacted(&self) -> i64;
}

impl ReadView for ReadTxn<'_> {
    fn range(&self, query: &Query<'_>) -> Result<Found, Error> {
        self.inner.locate(query, None)?.load()
    }

    fn revision(&self) -> i64 {
        self.inner.meta.revision
    }

    fn compacted(&self) -> i64 {
        self.inner.meta.compacted
    }
}

/// A backend's failure as a request sees it.
pub(super) fn storage(error: BackendError) -> Error {
    Error::Storage(error.to_string())
}
