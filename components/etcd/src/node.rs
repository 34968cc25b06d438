//! The road of a write: propose, log, sync, apply, answer.
//!
//! One thread owns the log. It takes whatever was proposed while it was busy as one batch, writes and syncs it once, and
//! applies the entries in order; so the more requests there are, the fewer syncs each costs. With several members,
//! consensus will stand between the log and the apply step; both ends stay as they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use tokio::sync::{mpsc, oneshot};

use crate::apply::{Machine, Reply};
use crate::error::Error;
use crate::fatal::Fatal;
use crate::metrics::Figures;
use crate::proto::log::Command;
use crate::proto::log::command::Op;
use crate::wal::{HardState, Wal, WalError};

/// Proposals that may wait; more are answered with "too many requests".
const WAITING: usize = 8192;
/// Entries, and bytes of them, that share one sync.
const BATCH_ENTRIES: usize = 2048;
const BATCH_BYTES: usize = 4 << 20;
/// A write that is not applied by then is answered as timed out; it may still happen.
const TIMEOUT: Duration = Duration::from_secs(7);

struct Proposal {
    data: Vec<u8>,
    op: Op,
    reply: oneshot::Sender<Result<Reply, Error>>,
}

/// Where writes go in. Cheap to clone; the node ends when the last one is dropped.
#[derive(Clone)]
pub struct Proposer {
    proposals: mpsc::Sender<Proposal>,
    most_bytes: usize,
}

impl Proposer {
    /// Proposes a write and waits until it is durable and applied.
    pub async fn propose(&self, op: Op) -> Result<Reply, Error> {
        let command = Command { op: Some(op) };
        let data = command.encode_to_vec();
        if data.len() > self.most_bytes {
            return Err(Error::RequestTooLarge);
        }
        let Some(op) = command.op else { return Err(Error::Stopped) };
        let (reply, answer) = oneshot::channel();
        self.proposals.try_send(Proposal { data, op, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::TooManyRequests,
            mpsc::error::TrySendError::Closed(_) => Error::Stopped,
        })?;
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => Err(Error::TimedOut),
        }
    }
}

/// The running node.
pub struct Node {
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Node {
    /// Starts the thread on a log that is replayed already. `most_bytes` bounds one request.
    pub fn start(
        wal: Wal,
        machine: Arc<Machine>,
        figures: Arc<Figures>,
        most_bytes: usize,
        fatal: Fatal,
    ) -> std::io::Result<(Self, Proposer)> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let term = wal.hard_state().term;
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
            let mut run = Run { wal, machine, figures, term, released: 0 };
            if let Err(error) = run.until_closed(receiver) {
                fatal.raise(error.to_string());
            }
        })?;
        Ok((Self { thread: Some(thread) }, Proposer { proposals: sender, most_bytes }))
    }

    /// Waits for the end, which comes when every proposer is dropped.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Run {
    wal: Wal,
    machine: Arc<Machine>,
    figures: Arc<Figures>,
    term: u64,
    released: u64,
}

impl Run {
    fn until_closed(&mut self, mut proposals: mpsc::Receiver<Proposal>) -> Result<(), WalError> {
        let mut batch: Vec<Proposal> = Vec::new();
        while let Some(first) = proposals.blocking_recv() {
            let mut bytes = first.data.len();
            batch.push(first);
            while batch.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
                let Ok(next) = proposals.try_recv() else { break };
                bytes += next.data.len();
                batch.push(next);
            }
            self.commit(&mut batch)?;
        }
        Ok(())
    }

    fn commit(&mut self, batch: &mut Vec<Proposal>) -> Result<(), WalError> {
        let mut index = self.wal.next_index();
        let started = Instant::now();
        // Dropping the batch on an error answers everyone in it that the server stopped: whether their writes are
        // durable is not known.
        self.wal.append(self.term, batch.iter().map(|proposal| proposal.data.as_slice()))?;
        self.figures.synced(started.elapsed(), batch.len());
        let now = Instant::now();
        for proposal in batch.drain(..) {
            let result = self.machine.apply(index, self.term, proposal.op, now);
            index += 1;
            // Whoever asked may have gone.
            let _ = proposal.reply.send(result);
        }
        let durable = self.machine.store.durable();
        if durable > self.released {
            self.wal.release(durable)?;
            self.released = durable;
        }
        Ok(())
    }
}

/// Opens the log and applies what the store has not seen yet. Returns the log in a new term.
pub fn replay(directory: &std::path::Path, machine: &Machine, member: u64) -> Result<Wal, WalError> {
    let applied = machine.store.applied();
    let now = Instant::now();
    let mut replayed = 0_u64;
    let mut wal = Wal::open(directory, applied + 1, |entry| {
        if entry.index <= applied {
            return Ok(());
        }
        let malformed = |_| WalError::Malformed { index: entry.index };
        let command = Command::decode(entry.data).map_err(malformed)?;
        let op = command.op.ok_or(WalError::Malformed { index: entry.index })?;
        // The outcome, an error included, was told whoever asked.
        let _ = machine.apply(entry.index, entry.term, op, now);
        replayed += 1;
        Ok(())
    })?;
    if wal.first_index() > applied + 1 || wal.next_index() < applied + 1 {
        return Err(WalError::Gap { path: directory.to_owned(), expected: applied + 1 });
    }
    let state = wal.hard_state();
    let term = state.term.max(machine.store.meta().term).max(1) + 1;
    wal.set_hard_state(HardState { term, vote: member })?;
    tracing::info!(replayed, applied = machine.store.applied(), revision = machine.store.revision(), "log replayed");
    Ok(wal)
}
