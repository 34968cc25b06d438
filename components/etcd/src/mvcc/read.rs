//! Range queries: first the revisions from the index, then the values.

use bytes::Bytes;

use super::Revision;
use super::backend::{Record, SharedView};
use super::range::KeyRange;
use super::store::{Inner, storage};
use crate::error::Error;
use crate::proto::mvcc::KeyValue;

/// What is asked of the store; sorting and filtering are the request's business.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub range: KeyRange<'a>,
    /// 0 or less: the newest.
    pub revision: i64,
    /// 0: no limit.
    pub limit: usize,
    pub count_only: bool,
}

impl<'a> Query<'a> {
    /// Everything in a range at the newest revision.
    pub fn newest(range: KeyRange<'a>) -> Self {
        Self { range, revision: 0, limit: 0, count_only: false }
    }
}

/// What a query found, keys in order.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub key_values: Vec<KeyValue>,
    /// Keys in the range, also those beyond the limit.
    pub count: usize,
    /// The newest revision when it was read.
    pub revision: i64,
}

/// How large what a query found is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Keys and values that are handed out.
    pub held: usize,
    /// Keys in the range, also those beyond the limit.
    pub count: usize,
    /// The newest revision when it was read.
    pub revision: i64,
}

/// Where a value is.
enum Place {
    Held(Bytes),
    Backend(Revision),
}

/// The answer's outline; [`Located::load`] needs no lock.
pub(super) struct Located {
    places: Vec<Place>,
    count: usize,
    revision: i64,
    view: SharedView,
}

impl Inner {
    /// Finds what a query is about. `within` is the newest revision as a write in progress sees it.
    pub(super) fn locate(&self, query: &Query<'_>, within: Option<i64>) -> Result<Located, Error> {
        let newest = within.unwrap_or(self.meta.revision);
        if query.revision > newest {
            return Err(Error::FutureRevision);
        }
        let at = if query.revision <= 0 { newest } else { query.revision };
        if at < self.meta.compacted {
            return Err(Error::Compacted);
        }
        if query.count_only {
            let count = self.index.count(query.range, at);
            return Ok(Located { places: Vec::new(), count, revision: newest, view: self.view() });
        }
        let (versions, count) = self.index.range(query.range, at, query.limit);
        let first_pending = self.pending.first();
        let places = versions
            .into_iter()
            .map(|version| {
                let revision = version.revision();
                // The pending list is searched only for what it can hold.
                let held = first_pending.filter(|first| *first <= revision).and_then(|_| self.pending.get(revision));
                held.map_or(Place::Backend(revision), |record| Place::Held(record.clone()))
            })
            .collect();
        Ok(Located { places, count, revision: newest, view: self.view() })
    }
}

impl Located {
    pub(super) fn extent(&self) -> Extent {
        Extent { held: self.places.len(), count: self.count, revision: self.revision }
    }

    /// Hands the keys and values out in order, encoded as they are on the wire. `each` says whether it wants more.
    pub(super) fn visit(&self, mut each: impl FnMut(&[u8]) -> bool) -> Result<(), Error> {
        for place in &self.places {
            let more = match place {
                Place::Held(record) => each(Record::key_value(record)),
                Place::Backend(revision) => {
                    self.view.with(*revision, |record| each(Record::key_value(record))).map_err(storage)?
                }
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn load(self) -> Result<Found, Error> {
        let mut key_values = Vec::with_capacity(self.places.len());
        for place in self.places {
            let record = match place {
                Place::Held(record) => record,
                Place::Backend(revision) => self.view.get(revision).map_err(storage)?,
            };
            let (_, key_value) = Record::decode(record).map_err(|error| Error::Storage(error.to_string()))?;
            key_values.push(key_value);
        }
        Ok(Found { key_values, count: self.count, revision: self.revision })
    }
}
