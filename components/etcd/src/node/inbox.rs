//! What waits for the thread that owns the log: bounded, and taken all at once.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::apply::Reply;
use crate::auth::Asker;
use crate::error::Error;
use crate::proto::log::command::Op;
use crate::raft::Message;

/// Proposals that may wait; more are answered with "too many requests".
const PROPOSALS: usize = 8192;
/// Messages of other members that may wait; more are dropped, and consensus repeats what matters.
const MESSAGES: usize = 4096;
/// Reads that may wait for one answer.
const READS: usize = 65_536;
/// Entries, and bytes of them, that share one sync.
const BATCH_ENTRIES: usize = 2048;
const BATCH_BYTES: usize = 4 << 20;

/// A write on its way.
pub struct Proposal {
    pub data: Bytes,
    pub op: Op,
    pub asker: Option<Asker>,
    /// Found again by it when another member leads.
    pub id: u64,
    pub reply: oneshot::Sender<Result<Reply, Error>>,
}

/// What is asked of consensus besides.
pub enum Control {
    /// Messages to a member are being lost.
    Unreachable(u64),
    /// A snapshot was delivered up to an index, or not.
    SnapshotSent(u64, Option<u64>),
    Transfer(u64),
    /// Another member says that this one was removed.
    Removed,
    /// How far a member's log is, and this one's; only the leader knows.
    Matched(u64, oneshot::Sender<Option<(u64, u64)>>),
}

/// Everything that waited.
#[derive(Default)]
pub struct Work {
    pub messages: Vec<Message>,
    pub controls: Vec<Control>,
    pub proposals: Vec<Proposal>,
    pub reads: Vec<oneshot::Sender<Result<(), Error>>>,
    pub stop: bool,
}

#[derive(Default)]
struct Waiting {
    messages: Vec<Message>,
    controls: Vec<Control>,
    proposals: VecDeque<Proposal>,
    reads: Vec<oneshot::Sender<Result<(), Error>>>,
    stop: bool,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Inbox {
    fn put(&self, add: impl FnOnce(&mut Waiting) -> Result<(), Error>) -> Result<(), Error> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(Error::Stopped);
        }
        add(&mut waiting)?;
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    pub fn propose(&self, proposal: Proposal) -> Result<(), Error> {
        self.put(|waiting| {
            if waiting.proposals.len() >= PROPOSALS {
                return Err(Error::TooManyRequests);
            }
            waiting.proposals.push_back(proposal);
            Ok(())
        })
    }

    pub fn read(&self, reply: oneshot::Sender<Result<(), Error>>) -> Result<(), Error> {
        self.put(|waiting| {
            if waiting.reads.len() >= READS {
                return Err(Error::TooManyRequests);
            }
            waiting.reads.push(reply);
            Ok(())
        })
    }

    /// Takes messages of another member.
    pub fn deliver(&self, messages: impl IntoIterator<Item = Message>) -> Result<(), Error> {
        self.put(|waiting| {
            for message in messages {
                if waiting.messages.len() < MESSAGES {
                    waiting.messages.push(message);
                }
            }
            Ok(())
        })
    }

    /// There are as many of these as members, so they need no bound. One that comes after the end means nothing.
    pub fn control(&self, control: Control) {
        let _ = self.put(|waiting| {
            waiting.controls.push(control);
            Ok(())
        });
    }

    pub fn stop(&self) {
        let _ = self.put(|waiting| {
            waiting.stop = true;
            Ok(())
        });
    }

    /// Waits until there is something, or until `deadline`.
    pub fn take(&self, deadline: Instant) -> Work {
        let mut waiting = self.waiting.lock();
        let nothing = |waiting: &Waiting| {
            waiting.messages.is_empty()
                && waiting.controls.is_empty()
                && waiting.proposals.is_empty()
                && waiting.reads.is_empty()
                && !waiting.stop
        };
        while nothing(&waiting) && !self.changed.wait_until(&mut waiting, deadline).timed_out() {}
        let (mut count, mut bytes) = (0, 0);
        while count < waiting.proposals.len().min(BATCH_ENTRIES) && bytes < BATCH_BYTES {
            bytes += waiting.proposals[count].data.len();
            count += 1;
        }
        Work {
            messages: std::mem::take(&mut waiting.messages),
            controls: std::mem::take(&mut waiting.controls),
            reads: std::mem::take(&mut waiting.reads),
            // What was proposed before the end is still carried out.
            stop: waiting.stop && waiting.proposals.len() == count,
            proposals: waiting.proposals.drain(..count).collect(),
        }
    }

    /// Nothing is taken any more; whoever waits is told so.
    pub fn close(&self) {
        let mut waiting = self.waiting.lock();
        *waiting = Waiting { closed: true, ..Waiting::default() };
    }
}
