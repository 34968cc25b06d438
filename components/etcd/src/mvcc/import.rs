//! Takes a history over from elsewhere, into an empty store that serves nobody yet.

use std::sync::Arc;

use bytes::Bytes;

use super::Revision;
use super::backend::{BackendError, Change, Meta};
use super::pending::{Batch, Encoded};
use super::store::Store;

/// Records written at once.
const CHUNK: usize = 4096;

/// A history on its way into a store, which must be opened anew afterwards.
pub struct Importer<'a> {
    store: &'a Store,
    meta: Meta,
    chunk: Vec<Encoded>,
}

impl Store {
    /// Begins to take a history over. The newest revision is found on the way; the rest of `meta` is as given.
    pub fn importer(&self, meta: Meta) -> Importer<'_> {
        Importer { store: self, meta, chunk: Vec::new() }
    }
}

impl Importer<'_> {
    /// Takes one record; they come in the order of revisions.
    pub fn push(&mut self, revision: Revision, record: Bytes) -> Result<(), BackendError> {
        self.meta.revision = self.meta.revision.max(revision.main);
        self.chunk.push((revision, record));
        if self.chunk.len() < CHUNK { Ok(()) } else { self.write(Vec::new()) }
    }

    /// Writes the rest, and what stands beside the history.
    pub fn finish(mut self, beside: Vec<Change>) -> Result<Meta, BackendError> {
        self.meta.revision = self.meta.revision.max(self.meta.compacted);
        self.write(beside)?;
        Ok(self.meta)
    }

    fn write(&mut self, changes: Vec<Change>) -> Result<(), BackendError> {
        let batch = Batch { records: Arc::new(std::mem::take(&mut self.chunk)), changes };
        self.store.backend.commit(&batch, &self.meta)
    }
}
