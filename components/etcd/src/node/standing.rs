//! How this member stands in its cluster, for whoever asks at any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::raft::Raft;

/// Written by the log's thread alone.
pub struct Standing {
    id: u64,
    term: AtomicU64,
    committed: AtomicU64,
    alone: AtomicBool,
    leader: watch::Sender<u64>,
}

impl Standing {
    pub fn new(id: u64, term: u64) -> Self {
        Self {
            id,
            term: AtomicU64::new(term),
            committed: AtomicU64::new(0),
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

    /// Whether this member is the only one that votes. Its state is the cluster's then.
    pub fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Acquire)
    }

    /// The leader, to be waited on.
    pub fn leaders(&self) -> watch::Receiver<u64> {
        self.leader.subscribe()
    }

    pub(super) fn note(&self, raft: &Raft) {
        self.term.store(raft.term(), Ordering::Relaxed);
        self.committed.store(raft.log().committed(), Ordering::Relaxed);
        self.alone.store(raft.leads() && raft.members().voters.len() == 1, Ordering::Release);
        self.leader.send_if_modified(|leader| std::mem::replace(leader, raft.leader()) != raft.leader());
    }
}
