//! Reading the log back: which of its frames count.

use std::path::Path;

use super::frame::{self, Frame, Kind, Read};
use super::segment::SegmentName;
use super::{Recovered, WalError};
use crate::raft::{HardState, Place};

/// Bytes of a hard state: three numbers.
const HARD_STATE: usize = 24;
/// No log gets so far; what says so is not ours, and counting on from it must not overflow.
const MOST_INDEX: u64 = i64::MAX as u64;

pub fn put_hard_state(buffer: &mut Vec<u8>, state: HardState) {
    for number in [state.term, state.vote, state.commit] {
        buffer.extend_from_slice(&number.to_le_bytes());
    }
}

pub fn put_place(buffer: &mut Vec<u8>, place: Place) {
    buffer.extend_from_slice(&place.index.to_le_bytes());
    buffer.extend_from_slice(&place.term.to_le_bytes());
}

/// A log on its way into memory.
pub struct Replay {
    pub next_index: u64,
    pub found: Recovered,
}

pub struct SegmentEnd {
    /// Where the last whole frame ends.
    pub end: u64,
    /// Where something stands that is not a whole frame.
    pub broken: Option<u64>,
}

impl Replay {
    pub fn new(first_index: u64) -> Self {
        Self { next_index: first_index, found: Recovered::default() }
    }

    pub fn segment(&mut self, path: &Path, name: SegmentName, bytes: &[u8]) -> Result<SegmentEnd, WalError> {
        if name.first_index != self.next_index {
            return Err(WalError::Gap { path: path.to_owned(), expected: self.next_index });
        }
        let mut offset = 0;
        loop {
            match frame::read(bytes.get(offset..).unwrap_or_default()) {
                Read::End => return Ok(SegmentEnd { end: offset as u64, broken: None }),
                Read::Broken => return Ok(SegmentEnd { end: offset as u64, broken: Some(offset as u64) }),
                Read::Frame(frame) => {
                    self.frame(path, offset as u64, &frame)?;
                    offset += frame.size;
                }
            }
        }
    }

    fn frame(&mut self, path: &Path, offset: u64, frame: &Frame<'_>) -> Result<(), WalError> {
        let first = frame.first_index;
        let replaces = frame.kind == Kind::Append && first < self.next_index;
        if first != self.next_index && !replaces {
            let reason = format!("entry {first} stands where {} belongs", self.next_index);
            return Err(WalError::Damaged { path: path.to_owned(), offset, reason });
        }
        let malformed = || WalError::Malformed { index: first };
        if first > MOST_INDEX {
            return Err(malformed());
        }
        let number = |place: usize| {
            let bytes = frame.payload.get(8 * place..8 * place + 8);
            bytes.and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes).ok_or_else(malformed)
        };
        let found = &mut self.found;
        match frame.kind {
            Kind::Segment => {}
            Kind::HardState => found.hard_state = HardState { term: number(0)?, vote: number(1)?, commit: 0 },
            Kind::Entries => self.take(first, frame.payload)?,
            Kind::Append => {
                found.hard_state = HardState { term: number(0)?, vote: number(1)?, commit: number(2)? };
                self.take(first, &frame.payload[HARD_STATE..])?;
            }
            Kind::Restart => {
                let place = Place { index: number(3)?, term: number(4)? };
                if place.index > MOST_INDEX {
                    return Err(malformed());
                }
                found.hard_state = HardState { term: number(0)?, vote: number(1)?, commit: number(2)? };
                (found.restarted, self.next_index) = (Some(place), place.index + 1);
                found.entries.clear();
            }
        }
        Ok(())
    }

    fn take(&mut self, first: u64, payload: &[u8]) -> Result<(), WalError> {
        let entries = frame::entries(payload, first)?;
        if entries.is_empty() {
            return Ok(());
        }
        let held = &mut self.found.entries;
        // What is replaced may have begun in a segment that is not needed any more.
        let keep = held.first().map_or(0, |oldest| first.saturating_sub(oldest.index) as usize);
        held.truncate(keep);
        self.next_index = first + entries.len() as u64;
        held.extend(entries);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::Wal;

    #[test]
    fn a_log_that_goes_on_behind_the_last_number_is_refused() {
        for (index, good) in [(7, true), (MOST_INDEX, true), (MOST_INDEX + 1, false), (u64::MAX, false)] {
            let mut bytes = Vec::new();
            let start = frame::begin(&mut bytes);
            put_hard_state(&mut bytes, HardState::default());
            put_place(&mut bytes, Place { index, term: 1 });
            frame::finish(&mut bytes, start, Kind::Restart, 1);
            assert_eq!(Wal::read(&bytes).is_ok(), good, "{index}");
        }
    }
}
