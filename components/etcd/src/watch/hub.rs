//! Where the apply loop's changes meet the watchers.
//!
//! A watcher is either *synced*, then changes are put into its stream's queue as they happen, or *behind*, then its
//! stream reads the history until it has caught up and asks to be synced. Only the transition between the two and the
//! publication take the lock, so neither loses a change nor repeats one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::mpsc;

use crate::mvcc::range::KeyRange;
use crate::mvcc::txn::Changed;
use crate::proto::mvcc::event::EventType;
use crate::proto::mvcc::{Event, KeyValue};
use crate::proto::rpc::WatchResponse;

/// Deliveries that a stream may have waiting before its watchers fall behind.
const QUEUE: usize = 1024;

/// A change, what was there before it once somebody asked, and what streams send of it once one did.
pub struct Happened {
    pub change: Changed,
    pub previous: OnceLock<Option<KeyValue>>,
    encoded: OnceLock<Bytes>,
}

impl Happened {
    pub fn new(change: Changed) -> Self {
        Self { change, previous: OnceLock::new(), encoded: OnceLock::new() }
    }

    /// The event without what was there before.
    pub fn event(&self) -> Event {
        let kind = if self.change.deleted { EventType::Delete } else { EventType::Put };
        Event { r#type: kind as i32, kv: Some(self.change.key_value.clone()), prev_kv: None }
    }

    /// The same as a field of a response, encoded once for all who are told of it.
    pub fn encoded(&self) -> &Bytes {
        self.encoded.get_or_init(|| {
            let response = WatchResponse { events: vec![self.event()], ..WatchResponse::default() };
            response.encode_to_vec().into()
        })
    }
}

/// What was changed in one revision.
pub struct Batch {
    pub revision: i64,
    pub changes: Vec<Happened>,
}

/// What a stream's queue holds.
pub enum Delivery {
    /// Some of a batch's changes, by their places in it, for one watch. The watcher's id tells it from an earlier one of
    /// the same watch id.
    Changes { id: WatcherId, watch: i64, batch: Arc<Batch>, places: Places },
    /// The watch has been told everything up to this revision.
    Progress { watch: i64, revision: i64 },
}

/// Nearly every revision changes one key.
pub type Places = smallvec::SmallVec<[u32; 2]>;

/// Names a watcher within the hub.
pub type WatcherId = u64;

/// A watcher that fell behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    pub id: WatcherId,
    pub watch: i64,
    /// The first revision that it has not been told of.
    pub next: i64,
    /// How many deliveries of the stream's queue come before that.
    pub after: u64,
}

/// What a watch asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    pub key: Box<[u8]>,
    pub range_end: Box<[u8]>,
    pub puts: bool,
    pub deletes: bool,
}

impl Interest {
    /// The keys it is about.
    pub fn range(&self) -> KeyRange<'_> {
        KeyRange::new(&self.key, &self.range_end)
    }

    /// Whether it asks for this kind of change.
    pub fn wants(&self, deleted: bool) -> bool {
        if deleted { self.deletes } else { self.puts }
    }
}

/// The hub's side of a stream.
pub struct Queue {
    sender: mpsc::Sender<Delivery>,
    state: Mutex<QueueState>,
    any_behind: AtomicBool,
}

#[derive(Default)]
struct QueueState {
    sent: u64,
    behind: Vec<Behind>,
}

impl Queue {
    /// A queue and the stream's end of it.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<Delivery>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let queue = Self { sender, state: Mutex::default(), any_behind: AtomicBool::new(false) };
        (Arc::new(queue), receiver)
    }

    /// The watchers that fell behind since the last call. A stream asks after each delivery: a queue can only be full
    /// while deliveries are yet to come.
    pub fn take_behind(&self) -> Vec<Behind> {
        if !self.any_behind.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut self.state.lock().behind)
    }

    fn send(&self, delivery: Delivery) -> bool {
        // A stream that is gone takes its watchers away itself.
        let sent = match self.sender.try_send(delivery) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => return false,
            Err(mpsc::error::TrySendError::Closed(_)) => return true,
        };
        self.state.lock().sent += 1;
        sent
    }

    fn fell_behind(&self, id: WatcherId, watch: i64, next: i64) {
        let mut state = self.state.lock();
        let after = state.sent;
        state.behind.push(Behind { id, watch, next, after });
        self.any_behind.store(true, Ordering::Release);
    }
}

/// A range's start and end as a watch gave them.
type Range = (Box<[u8]>, Box<[u8]>);

struct Watcher {
    queue: Arc<Queue>,
    watch: i64,
    interest: Interest,
    /// Changes before this revision are not for it.
    next: i64,
    synced: bool,
}

#[derive(Default)]
struct Watchers {
    published: i64,
    next_id: WatcherId,
    all: HashMap<WatcherId, Watcher>,
    /// Synced watchers of one key.
    by_key: HashMap<Box<[u8]>, Vec<WatcherId>>,
    /// Synced watchers of ranges.
    by_range: BTreeMap<Range, Vec<WatcherId>>,
}

/// See the module.
pub struct Hub {
    watchers: Mutex<Watchers>,
}

impl Hub {
    /// A hub that has published everything up to `revision`.
    pub fn new(revision: i64) -> Self {
        Self { watchers: Mutex::new(Watchers { published: revision, ..Watchers::default() }) }
    }

    /// Tells the watchers what was changed in a revision. Never waits.
    pub fn publish(&self, revision: i64, changes: Vec<Changed>) {
        let mut watchers = self.watchers.lock();
        watchers.published = revision;
        if watchers.by_key.is_empty() && watchers.by_range.is_empty() {
            return;
        }
        let told = watchers.told(revision, &changes);
        if told.is_empty() {
            return;
        }
        let changes = changes.into_iter().map(Happened::new).collect();
        let batch = Arc::new(Batch { revision, changes });
        for (id, places) in told {
            let Some(watcher) = watchers.all.get_mut(&id) else { continue };
            let delivery = Delivery::Changes { id, watch: watcher.watch, batch: batch.clone(), places };
            if !watcher.queue.send(delivery) {
                watcher.synced = false;
                watcher.next = revision;
                watcher.queue.fell_behind(id, watcher.watch, revision);
                watchers.unlist(id);
            }
        }
    }

    /// Adds a watcher that wants every change from `start` on (0: from now on). It begins synced when there is nothing
    /// to catch up with; otherwise the first revision to read is returned with it.
    pub fn add(&self, queue: &Arc<Queue>, watch: i64, interest: Interest, start: i64) -> (WatcherId, Option<i64>) {
        let mut watchers = self.watchers.lock();
        let synced = start == 0 || start > watchers.published;
        let next = if start == 0 { watchers.published + 1 } else { start };
        let id = watchers.next_id;
        watchers.next_id += 1;
        watchers.all.insert(id, Watcher { queue: queue.clone(), watch, interest, next, synced });
        if synced {
            watchers.list(id);
        }
        (id, (!synced).then_some(next))
    }

    /// Asks to be synced with `next` as the first revision not told yet. When that is behind, the revision up to which
    /// to read on is returned.
    pub fn sync(&self, id: WatcherId, next: i64) -> Option<i64> {
        let mut watchers = self.watchers.lock();
        let published = watchers.published;
        if next <= published {
            return Some(published);
        }
        let watcher = watchers.all.get_mut(&id)?;
        watcher.next = next;
        if !std::mem::replace(&mut watcher.synced, true) {
            watchers.list(id);
        }
        None
    }

    /// Takes a watcher away.
    pub fn remove(&self, id: WatcherId) {
        let mut watchers = self.watchers.lock();
        watchers.unlist(id);
        watchers.all.remove(&id);
    }

    /// Puts word of progress into a watcher's queue, behind everything it is about. Says whether that was possible: a
    /// watcher that is behind or that begins in the future has none.
    pub fn progress(&self, id: WatcherId) -> bool {
        let watchers = self.watchers.lock();
        let revision = watchers.published;
        watchers.all.get(&id).is_some_and(|watcher| {
            watcher.synced
                && watcher.next <= revision + 1
                && watcher.queue.send(Delivery::Progress { watch: watcher.watch, revision })
        })
    }

    /// As [`Hub::progress`], on behalf of all of a stream's watchers: one word under the watch id -1.
    pub fn progress_of_all(&self, queue: &Arc<Queue>, ids: impl IntoIterator<Item = WatcherId>) -> bool {
        let watchers = self.watchers.lock();
        let revision = watchers.published;
        let ready = ids
            .into_iter()
            .all(|id| watchers.all.get(&id).is_some_and(|watcher| watcher.synced && watcher.next <= revision + 1));
        ready && queue.send(Delivery::Progress { watch: -1, revision })
    }

    /// The newest revision that watchers were told of.
    pub fn published(&self) -> i64 {
        self.watchers.lock().published
    }

    /// Watchers in all, and those behind.
    pub fn counts(&self) -> (usize, usize) {
        let watchers = self.watchers.lock();
        (watchers.all.len(), watchers.all.values().filter(|watcher| !watcher.synced).count())
    }
}

impl Watchers {
    /// Who is to be told of which changes.
    fn told(&self, revision: i64, changes: &[Changed]) -> Vec<(WatcherId, Places)> {
        let mut order = Vec::new();
        let mut places: HashMap<WatcherId, Places> = HashMap::new();
        for (place, change) in changes.iter().enumerate() {
            let place = u32::try_from(place).expect("a transaction is bounded far below four billion changes");
            let key: &[u8] = &change.key_value.key;
            let mut tell = |ids: &[WatcherId]| {
                for id in ids {
                    let watcher = &self.all[id];
                    if watcher.next <= revision && watcher.interest.wants(change.deleted) {
                        if changes.len() == 1 {
                            order.push((*id, Places::from_slice(&[place])));
                        } else {
                            places.entry(*id).or_default().push(place);
                        }
                    }
                }
            };
            if let Some(ids) = self.by_key.get(key) {
                tell(ids);
            }
            for ((start, end), ids) in &self.by_range {
                if start.as_ref() > key {
                    break;
                }
                if KeyRange::new(start, end).contains(key) {
                    tell(ids);
                }
            }
        }
        order.extend(places);
        order
    }

    fn list(&mut self, id: WatcherId) {
        let interest = &self.all[&id].interest;
        if interest.range_end.is_empty() {
            self.by_key.entry(interest.key.clone()).or_default().push(id);
        } else {
            let range = (interest.key.clone(), interest.range_end.clone());
            self.by_range.entry(range).or_default().push(id);
        }
    }

    fn unlist(&mut self, id: WatcherId) {
        let Some(watcher) = self.all.get(&id) else { return };
        let interest = &watcher.interest;
        if interest.range_end.is_empty() {
            if let Some(ids) = self.by_key.get_mut(&interest.key) {
                ids.retain(|listed| *listed != id);
                if ids.is_empty() {
                    self.by_key.remove(&interest.key);
                }
            }
        } else {
            let range = (interest.key.clone(), interest.range_end.clone());
            if let Some(ids) = self.by_range.get_mut(&range) {
                ids.retain(|listed| *listed != id);
                if ids.is_empty() {
                    self.by_range.remove(&range);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn change(key: &'static str, revision: i64, deleted: bool) -> Changed {
        let key = Bytes::from_static(key.as_bytes());
        Changed { deleted, key_value: KeyValue { key, mod_revision: revision, ..KeyValue::default() } }
    }

    fn interest(key: &str, range_end: &str) -> Interest {
        let bytes = |text: &str| Box::from(text.as_bytes());
        Interest { key: bytes(key), range_end: bytes(range_end), puts: true, deletes: true }
    }

    fn drain(receiver: &mut mpsc::Receiver<Delivery>) -> Vec<(i64, i64, usize)> {
        let mut seen = Vec::new();
        while let Ok(delivery) = receiver.try_recv() {
            seen.push(match delivery {
                Delivery::Changes { watch, batch, places, .. } => (watch, batch.revision, places.len()),
                Delivery::Progress { watch, revision } => (watch, revision, 0),
            });
        }
        seen
    }

    #[test]
    fn changes_reach_who_asked_for_them() {
        let hub = Hub::new(5);
        let (queue, mut receiver) = Queue::new();
        hub.add(&queue, 0, interest("a", ""), 0);
        hub.add(&queue, 1, interest("a", "c"), 0);
        hub.add(&queue, 2, interest("b", "\0"), 0);
        hub.add(&queue, 3, interest("a", ""), 9);
        let deletes = Interest { puts: false, ..interest("a", "") };
        hub.add(&queue, 4, deletes, 0);
        hub.publish(6, vec![change("a", 6, false)]);
        assert_eq!(drain(&mut receiver), [(0, 6, 1), (1, 6, 1)]);
        hub.publish(7, vec![change("a", 7, true), change("b", 7, false)]);
        let mut seen = drain(&mut receiver);
        seen.sort_unstable();
        assert_eq!(seen, [(0, 7, 1), (1, 7, 2), (2, 7, 1), (4, 7, 1)]);
        hub.publish(9, vec![change("a", 9, false)]);
        assert!(drain(&mut receiver).contains(&(3, 9, 1)));
    }

    #[test]
    fn a_full_queue_makes_a_watcher_fall_behind_and_syncing_loses_nothing() {
        let hub = Hub::new(1);
        let (queue, mut receiver) = Queue::new();
        let (id, behind) = hub.add(&queue, 7, interest("a", ""), 0);
        assert_eq!(behind, None);
        let count = QUEUE as i64 + 3;
        for revision in 2..2 + count {
            hub.publish(revision, vec![change("a", revision, false)]);
        }
        assert_eq!(drain(&mut receiver).len(), QUEUE);
        let first_lost = 2 + QUEUE as i64;
        assert_eq!(queue.take_behind(), [Behind { id, watch: 7, next: first_lost, after: QUEUE as u64 }]);
        assert_eq!(queue.take_behind(), []);
        assert!(!hub.progress(id));
        assert_eq!(hub.counts(), (1, 1));

        assert_eq!(hub.sync(id, first_lost), Some(1 + count));
        hub.publish(2 + count, vec![change("a", 2 + count, false)]);
        assert_eq!(hub.sync(id, 2 + count), Some(2 + count));
        assert_eq!(hub.sync(id, 3 + count), None);
        hub.publish(3 + count, vec![change("a", 3 + count, false)]);
        assert!(hub.progress(id));
        assert_eq!(drain(&mut receiver), [(7, 3 + count, 1), (7, 3 + count, 0)]);
        hub.remove(id);
        assert_eq!(hub.counts(), (0, 0));
    }
}
