//! The thread that moves pending changes to the backend and carries compactions out.
//!
//! It commits once in [`DELAY`] while there is something to commit, or sooner when much is pending. The log makes writes
//! durable, so nobody waits for a commit, except the apply loop when more is pending than memory should hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::watch;

use super::backend::BackendError;
use super::store::Store;
use crate::failpoint::pass;

/// How long a change may be pending.
const DELAY: Duration = Duration::from_secs(1);
/// A commit begins at once when this many bytes are pending.
const EAGER_BYTES: usize = 8 << 20;
/// The apply loop waits while this many bytes are pending.
const MOST_BYTES: usize = 64 << 20;
/// Keys looked at, and revisions removed, in one go of a compaction.
const CHUNK: usize = 4096;

/// What the thread waits for, and what others wait for from it.
pub(super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
    /// One commit at a time: the thread's own, or one that a request asks for.
    committing: Mutex<()>,
    durable: watch::Sender<u64>,
    compacted: watch::Sender<i64>,
    /// What commits took.
    seconds: Histogram,
}

#[derive(Default)]
struct State {
    dirty: bool,
    bytes: usize,
    compaction: Option<i64>,
    stop: bool,
}

impl Signal {
    pub(super) fn new(durable: u64, compacted: i64, compaction: Option<i64>) -> Self {
        Self {
            state: Mutex::new(State { compaction, ..State::default() }),
            changed: Condvar::new(),
            committing: Mutex::new(()),
            durable: watch::Sender::new(durable),
            compacted: watch::Sender::new(compacted),
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
        }
    }

    pub(super) fn note_pending(&self, bytes: usize) {
        let mut state = self.state.lock();
        let wake = !state.dirty || (bytes >= EAGER_BYTES && state.bytes < EAGER_BYTES);
        state.dirty = true;
        state.bytes = bytes;
        if wake {
            self.changed.notify_all();
        }
        while state.bytes >= MOST_BYTES && !state.stop {
            self.changed.wait(&mut state);
        }
    }

    pub(super) fn request_compaction(&self, main: i64) {
        self.state.lock().compaction = Some(main);
        self.changed.notify_all();
    }
}

/// What the thread has to do next.
enum Work {
    Commit,
    Compact(i64),
    Stop,
}

impl Store {
    /// The last log entry that the backend holds durably.
    pub fn durable(&self) -> u64 {
        *self.signal.durable.borrow()
    }

    /// What commits took, in seconds.
    pub fn commit_seconds(&self) -> Histogram {
        self.signal.seconds.clone()
    }

    /// The last compaction that is carried out, to be waited on.
    pub fn compaction_done(&self) -> watch::Receiver<i64> {
        self.signal.compacted.subscribe()
    }

    /// Starts the thread. `failed` is called when the backend fails, and the thread ends then.
    pub fn spawn_commits(
        self: &Arc<Self>,
        failed: impl FnOnce(BackendError) + Send + 'static,
    ) -> std::io::Result<CommitThread> {
        let store = self.clone();
        let thread = std::thread::Builder::new().name("commit".into()).spawn(move || {
            if let Err(error) = store.run_commits() {
                // The apply loop may be waiting for a commit that will not come.
                store.signal.state.lock().stop = true;
                store.signal.changed.notify_all();
                failed(error);
            }
        })?;
        Ok(CommitThread { store: self.clone(), thread: Some(thread) })
    }

    fn run_commits(&self) -> Result<(), BackendError> {
        loop {
            match self.next_work() {
                Work::Commit => self.commit_now()?,
                Work::Compact(main) => self.run_compaction(main)?,
                Work::Stop => return self.commit_now(),
            }
        }
    }

    fn next_work(&self) -> Work {
        let mut state = self.signal.state.lock();
        let mut dirty_since = None;
        loop {
            if state.stop {
                return Work::Stop;
            }
            if let Some(main) = state.compaction.take() {
                return Work::Compact(main);
            }
            if state.bytes >= EAGER_BYTES {
                return Work::Commit;
            }
            if !state.dirty {
                self.signal.changed.wait(&mut state);
                continue;
            }
            let due = *dirty_since.get_or_insert_with(|| Instant::now() + DELAY);
            if self.signal.changed.wait_until(&mut state, due).timed_out() {
                return Work::Commit;
            }
        }
    }

    /// Commits what is pending.
    pub fn commit_now(&self) -> Result<(), BackendError> {
        let _one = self.signal.committing.lock();
        let (batch, meta) = {
            let _between_entries = self.entry.lock();
            let mut inner = self.inner.write();
            let mut state = self.signal.state.lock();
            state.dirty = false;
            state.bytes = 0;
            self.signal.changed.notify_all();
            (inner.pending.take(), inner.meta)
        };
        let started = Instant::now();
        self.backend.commit(&batch, &meta)?;
        self.signal.seconds.observe(started.elapsed().as_secs_f64());
        let view = Arc::new(self.backend.view()?);
        {
            let mut inner = self.inner.write();
            inner.view = Some(view);
            inner.pending.committed();
        }
        self.signal.durable.send_replace(meta.applied);
        Ok(())
    }

    fn run_compaction(&self, main: i64) -> Result<(), BackendError> {
        let started = Instant::now();
        let (mut dropped, mut after) = (Vec::new(), None);
        loop {
            // The lock is given up between chunks, so that requests pass.
            after = self.inner.write().index.compact(main, after.as_deref(), CHUNK, &mut dropped);
            if after.is_none() {
                break;
            }
        }
        // What is dropped may still be pending; removing it is only possible behind it.
        self.commit_now()?;
        pass("compaction").map_err(|error| self.backend.failure(error))?;
        dropped.sort_unstable();
        let mut chunks = dropped.chunks(CHUNK).peekable();
        if chunks.peek().is_none() {
            self.backend.remove(&[], Some(main))?;
        }
        while let Some(chunk) = chunks.next() {
            self.backend.remove(chunk, chunks.peek().is_none().then_some(main))?;
        }
        {
            let mut inner = self.inner.write();
            inner.meta.compaction_done = main;
            inner.view = Some(Arc::new(self.backend.view()?));
        }
        self.signal.compacted.send_replace(main);
        tracing::info!(revision = main, dropped = dropped.len(), took = ?started.elapsed(), "compacted");
        Ok(())
    }
}

/// The running thread; dropping it makes a last commit and waits for it.
pub struct CommitThread {
    store: Arc<Store>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for CommitThread {
    fn drop(&mut self) {
        self.store.signal.state.lock().stop = true;
        self.store.signal.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so; there is nothing to add here.
            let _ = thread.join();
        }
    }
}
