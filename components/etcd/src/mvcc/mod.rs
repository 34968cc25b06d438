//! The versioned store: every write makes a new revision, and any kept revision can be read.
//!
//! - [`index`]: in memory, each key's versions (pure).
//! - [`backend`]: on disk, revision to key and value, and the few tables beside it.
//! - [`pending`]: what was applied and is not in the backend yet; the write-ahead log holds it meanwhile.
//! - [`store`]: the three together behind one lock; [`txn`] is a write in progress, [`read`] the queries.
//! - [`commit`]: the thread that moves pending revisions to the backend and carries compactions out.

pub mod backend;
pub mod commit;
pub mod hash;
pub mod import;
pub mod index;
pub mod pending;
pub mod range;
pub mod read;
pub mod store;
pub mod txn;

#[cfg(test)]
mod tests;

/// A place in the history: a transaction and the change within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    pub main: i64,
    pub sub: i64,
}

impl Revision {
    /// The first revision of a transaction.
    pub fn start_of(main: i64) -> Self {
        Self { main, sub: 0 }
    }

    /// Big-endian, so that bytes sort as revisions do.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.main.to_be_bytes());
        bytes[8..].copy_from_slice(&self.sub.to_be_bytes());
        bytes
    }

    /// The inverse of [`Revision::to_bytes`].
    pub fn from_bytes(bytes: &[u8; 16]) -> Self {
        let (main, sub) = bytes.split_at(8);
        Self {
            main: i64::from_be_bytes(main.try_into().expect("eight bytes")),
            sub: i64::from_be_bytes(sub.try_into().expect("eight bytes")),
        }
    }
}
