//! The write-ahead log: what makes a write durable before it is acknowledged.
//!
//! Segments of [`SEGMENT_SIZE`] bytes, named by their sequence number and first index, hold frames ([`frame`]). Space
//! is reserved when a segment is made, so that a sync has no file length to write. At start the segments are read in
//! order: a torn tail of the last one is cut, anything else that is not a whole frame is refused.
//!
//! The log knows nothing of what its entries mean. Entries that a leader replaces are written again behind the old ones,
//! and reading makes the later ones count ([`replay`]). Segments that nobody needs are removed by [`Wal::release`].

pub(crate) mod frame;
mod replay;
mod segment;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use frame::Kind;
use replay::Replay;
use segment::{Segment, SegmentName};

use crate::failpoint::pass;
use crate::raft::{Entry, HardState, Place};

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

/// What a start finds in the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub hard_state: HardState,
    /// The snapshot behind which the log was last begun anew, if it ever was.
    pub restarted: Option<Place>,
    /// Consecutive.
    pub entries: Vec<Entry>,
}

impl Wal {
    /// Opens the log in `directory`, or begins one at index `first`.
    pub fn open(directory: &Path, first: u64) -> Result<(Self, Recovered), WalError> {
        std::fs::create_dir_all(directory).map_err(WalError::io(directory))?;
        let mut names = segment::list(directory)?;
        let Some(last) = names.pop() else {
            let name = SegmentName { sequence: 0, first_index: first };
            let segment = Segment::create(directory, name)?;
            let wal = Self::with(directory, segment, Vec::new(), first, HardState::default());
            return Ok((wal, Recovered::default()));
        };

        let oldest = names.first().unwrap_or(&last);
        let mut replay = Replay::new(oldest.first_index);
        for name in &names {
            let path = directory.join(name.file_name());
            let bytes = std::fs::read(&path).map_err(WalError::io(&path))?;
            if let Some(offset) = replay.segment(&path, *name, &bytes)?.broken {
                let reason = "only the last segment may end within a frame".to_owned();
                return Err(WalError::Damaged { path, offset, reason });
            }
        }
        let path = directory.join(last.file_name());
        let bytes = std::fs::read(&path).map_err(WalError::io(&path))?;
        let read = replay.segment(&path, last, &bytes)?;
        if let Some(offset) = read.broken {
            frame::torn(&bytes[offset as usize..]).map_err(|reason| WalError::Damaged {
                path: path.clone(),
                offset,
                reason: reason.to_owned(),
            })?;
            tracing::warn!(path = %path.display(), offset, "cut the log's torn tail; nothing in it was acknowledged");
        }
        let segment = Segment::reopen(directory, last, read.end)?;
        let wal = Self::with(directory, segment, names, replay.next_index, replay.found.hard_state);
        Ok((wal, replay.found))
    }

    /// What a log of one segment with these bytes would say, and where it ends.
    pub fn read(bytes: &[u8]) -> Result<(Recovered, u64), WalError> {
        let path = Path::new("segment");
        let mut replay = Replay::new(1);
        let read = replay.segment(path, SegmentName { sequence: 0, first_index: 1 }, bytes)?;
        if let Some(offset) = read.broken {
            let damaged = |reason: &str| WalError::Damaged { path: path.to_owned(), offset, reason: reason.to_owned() };
            frame::torn(&bytes[offset as usize..]).map_err(damaged)?;
        }
        Ok((replay.found, read.end))
    }

    /// The bytes of a segment with two batches, as it is written.
    pub fn image(state: HardState, first: &[Entry], second: &[Entry]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let start = frame::begin(&mut bytes);
        frame::finish(&mut bytes, start, Kind::Segment, 1);
        for batch in [first, second] {
            put_batch(&mut bytes, state, batch, 1);
        }
        bytes
    }

    /// Whether there is a log in `directory`.
    pub fn exists(directory: &Path) -> bool {
        directory.is_dir() && segment::list(directory).is_ok_and(|names| !names.is_empty())
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

    /// Appends consecutive entries, in the place of whatever stood from the first one's index on, together with the hard
    /// state, as one frame, and syncs. They are durable when this returns; after an error the log must not be used
    /// again, because it is not known what reached the disk.
    pub fn append(&mut self, state: HardState, entries: &[Entry]) -> Result<(), WalError> {
        self.buffer.clear();
        let first_index = put_batch(&mut self.buffer, state, entries, self.next_index);
        self.write()?;
        self.next_index = first_index + entries.len() as u64;
        self.hard_state = state;
        Ok(())
    }

    /// Begins anew behind a snapshot, which must be on the disk already.
    pub fn restart_behind(&mut self, state: HardState, place: Place) -> Result<(), WalError> {
        self.buffer.clear();
        let start = frame::begin(&mut self.buffer);
        replay::put_hard_state(&mut self.buffer, state);
        replay::put_place(&mut self.buffer, place);
        frame::finish(&mut self.buffer, start, Kind::Restart, self.next_index);
        pass("wal.restart").map_err(WalError::io(&self.directory))?;
        self.write()?;
        self.next_index = place.index + 1;
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
        let start = frame::begin(&mut state);
        replay::put_hard_state(&mut state, self.hard_state);
        frame::finish(&mut state, start, Kind::Append, self.next_index);
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
            pass("wal.release").and_then(|()| std::fs::remove_file(&path)).map_err(WalError::io(&path))?;
            removed += 1;
        }
        self.closed.drain(..removed);
        Ok(())
    }
}

/// Appends a batch's frame, and says with which index the batch begins; `next` for one without entries.
fn put_batch(buffer: &mut Vec<u8>, state: HardState, entries: &[Entry], next: u64) -> u64 {
    let first_index = entries.first().map_or(next, |entry| entry.index);
    let start = frame::begin(buffer);
    replay::put_hard_state(buffer, state);
    for entry in entries {
        frame::put_entry(buffer, entry);
    }
    frame::finish(buffer, start, Kind::Append, first_index);
    first_index
}

/// Makes the names in a directory durable.
fn sync_directory(path: &Path) -> Result<(), WalError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(WalError::io(path))
}

#[cfg(test)]
mod tests;
