//! Changes that are applied but not in the backend yet.
//!
//! They come in the order of revisions and go to the backend in the same order, so they are always the newest part of
//! the history. Two lists: one grows, the other is being written.

use std::sync::Arc;

use bytes::Bytes;

use super::Revision;
use super::backend::Change;

/// A revision's record as the backend keeps it, see [`super::backend::Record`].
pub type Encoded = (Revision, Bytes);

/// See the module.
#[derive(Default)]
pub struct Pending {
    committing: Arc<Vec<Encoded>>,
    growing: Vec<Encoded>,
    /// Changes of the tables beside the history.
    changes: Vec<Change>,
    bytes: usize,
}

/// What one commit writes.
pub struct Batch {
    pub records: Arc<Vec<Encoded>>,
    pub changes: Vec<Change>,
}

impl Pending {
    /// Adds the record of the newest revision.
    pub fn push(&mut self, revision: Revision, record: Bytes) {
        self.bytes += record.len() + size_of::<Encoded>();
        self.growing.push((revision, record));
    }

    /// Adds a change of another table.
    pub fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Bytes held in the growing list.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest revision held; everything older is in the backend.
    pub fn first(&self) -> Option<Revision> {
        self.committing.first().or(self.growing.first()).map(|(revision, _)| *revision)
    }

    /// A record that is not in the backend yet.
    pub fn get(&self, revision: Revision) -> Option<&Bytes> {
        [&*self.committing, &self.growing].into_iter().find_map(|list| {
            let place = list.binary_search_by_key(&revision, |(held, _)| *held).ok()?;
            Some(&list[place].1)
        })
    }

    /// The records from `from` on, in order.
    pub fn from(&self, from: Revision) -> impl Iterator<Item = &Encoded> {
        let after = move |list: &[Encoded]| list.partition_point(|(held, _)| *held < from);
        let committing = &self.committing[after(&self.committing)..];
        let growing = &self.growing[after(&self.growing)..];
        committing.iter().chain(growing)
    }

    /// Takes everything for a commit. It can still be read until [`Pending::committed`].
    pub fn take(&mut self) -> Batch {
        debug_assert!(self.committing.is_empty(), "one commit at a time");
        self.committing = Arc::new(std::mem::take(&mut self.growing));
        self.bytes = 0;
        Batch { records: self.committing.clone(), changes: std::mem::take(&mut self.changes) }
    }

    /// The taken batch is in the backend.
    pub fn committed(&mut self) {
        self.committing = Arc::default();
    }
}
