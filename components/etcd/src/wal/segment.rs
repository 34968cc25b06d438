//! One file of the log.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::frame::{self, Kind};
use super::{SEGMENT_SIZE, WalError, sync_directory};
use crate::failpoint::pass;

/// A segment's place in the log; its file's name says it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    pub sequence: u64,
    pub first_index: u64,
}

impl SegmentName {
    pub fn file_name(self) -> String {
        format!("{:016x}-{:016x}.log", self.sequence, self.first_index)
    }

    fn parse(name: &str) -> Option<Self> {
        let (sequence, first_index) = name.strip_suffix(".log")?.split_once('-')?;
        Some(Self {
            sequence: u64::from_str_radix(sequence, 16).ok()?,
            first_index: u64::from_str_radix(first_index, 16).ok()?,
        })
    }
}

/// The segments of a directory in order. Unfinished ones are removed; a missing one is refused.
pub fn list(directory: &Path) -> Result<Vec<SegmentName>, WalError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(WalError::io(directory))? {
        let entry = entry.map_err(WalError::io(directory))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".log.tmp") {
            std::fs::remove_file(entry.path()).map_err(WalError::io(&entry.path()))?;
        } else if let Some(name) = SegmentName::parse(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    for pair in names.windows(2) {
        if pair[1].sequence != pair[0].sequence + 1 {
            let path = directory.join(pair[1].file_name());
            return Err(WalError::Gap { path, expected: pair[0].first_index });
        }
    }
    Ok(names)
}

/// A segment open for appending.
pub struct Segment {
    name: SegmentName,
    path: PathBuf,
    file: File,
    end: u64,
}

impl Segment {
    /// Makes a segment. It appears under its name only when it is whole and durable.
    pub fn create(directory: &Path, name: SegmentName) -> Result<Self, WalError> {
        let path = directory.join(name.file_name());
        let unfinished = path.with_extension("log.tmp");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .map_err(WalError::io(&unfinished))?;
        reserve(&file, &unfinished)?;
        let mut header = Vec::new();
        let start = frame::begin(&mut header);
        frame::finish(&mut header, start, Kind::Segment, name.first_index);
        pass("wal.create").map_err(WalError::io(&unfinished))?;
        file.write_all_at(&header, 0).and_then(|()| file.sync_all()).map_err(WalError::io(&unfinished))?;
        pass("wal.rename").map_err(WalError::io(&unfinished))?;
        std::fs::rename(&unfinished, &path).map_err(WalError::io(&path))?;
        pass("wal.renamed").map_err(WalError::io(&path))?;
        sync_directory(directory)?;
        Ok(Self { name, path, file, end: header.len() as u64 })
    }

    /// Opens a segment whose whole frames end at `end`; whatever stands behind is cut.
    pub fn reopen(directory: &Path, name: SegmentName, end: u64) -> Result<Self, WalError> {
        let path = directory.join(name.file_name());
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(WalError::io(&path))?;
        file.set_len(end).map_err(WalError::io(&path))?;
        reserve(&file, &path)?;
        file.sync_all().map_err(WalError::io(&path))?;
        Ok(Self { name, path, file, end })
    }

    pub fn name(&self) -> SegmentName {
        self.name
    }

    pub fn is_full(&self) -> bool {
        self.end >= SEGMENT_SIZE
    }

    /// Writes one frame at the end and syncs it.
    pub fn write(&mut self, frame: &[u8]) -> Result<(), WalError> {
        pass("wal.write")
            .and_then(|()| self.file.write_all_at(frame, self.end))
            .and_then(|()| pass("wal.sync"))
            .and_then(|()| self.file.sync_data())
            .and_then(|()| pass("wal.synced"))
            .map_err(WalError::io(&self.path))?;
        self.end += frame.len() as u64;
        Ok(())
    }
}

/// Reserves the segment's space, so that running out of it is seen here and not within a request, and a sync has no
/// new length to write. File systems without this are fine, only slower.
fn reserve(file: &File, path: &Path) -> Result<(), WalError> {
    use nix::errno::Errno;
    match nix::fcntl::posix_fallocate(file, 0, SEGMENT_SIZE as i64) {
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => Ok(()),
        Err(errno) => Err(WalError::Io { path: path.to_owned(), source: errno.into() }),
    }
}

#[cfg(test)]
impl Segment {
    pub fn end_for_tests(&self) -> u64 {
        self.end
    }
}
