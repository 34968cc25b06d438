//! What a follower does with what its leader sends.

use super::{Body, Entry, Place, Raft, SnapshotMeta};

impl Raft {
    pub(super) fn take_entries(&mut self, leader: u64, previous: Place, commit: u64, entries: Vec<Entry>) {
        let committed = self.log.committed();
        if previous.index < committed && !self.log.holds(previous) {
            // Older than anything that is still here; what is committed is the leader's as well.
            self.send(leader, Body::Appended { matched: committed });
            return;
        }
        match self.log.take(previous, entries) {
            Some(matched) => {
                self.log.commit_to(commit.min(matched));
                self.send(leader, Body::Appended { matched });
            }
            None => {
                let hint = self.log.agreement(previous.index, previous.term);
                self.send(leader, Body::AppendRefused { index: previous.index, hint });
            }
        }
    }

    pub(super) fn take_snapshot(&mut self, leader: u64, meta: SnapshotMeta) {
        let index = meta.place.index;
        if index > self.log.committed() {
            if self.log.holds(meta.place) && !self.members.voters.is_empty() {
                // The entries are here already; only that they are committed is new.
                self.log.commit_to(index);
            } else {
                self.restore(meta);
            }
        }
        self.send(leader, Body::Appended { matched: self.log.committed() });
    }
}
