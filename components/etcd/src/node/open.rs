//! What a start finds: the log, and how far the store is with it.

use std::path::{Path, PathBuf};

use crate::failpoint::pass;
use crate::raft::{Config, HardState, Log, Place, Raft};
use crate::wal::{Recovered, Wal, WalError};

/// What the files are called that another member's snapshot passes through.
const UNFINISHED: [&str; 3] = ["store.incoming-", "store.taking-", "snapshot.incoming-"];

/// Where a snapshot of another member waits for taking the store's place.
pub fn incoming(member_dir: &Path, index: u64) -> PathBuf {
    member_dir.join(format!("store.incoming-{index:016x}"))
}

/// Puts a snapshot that the log goes on behind into the store's place, if that has not happened yet, and removes those
/// that came to nothing.
pub fn finish_snapshot(member_dir: &Path, restarted: Option<Place>) -> std::io::Result<()> {
    if let Some(place) = restarted {
        let waiting = incoming(member_dir, place.index);
        if waiting.exists() {
            pass("snapshot.rename")?;
            std::fs::rename(&waiting, member_dir.join("store"))?;
            pass("snapshot.renamed")?;
            std::fs::File::open(member_dir)?.sync_all()?;
        }
    }
    for entry in std::fs::read_dir(member_dir)? {
        let entry = entry?;
        if UNFINISHED.iter().any(|prefix| entry.file_name().to_string_lossy().starts_with(prefix)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Consensus as it was when the member stopped. `applied` is where the store is, `kept` how many entries before it are
/// kept for others.
pub fn consensus(
    directory: &Path,
    config: Config,
    applied: Place,
    members: crate::raft::Members,
    found: Recovered,
    kept: u64,
) -> Result<(Raft, HardState), WalError> {
    let gap = || WalError::Gap { path: directory.to_owned(), expected: applied.index + 1 };
    let mut entries = found.entries;
    let behind_restart = found.restarted.is_some_and(|place| place.index > applied.index);
    if behind_restart || entries.first().is_some_and(|first| first.index > applied.index + 1) {
        return Err(gap());
    }
    if entries.last().is_some_and(|last| last.index < applied.index) {
        return Err(gap());
    }
    let oldest = entries.first().map_or(u64::MAX, |first| first.index);
    // The term of the entry before the oldest one is not known, so that one has to go as well.
    let from = if oldest == applied.index + 1 || entries.is_empty() {
        applied
    } else {
        let index = applied.index.saturating_sub(kept).max(oldest);
        let term = entries.iter().find(|entry| entry.index == index).map_or(applied.term, |entry| entry.term);
        Place { index, term }
    };
    entries.retain(|entry| entry.index > from.index);
    let newest = entries.last().map_or(applied.term, |entry| entry.term);
    let mut state = found.hard_state;
    if state.term < newest.max(applied.term) {
        state = HardState { term: newest.max(applied.term), vote: 0, ..state };
    }
    state.commit = state.commit.max(applied.index);
    let log = Log::new(from, entries, state.commit, applied.index);
    Ok((Raft::new(config, state, log, members), state))
}

/// Opens the log, which must be there unless nothing was ever logged.
pub fn log(directory: &Path, applied: u64, fresh: bool) -> Result<(Wal, Recovered), WalError> {
    if !fresh && !Wal::exists(directory) {
        // Entries that were acknowledged after the store's last commit were here.
        return Err(WalError::Gap { path: directory.to_owned(), expected: applied + 1 });
    }
    Wal::open(directory, applied + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Entry, Members};

    fn open(applied: (u64, u64), entries: &[(u64, u64)], kept: u64) -> Option<(Place, u64, u64)> {
        let entry = |(index, term): &(u64, u64)| Entry {
            index: *index,
            term: *term,
            members: false,
            data: bytes::Bytes::from_static(b"x"),
        };
        let found = Recovered { entries: entries.iter().map(entry).collect(), ..Recovered::default() };
        let config = Config { id: 1, ..Config::default() };
        let applied = Place { index: applied.0, term: applied.1 };
        let opened = consensus(Path::new("log"), config, applied, Members::default(), found, kept);
        let (raft, state) = opened.ok()?;
        Some((raft.last(), raft.log().first_index(), state.term))
    }

    #[test]
    fn the_log_goes_on_where_the_store_is() {
        let place = |index, term| Place { index, term };
        let entries = [(5, 2), (6, 2), (7, 3), (8, 3)];
        let table = [
            (open((8, 3), &[], 9), Some((place(8, 3), 9, 3))),
            (open((4, 2), &entries, 0), Some((place(8, 3), 5, 3))),
            (open((7, 3), &entries, 0), Some((place(8, 3), 8, 3))),
            (open((7, 3), &entries, 1), Some((place(8, 3), 7, 3))),
            (open((7, 3), &entries, 99), Some((place(8, 3), 6, 3))),
            (open((3, 2), &entries, 0), None),
            (open((9, 3), &entries, 0), None),
        ];
        for (row, (opened, expected)) in table.into_iter().enumerate() {
            assert_eq!(opened, expected, "row {row}");
        }
    }
}
