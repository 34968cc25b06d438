//! How a leader comes into office.

use super::members::Tally;
use super::progress::Progress;
use super::{Body, Message, NONE, Place, Raft, Role};

impl Raft {
    /// Whether somebody who asks for a vote by himself is not even to be answered: there is a leader that is not to be
    /// disturbed, or one that counts on this member.
    pub(super) fn passes_over_candidate(&self, term: u64) -> bool {
        let hears_a_leader = self.leader != NONE && self.election_elapsed < self.config.election_ticks;
        (term > self.term && hears_a_leader) || (term >= self.term && self.has_promised())
    }

    /// A member that does not know yet who votes must not ask for votes: a change of members that is committed and not
    /// applied could be the one that gave its vote away.
    pub(super) fn may_stand(&self) -> bool {
        self.role != Role::Leader
            && self.members.voters.contains(&self.config.id)
            && self.snapshot.is_none()
            && !self.log.members_pending()
    }

    /// Stands for election at once, if it may. A member that votes alone is the leader then.
    pub fn campaign(&mut self) {
        if self.may_stand() {
            self.stand_for_election(false);
        }
    }

    pub(super) fn stand_for_election(&mut self, transfer: bool) {
        if self.config.pre_vote && !transfer {
            self.reset(self.term);
            self.role = Role::PreCandidate;
            self.ask_for_votes(true, self.term + 1, false);
        } else {
            self.stand(transfer);
        }
    }

    fn stand(&mut self, transfer: bool) {
        self.reset(self.term + 1);
        self.role = Role::Candidate;
        self.vote = self.config.id;
        self.ask_for_votes(false, self.term, transfer);
    }

    fn ask_for_votes(&mut self, pre: bool, term: u64, transfer: bool) {
        let (own, last) = (self.config.id, self.log.last());
        let others: Vec<u64> = self.members.voters.iter().copied().filter(|id| *id != own).collect();
        for to in others {
            self.post(Message { from: own, to, term, body: Body::Vote { pre, transfer, last } });
        }
        self.count_vote(own, pre, true);
    }

    pub(super) fn asked_for_vote(&mut self, from: u64, term: u64, pre: bool, last: Place) {
        let free = self.vote == NONE && self.leader == NONE;
        let may = self.vote == from || free || (pre && term > self.term);
        let granted = may && self.log.is_behind_or_at(last);
        if granted && !pre {
            self.vote = from;
            self.election_elapsed = 0;
        }
        // What is asked for in advance is answered in the term that it is about.
        let term = if granted { term } else { self.term };
        self.post(Message { from: self.config.id, to: from, term, body: Body::VoteReply { pre, granted } });
    }

    pub(super) fn count_vote(&mut self, from: u64, pre: bool, granted: bool) {
        let counting = match self.role {
            Role::PreCandidate => pre,
            Role::Candidate => !pre,
            Role::Follower | Role::Leader => false,
        };
        if !counting {
            return;
        }
        self.votes.entry(from).or_insert(granted);
        match self.members.tally(&self.votes) {
            Tally::Open => {}
            Tally::Lost => self.follow(self.term, NONE),
            Tally::Won if pre => self.stand(false),
            Tally::Won => self.lead(),
        }
    }

    fn lead(&mut self) {
        self.reset(self.term);
        self.role = Role::Leader;
        self.leader = self.config.id;
        let next = self.log.last().index + 1;
        for id in self.members.all() {
            let mut progress = Progress::new(next);
            progress.active = true;
            self.progress.insert(id, progress);
        }
        if let Some(own) = self.progress.get_mut(&self.config.id) {
            own.acknowledge(self.log.stable());
            own.stream();
        }
        // Entries of earlier terms are only known to be committed once one of this term is, and until then nobody may
        // change the members either.
        self.members_change = self.log.push(self.term, false, bytes::Bytes::new());
        self.append_to_all();
    }
}
