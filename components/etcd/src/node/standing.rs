//! How this member stands in its cluster, for whoever asks at any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::raft::{Nanos, Raft};

/// Written by the log's thread alone.
pub struct Standing {
    id: u64,
    term: AtomicU64,
    committed: AtomicU64,
    applied: AtomicU64,
    lease_until: AtomicU64,
    alone: AtomicBool,
    leader: watch::Sender<u64>,
}

impl Standing {
    pub fn new(id: u64, term: u64) -> Self {
        Self {
            id,
            term: AtomicU64::new(term),
            committed: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            lease_until: AtomicU64::new(0),
            alone: AtomicBool::new(false),
            leader: watch::Sender::new(0),
        }
    }

    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// 0 while none is known.
    pub fn leader(&self) -> u64 {
        *self.leader.borrow()
    }

    pub fn leads(&self) -> bool {
        self.leader() == self.id
    }

    /// Whether this member is the only one that votes and has applied everything from before it was. Its state is the
    /// cluster's then.
    pub fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Acquire)
    }

    /// Whether this member leads by a lease and has applied everything that was acknowledged anywhere before. The clock is
    /// looked at first: only then does it say something about whoever asks.
    pub fn has_all_by_lease(&self, clock: impl Fn() -> Nanos) -> bool {
        if self.lease_until.load(Ordering::Acquire) == 0 {
            return false;
        }
        let now = clock();
        now < self.lease_until.load(Ordering::Acquire)
            && self.committed.load(Ordering::Acquire) <= self.applied.load(Ordering::Acquire)
    }

    /// The leader, to be waited on.
    pub fn leaders(&self) -> watch::Receiver<u64> {
        self.leader.subscribe()
    }

    pub(super) fn note(&self, raft: &Raft) {
        self.term.store(raft.term(), Ordering::Relaxed);
        // The lease last: whoever sees it sees what it is good for.
        self.committed.store(raft.log().committed(), Ordering::Release);
        self.applied.store(raft.log().applied(), Ordering::Release);
        self.lease_until.store(raft.lease_until(), Ordering::Release);
        let votes_alone = raft.leads() && raft.members().voters.len() == 1;
        // Entries of an earlier run, or of when there were others, may have been acknowledged and not be applied here yet.
        let has_all = self.is_alone() || raft.log().applied() == raft.last().index;
        self.alone.store(votes_alone && has_all, Ordering::Release);
        self.leader.send_if_modified(|leader| std::mem::replace(leader, raft.leader()) != raft.leader());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::raft::{Body, Config, Entry, HardState, Log, Members, Message, Place};

    #[test]
    fn a_member_alone_first_applies_what_its_log_has() {
        let entry = Entry { index: 2, term: 1, members: false, data: Bytes::from_static(b"acknowledged") };
        let log = Log::new(Place { index: 1, term: 1 }, vec![entry], 1, 1);
        let config = Config { id: 1, ..Config::default() };
        let members = Members { voters: [1].into(), ..Members::default() };
        let mut raft = Raft::new(config, HardState { term: 1, vote: 1, commit: 1 }, log, members);
        let standing = Standing::new(1, 1);

        raft.campaign();
        assert_eq!(raft.ready().committed, []);
        raft.persisted();
        standing.note(&raft);
        assert!(raft.leads() && !standing.is_alone());

        for entry in raft.ready().committed {
            raft.applied(entry.index);
        }
        standing.note(&raft);
        assert!(standing.is_alone());

        raft.propose(false, Bytes::from_static(b"next")).expect("it leads");
        standing.note(&raft);
        assert!(standing.is_alone(), "nobody else could have acknowledged this one");
    }

    #[test]
    fn a_lease_is_for_who_has_applied_everything_and_looks_at_the_clock() {
        let members = Members { voters: [1, 2].into(), ..Members::default() };
        let config = Config { leases: true, ..Config::default() };
        let log = Log::new(Place { index: 1, term: 1 }, Vec::new(), 1, 1);
        let mut raft = Raft::new(config, HardState { term: 1, vote: 1, commit: 1 }, log, members);
        let standing = Standing::new(1, 1);
        let from_2 = |term, body| Message { from: 2, to: 1, term, body };
        raft.campaign();
        for (pre, term) in [(true, 2), (false, 2)] {
            raft.ready();
            raft.persisted();
            raft.step(from_2(term, Body::VoteReply { pre, granted: true }));
        }
        raft.ready();
        raft.persisted();
        standing.note(&raft);
        assert!(raft.leads() && !standing.has_all_by_lease(|| unreachable!("there is no lease")));

        raft.step(from_2(2, Body::Appended { matched: 2 }));
        raft.step(from_2(2, Body::HeartbeatReply { read: 0, until: 500 }));
        raft.ready();
        raft.applied(2);
        standing.note(&raft);
        assert!(standing.has_all_by_lease(|| 499) && !standing.has_all_by_lease(|| 500));

        raft.propose(false, Bytes::from_static(b"next")).expect("it leads");
        raft.ready();
        raft.persisted();
        raft.step(from_2(2, Body::Appended { matched: 3 }));
        standing.note(&raft);
        assert!(!standing.has_all_by_lease(|| 499), "something is committed and not applied");
    }
}
