//! One client's stream of watches.
//!
//! A single task reads requests, takes deliveries from the hub's queue, and lets watchers that are behind catch up; it
//! waits for the client to take a response before it makes the next, which is what bounds a slow client's memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tonic::Status;

use super::fragment::fragments;
use super::hub::{Batch, Behind, Delivery, Happened, Interest, Places, Queue, WatcherId};
use super::responses::{Gone, Responses};
use crate::apply::Machine;
use crate::error::Error;
use crate::mvcc::Revision;
use crate::mvcc::backend::Record;
use crate::proto::mvcc::event::EventType;
use crate::proto::mvcc::{Event, KeyValue};
use crate::proto::rpc::watch_create_request::FilterType;
use crate::proto::rpc::watch_request::RequestUnion;
use crate::proto::rpc::{ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse};

/// The watch id of responses that are about no watch of the stream.
const NO_WATCH: i64 = -1;
/// Changes that a watcher reads at once while it catches up.
const CATCH_UP: usize = 1000;
/// Changes that are told before all else is looked at.
const IN_A_ROW: u64 = 32;

/// What a stream needs to know of its server.
pub struct Settings {
    /// A header with everything but the revision.
    pub header: ResponseHeader,
    /// How often idle watches that asked for it are told of progress.
    pub progress_interval: Duration,
    /// Fragments are about this large.
    pub fragment_bytes: usize,
    /// Whether the client may read a range.
    pub permit: Permit,
}

/// See [`Settings::permit`].
pub type Permit = Box<dyn Fn(&[u8], &[u8]) -> Result<(), Error> + Send + Sync>;

struct Watch {
    id: WatcherId,
    interest: Interest,
    prev_kv: bool,
    fragment: bool,
    progress_notify: bool,
    /// Whether nothing was sent since the last tick.
    idle: bool,
}

struct WatchStream {
    machine: Arc<Machine>,
    settings: Settings,
    queue: Arc<Queue>,
    watches: HashMap<i64, Watch>,
    /// The watches that read the history to catch up.
    behind: HashMap<i64, Behind>,
    /// How many watches want to be told of progress.
    notified: usize,
    next_id: i64,
    /// Deliveries taken from the queue.
    taken: u64,
    /// A request for progress that no answer was possible for yet.
    progress_wanted: bool,
    responses: Responses,
}

impl Drop for WatchStream {
    /// The task may be ended wherever it waits.
    fn drop(&mut self) {
        for watch in self.watches.values() {
            self.machine.hub.remove(watch.id);
        }
    }
}

/// Serves a stream until the client ends it, or this side, for the reason that `end` comes to.
pub async fn serve(
    machine: Arc<Machine>,
    settings: Settings,
    mut requests: impl Stream<Item = Result<WatchRequest, Status>> + Unpin,
    responses: Responses,
    end: impl Future<Output = Error>,
) {
    let (queue, mut deliveries) = Queue::new();
    let mut ticks = tokio::time::interval(settings.progress_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.reset();
    let mut stream = WatchStream {
        machine,
        settings,
        queue,
        watches: HashMap::new(),
        behind: HashMap::new(),
        notified: 0,
        next_id: 0,
        taken: 0,
        progress_wanted: false,
        responses,
    };
    let mut asking = true;
    tokio::pin!(end);
    loop {
        // Changes come first, but not for ever.
        if !stream.taken.is_multiple_of(IN_A_ROW)
            && let Ok(delivery) = deliveries.try_recv()
        {
            if stream.delivery(delivery).await.is_err() {
                break;
            }
            continue;
        }
        let catching_up = stream.next_behind();
        let notify = stream.notified > 0;
        let result = tokio::select! {
            biased;
            why = &mut end => {
                stream.responses.fail(why.into()).await;
                break;
            }
            () = stream.responses.closed() => break,
            request = requests.next(), if asking => match request {
                Some(Ok(request)) => stream.request(request).await,
                Some(Err(_)) => break,
                None => {
                    // The client has no more requests, but still listens.
                    asking = false;
                    Ok(())
                }
            },
            Some(delivery) = deliveries.recv() => stream.delivery(delivery).await,
            _ = ticks.tick(), if notify => stream.tick(),
            () = std::future::ready(()), if catching_up.is_some() => match catching_up {
                Some(watch) => {
                    let told = stream.catch_up(watch).await;
                    // The connection has other calls as well.
                    tokio::task::yield_now().await;
                    told
                }
                None => Ok(()),
            },
        };
        if result.is_err() {
            break;
        }
    }
    stream.responses.end();
}

impl WatchStream {
    async fn request(&mut self, request: WatchRequest) -> Result<(), Gone> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request).await,
            Some(RequestUnion::CancelRequest(request)) => {
                if !self.forget(request.watch_id) {
                    return Ok(());
                }
                let response =
                    WatchResponse { watch_id: request.watch_id, canceled: true, ..self.response(self.revision()) };
                self.send(response).await
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.progress_wanted = true;
                self.answer_progress();
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn create(&mut self, request: WatchCreateRequest) -> Result<(), Gone> {
        let created = self.register(&request);
        let (watch_id, reason) = match created {
            Ok(watch_id) => (watch_id, String::new()),
            Err(reason) => (NO_WATCH, reason),
        };
        let canceled = watch_id == NO_WATCH;
        let response = self.response(self.revision());
        self.send(WatchResponse { watch_id, created: true, canceled, cancel_reason: reason, ..response }).await
    }

    fn register(&mut self, request: &WatchCreateRequest) -> Result<i64, String> {
        if request.start_revision < 0 {
            return Err(Error::Compacted.to_string());
        }
        // An empty key means the smallest one.
        let key: Box<[u8]> = if request.key.is_empty() { Box::from([0]) } else { Box::from(&*request.key) };
        let range_end: Box<[u8]> = Box::from(&*request.range_end);
        if !range_end.is_empty() && *range_end != [0] && key >= range_end {
            return Err("mvcc: watcher range is empty".to_owned());
        }
        (self.settings.permit)(&key, &range_end).map_err(|error| error.to_string())?;
        let watch_id = match request.watch_id {
            0 => {
                while self.watches.contains_key(&self.next_id) {
                    self.next_id += 1;
                }
                self.next_id += 1;
                self.next_id - 1
            }
            taken if self.watches.contains_key(&taken) => {
                return Err("mvcc: duplicate watch ID provided on the WatchStream".to_owned());
            }
            chosen => chosen,
        };
        let filtered = |filter: FilterType| request.filters.contains(&(filter as i32));
        let interest =
            Interest { key, range_end, puts: !filtered(FilterType::Noput), deletes: !filtered(FilterType::Nodelete) };
        let (id, behind) = self.machine.hub.add(&self.queue, watch_id, interest.clone(), request.start_revision);
        if let Some(next) = behind {
            self.behind.insert(watch_id, Behind { id, watch: watch_id, next, after: 0 });
        }
        self.notified += usize::from(request.progress_notify);
        let watch = Watch {
            id,
            interest,
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            progress_notify: request.progress_notify,
            idle: false,
        };
        self.watches.insert(watch_id, watch);
        Ok(watch_id)
    }

    async fn delivery(&mut self, delivery: Delivery) -> Result<(), Gone> {
        self.taken += 1;
        for behind in self.queue.take_behind() {
            if self.watches.get(&behind.watch).is_some_and(|watch| watch.id == behind.id) {
                self.behind.insert(behind.watch, behind);
            }
        }
        match delivery {
            Delivery::Progress { watch, revision } => {
                if watch != NO_WATCH && !self.watches.contains_key(&watch) {
                    return Ok(());
                }
                self.send(WatchResponse { watch_id: watch, ..self.response(revision) }).await
            }
            Delivery::Changes { id, watch: watch_id, batch, places } => {
                let Some(watch) = self.watches.get(&watch_id).filter(|watch| watch.id == id) else { return Ok(()) };
                if !watch.prev_kv && !watch.fragment {
                    return self.send_changes(watch_id, &batch, &places).await;
                }
                let changes = places.iter().map(|place| &batch.changes[*place as usize]);
                let events = changes.map(|happened| self.event(watch, &batch, happened)).collect();
                self.send_events(watch_id, batch.revision, events).await
            }
        }
    }

    fn event(&self, watch: &Watch, batch: &Batch, happened: &Happened) -> Event {
        let change = &happened.change;
        let previous = || {
            let found = happened.previous.get_or_init(|| self.previous(&change.key_value, batch.revision));
            found.clone()
        };
        let prev_kv = if watch.prev_kv && may_have_previous(&change.key_value) { previous() } else { None };
        Event { prev_kv, ..happened.event() }
    }

    fn previous(&self, key_value: &KeyValue, revision: i64) -> Option<KeyValue> {
        self.machine.store.get(&key_value.key, revision - 1).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read a previous value");
            None
        })
    }

    /// The watch that may read history next: everything queued for it before it fell behind is sent.
    fn next_behind(&self) -> Option<i64> {
        let ready = self.behind.values().filter(|behind| behind.after <= self.taken);
        ready.min_by_key(|behind| behind.next).map(|behind| behind.watch)
    }

    /// Takes a watch away, if it is there.
    fn forget(&mut self, watch_id: i64) -> bool {
        self.behind.remove(&watch_id);
        let Some(watch) = self.watches.remove(&watch_id) else { return false };
        self.notified -= usize::from(watch.progress_notify);
        self.machine.hub.remove(watch.id);
        true
    }

    async fn catch_up(&mut self, watch_id: i64) -> Result<(), Gone> {
        let (Some(watch), Some(behind)) = (self.watches.get(&watch_id), self.behind.get(&watch_id).copied()) else {
            return Ok(());
        };
        let Some(upto) = self.machine.hub.sync(watch.id, behind.next) else {
            self.behind.remove(&watch_id);
            self.answer_progress();
            return Ok(());
        };
        let history = match self.machine.store.history(behind.next, upto, CATCH_UP) {
            Ok(history) => history,
            Err(Error::Compacted) => return self.compacted(watch_id).await,
            Err(error) => {
                self.responses.fail(error.into()).await;
                return Err(Gone);
            }
        };
        let full = history.len() >= CATCH_UP;
        let last = history.last().map(|(revision, _)| revision.main);
        let next = last.filter(|_| full).unwrap_or(upto) + 1;
        self.behind.insert(watch_id, Behind { next, ..behind });
        let events: Vec<Event> =
            history.into_iter().filter_map(|(revision, record)| self.past_event(watch, revision, record)).collect();
        if events.is_empty() {
            return Ok(());
        }
        self.send_events(watch_id, upto, events).await
    }

    fn past_event(&self, watch: &Watch, revision: Revision, record: bytes::Bytes) -> Option<Event> {
        let (deleted, mut key_value) = match Record::decode(record) {
            Ok(decoded) => decoded,
            Err(error) => {
                tracing::error!(?revision, %error, "cannot read a past change");
                return None;
            }
        };
        if !watch.interest.wants(deleted) || !watch.interest.range().contains(&key_value.key) {
            return None;
        }
        if deleted {
            key_value.mod_revision = revision.main;
        }
        let wanted = watch.prev_kv && may_have_previous(&key_value);
        let prev_kv = if wanted { self.previous(&key_value, revision.main) } else { None };
        Some(event(deleted, key_value, prev_kv))
    }

    async fn compacted(&mut self, watch_id: i64) -> Result<(), Gone> {
        self.forget(watch_id);
        let compact_revision = self.machine.store.meta().compacted;
        self.send(WatchResponse { watch_id, canceled: true, compact_revision, ..self.response(0) }).await
    }

    /// Tells idle watches of progress.
    fn tick(&mut self) -> Result<(), Gone> {
        for watch in self.watches.values_mut().filter(|watch| watch.progress_notify) {
            if watch.idle {
                self.machine.hub.progress(watch.id);
            }
            watch.idle = true;
        }
        Ok(())
    }

    fn answer_progress(&mut self) {
        if self.progress_wanted {
            let ids = self.watches.values().map(|watch| watch.id);
            self.progress_wanted = !self.machine.hub.progress_of_all(&self.queue, ids);
        }
    }

    async fn send_events(&mut self, watch_id: i64, revision: i64, events: Vec<Event>) -> Result<(), Gone> {
        let response = WatchResponse { watch_id, events, ..self.response(revision) };
        let Some(watch) = self.watches.get_mut(&watch_id) else { return Ok(()) };
        watch.idle = false;
        if !watch.fragment {
            return self.send(response).await;
        }
        for fragment in fragments(response, self.settings.fragment_bytes) {
            self.send(fragment).await?;
        }
        Ok(())
    }

    /// As [`Self::send_events`], for watches that are told neither more nor less than others.
    async fn send_changes(&mut self, watch_id: i64, batch: &Batch, places: &Places) -> Result<(), Gone> {
        let response = WatchResponse { watch_id, ..self.response(batch.revision) };
        if let Some(watch) = self.watches.get_mut(&watch_id) {
            watch.idle = false;
        }
        self.responses.send_changes(response, batch, places).await
    }

    async fn send(&mut self, response: WatchResponse) -> Result<(), Gone> {
        self.responses.send(response).await
    }

    fn response(&self, revision: i64) -> WatchResponse {
        let header = ResponseHeader { revision, ..self.settings.header };
        WatchResponse { header: Some(header), ..WatchResponse::default() }
    }

    fn revision(&self) -> i64 {
        self.machine.store.revision()
    }
}

fn event(deleted: bool, key_value: KeyValue, prev_kv: Option<KeyValue>) -> Event {
    let kind = if deleted { EventType::Delete } else { EventType::Put };
    Event { r#type: kind as i32, kv: Some(key_value), prev_kv }
}

/// A key that was just created has none.
fn may_have_previous(key_value: &KeyValue) -> bool {
    key_value.create_revision != key_value.mod_revision
}
