//! What the log's thread does with one batch of work.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use tokio::sync::oneshot;

use super::clock;
use super::inbox::{Control, Proposal, Work};
use super::standing::Standing;
use crate::apply::{Machine, Reply};
use crate::auth::Asker;
use crate::error::Error;
use crate::metrics::Figures;
use crate::peer::Peers;
use crate::proto::log::Command;
use crate::proto::log::command::Op;
use crate::raft::{Body, Entry, HardState, Message, NONE, Place, Raft, Refused};
use crate::wal::{Wal, WalError};

/// Bytes of applied entries kept in memory for members that are behind.
const KEPT_BYTES: usize = 64 << 20;
/// A read whose answer has not come by then is asked again: the leader may have changed.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A batch of entries that takes longer to apply is counted.
const SLOW: Duration = Duration::from_millis(100);

/// Why the thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Stopped,
    /// A snapshot of another member is to take the place of the state: the member starts again on it.
    Restart,
    /// The others have removed this member.
    Removed,
}

type ReadReply = oneshot::Sender<Result<(), Error>>;
/// A request that is done, and who waits for it.
type Answered = (oneshot::Sender<Result<Reply, Error>>, Result<Reply, Error>);

struct Asked {
    since: Instant,
    replies: Vec<ReadReply>,
}

/// The parts of a member that the thread works with.
pub struct Parts {
    pub machine: Arc<Machine>,
    pub figures: Arc<Figures>,
    pub standing: Arc<Standing>,
    pub peers: Peers,
    /// Entries kept for members that are behind.
    pub kept: u64,
}

/// See the module.
pub struct Run {
    pub raft: Raft,
    wal: Wal,
    state: HardState,
    pub machine: Arc<Machine>,
    pub figures: Arc<Figures>,
    standing: Arc<Standing>,
    pub peers: Peers,
    kept: u64,
    waiting: VecDeque<(Place, Proposal)>,
    /// Of what is applied, to be given to who waits.
    replies: Vec<Answered>,
    /// Sent to the leader, by their ids.
    forwarded: HashMap<u64, Proposal>,
    /// Proposed while there was no leader, or none that was reached.
    held: VecDeque<Proposal>,
    asked: HashMap<u64, Asked>,
    /// Reads by the index that must be applied before they are answered.
    allowed: BTreeMap<u64, Vec<ReadReply>>,
    next_read: u64,
    leader: u64,
}

impl Run {
    /// `state` is what of the hard state is durable.
    pub fn new(raft: Raft, wal: Wal, state: HardState, parts: Parts) -> Self {
        let Parts { machine, figures, standing, peers, kept } = parts;
        Self {
            raft,
            wal,
            state,
            machine,
            figures,
            standing,
            peers,
            kept,
            waiting: VecDeque::new(),
            replies: Vec::new(),
            forwarded: HashMap::new(),
            held: VecDeque::new(),
            asked: HashMap::new(),
            allowed: BTreeMap::new(),
            // An answer to a question from before a restart must not be taken for one of now.
            next_read: rand::random(),
            leader: NONE,
        }
    }

    /// Does everything that waited, and what follows from it.
    pub fn work(&mut self, work: Work, ticks: u32) -> Result<Option<End>, WalError> {
        // All that is in the batch came before this.
        self.raft.set_clock(clock::now());
        for message in work.messages {
            self.raft.step(message);
        }
        for control in work.controls {
            match control {
                Control::Unreachable(id) => self.raft.unreachable(id),
                Control::SnapshotSent(id, index) => self.raft.snapshot_sent(id, index),
                Control::Transfer(to) => self.raft.transfer(to),
                Control::Removed => {
                    self.answer_own_removal();
                    return Ok(Some(End::Removed));
                }
                Control::Matched(id, reply) => {
                    let matched = self.raft.matched(id).filter(|_| self.raft.leads());
                    let _ = reply.send(matched.map(|matched| (matched, self.raft.last().index)));
                }
            }
        }
        for _ in 0..ticks {
            self.raft.tick();
        }
        if ticks > 1 && self.raft.leads() {
            self.figures.late_heartbeats.inc();
        }
        if ticks > 0 {
            self.look_after_waiters();
        }
        for proposal in work.proposals {
            self.propose(proposal);
        }
        if !work.reads.is_empty() {
            self.ask(work.reads);
        }
        self.raft.flush();
        let end = self.drive()?;
        Ok(end.or(work.stop.then_some(End::Stopped)))
    }

    fn propose(&mut self, proposal: Proposal) {
        let members = changes_voters(&proposal.op);
        match self.raft.propose(members, proposal.data.clone()) {
            Ok(Some(place)) => self.waiting.push_back((place, proposal)),
            Ok(None) => drop(self.forwarded.insert(proposal.id, proposal)),
            // A new leader is on its way; whoever waits too long has gone by then.
            Err(Refused::NoLeader | Refused::Transferring) => self.held.push_back(proposal),
            Err(Refused::MembersChanging) => drop(proposal.reply.send(Err(Error::Unhealthy))),
            Err(Refused::TooMuch) => drop(proposal.reply.send(Err(Error::TooManyRequests))),
        }
    }

    /// The leader is not reached, so that nothing of this was sent: it is proposed again.
    fn hold(&mut self, data: &[u8]) {
        let id = Command::decode(data).map(|command| command.id).unwrap_or_default();
        self.held.extend(self.forwarded.remove(&id));
    }

    fn ask(&mut self, replies: Vec<ReadReply>) {
        self.next_read = self.next_read.wrapping_add(1);
        // Without a leader it is asked again some time.
        let _ = self.raft.read(self.next_read);
        self.asked.insert(self.next_read, Asked { since: Instant::now(), replies });
    }

    fn look_after_waiters(&mut self) {
        let now = Instant::now();
        let mut again = Vec::new();
        self.asked.retain(|_, asked| {
            if now.duration_since(asked.since) < ASK_AGAIN {
                return true;
            }
            again.extend(asked.replies.drain(..).filter(|reply| !reply.is_closed()));
            false
        });
        if !again.is_empty() {
            self.figures.slow_reads.inc();
            self.ask(again);
        }
        self.forwarded.retain(|_, proposal| !proposal.reply.is_closed());
        self.held.retain(|proposal| !proposal.reply.is_closed());
        if self.raft.leader() != NONE {
            for proposal in std::mem::take(&mut self.held) {
                self.propose(proposal);
            }
        }
    }

    /// Does what consensus wants done until there is nothing more.
    pub fn drive(&mut self) -> Result<Option<End>, WalError> {
        let mut end = None;
        loop {
            let ready = self.raft.ready();
            if ready.is_empty() {
                break;
            }
            // What others come to know by the messages, readers here must know before.
            self.standing.note(&self.raft);
            for message in ready.messages {
                if let Some(Message { body: Body::Propose { data, .. }, .. }) = self.peers.send(message) {
                    self.hold(&data);
                }
            }
            self.state = ready.hard_state.unwrap_or(self.state);
            if let Some(meta) = ready.snapshot {
                // The state came before the message and lies beside the store; the next start puts it into its place.
                self.wal.restart_behind(self.state, meta.place)?;
                return Ok(Some(End::Restart));
            }
            if !ready.entries.is_empty() || ready.must_sync {
                let started = Instant::now();
                self.wal.append(self.state, &ready.entries)?;
                let bytes = ready.entries.iter().map(|entry| entry.data.len()).sum();
                self.figures.synced(started.elapsed(), ready.entries.len(), bytes);
            }
            self.raft.persisted();
            self.note();
            let now = Instant::now();
            for entry in ready.committed {
                end = self.apply(entry, now)?.or(end);
            }
            if now.elapsed() > SLOW {
                self.figures.slow_applies.inc();
            }
            self.standing.note(&self.raft);
            // All at once, so that a connection with many requests is woken once and answers them in one write.
            for (reply, result) in self.replies.drain(..) {
                // Whoever asked may have gone.
                let _ = reply.send(result);
            }
            for (context, index) in ready.reads {
                if let Some(asked) = self.asked.remove(&context) {
                    self.allowed.entry(index).or_default().extend(asked.replies);
                }
            }
            self.answer_reads();
        }
        self.note();
        let pending = self.waiting.len() + self.forwarded.len() + self.held.len();
        self.figures.pending_proposals.set(pending as i64);
        self.release()?;
        Ok(end)
    }

    fn note(&mut self) {
        let leader = self.raft.leader();
        if leader != self.leader {
            self.leader = leader;
            if leader != NONE {
                self.figures.leader_changes.inc();
            }
            if self.raft.leads() {
                self.machine.lessor.lock().take_office(Instant::now());
            }
            let term = self.raft.term();
            match leader {
                NONE => tracing::info!(term, "no leader is known"),
                leader => tracing::info!(leader = format!("{leader:x}"), term, "there is a leader"),
            }
        }
        self.standing.note(&self.raft);
    }

    /// Who asked this member to be removed itself is told that it is: the entry that says so need not come here any more.
    fn answer_own_removal(&mut self) {
        let own = self.raft.id();
        for (_, proposal) in self.forwarded.drain() {
            if matches!(&proposal.op, Op::MemberRemove(request) if request.id == own) {
                let others = self.machine.roster.read().list().into_iter().filter(|member| member.id != own);
                let _ = proposal.reply.send(Ok(Reply::Members(others.collect())));
            }
        }
    }

    fn answer_reads(&mut self) {
        let applied = self.raft.log().applied();
        while let Some(first) = self.allowed.first_entry()
            && *first.key() <= applied
        {
            for reply in first.remove() {
                let _ = reply.send(Ok(()));
            }
        }
    }

    fn apply(&mut self, entry: Entry, now: Instant) -> Result<Option<End>, WalError> {
        let Entry { index, term, .. } = entry;
        let own = self.own_proposal(Place { index, term });
        if entry.data.is_empty() {
            self.machine.skip(index, term);
        } else {
            let malformed = || WalError::Malformed { index };
            let (op, asker, reply) = match own {
                Some(Proposal { op, asker, reply, .. }) => (op, asker, Some(reply)),
                None => {
                    let command = Command::decode(entry.data).map_err(|_| malformed())?;
                    let asker = command.asker.map(|asker| Asker { user: asker.user, revision: asker.revision });
                    (command.op.ok_or_else(malformed)?, asker, self.forwarded.remove(&command.id).map(|own| own.reply))
                }
            };
            self.figures.applies(&op);
            let result = self.machine.apply(index, term, op, asker.as_ref(), now);
            self.replies.extend(reply.map(|reply| (reply, result)));
        }
        self.raft.applied(index);
        if !entry.members {
            return Ok(None);
        }
        let (voting, members, removed) = {
            let roster = self.machine.roster.read();
            (roster.voting(), roster.list(), roster.removed().contains(&self.raft.id()))
        };
        self.raft.set_members(voting);
        self.peers.update(&members);
        self.note();
        Ok(removed.then_some(End::Removed))
    }

    /// The proposal of this member that became the entry. What should have been there and is not, never will be.
    fn own_proposal(&mut self, place: Place) -> Option<Proposal> {
        while let Some((expected, _)) = self.waiting.front()
            && expected.index <= place.index
        {
            let (expected, proposal) = self.waiting.pop_front()?;
            if expected == place {
                return Some(proposal);
            }
            let _ = proposal.reply.send(Err(Error::LeaderChanged));
        }
        None
    }

    /// Gives back what nobody needs any more, of memory and of disk.
    fn release(&mut self) -> Result<(), WalError> {
        let log = self.raft.log();
        let applied = log.applied();
        let others = self.raft.members().all().count() > 1;
        let kept = if others && log.bytes() < KEPT_BYTES { self.kept } else { 0 };
        let unneeded = applied.saturating_sub(kept);
        // In steps, because it is looked at after every batch.
        if unneeded > log.first_index() + kept / 8 {
            self.raft.compact(unneeded);
        }
        let on_disk = self.machine.store.durable().min(self.raft.log().first_index().saturating_sub(1));
        self.wal.release(on_disk)
    }
}

/// Whether an entry changes who votes or listens.
fn changes_voters(op: &Op) -> bool {
    matches!(op, Op::MemberAdd(_) | Op::MemberRemove(_) | Op::MemberPromote(_) | Op::MemberUpdate(_))
}
