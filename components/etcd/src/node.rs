//! The road of a write: propose, log, sync, apply, answer.
//!
//! One thread owns the log. It takes whatever was proposed while it was busy as one batch, writes and syncs it once, and
//! applies the entries in order; so the more requests there are, the fewer syncs each costs. With several members,
//! consensus will stand between the log and the apply step; both ends stay as they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use tokio::sync::{mpsc, oneshot};

use crate::apply::{Machine, Reply};
use crate::auth::Asker;
use crate::error::Error;
use crate::fatal::Fatal;
use crate::metrics::Figures;
use crate::proto::log::command::Op;
use crate::proto::log::{self, Command};
use crate::wal::{HardState, Wal, WalError};

/// Proposals that may wait; more are answered with "too many requests".
const WAITING: usize = 8192;
/// Entries, and bytes of them, that share one sync.
const BATCH_ENTRIES: usize = 2048;
const BATCH_BYTES: usize = 4 << 20;
/// A write that is not applied by then is answered as timed out; it may still happen.
const TIMEOUT: Duration = Duration::from_secs(7);

enum Message {
    Propose(Proposal),
    Stop,
}

struct Proposal {
    data: Vec<u8>,
    op: Op,
    asker: Option<Asker>,
    reply: oneshot::Sender<Result<Reply, Error>>,
}

/// Where writes go in. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    proposals: mpsc::Sender<Message>,
    most_bytes: usize,
}

impl Proposer {
    /// Proposes a write of this member's own and waits until it is durable and applied.
    pub async fn propose(&self, op: Op) -> Result<Reply, Error> {
        self.propose_for(None, op).await
    }

    /// The same for somebody, who must be allowed to.
    pub async fn propose_for(&self, asker: Option<Asker>, op: Op) -> Result<Reply, Error> {
        let logged = asker.as_ref().map(|asker| log::Asker { user: asker.user.clone(), revision: asker.revision });
        let command = Command { op: Some(op), asker: logged };
        let data = command.encode_to_vec();
        if data.len() > self.most_bytes {
            return Err(Error::RequestTooLarge);
        }
        let Some(op) = command.op else { return Err(Error::Stopped) };
        let (reply, answer) = oneshot::channel();
        let proposal = Message::Propose(Proposal { data, op, asker, reply });
        self.proposals.try_send(proposal).map_err(|error| match error {
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
    proposals: mpsc::Sender<Message>,
    thread: std::thread::JoinHandle<()>,
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
            if let Err(error) = run.until_stopped(receiver) {
                fatal.raise(error.to_string());
            }
        })?;
        Ok((Self { proposals: sender.clone(), thread }, Proposer { proposals: sender, most_bytes }))
    }

    /// Finishes what was proposed before and ends. Later proposals are answered that the server stopped.
    pub async fn stop(self) {
        // A thread that ended by itself takes no more messages.
        let _ = self.proposals.send(Message::Stop).await;
        let _ = tokio::task::spawn_blocking(|| self.thread.join()).await;
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
    fn until_stopped(&mut self, mut messages: mpsc::Receiver<Message>) -> Result<(), WalError> {
        let mut batch: Vec<Proposal> = Vec::new();
        let mut stop = false;
        while !stop {
            let mut next = messages.blocking_recv().unwrap_or(Message::Stop);
            let mut bytes = 0;
            loop {
                let Message::Propose(proposal) = next else {
                    stop = true;
                    break;
                };
                bytes += proposal.data.len();
                batch.push(proposal);
                if batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
                    break;
                }
                let Ok(waiting) = messages.try_recv() else { break };
                next = waiting;
            }
            if !batch.is_empty() {
                self.commit(&mut batch)?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, batch: &mut Vec<Proposal>) -> Result<(), WalError> {
        let first = self.wal.next_index();
        let started = Instant::now();
        // Dropping the batch on an error answers everyone in it that the server stopped: whether their writes are
        // durable is not known.
        self.wal.append(self.term, batch.iter().map(|proposal| proposal.data.as_slice()))?;
        self.figures.synced(started.elapsed(), batch.len());
        let now = Instant::now();
        for (index, proposal) in (first..).zip(batch.drain(..)) {
            let result = self.machine.apply(index, self.term, proposal.op, proposal.asker.as_ref(), now);
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
        let asker = command.asker.map(|asker| Asker { user: asker.user, revision: asker.revision });
        let _ = machine.apply(entry.index, entry.term, op, asker.as_ref(), now);
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

#[cfg(test)]
mod tests;
