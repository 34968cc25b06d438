//! Leases: what a leader may answer without asking whether it still leads.
//!
//! Who answers a leader's heartbeat promises not to vote for anybody else for a while ([`super::Config::promise`]), and
//! keeps that whatever term it comes to and across restarts. It says until when by the leader's own clock, counted from
//! when the heartbeat was sent, and says less than it keeps by what clocks may differ ([`MARGIN`]). So nobody else is
//! elected before the leader's clock shows what a quorum has said. Promises are given always, and counted on where
//! [`super::Config::leases`] says so.
//!
//! The one election that no promise stands against is that which the leader itself asks for. Its message may come late,
//! so a leader that has ever offered its office counts on nothing in the rest of its term. Nor does it while a change of
//! members is under way, because who is left alone by one waits for nobody.

use super::{Nanos, Raft, Role};

/// The part of a promise, one in so many, that is kept and not counted on. Two clocks of which one is a tenth fast and
/// the other a tenth slow need two elevenths of it.
const MARGIN: Nanos = 5;

impl Raft {
    pub(super) fn has_promised(&self) -> bool {
        self.clock < self.promised_until
    }

    /// A heartbeat of when the leader's clock showed `sent` was heard. Gives what that clock may show before somebody else
    /// gets this member's vote.
    pub(super) fn promise(&mut self, sent: Nanos) -> Nanos {
        let promise = self.config.promise;
        self.promised_until = self.promised_until.max(self.clock.saturating_add(promise));
        // A leader that says nothing of its clock counts on nothing.
        if sent == 0 { 0 } else { sent.saturating_add(promise - promise / MARGIN) }
    }

    /// While its clock shows less, this member leads and nobody else can have committed anything. A read that began before
    /// the clock was looked at is answered with what is committed. 0 when there is no lease.
    pub fn lease_until(&self) -> Nanos {
        let settled =
            self.members_change <= self.log.applied() && self.log.term(self.log.committed()) == Some(self.term);
        if !self.config.leases || self.role != Role::Leader || self.offered || !settled {
            return 0;
        }
        let own = self.config.id;
        let promised = |id: u64| self.progress.get(&id).map_or(0, |progress| progress.promised);
        self.members.quorum_has(|id| if id == own { Nanos::MAX } else { promised(id) })
    }
}
