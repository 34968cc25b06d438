//! The newest changes of a resource, which watches begin from and earlier states are made of.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Change, Map};

/// How long a change is kept, so that a watch that was told a bookmark a minute ago can go on; upstream's number.
const FRESH: Duration = Duration::from_secs(75);
/// Changes that are kept however old they are.
const LEAST: usize = 2048;
/// Changes that are kept however new they are; upstream's number.
pub(super) const MOST: usize = 102_400;
/// What kept changes may hold alone, in bytes: objects as they were before.
const ROOM: usize = 64 << 20;
/// Changes that are undone for a state of before; whoever wants an older one asks etcd, as nobody changes anything meanwhile.
const UNDONE: usize = 8192;

/// Changes in the order of their revisions.
#[derive(Default)]
pub(super) struct Ring {
    changes: VecDeque<(Instant, Change)>,
    /// Changes up to this revision may be missing.
    start: i64,
    /// What the changes hold alone.
    held: usize,
}

impl Ring {
    /// Without a change since `start`.
    pub fn beginning(start: i64) -> Self {
        Self { start, ..Self::default() }
    }

    /// Changes up to this revision may be missing.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The newest change's revision.
    pub fn newest(&self) -> Option<i64> {
        self.changes.back().map(|(_, change)| change.revision)
    }

    /// Takes up a change that is newer than all before it; the oldest go that are not worth their room any more.
    pub fn push(&mut self, change: Change, now: Instant) {
        self.held += held(&change);
        self.changes.push_back((now, change));
        while let Some((at, oldest)) = self.changes.front() {
            let count = self.changes.len();
            let due = count > MOST || self.held > ROOM || now.saturating_duration_since(*at) > FRESH;
            if count <= LEAST || !due {
                return;
            }
            (self.start, self.held) = (oldest.revision, self.held - held(oldest));
            self.changes.pop_front();
        }
    }

    /// The changes after a revision.
    pub fn after(&self, revision: i64) -> impl DoubleEndedIterator<Item = &Change> {
        let begin = self.changes.partition_point(|(_, change)| change.revision <= revision);
        self.changes.range(begin..).map(|(_, change)| change)
    }

    /// Objects as they were at a revision, of what they are now; `None` where that is too far back.
    pub fn undone(&self, objects: &Map, revision: i64) -> Option<Map> {
        let since = self.after(revision);
        if revision < self.start || since.size_hint().0 > UNDONE {
            return None;
        }
        let mut objects = objects.clone();
        for change in since.rev() {
            match &change.old {
                Some(old) => objects.insert(change.key.clone(), old.clone()),
                None => objects.remove(&*change.key),
            };
        }
        Some(objects)
    }

    /// Whether a change of an object is among those that have been. A watch that broke while a message was taken up brings that
    /// message's first changes again.
    pub fn has(&self, key: &str, revision: i64) -> bool {
        let mut since = self.after(revision - 1);
        revision <= self.start || since.any(|change| change.revision == revision && &*change.key == key)
    }
}

/// What is kept for a change alone: what is new is in the map, until something newer holds it.
fn held(change: &Change) -> usize {
    change.old.as_ref().map_or(0, |old| old.json.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::cache::Entry;
    use crate::registry;

    /// So many changes, `every` after one another, of an object of so many bytes; which revisions are left.
    fn left(count: usize, every: Duration, size: usize) -> (i64, usize) {
        let (_, spec) = registry::find("", "v1", "configmaps").unwrap();
        let object = json!({"metadata": {"name": "a"}});
        let mut entry = Entry::new(spec, object.to_string().as_bytes(), 1).unwrap();
        entry.json = Bytes::from(vec![b' '; size]);
        let entry = Some(Arc::new(entry));
        let (mut ring, mut now) = (Ring::beginning(0), Instant::now());
        for revision in 1..=count as i64 {
            let change = Change { revision, key: "a".into(), old: entry.clone(), new: entry.clone(), frames: None };
            ring.push(change, now);
            now += every;
        }
        assert_eq!(ring.after(0).map(|change| change.revision).min(), Some(ring.start() + 1));
        assert_eq!((ring.newest(), ring.after(count as i64).count()), (Some(count as i64), 0));
        assert_eq!(ring.after(count as i64 - 3).map(|change| change.revision).collect::<Vec<_>>().len(), 3);
        assert_eq!(ring.held, ring.changes.len() * size);
        let reaches = |back: i64| ring.undone(&Map::new(), count as i64 - back).is_some();
        assert!(reaches(1000) && !reaches(8193));
        (ring.start(), ring.changes.len())
    }

    #[test]
    fn changes_are_kept_while_they_are_fresh() {
        let second = Duration::from_secs(1);
        // Few are kept however old they are, and many while they are new.
        assert_eq!(left(2000, second, 10), (0, 2000));
        assert_eq!(left(2100, second, 10), (52, 2048));
        assert_eq!(left(10_000, second / 100, 10), (10_000 - 7501, 7501));
        // Neither too many nor too much.
        assert_eq!(left(103_000, Duration::from_micros(1), 10), (600, 102_400));
        assert_eq!(left(5000, Duration::from_micros(1), 16 << 10), (5000 - 4096, 4096));
        assert_eq!(left(3000, Duration::from_micros(1), 1 << 20), (3000 - 2048, 2048));
    }
}
