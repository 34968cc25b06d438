//! A write in progress: one revision, any number of changes, visible all at once when it ends.

use bytes::Bytes;
use parking_lot::RwLockWriteGuard;

use super::Revision;
use super::backend::Record;
use super::range::KeyRange;
use super::read::{Found, Query};
use super::store::{Inner, ReadView};
use crate::error::Error;
use crate::proto::mvcc::KeyValue;

/// A change as watchers hear of it. A deletion's key and value carries the key and the deletion's revision alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    pub deleted: bool,
    pub key_value: KeyValue,
}

/// See the module. Dropping it without [`WriteTxn::end`] is only right when nothing was changed.
pub struct WriteTxn<'a> {
    inner: RwLockWriteGuard<'a, Inner>,
    begin: i64,
    changed: Vec<Changed>,
}

impl<'a> WriteTxn<'a> {
    pub(super) fn new(inner: RwLockWriteGuard<'a, Inner>) -> Self {
        let begin = inner.meta.revision;
        Self { inner, begin, changed: Vec::new() }
    }

    fn next(&self) -> Revision {
        Revision { main: self.begin + 1, sub: self.changed.len() as i64 }
    }

    /// Writes a key.
    pub fn put(&mut self, key: Bytes, value: Bytes, lease: i64) {
        let revision = self.next();
        let put = self.inner.index.put(&key, revision);
        let key_value = KeyValue {
            key,
            value,
            lease,
            create_revision: put.create,
            mod_revision: revision.main,
            version: put.number,
        };
        self.inner.pending.push(revision, Record::encode(&key_value, false));
        self.changed.push(Changed { deleted: false, key_value });
    }

    /// Deletes the keys of a range and says how many there were.
    pub fn delete_range(&mut self, range: KeyRange<'_>) -> usize {
        let keys = self.inner.index.keys(range, self.revision());
        let count = keys.len();
        for key in keys {
            let revision = self.next();
            self.inner.index.tombstone(&key, revision);
            let mut key_value = KeyValue { key: Bytes::from(key), ..KeyValue::default() };
            self.inner.pending.push(revision, Record::encode(&key_value, true));
            key_value.mod_revision = revision.main;
            self.changed.push(Changed { deleted: true, key_value });
        }
        count
    }

    /// The changes so far.
    pub fn changed(&self) -> &[Changed] {
        &self.changed
    }

    /// Makes the changes visible. Returns the newest revision and what was changed in it.
    pub fn end(mut self) -> (i64, Vec<Changed>) {
        let revision = self.revision();
        self.inner.meta.revision = revision;
        (revision, self.changed)
    }
}

impl ReadView for WriteTxn<'_> {
    fn range(&self, query: &Query<'_>) -> Result<Found, Error> {
        self.inner.locate(query, Some(self.revision()))?.load()
    }

    fn revision(&self) -> i64 {
        if self.changed.is_empty() { self.begin } else { self.begin + 1 }
    }

    fn compacted(&self) -> i64 {
        self.inner.meta.compacted
    }
}
