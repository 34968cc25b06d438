//! The state of one member, time, and what is to be done.

use std::collections::BTreeMap;

use super::progress::Progress;
use super::reads::Reads;
use super::{Body, Entry, HardState, Log, Members, Message, NONE, Nanos, Place, Refused, SnapshotMeta};

/// Bytes of entries handed out to be applied at once.
const APPLY_BYTES: usize = 8 << 20;

/// What does not change while a member runs.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub id: u64,
    /// Ticks without a leader before an election; up to twice as many, by chance.
    pub election_ticks: u32,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: u32,
    pub pre_vote: bool,
    /// What the clock shows at the start.
    pub started: Nanos,
    /// A member that has heard a leader votes for nobody else for so long.
    pub promise: Nanos,
    /// Whether a leader counts on what was promised to it, rather than ask for each read.
    pub leases: bool,
    /// Decides about chance.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: 1,
            election_ticks: 10,
            heartbeat_ticks: 1,
            pre_vote: true,
            started: 1,
            promise: 1_000_000_000,
            leases: false,
            seed: 1,
        }
    }
}

/// What a member is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

/// What is to be done, see [`super`].
#[derive(Debug, Default)]
pub struct Ready {
    pub messages: Vec<Message>,
    /// To be made durable, with the entries and before them.
    pub hard_state: Option<HardState>,
    /// Whether the hard state must be durable even without entries.
    pub must_sync: bool,
    /// To be made durable; the first one's index says what of the log is overwritten.
    pub entries: Vec<Entry>,
    /// The state is to be replaced by this one, durably, before anything else of this.
    pub snapshot: Option<SnapshotMeta>,
    pub committed: Vec<Entry>,
    /// Reads by their context, with the index that must be applied before they are answered.
    pub reads: Vec<(u64, u64)>,
}

impl Ready {
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.hard_state.is_none()
            && self.entries.is_empty()
            && self.snapshot.is_none()
            && self.committed.is_empty()
            && self.reads.is_empty()
    }
}

/// One member. See [`super`].
pub struct Raft {
    pub(super) config: Config,
    pub(super) term: u64,
    pub(super) vote: u64,
    pub(super) log: Log,
    pub(super) role: Role,
    pub(super) leader: u64,
    pub(super) members: Members,
    /// Of the others and of itself, while it leads.
    pub(super) progress: BTreeMap<u64, Progress>,
    pub(super) votes: BTreeMap<u64, bool>,
    pub(super) election_elapsed: u32,
    pub(super) heartbeat_elapsed: u32,
    pub(super) election_timeout: u32,
    /// The last entry that changes the members and may not be applied yet.
    pub(super) members_change: u64,
    pub(super) transferee: Option<u64>,
    pub(super) reads: Reads,
    pub(super) snapshot: Option<SnapshotMeta>,
    pub(super) clock: Nanos,
    /// Until then it votes only where its leader wants it to.
    pub(super) promised_until: Nanos,
    /// The office was offered to another member in this term, which may take it at any time.
    pub(super) offered: bool,
    random: u64,
    now: Vec<Message>,
    held_back: Vec<Message>,
    given: HardState,
}

impl Raft {
    /// A member as it was when it stopped: `state` and `log` are what is durable, `members` as of the last applied entry.
    pub fn new(config: Config, state: HardState, log: Log, members: Members) -> Self {
        let mut raft = Self {
            config,
            term: state.term,
            vote: state.vote,
            log,
            role: Role::Follower,
            leader: NONE,
            members,
            progress: BTreeMap::new(),
            votes: BTreeMap::new(),
            election_elapsed: 0,
            heartbeat_elapsed: 0,
            election_timeout: 0,
            members_change: 0,
            transferee: None,
            reads: Reads::default(),
            snapshot: None,
            clock: config.started,
            // What it promised before it stopped is not known any more. In the first term there was nobody to promise to.
            promised_until: if state.term > 1 { config.started.saturating_add(config.promise) } else { 0 },
            offered: false,
            random: config.seed ^ config.id,
            now: Vec::new(),
            held_back: Vec::new(),
            given: state,
        };
        raft.follow(state.term, NONE);
        raft
    }

    pub fn id(&self) -> u64 {
        self.config.id
    }

    pub fn term(&self) -> u64 {
        self.term
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// [`NONE`] while there is none that this member knows of.
    pub fn leader(&self) -> u64 {
        self.leader
    }

    pub fn leads(&self) -> bool {
        self.role == Role::Leader
    }

    pub fn members(&self) -> &Members {
        &self.members
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    /// How far another member is, as the leader knows it.
    pub fn matched(&self, id: u64) -> Option<u64> {
        self.progress.get(&id).map(|progress| progress.matched)
    }

    /// Whether the leader has heard of a member lately.
    pub fn is_active(&self, id: u64) -> bool {
        id == self.config.id || self.progress.get(&id).is_some_and(|progress| progress.active)
    }

    /// What the clock shows now. It must have been looked at after what is then given in had come.
    pub fn set_clock(&mut self, now: Nanos) {
        self.clock = self.clock.max(now);
    }

    /// A unit of time has passed.
    pub fn tick(&mut self) {
        self.election_elapsed += 1;
        if self.role == Role::Leader {
            self.tick_leader();
        } else if self.election_elapsed >= self.election_timeout && self.may_stand() && !self.has_promised() {
            self.stand_for_election(false);
        }
    }

    /// Takes a message of another member.
    pub fn step(&mut self, message: Message) {
        let Message { from, term, .. } = message;
        if matches!(message.body, Body::Vote { transfer: false, .. }) && self.passes_over_candidate(term) {
            return;
        }
        if term > self.term {
            match &message.body {
                // Nothing is decided by it yet.
                Body::Vote { pre: true, .. } | Body::VoteReply { pre: true, granted: true } => {}
                Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot(_) => self.follow(term, from),
                _ => self.follow(term, NONE),
            }
        } else if term < self.term && term != 0 {
            return self.step_of_old_term(&message);
        }
        match message.body {
            Body::Vote { pre, last, .. } => self.asked_for_vote(from, term, pre, last),
            Body::VoteReply { pre, granted } => self.count_vote(from, pre, granted),
            Body::Append { previous, commit, entries } => {
                self.obey(from);
                self.take_entries(from, previous, commit, entries);
            }
            Body::Heartbeat { commit, read, sent } => {
                self.obey(from);
                self.log.commit_to(commit);
                let until = self.promise(sent);
                self.send(from, Body::HeartbeatReply { read, until });
            }
            Body::Snapshot(meta) => {
                self.obey(from);
                self.take_snapshot(from, meta);
            }
            Body::Appended { matched } => self.appended(from, matched),
            Body::AppendRefused { index, hint } => self.append_refused(from, index, hint),
            Body::HeartbeatReply { read, until } => self.heartbeat_answered(from, read, until),
            // What is refused here the follower's client is told by time alone, or asks again.
            Body::Propose { members, data } => drop(self.propose_as_leader(members, data)),
            Body::Read { context } => self.read_for(from, context),
            Body::ReadReply { context, index } => self.reads.answer(context, index),
            Body::Transfer { to } => self.transfer(to),
            Body::TimeoutNow => {
                if self.may_stand() {
                    self.stand_for_election(true);
                }
            }
        }
    }

    /// A leader that was cut off must hear that its term is over; it would go on forever otherwise.
    fn step_of_old_term(&mut self, message: &Message) {
        match message.body {
            Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot(_) => {
                self.send(message.from, Body::HeartbeatReply { read: 0, until: 0 });
            }
            // Who asks in an old term may not be told of the new one by anybody else.
            Body::Vote { pre, .. } => self.send(message.from, Body::VoteReply { pre, granted: false }),
            _ => {}
        }
    }

    /// Proposes an entry, through the leader if this is another one.
    pub fn propose(&mut self, members: bool, data: bytes::Bytes) -> Result<Option<Place>, Refused> {
        match (self.role, self.leader) {
            (Role::Leader, _) => self.propose_as_leader(members, data).map(Some),
            (_, NONE) => Err(Refused::NoLeader),
            (_, leader) => {
                self.send_in_no_term(leader, Body::Propose { members, data });
                Ok(None)
            }
        }
    }

    /// Asks up to where a linearizable read must have applied; [`Ready::reads`] has the answer some time, or never.
    pub fn read(&mut self, context: u64) -> Result<(), Refused> {
        match (self.role, self.leader) {
            (Role::Leader, _) => self.read_for(self.config.id, context),
            (_, NONE) => return Err(Refused::NoLeader),
            (_, leader) => self.send_in_no_term(leader, Body::Read { context }),
        }
        Ok(())
    }

    /// What is to be done now. The last one must have been dealt with.
    pub fn ready(&mut self) -> Ready {
        let snapshot = self.snapshot.take();
        let state = HardState { term: self.term, vote: self.vote, commit: self.log.committed() };
        let entries = self.log.unstable();
        let must_sync = (state.term, state.vote) != (self.given.term, self.given.vote);
        let hard_state = (state != self.given).then_some(state);
        self.given = state;
        if !must_sync && entries.is_empty() && snapshot.is_none() {
            // There is nothing that these would have to wait for.
            self.now.append(&mut self.held_back);
        }
        Ready {
            messages: std::mem::take(&mut self.now),
            hard_state,
            must_sync,
            entries,
            snapshot,
            committed: self.log.next_committed(APPLY_BYTES),
            reads: self.reads.take_answered(),
        }
    }

    /// What the last [`Ready`] had is durable.
    pub fn persisted(&mut self) {
        self.now.append(&mut self.held_back);
        let last = self.log.last().index;
        self.log.set_stable(last);
        if self.role == Role::Leader {
            let id = self.config.id;
            if let Some(progress) = self.progress.get_mut(&id) {
                progress.acknowledge(last);
            }
            self.try_commit();
        }
    }

    /// Entries up to `index` are applied.
    pub fn applied(&mut self, index: u64) {
        self.log.set_applied(index);
    }

    /// Entries up to `index` are not needed any more, except by those who then get a snapshot.
    pub fn compact(&mut self, index: u64) {
        self.log.compact(index);
    }

    pub(super) fn send(&mut self, to: u64, body: Body) {
        let message = Message { from: self.config.id, to, term: self.term, body };
        self.post(message);
    }

    fn send_in_no_term(&mut self, to: u64, body: Body) {
        let message = Message { from: self.config.id, to, term: 0, body };
        self.post(message);
    }

    /// A leader says nothing that depends on what it has not yet made durable; everybody else may.
    pub(super) fn post(&mut self, message: Message) {
        if self.role == Role::Leader { self.now.push(message) } else { self.held_back.push(message) }
    }

    /// Becomes a follower of `leader`, if any.
    pub(super) fn follow(&mut self, term: u64, leader: u64) {
        self.reset(term);
        self.role = Role::Follower;
        self.leader = leader;
    }

    pub(super) fn reset(&mut self, term: u64) {
        if term != self.term {
            (self.term, self.vote) = (term, NONE);
        }
        self.leader = NONE;
        self.election_elapsed = 0;
        self.heartbeat_elapsed = 0;
        self.election_timeout = self.config.election_ticks + self.chance(self.config.election_ticks);
        self.votes.clear();
        self.progress.clear();
        self.transferee = None;
        self.offered = false;
        self.members_change = 0;
        self.reads.forget_asked();
    }

    /// The same leader goes on, or another member has become it in this term.
    fn obey(&mut self, leader: u64) {
        if self.role != Role::Follower || self.leader != leader {
            self.follow(self.term, leader);
        }
        self.election_elapsed = 0;
    }

    /// A number below `bound`.
    fn chance(&mut self, bound: u32) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((mixed ^ (mixed >> 31)) >> 33) % u64::from(bound.max(1))) as u32
    }

    /// The state begins anew behind a snapshot that came from elsewhere.
    pub(super) fn restore(&mut self, meta: SnapshotMeta) {
        self.log.restore(meta.place);
        self.members = meta.members.clone();
        self.snapshot = Some(meta);
    }

    /// Where the log ends.
    pub fn last(&self) -> Place {
        self.log.last()
    }
}
