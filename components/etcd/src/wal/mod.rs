//! The write-ahead log: what makes a write durable before it is acknowledged.
//!
//! Segments of [`SEGMENT_SIZE`] bytes, named by their sequence number and first index, hold frames ([`frame`]). Space
//! is reserved when a segment is made, so that a sync has no file length to write. At start the segments are read in
//! order: a torn tail of the last one is cut, anything else that is not a whole frame is refused.
//!
//! The log knows nothing of what its entries mean. Indexes are consecutive; segments whose entries are all in the
//! backend are removed by [`Wal::release`].

mod frame;
mod segment;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub use frame::Entry;
use frame::{Frame, Kind, Read};
use segment::{Segment, SegmentName};

/// A segment is closed when it has this many bytes. Tests open hundreds of them.
pub const SEGMENT_SIZE: u64 = if cfg!(test) { 64 << 10 } else { 16 << 20 };

/// Why a log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{path}: damaged at byte {offset}: {reason}; the data directory cannot be trusted: restore it from a snapshot or \
         replace this member"
    )]
    Damaged { path: PathBuf, offset: u64, reason: String },
    #[error("the log's entry {index} is malformed")]
    Malformed { index: u64 },
    #[error("{path}: the log has a gap: entry {expected} is missing, a file was removed from the data directory")]
    Gap { path: PathBuf, expected: u64 },
}

impl WalError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// What a member must remember besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: u64,
    pub vote: u64,
}

/// The log, open for appending.
pub struct Wal {
    directory: PathBuf,
    segment: Segment,
    /// Closed segments, oldest first, each with its first index.
    closed: Vec<SegmentName>,
    next_index: u64,
    hard_state: HardState,
    buffer: Vec<u8>,
}

impl Wal {
    /// Opens the log in `directory`, or begins one at index `first`, and hands every entry from the oldest kept on to
    /// `visit`.
    pub fn open(
        directory: &Path,
        first: u64,
        mut visit: impl FnMut(Entry<'_>) -> Result<(), WalError>,
    ) -> Result<Self, WalError> {
        std::fs::create_dir_all(directory).map_err(WalError::io(directory))?;
        let mut names = segment::list(directory)?;
        let Some(last) = names.pop() else {
            // Entries before `first` are in the store, but what was acknowledged after the last commit was here.
            if first > 1 {
                return Err(WalError::Gap { path: directory.to_owned(), expected: first });
            }
            let name = SegmentName { sequence: 0, first_index: first };
            let segment = Segment::create(directory, name)?;
            return Ok(Self::with(directory, segment, Vec::new(), first, HardState::default()));
        };

        let oldest = names.first().unwrap_or(&last);
        let mut replay = Replay { next_index: oldest.first_index, hard_state: HardState::default() };
        for name in &names {
            let path = directory.join(name.file_name());
            let bytes = std::fs::read(&path).map_err(WalError::io(&path))?;
            if let Some(offset) = replay.segment(&path, *name, &bytes, &mut visit)?.broken {
                let reason = "only the last segment may end within a frame".to_owned();
                return Err(WalError::Damaged { path, offset, reason });
            }
        }
        let path = directory.join(last.file_name());
        let bytes = std::fs::read(&path).map_err(WalError::io(&path))?;
        let read = replay.segment(&path, last, &bytes, &mut visit)?;
        if let Some(offset) = read.broken {
            frame::torn(&bytes[offset as usize..]).map_err(|reason| WalError::Damaged {
                path: path.clone(),
                offset,
                reason: reason.to_owned(),
            })?;
            tracing::warn!(path = %path.display(), offset, "cut the log's torn tail; nothing in it was acknowledged");
        }
        let segment = Segment::reopen(directory, last, read.end)?;
        Ok(Self::with(directory, segment, names, replay.next_index, replay.hard_state))
    }

    fn with(
        directory: &Path,
        segment: Segment,
        closed: Vec<SegmentName>,
        next_index: u64,
        hard_state: HardState,
    ) -> Self {
        Self { directory: directory.to_owned(), segment, closed, next_index, hard_state, buffer: Vec::new() }
    }

    /// The index that the next entry gets.
    pub fn next_index(&self) -> u64 {
        self.next_index
    }

    /// The index of the oldest entry kept.
    pub fn first_index(&self) -> u64 {
        self.closed.first().map_or(self.segment.name().first_index, |name| name.first_index)
    }

    /// What was last stored by [`Wal::set_hard_state`].
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Appends entries as one frame and syncs. They are durable when this returns; after an error the log must not be
    /// used again, because it is not known what reached the disk.
    pub fn append<'a>(&mut self, term: u64, entries: impl IntoIterator<Item = &'a [u8]>) -> Result<(), WalError> {
        self.buffer.clear();
        let start = frame::begin(&mut self.buffer);
        let first_index = self.next_index;
        let mut count = 0;
        for entry in entries {
            frame::put_entry(&mut self.buffer, term, entry);
            count += 1;
        }
        frame::finish(&mut self.buffer, start, Kind::Entries, first_index);
        self.write()?;
        self.next_index += count;
        Ok(())
    }

    /// Stores the member's term and vote, durably.
    pub fn set_hard_state(&mut self, state: HardState) -> Result<(), WalError> {
        self.buffer.clear();
        put_hard_state(&mut self.buffer, state, self.next_index);
        self.write()?;
        self.hard_state = state;
        Ok(())
    }

    fn write(&mut self) -> Result<(), WalError> {
        if self.segment.is_full() {
            self.roll()?;
        }
        self.segment.write(&self.buffer)?;
        // One large batch must not keep its memory for the rest of the member's life.
        if self.buffer.capacity() > 4 << 20 {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    fn roll(&mut self) -> Result<(), WalError> {
        let old = self.segment.name();
        let name = SegmentName { sequence: old.sequence + 1, first_index: self.next_index };
        let mut segment = Segment::create(&self.directory, name)?;
        // Each segment begins with the state as it is, so that older ones can be removed.
        let mut state = Vec::new();
        put_hard_state(&mut state, self.hard_state, self.next_index);
        segment.write(&state)?;
        self.segment = segment;
        self.closed.push(old);
        Ok(())
    }

    /// Removes the closed segments that hold no entry above `index`.
    pub fn release(&mut self, index: u64) -> Result<(), WalError> {
        let mut removed = 0;
        for place in 0..self.closed.len() {
            let next_first =
                self.closed.get(place + 1).map_or(self.segment.name().first_index, |next| next.first_index);
            if next_first > index + 1 {
                break;
            }
            let path = self.directory.join(self.closed[place].file_name());
            std::fs::remove_file(&path).map_err(WalError::io(&path))?;
            removed += 1;
        }
        self.closed.drain(..removed);
        Ok(())
    }
}

fn put_hard_state(buffer: &mut Vec<u8>, state: HardState, index: u64) {
    let start = frame::begin(buffer);
    buffer.extend_from_slice(&state.term.to_le_bytes());
    buffer.extend_from_slice(&state.vote.to_le_bytes());
    frame::finish(buffer, start, Kind::HardState, index);
}

/// Makes the names in a directory durable.
fn sync_directory(path: &Path) -> Result<(), WalError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(WalError::io(path))
}

struct Replay {
    next_index: u64,
    hard_state: HardState,
}

struct SegmentEnd {
    /// Where the last whole frame ends.
    end: u64,
    /// Where something stands that is not a whole frame.
    broken: Option<u64>,
}

impl Replay {
    fn segment(
        &mut self,
        path: &Path,
        name: SegmentName,
        bytes: &[u8],
        visit: &mut impl FnMut(Entry<'_>) -> Result<(), WalError>,
    ) -> Result<SegmentEnd, WalError> {
        if name.first_index != self.next_index {
            return Err(WalError::Gap { path: path.to_owned(), expected: self.next_index });
        }
        let mut offset = 0;
        loop {
            match frame::read(bytes.get(offset..).unwrap_or_default()) {
                Read::End => return Ok(SegmentEnd { end: offset as u64, broken: None }),
                Read::Broken => return Ok(SegmentEnd { end: offset as u64, broken: Some(offset as u64) }),
                Read::Frame(frame) => {
                    self.frame(path, offset as u64, &frame, visit)?;
                    offset += frame.size;
                }
            }
        }
    }

    fn frame(
        &mut self,
        path: &Path,
        offset: u64,
        frame: &Frame<'_>,
        visit: &mut impl FnMut(Entry<'_>) -> Result<(), WalError>,
    ) -> Result<(), WalError> {
        if frame.first_index != self.next_index {
            let reason = format!("entry {} stands where {} belongs", frame.first_index, self.next_index);
            return Err(WalError::Damaged { path: path.to_owned(), offset, reason });
        }
        match frame.kind {
            Kind::Segment => {}
            Kind::HardState => {
                let malformed = || WalError::Malformed { index: self.next_index };
                let number = |at: usize| {
                    let bytes = frame.payload.get(at..at + 8)?;
                    bytes.try_into().ok().map(u64::from_le_bytes)
                };
                self.hard_state =
                    HardState { term: number(0).ok_or_else(malformed)?, vote: number(8).ok_or_else(malformed)? };
            }
            Kind::Entries => self.next_index = frame::entries(frame, visit)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
