//! The key index: for each key the revisions that changed it, oldest first.
//!
//! etcd keeps generations, one per life of a key; here each version carries what its generation would say (when the key
//! was created and how often it was changed since), which makes a flat list of it and most keys one inline element.

use std::collections::BTreeMap;
use std::ops::Bound;

use smallvec::SmallVec;

use super::Revision;
use super::range::KeyRange;

/// One change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    main: i64,
    /// The revision that created the key; 0 for a tombstone.
    pub create: i64,
    /// 1 for the change that created the key, and counting; 0 for a tombstone.
    pub number: i64,
    sub: u32,
}

impl Version {
    pub fn revision(&self) -> Revision {
        Revision { main: self.main, sub: i64::from(self.sub) }
    }

    /// Whether this change deleted the key.
    pub fn is_tombstone(&self) -> bool {
        self.number == 0
    }
}

/// A key's versions, oldest first, never empty.
type Versions = SmallVec<[Version; 1]>;

/// The index. All of it is in memory.
#[derive(Default)]
pub struct Index {
    keys: BTreeMap<Box<[u8]>, Versions>,
}

/// What [`Index::put`] found out.
pub struct Put {
    pub create: i64,
    pub number: i64,
    /// The version that was there, unless the key was new or deleted.
    pub previous: Option<Version>,
}

impl Index {
    /// Keys with any history.
    pub fn size(&self) -> usize {
        self.keys.len()
    }

    /// Records a change at `revision`, which must be above all others of the key.
    pub fn put(&mut self, key: &[u8], revision: Revision) -> Put {
        let previous = self.keys.get(key).and_then(|versions| live(versions.last()));
        let (create, number) = match previous {
            Some(previous) => (previous.create, previous.number + 1),
            None => (revision.main, 1),
        };
        self.push(key, Version { main: revision.main, sub: narrow(revision.sub), create, number });
        Put { create, number, previous }
    }

    /// Records a deletion at `revision`. The key must be there.
    pub fn tombstone(&mut self, key: &[u8], revision: Revision) {
        self.push(key, Version { main: revision.main, sub: narrow(revision.sub), create: 0, number: 0 });
    }

    /// Takes over a version read from disk; called in the order of revisions. A `number` of 0 is a tombstone.
    pub fn restore(&mut self, key: &[u8], revision: Revision, create: i64, number: i64) {
        self.push(key, Version { main: revision.main, sub: narrow(revision.sub), create, number });
    }

    fn push(&mut self, key: &[u8], version: Version) {
        match self.keys.get_mut(key) {
            Some(versions) => versions.push(version),
            None => {
                self.keys.insert(key.into(), SmallVec::from_buf([version]));
            }
        }
    }

    /// The key's version as of `main`, unless it was not there then.
    pub fn get(&self, key: &[u8], main: i64) -> Option<Version> {
        as_of(self.keys.get(key)?, main)
    }

    /// The keys of a range as of `main`, in order. At most `limit` are returned (0: all); the number is that of all.
    pub fn range(&self, range: KeyRange<'_>, main: i64, limit: usize) -> (Vec<Version>, usize) {
        if let KeyRange::One(key) = range {
            let found: Vec<Version> = self.get(key, main).into_iter().collect();
            let count = found.len();
            return (found, count);
        }
        let mut found = Vec::new();
        let mut count = 0;
        self.visit(range, main, |_, version| {
            count += 1;
            if limit == 0 || found.len() < limit {
                found.push(version);
            }
        });
        (found, count)
    }

    /// How many keys a range has as of `main`.
    pub fn count(&self, range: KeyRange<'_>, main: i64) -> usize {
        let mut count = 0;
        self.visit(range, main, |_, _| count += 1);
        count
    }

    /// The keys that a range has as of `main`.
    pub fn keys(&self, range: KeyRange<'_>, main: i64) -> Vec<Box<[u8]>> {
        let mut keys = Vec::new();
        self.visit(range, main, |key, _| keys.push(key.into()));
        keys
    }

    fn visit(&self, range: KeyRange<'_>, main: i64, mut each: impl FnMut(&[u8], Version)) {
        let Some(bounds) = range.bounds() else { return };
        for (key, versions) in self.keys.range::<[u8], _>(bounds) {
            if let Some(version) = as_of(versions, main) {
                each(key, version);
            }
        }
    }

    /// Forgets what no read at `main` or later can see, for up to `chunk` keys after `after`. Adds the forgotten
    /// revisions to `dropped` and returns the last key looked at, or `None` when the end was reached.
    pub fn compact(
        &mut self,
        main: i64,
        after: Option<&[u8]>,
        chunk: usize,
        dropped: &mut Vec<Revision>,
    ) -> Option<Box<[u8]>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut empty: Vec<Box<[u8]>> = Vec::new();
        let mut last = None;
        let mut seen = 0;
        for (key, versions) in self.keys.range_mut::<[u8], _>((from, Bound::Unbounded)) {
            seen += 1;
            compact_versions(versions, main, dropped);
            if versions.is_empty() {
                empty.push(key.clone());
            }
            if seen == chunk {
                last = Some(key.clone());
                break;
            }
        }
        for key in empty {
            self.keys.remove(&key);
        }
        last
    }
}

fn compact_versions(versions: &mut Versions, main: i64, dropped: &mut Vec<Revision>) {
    let visible = versions.partition_point(|version| version.main <= main);
    if visible == 0 {
        return;
    }
    // The newest of the old ones is what a read at `main` sees, if it sees the key. A deletion at `main` itself stays,
    // because a watch may still begin there.
    let newest = versions[visible - 1];
    let keep = !newest.is_tombstone() || newest.main == main;
    let forget = if keep { visible - 1 } else { visible };
    dropped.extend(versions.drain(..forget).map(|version| version.revision()));
    if versions.spilled() && versions.len() <= 1 {
        versions.shrink_to_fit();
    }
}

fn live(version: Option<&Version>) -> Option<Version> {
    version.filter(|version| !version.is_tombstone()).copied()
}

fn as_of(versions: &Versions, main: i64) -> Option<Version> {
    let newest = versions.last()?;
    if newest.main <= main {
        return live(Some(newest));
    }
    let visible = versions.partition_point(|version| version.main <= main);
    live(versions[..visible].last())
}

fn narrow(sub: i64) -> u32 {
    u32::try_from(sub).expect("a transaction is bounded far below four billion changes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(main: i64) -> Revision {
        Revision::start_of(main)
    }

    fn sample() -> Index {
        let mut index = Index::default();
        index.put(b"a", at(2));
        index.put(b"b", at(3));
        index.put(b"a", at(4));
        index.tombstone(b"a", at(5));
        index.put(b"a", at(7));
        index
    }

    #[test]
    fn versions_follow_the_lives_of_a_key() {
        let index = sample();
        let seen =
            |main| index.get(b"a", main).map(|version| (version.revision().main, version.create, version.number));
        assert_eq!(seen(1), None);
        assert_eq!(seen(3), Some((2, 2, 1)));
        assert_eq!(seen(4), Some((4, 2, 2)));
        assert_eq!(seen(5), None);
        assert_eq!(seen(6), None);
        assert_eq!(seen(9), Some((7, 7, 1)));
    }

    #[test]
    fn a_range_counts_beyond_its_limit() {
        let index = sample();
        let (found, count) = index.range(KeyRange::From(b"a"), 9, 1);
        assert_eq!((found.len(), count), (1, 2));
        assert_eq!(index.count(KeyRange::Between(b"b", b"c"), 9), 1);
        assert_eq!(index.count(KeyRange::Between(b"c", b"b"), 9), 0);
        assert_eq!(index.keys(KeyRange::all(), 5), [Box::from(*b"b")]);
    }

    /// (compaction, dropped revisions, keys left)
    #[test]
    fn compaction_keeps_what_can_still_be_seen() {
        let table: &[(i64, &[i64], usize)] =
            &[(1, &[], 2), (2, &[], 2), (4, &[2], 2), (5, &[2, 4], 2), (6, &[2, 4, 5], 2), (9, &[2, 4, 5], 2)];
        for (main, expected, keys) in table {
            let mut index = sample();
            let mut dropped = Vec::new();
            assert_eq!(index.compact(*main, None, 100, &mut dropped), None);
            let mains: Vec<i64> = dropped.iter().map(|revision| revision.main).collect();
            assert_eq!((mains.as_slice(), index.keys.len()), (*expected, *keys), "at {main}");
            for later in *main..10 {
                let key = |index: &Index| index.get(b"a", later).map(|version| version.revision());
                assert_eq!(key(&index), key(&sample()), "compacted at {main}, read at {later}");
            }
        }
    }

    #[test]
    fn a_deleted_key_goes_with_the_compaction_after_its_deletion() {
        let mut index = Index::default();
        index.put(b"k", at(2));
        index.tombstone(b"k", at(3));
        let mut dropped = Vec::new();
        index.compact(3, None, 100, &mut dropped);
        assert_eq!((dropped.len(), index.keys.len()), (1, 1));
        index.compact(4, None, 100, &mut dropped);
        assert_eq!((dropped.len(), index.keys.len()), (2, 0));
    }

    #[test]
    fn compaction_in_chunks_reaches_every_key() {
        let mut index = Index::default();
        for main in 2..40 {
            index.put(format!("k{}", main % 7).as_bytes(), at(main));
        }
        let (mut dropped, mut after) = (Vec::new(), None);
        loop {
            after = index.compact(100, after.as_deref(), 3, &mut dropped);
            if after.is_none() {
                break;
            }
        }
        assert_eq!((dropped.len(), index.keys.len()), (38 - 7, 7));
    }
}
