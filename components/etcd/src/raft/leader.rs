//! What a leader does: it hands entries out, counts who has them, and gives its office away when asked to.

use super::progress::{Mode, Progress};
use super::{Body, Members, NONE, Nanos, Place, Raft, Refused, Role, SnapshotMeta};

/// Bytes of entries in one message.
const MESSAGE_BYTES: usize = 1 << 20;
/// Entries that may wait for being committed; what comes beyond is refused.
const MOST_UNCOMMITTED: u64 = 100_000;

impl Raft {
    pub(super) fn tick_leader(&mut self) {
        self.heartbeat_elapsed += 1;
        if self.election_elapsed >= self.config.election_ticks {
            self.election_elapsed = 0;
            // A leader that nobody hears must not believe that it leads.
            let own = self.config.id;
            let heard = self.members.agree(|id| id == own || self.is_active(id));
            if !heard {
                return self.follow(self.term, NONE);
            }
            for progress in self.progress.values_mut() {
                progress.active = false;
            }
            self.transferee = None;
        }
        if self.heartbeat_elapsed >= self.config.heartbeat_ticks {
            self.heartbeat_elapsed = 0;
            self.send_heartbeats();
        }
    }

    pub(super) fn others(&self) -> Vec<u64> {
        self.progress.keys().copied().filter(|id| *id != self.config.id).collect()
    }

    pub(super) fn send_heartbeats(&mut self) {
        let read = self.reads.newest();
        for to in self.others() {
            // Somebody who has not all of it must not take more for committed than is known to be the same.
            let matched = self.matched(to).unwrap_or_default();
            self.send(to, Body::Heartbeat { commit: matched.min(self.log.committed()), read, sent: self.clock });
        }
    }

    pub(super) fn propose_as_leader(&mut self, members: bool, data: bytes::Bytes) -> Result<Place, Refused> {
        if self.role != Role::Leader {
            return Err(Refused::NoLeader);
        }
        if self.transferee.is_some() {
            return Err(Refused::Transferring);
        }
        if members && self.members_change > self.log.applied() {
            return Err(Refused::MembersChanging);
        }
        if self.log.last().index - self.log.committed() >= MOST_UNCOMMITTED {
            return Err(Refused::TooMuch);
        }
        let index = self.log.push(self.term, members, data);
        if members {
            self.members_change = index;
        }
        Ok(Place { index, term: self.term })
    }

    /// Sends what was proposed since the last time; called once for a whole batch.
    pub fn flush(&mut self) {
        if self.role == Role::Leader {
            for to in self.others() {
                self.append_to(to, false);
            }
        }
    }

    pub(super) fn append_to_all(&mut self) {
        for to in self.others() {
            self.append_to(to, true);
        }
    }

    /// Sends what a member lacks, in as many messages as may be under way; `even_empty` sends at least the commit index.
    fn append_to(&mut self, to: u64, mut even_empty: bool) {
        let last = self.log.last().index;
        loop {
            let Some(progress) = self.progress.get_mut(&to) else { return };
            if progress.is_paused() || (progress.next > last && !even_empty) {
                return;
            }
            let index = progress.next - 1;
            let Some(term) = self.log.term(index) else {
                // It needs what is not kept any more.
                if progress.active {
                    progress.snapshot(self.log.applied());
                    let index = self.log.applied();
                    let place = Place { index, term: self.log.term(index).unwrap_or_default() };
                    self.send(to, Body::Snapshot(SnapshotMeta { place, members: self.members.clone() }));
                }
                return;
            };
            let entries = self.log.slice(index + 1, u64::MAX, MESSAGE_BYTES);
            progress.sent(entries.last().map(|entry| entry.index));
            let commit = self.log.committed();
            self.send(to, Body::Append { previous: Place { index, term }, commit, entries });
            even_empty = false;
        }
    }

    pub(super) fn appended(&mut self, from: u64, matched: u64) {
        let last = self.log.last().index;
        let Some(progress) = self.progress.get_mut(&from).filter(|_| self.role == Role::Leader) else { return };
        progress.active = true;
        // Nobody has what does not exist; such an answer is of a damaged member.
        if matched > last {
            return;
        }
        let was_paused = progress.is_paused();
        let news = progress.acknowledge(matched);
        match progress.mode {
            Mode::Probe { .. } => progress.stream(),
            Mode::Snapshot { index } if matched >= index => progress.stream(),
            Mode::Snapshot { .. } | Mode::Stream => {}
        }
        if news {
            if self.try_commit() {
                return self.hand_over_if_ready(from);
            }
            self.hand_over_if_ready(from);
        }
        self.append_to(from, was_paused);
    }

    pub(super) fn append_refused(&mut self, from: u64, index: u64, hint: Place) {
        let agreement = self.log.agreement(hint.index, hint.term).index;
        let Some(progress) = self.progress.get_mut(&from).filter(|_| self.role == Role::Leader) else { return };
        progress.active = true;
        if progress.refuse(index, agreement) {
            self.append_to(from, true);
        }
    }

    pub(super) fn heartbeat_answered(&mut self, from: u64, read: u64, until: Nanos) {
        let last = self.log.last().index;
        let Some(progress) = self.progress.get_mut(&from).filter(|_| self.role == Role::Leader) else { return };
        progress.heard();
        progress.promised(until);
        let lacks = progress.matched < last;
        self.read_acknowledged(from, read);
        if lacks {
            self.append_to(from, true);
        }
    }

    /// Commits what a quorum has, if it is of this term: what is of an older one is committed with it. Says whether
    /// there was something, and tells everybody.
    pub(super) fn try_commit(&mut self) -> bool {
        let index = self.members.quorum_has(|id| self.matched(id).unwrap_or_default());
        if self.log.term(index) != Some(self.term) || !self.log.commit_to(index) {
            return false;
        }
        self.answer_early_reads();
        self.append_to_all();
        true
    }

    /// Who is a member has changed, by an entry that was just applied.
    pub fn set_members(&mut self, members: Members) {
        self.members = members;
        let own = self.config.id;
        if self.role != Role::Leader {
            if matches!(self.role, Role::Candidate | Role::PreCandidate) && !self.members.voters.contains(&own) {
                self.follow(self.term, NONE);
            }
            return;
        }
        if !self.members.voters.contains(&own) {
            return self.follow(self.term, NONE);
        }
        let next = self.log.last().index.max(1);
        self.progress.retain(|id, _| self.members.contains(*id));
        for id in self.members.all() {
            self.progress.entry(id).or_insert_with(|| {
                // Without this the leader could step down before the new member was ever asked.
                let mut progress = Progress::new(next);
                progress.active = true;
                progress
            });
        }
        if self.transferee.is_some_and(|id| !self.members.voters.contains(&id)) {
            self.transferee = None;
        }
        if !self.try_commit() {
            self.append_to_all();
        }
    }

    /// Gives the office to a voter, once it has the whole log; given up after an election timeout.
    pub fn transfer(&mut self, to: u64) {
        if self.role != Role::Leader {
            if self.leader != NONE {
                self.send(self.leader, Body::Transfer { to });
            }
            return;
        }
        if to == self.config.id || !self.members.voters.contains(&to) {
            return;
        }
        self.transferee = Some(to);
        self.offered = true;
        self.election_elapsed = 0;
        self.append_to(to, true);
        self.hand_over_if_ready(to);
    }

    fn hand_over_if_ready(&mut self, to: u64) {
        if self.transferee == Some(to) && self.matched(to) == Some(self.log.last().index) {
            self.send(to, Body::TimeoutNow);
        }
    }

    /// Messages to a member are being lost.
    pub fn unreachable(&mut self, id: u64) {
        if let Some(progress) = self.progress.get_mut(&id)
            && progress.mode == Mode::Stream
        {
            progress.probe();
        }
    }

    /// A snapshot was delivered up to `index`, or (`None`) was not.
    pub fn snapshot_sent(&mut self, id: u64, index: Option<u64>) {
        if let Some(progress) = self.progress.get_mut(&id)
            && let Mode::Snapshot { index: meant } = progress.mode
        {
            progress.snapshot(index.map_or(0, |index| index.max(meant)));
            progress.probe();
            // The member says itself when it has it; a failure is tried again with the next heartbeat's answer.
            progress.sent(None);
        }
    }
}
