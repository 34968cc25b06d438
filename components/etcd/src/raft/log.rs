//! The entries in memory: those that a follower may still need, those being written, those not applied yet.

use std::collections::VecDeque;

use super::{Entry, Place};

/// See the module. `base` is the place before the first entry; everything up to it is in the state.
pub struct Log {
    base: Place,
    entries: VecDeque<Entry>,
    committed: u64,
    applied: u64,
    /// Up to here entries were given out to be applied.
    handed_out: u64,
    /// Up to here entries are durable.
    stable: u64,
    /// Bytes of all entries' data.
    bytes: usize,
}

impl Log {
    /// What a start found: `entries` follow `base`.
    pub fn new(base: Place, entries: Vec<Entry>, committed: u64, applied: u64) -> Self {
        let stable = base.index + entries.len() as u64;
        let committed = committed.clamp(applied, stable.max(applied));
        let bytes = entries.iter().map(|entry| entry.data.len()).sum();
        Self { base, entries: entries.into(), committed, applied, handed_out: applied, stable, bytes }
    }

    pub fn first_index(&self) -> u64 {
        self.base.index + 1
    }

    pub fn last(&self) -> Place {
        self.entries.back().map_or(self.base, |entry| Place { index: entry.index, term: entry.term })
    }

    pub fn committed(&self) -> u64 {
        self.committed
    }

    pub fn applied(&self) -> u64 {
        self.applied
    }

    pub fn stable(&self) -> u64 {
        self.stable
    }

    /// Bytes of all entries' data.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn offset(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.base.index + 1)?).ok()
    }

    /// The term of an entry; `None` when it is not there any more or not yet.
    pub fn term(&self, index: u64) -> Option<u64> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.entries.get(self.offset(index)?).map(|entry| entry.term)
    }

    pub fn holds(&self, place: Place) -> bool {
        self.term(place.index) == Some(place.term)
    }

    /// Whether a log that ends at `last` has at least what this one has, as elections compare it.
    pub fn is_behind_or_at(&self, last: Place) -> bool {
        let own = self.last();
        (last.term, last.index) >= (own.term, own.index)
    }

    /// Appends an entry of this member's own term.
    pub fn push(&mut self, term: u64, members: bool, data: bytes::Bytes) -> u64 {
        let index = self.last().index + 1;
        self.bytes += data.len();
        self.entries.push_back(Entry { index, term, members, data });
        index
    }

    /// Takes a leader's entries over, which follow `previous`. What contradicts them is dropped. Says up to where the log
    /// is the leader's then; `None` when `previous` is not in it.
    pub fn take(&mut self, previous: Place, entries: Vec<Entry>) -> Option<u64> {
        if !self.holds(previous) {
            return None;
        }
        let matched = previous.index + entries.len() as u64;
        for entry in entries {
            match self.term(entry.index) {
                Some(term) if term == entry.term => continue,
                Some(_) => self.truncate(entry.index),
                None => {}
            }
            debug_assert_eq!(entry.index, self.last().index + 1);
            self.bytes += entry.data.len();
            self.entries.push_back(entry);
        }
        Some(matched)
    }

    fn truncate(&mut self, from: u64) {
        assert!(from > self.committed, "entry {from} is committed and contradicts the leader's: the data is damaged");
        let keep = self.offset(from).unwrap_or_default();
        self.bytes -= self.entries.drain(keep..).map(|entry| entry.data.len()).sum::<usize>();
        self.stable = self.stable.min(from - 1);
    }

    /// The last place at or before `index` whose term is not above `term`: where another log may agree with this one.
    pub fn agreement(&self, index: u64, term: u64) -> Place {
        let mut index = index.min(self.last().index);
        while let Some(found) = self.term(index) {
            if found <= term || index == 0 {
                return Place { index, term: found };
            }
            index -= 1;
        }
        Place { index, term: 0 }
    }

    /// Entries from `from` on, as many as fit into `bytes` and at least one.
    pub fn slice(&self, from: u64, to: u64, bytes: usize) -> Vec<Entry> {
        let Some(start) = self.offset(from) else { return Vec::new() };
        let mut size = 0;
        let wanted = self.entries.iter().skip(start).take_while(|entry| entry.index <= to);
        let fitting = wanted.take_while(|entry| {
            let first = size == 0;
            size += entry.data.len() + 32;
            first || size <= bytes
        });
        fitting.cloned().collect()
    }

    /// What is not durable yet.
    pub fn unstable(&self) -> Vec<Entry> {
        self.slice(self.stable + 1, u64::MAX, usize::MAX)
    }

    pub fn set_stable(&mut self, index: u64) {
        self.stable = self.stable.max(index.min(self.last().index));
    }

    /// Says whether it is more than was known.
    pub fn commit_to(&mut self, index: u64) -> bool {
        let known = self.committed;
        self.committed = known.max(index.min(self.last().index));
        self.committed > known
    }

    /// What is committed, durable here, and was not given out yet.
    pub fn next_committed(&mut self, bytes: usize) -> Vec<Entry> {
        let entries = self.slice(self.handed_out + 1, self.committed.min(self.stable), bytes);
        self.handed_out = entries.last().map_or(self.handed_out, |entry| entry.index);
        entries
    }

    pub fn set_applied(&mut self, index: u64) {
        self.applied = self.applied.max(index);
    }

    /// Whether a committed entry that changes the members is not applied yet.
    pub fn members_pending(&self) -> bool {
        let start = self.offset(self.applied + 1).unwrap_or_default();
        self.entries.iter().skip(start).take_while(|entry| entry.index <= self.committed).any(|entry| entry.members)
    }

    /// Forgets entries up to `index`, of those that are applied.
    pub fn compact(&mut self, index: u64) {
        let index = index.min(self.applied).min(self.stable);
        while let Some(first) = self.entries.front()
            && first.index <= index
        {
            self.base = Place { index: first.index, term: first.term };
            self.bytes -= first.data.len();
            self.entries.pop_front();
        }
        // The memory of a burst is given back.
        if self.entries.capacity() > 4 * self.entries.len() + 4096 {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// Begins anew behind a snapshot.
    pub fn restore(&mut self, place: Place) {
        self.entries.clear();
        self.bytes = 0;
        self.base = place;
        (self.committed, self.applied, self.handed_out, self.stable) =
            (place.index, place.index, place.index, place.index);
    }
}
