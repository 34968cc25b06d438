//! What a leader knows of another member, and how much it may send to it.

use std::collections::VecDeque;

use super::Nanos;

/// Messages with entries that may be under way to one member.
const MOST_IN_FLIGHT: usize = 64;

/// How entries are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is not known where the logs agree: one message, then wait for the answer.
    Probe { waiting: bool },
    /// Entries are sent as they come, up to a bound.
    Stream,
    /// A snapshot is under way; nothing else helps until it is there.
    Snapshot { index: u64 },
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The logs agree up to here.
    pub matched: u64,
    /// The next entry to send.
    pub next: u64,
    pub mode: Mode,
    /// Heard of since the leader last counted.
    pub active: bool,
    /// Until the leader's clock shows this, the member votes for nobody else.
    pub promised: Nanos,
    /// The last index of each message under way.
    in_flight: VecDeque<u64>,
}

impl Progress {
    pub fn new(next: u64) -> Self {
        Self {
            matched: 0,
            next,
            mode: Mode::Probe { waiting: false },
            active: false,
            promised: 0,
            in_flight: VecDeque::new(),
        }
    }

    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.in_flight.clear();
    }

    pub fn probe(&mut self) {
        // Behind a snapshot that was taken the probe begins there.
        let from = if let Mode::Snapshot { index } = self.mode { self.matched.max(index) } else { self.matched };
        self.enter(Mode::Probe { waiting: false });
        self.next = from + 1;
    }

    pub fn stream(&mut self) {
        self.enter(Mode::Stream);
        self.next = self.matched + 1;
    }

    pub fn snapshot(&mut self, index: u64) {
        self.enter(Mode::Snapshot { index });
    }

    pub fn is_paused(&self) -> bool {
        match self.mode {
            Mode::Probe { waiting } => waiting,
            Mode::Stream => self.in_flight.len() >= MOST_IN_FLIGHT,
            Mode::Snapshot { .. } => true,
        }
    }

    /// Entries up to `last` were sent, `None` when there were none.
    pub fn sent(&mut self, last: Option<u64>) {
        match &mut self.mode {
            Mode::Probe { waiting } => *waiting = true,
            Mode::Stream => {
                if let Some(last) = last {
                    self.next = last + 1;
                    self.in_flight.push_back(last);
                }
            }
            Mode::Snapshot { .. } => {}
        }
    }

    /// The member has everything up to `index`. Says whether that is new.
    pub fn acknowledge(&mut self, index: u64) -> bool {
        while self.in_flight.front().is_some_and(|last| *last <= index) {
            self.in_flight.pop_front();
        }
        if let Mode::Probe { waiting } = &mut self.mode {
            *waiting = false;
        }
        self.next = self.next.max(index + 1);
        let new = index > self.matched;
        self.matched = self.matched.max(index);
        new
    }

    /// The member refused what follows `index`, and agrees at most at `agreement`. Says whether that is news.
    pub fn refuse(&mut self, index: u64, agreement: u64) -> bool {
        match &mut self.mode {
            Mode::Stream => {
                if index <= self.matched {
                    return false;
                }
                self.probe();
                true
            }
            Mode::Probe { waiting } => {
                // Only the answer to the last probe counts.
                if self.next != index + 1 {
                    return false;
                }
                *waiting = false;
                self.next = (agreement + 1).min(index).max(self.matched + 1).max(1);
                true
            }
            Mode::Snapshot { .. } => false,
        }
    }

    /// The member votes for nobody else until then. Its words may overtake one another.
    pub fn promised(&mut self, until: Nanos) {
        self.promised = self.promised.max(until);
    }

    /// The member lives: a message that was lost must not stop everything after it.
    pub fn heard(&mut self) {
        self.active = true;
        match &mut self.mode {
            Mode::Probe { waiting } => *waiting = false,
            Mode::Stream if self.in_flight.len() >= MOST_IN_FLIGHT => drop(self.in_flight.pop_front()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_waits_for_its_answer() {
        let mut progress = Progress::new(10);
        progress.sent(Some(12));
        assert!(progress.is_paused());
        assert!(!progress.refuse(5, 3), "an answer to an older probe");
        assert!(progress.refuse(9, 4));
        assert_eq!((progress.next, progress.is_paused()), (5, false));
        progress.sent(None);
        assert!(progress.acknowledge(4));
        progress.stream();
        assert_eq!((progress.matched, progress.next), (4, 5));
    }

    #[test]
    fn a_stream_is_bounded() {
        let mut progress = Progress::new(1);
        progress.stream();
        for last in 1..=MOST_IN_FLIGHT as u64 {
            assert!(!progress.is_paused());
            progress.sent(Some(last));
        }
        assert!(progress.is_paused());
        progress.heard();
        assert!(!progress.is_paused());
        progress.sent(Some(100));
        assert!(progress.is_paused());
        assert!(progress.acknowledge(60));
        assert_eq!((progress.is_paused(), progress.next), (false, 101));
        assert!(!progress.refuse(60, 2), "it is known to have that");
        assert!(progress.refuse(99, 80));
        assert_eq!((progress.mode, progress.next), (Mode::Probe { waiting: false }, 61));
    }

    #[test]
    fn behind_a_snapshot_it_goes_on_at_its_end() {
        let mut progress = Progress::new(1);
        progress.snapshot(50);
        assert!(progress.is_paused());
        assert!(!progress.refuse(0, 0));
        progress.probe();
        assert_eq!(progress.next, 51);
    }
}
