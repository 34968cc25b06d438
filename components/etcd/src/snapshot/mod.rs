//! Snapshots: the whole state in one file, in the format of etcd's own backend.
//!
//! What [`save`] makes, etcd's tools restore; what they save, [`restore`] takes over. That is also the road from a data
//! directory of one make to the other.

mod ahead;
pub mod frames;
pub mod pieces;
pub mod restore;
pub mod save;

/// The buckets of etcd's backend, in the order of their names.
mod bucket {
    pub const ALARM: &[u8] = b"alarm";
    pub const AUTH: &[u8] = b"auth";
    pub const AUTH_ROLES: &[u8] = b"authRoles";
    pub const AUTH_USERS: &[u8] = b"authUsers";
    pub const CLUSTER: &[u8] = b"cluster";
    pub const KEY: &[u8] = b"key";
    pub const LEASE: &[u8] = b"lease";
    pub const MEMBERS: &[u8] = b"members";
    pub const MEMBERS_REMOVED: &[u8] = b"members_removed";
    pub const META: &[u8] = b"meta";
}

/// The row of the meta bucket that holds the last compaction carried out, as a revision's key.
const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";
/// The row of the last compaction asked for.
const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";

/// The rows of the auth bucket: one byte, and a big-endian number.
const AUTH_ENABLED: &[u8] = b"authEnabled";
const AUTH_REVISION: &[u8] = b"authRevision";

use crate::bolt::write::Key;
use crate::mvcc::Revision;

/// A revision as a key of etcd's backend: both numbers big-endian with `_` between, and `t` behind for a tombstone.
fn revision_key(revision: Revision, tombstone: bool) -> Key {
    let mut key = Key::new();
    key.extend_from_slice(&revision.main.to_be_bytes());
    key.push(b'_');
    key.extend_from_slice(&revision.sub.to_be_bytes());
    if tombstone {
        key.push(b't');
    }
    key
}

/// The inverse of [`revision_key`].
fn parse_revision_key(key: &[u8]) -> Option<(Revision, bool)> {
    let tombstone = match key.len() {
        17 => false,
        18 if key[17] == b't' => true,
        _ => return None,
    };
    let number = |at: usize| key[at..at + 8].try_into().map(i64::from_be_bytes).ok();
    let revision = Revision { main: number(0)?, sub: number(9)? };
    (key[8] == b'_').then_some((revision, tombstone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revision_keys_read_back() {
        for (revision, tombstone) in [(Revision { main: 7, sub: 3 }, false), (Revision { main: 1 << 40, sub: 0 }, true)]
        {
            assert_eq!(parse_revision_key(&revision_key(revision, tombstone)), Some((revision, tombstone)));
        }
        for wrong in [&b"short"[..], &[0; 17], &[b'_'; 19]] {
            assert_eq!(parse_revision_key(wrong), None);
        }
    }
}
