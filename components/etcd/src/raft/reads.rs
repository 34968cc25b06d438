//! Linearizable reads without a log entry: the leader notes how far it has committed, makes sure that it still leads (by
//! asking, or by [`super::lease`]), and whoever asked reads once that much is applied.

use std::collections::{BTreeSet, VecDeque};

use super::{Body, Raft, Role};

/// Reads that wait for a quorum's word that the leader leads.
struct Asked {
    /// Counts the leader's questions; a later one's answer is good for earlier ones.
    number: u64,
    index: u64,
    from: u64,
    context: u64,
    heard: BTreeSet<u64>,
}

/// See the module.
#[derive(Default)]
pub struct Reads {
    number: u64,
    asked: VecDeque<Asked>,
    /// Asked before the leader had committed anything of its term, so that it did not know how far others had.
    early: Vec<(u64, u64)>,
    answered: Vec<(u64, u64)>,
}

/// Reads that wait at once; more are dropped, and asked again by who waits.
const MOST: usize = 4096;

impl Reads {
    pub(super) fn newest(&self) -> u64 {
        self.asked.back().map_or(0, |asked| asked.number)
    }

    pub(super) fn answer(&mut self, context: u64, index: u64) {
        self.answered.push((context, index));
    }

    pub(super) fn take_answered(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.answered)
    }

    /// The office is lost or newly begun. Numbers go on, so that no answer to an old question counts.
    pub(super) fn forget_asked(&mut self) {
        self.asked.clear();
        self.early.clear();
    }
}

impl Raft {
    pub(super) fn read_for(&mut self, from: u64, context: u64) {
        if self.role != Role::Leader || self.reads.asked.len() + self.reads.early.len() >= MOST {
            return;
        }
        let index = self.log.committed();
        if self.log.term(index) != Some(self.term) {
            self.reads.early.push((from, context));
            return;
        }
        if self.members.voters.len() == 1 || self.clock < self.lease_until() {
            return self.answer_read(from, context, index);
        }
        self.reads.number += 1;
        let number = self.reads.number;
        self.reads.asked.push_back(Asked { number, index, from, context, heard: BTreeSet::new() });
        self.send_heartbeats();
    }

    pub(super) fn answer_early_reads(&mut self) {
        for (from, context) in std::mem::take(&mut self.reads.early) {
            self.read_for(from, context);
        }
    }

    pub(super) fn read_acknowledged(&mut self, from: u64, number: u64) {
        let own = self.config.id;
        for asked in self.reads.asked.iter_mut().take_while(|asked| asked.number <= number) {
            asked.heard.insert(from);
        }
        while let Some(first) = self.reads.asked.front() {
            if !self.members.agree(|id| id == own || first.heard.contains(&id)) {
                return;
            }
            let Some(done) = self.reads.asked.pop_front() else { return };
            self.answer_read(done.from, done.context, done.index);
        }
    }

    fn answer_read(&mut self, from: u64, context: u64, index: u64) {
        if from == self.config.id {
            self.reads.answer(context, index);
        } else {
            self.send(from, Body::ReadReply { context, index });
        }
    }
}
