//! watch: a stream of events, each one's bytes shared by all who see it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kinit_api::status::Status;
use kinit_serving::{Body, full};
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Api, Filter, filter, paging, selects, within};
use crate::cache::{Cache, Change, Entry, Frames, Scope, Watched};
use crate::convert::{self, Converter};
use crate::registry::{ResourceSpec, Spec};
use crate::render::{Events, Item};
use crate::request::ResourceRequest;
use crate::{render, view};

/// How often a watcher that asked for bookmarks gets one, unless changes are waiting just then.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// How long before a watch ends it gets its last one, so that its client goes on from there.
const BEFORE_END: Duration = Duration::from_secs(2);

/// What an event is that tells no change, but how far the watch has come.
const BOOKMARK: &str = "BOOKMARK";

/// Events that wait for a watcher are sent together until they are this long.
const GATHERED: usize = 32 * 1024;

impl Api {
    pub(super) async fn watch(&self, request: &ResourceRequest) -> Result<Response<Body>, Status> {
        let began = Instant::now();
        paging::check(request)?;
        let selected = filter(request)?;
        let timeout = request.integer("timeoutSeconds")?.unwrap_or(0);
        let mut encoder = Events::new(request.spec.clone(), request.format);
        // What is over before it began is an answer without events.
        let Ok(timeout) = u64::try_from(timeout) else { return Ok(render::stream(&encoder, full(""))) };
        // One without a timeout of its own ends some time, so that clients spread over servers again, and not all at once.
        let lasts = || match self.options.min_request_timeout {
            0 => Duration::from_secs(u32::MAX.into()),
            least => Duration::from_secs(least.into()).mul_f64(rand::random_range(1.0..2.0)),
        };
        let timeout = if timeout == 0 { lasts() } else { Duration::from_secs(timeout) };
        let revision = match request.parameter("resourceVersion") {
            "" => 0,
            text => paging::version(text)?,
        };
        let bookmarks = request.flag("allowWatchBookmarks");
        let says_initial = request.query.contains_key("sendInitialEvents");
        let wants_initial = request.flag("sendInitialEvents");
        let mut head: Vec<Event> = Vec::new();
        let watched = self.cache.watched(&request.spec);
        let (receiver, newest);
        let (converts, selecting) = (convert::asks(&request.spec), selects(request));
        // A version that does not come is an event of the stream as well.
        if wants_initial && let Err(error) = self.cache.reach_for(request.index, revision).await {
            let event = encoder.encode("ERROR", &Item::Made(error.to_value().to_string().into()))?;
            return Ok(render::stream(&encoder, full(event)));
        }
        // Without a version, and from 0, a watch begins with the present state, as upstream's does, unless it says not to.
        if wants_initial || revision == 0 {
            let (objects, at, events) = self.cache.list_and_subscribe(request.index);
            (receiver, newest) = (events, at);
            let entries = objects
                .values()
                .filter(|_| wants_initial || !says_initial)
                .filter(|entry| (converts && within(request, entry)) || selected(entry))
                .cloned()
                .collect();
            let entries = self.converter.entries(&request.spec, entries).await?;
            let shown = entries.iter().filter(|entry| selected(entry));
            head.extend(shown.map(|entry| Event::Object("ADDED", view::item(&request.spec, entry))));
            self.cache.began(request.index, head.len());
            // Who says nothing of initial events is told where they end, too.
            if bookmarks && (wants_initial || !says_initial) {
                head.push(Event::Initial(bookmark(&request.spec, at, true)));
            }
        } else {
            let (missed, events) = match self.cache.subscribe(request.index, revision) {
                Ok(subscription) => subscription,
                // An expired start is an event of the stream, not an answer: the client's watch loop reads it there.
                Err(error) => {
                    let event = encoder.encode("ERROR", &Item::Made(error.to_value().to_string().into()))?;
                    return Ok(render::stream(&encoder, full(event)));
                }
            };
            (receiver, newest) = (events, missed.last().map_or(revision, |change| change.revision));
            self.cache.began(request.index, missed.len());
            for change in missed {
                let change =
                    if converts { self.converter.change(&request.spec, change, selecting).await? } else { change };
                head.extend(encode(&request.spec, &change, &selected));
            }
        }
        let live = Live {
            receiver,
            selected,
            newest,
            spec: request.spec.clone(),
            cache: self.cache.clone(),
            bookmarks: bookmarks.then(|| {
                let (now, end) = (Instant::now(), Instant::now() + timeout);
                Bookmarks { due: Box::pin(sleep_until(next_bookmark(now, end))), end }
            }),
            converter: converts.then(|| self.converter.clone()),
            selecting,
            index: request.index,
            watched: watched.clone(),
            // What a webhook converts is not what the change was stored as, and so not what others send.
            sharing: encoder.shared().filter(|_| !converts).map(|protobuf| (protobuf, encoder.clone())),
        };
        let events = stream::iter(head).chain(live.into_stream());
        let bounded = events.take_until(tokio::time::sleep(timeout));
        let answer = encoder.clone();
        let scope = match (request.selected("metadata.name"), request.namespace.as_str()) {
            ("", "") => Scope::Cluster,
            ("", _) => Scope::Namespace,
            _ => Scope::Resource,
        };
        let frames = bounded.map(move |event| {
            let encoded = match event {
                Event::Object(kind, object) => encoder.encode(kind, &object).inspect(|bytes| watched.sent(bytes.len())),
                Event::Initial(bookmark) => encoder.encode(BOOKMARK, &bookmark).inspect(|bytes| {
                    watched.sent(bytes.len());
                    watched.began(scope, began.elapsed());
                }),
                Event::Frame(frame) => Ok(frame),
            };
            encoded.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)))
        });
        // Who cannot be shown an event is shown none after it, as upstream has it.
        let frames = frames.take_while(|encoded| {
            if let Err(error) = encoded {
                tracing::warn!(%error, "an event could not be encoded; its watch ends");
            }
            std::future::ready(encoded.is_ok())
        });
        let frames = frames.filter_map(|encoded| std::future::ready(encoded.ok()));
        let body = BodyExt::map_err(StreamBody::new(frames), |never| match never {}).boxed_unsync();
        Ok(render::stream(&answer, body))
    }
}

/// What a watcher is sent.
enum Event {
    /// What happened, and the object.
    Object(&'static str, Item),
    /// The bookmark behind all that was there.
    Initial(Item),
    /// What others are sent too, as it goes over the wire; counted when it is made.
    Frame(Bytes),
}

/// When bookmarks are due.
struct Bookmarks {
    due: Pin<Box<Sleep>>,
    /// The end of the watch.
    end: Instant,
}

/// When the next bookmark is due: at each interval, and once a while before the end, as upstream's.
fn next_bookmark(now: Instant, end: Instant) -> Instant {
    let usual = now + BOOKMARK_INTERVAL;
    end.checked_sub(BEFORE_END).filter(|last| *last > now && *last < usual).unwrap_or(usual)
}

struct Live {
    receiver: broadcast::Receiver<Change>,
    /// The newest change that it was told of, selected or not. The cache tells its revision a moment after its changes.
    newest: i64,
    selected: Filter,
    spec: Spec,
    cache: Cache,
    /// When bookmarks are due, if there are to be any.
    bookmarks: Option<Bookmarks>,
    /// There where a webhook may have to be asked for what is shown.
    converter: Option<Converter>,
    selecting: bool,
    index: usize,
    watched: Arc<Watched>,
    /// How frames are made that other watchers send as well, and whether they are protobuf.
    sharing: Option<(bool, Events)>,
}

impl Live {
    /// The next change; nothing when a bookmark is due before there is one.
    async fn next(&mut self) -> Option<Result<Change, RecvError>> {
        let Some(bookmarks) = &mut self.bookmarks else { return Some(self.receiver.recv().await) };
        // Changes come first: a timer that is looked at for each of them would cost more than they do.
        tokio::select! {
            biased;
            change = self.receiver.recv() => Some(change),
            () = bookmarks.due.as_mut() => {
                bookmarks.due.as_mut().reset(next_bookmark(Instant::now(), bookmarks.end));
                None
            }
        }
    }

    /// A change as this watcher sends it.
    fn event(&mut self, change: &Change) -> Option<Event> {
        let (Some((protobuf, encoder)), Some(frames)) = (&self.sharing, &change.frames) else {
            return encode(&self.spec, change, &self.selected);
        };
        let frame = self.frame(change, *protobuf, encoder, frames)?;
        Some(Event::Frame(self.gathered(frame)))
    }

    /// A frame together with those that wait behind it: each piece of an answer costs more than the bytes in it.
    fn gathered(&mut self, first: Bytes) -> Bytes {
        if self.receiver.is_empty() {
            return first;
        }
        let mut all = BytesMut::from(first);
        while all.len() < GATHERED {
            match self.receiver.try_recv() {
                Ok(change) => {
                    self.newest = change.revision;
                    let (Some((protobuf, encoder)), Some(frames)) = (&self.sharing, &change.frames) else { continue };
                    all.extend(self.frame(&change, *protobuf, encoder, frames));
                }
                Err(TryRecvError::Empty) => break,
                Err(error @ (TryRecvError::Closed | TryRecvError::Lagged(_))) => {
                    if error != TryRecvError::Closed {
                        self.cache.terminated(self.index);
                    }
                    self.receiver = broadcast::channel(1).1;
                    break;
                }
            }
        }
        all.freeze()
    }

    /// What all send who see the change as this watcher does.
    fn frame(&self, change: &Change, protobuf: bool, encoder: &Events, frames: &Frames) -> Option<Bytes> {
        let (kind, entry) = seen(change, &self.selected)?;
        let make = || encoder.clone().encode(kind, &object_of(&self.spec, kind, &entry, change));
        match frames.get(kind, protobuf, make) {
            Ok(frame) => {
                self.watched.sent(frame.len());
                Some(frame)
            }
            Err(error) => {
                tracing::warn!(%error, "an event could not be encoded; its watchers do not see it");
                None
            }
        }
    }

    fn into_stream(self) -> impl Stream<Item = Event> + Send {
        stream::unfold(self, |mut live| async move {
            loop {
                match live.next().await {
                    Some(Ok(mut change)) => {
                        live.newest = change.revision;
                        if let Some(converter) = &live.converter {
                            match converter.change(&live.spec, change, live.selecting).await {
                                Ok(shown) => change = shown,
                                Err(error) => {
                                    // What comes after a change that cannot be shown must not be seen without it.
                                    live.receiver = broadcast::channel(1).1;
                                    let status = Item::Made(error.to_value().to_string().into());
                                    return Some((Event::Object("ERROR", status), live));
                                }
                            }
                        }
                        if let Some(event) = live.event(&change) {
                            return Some((event, live));
                        }
                    }
                    // Closed: the cache started over, or this watcher fell behind. The client lists again.
                    Some(Err(RecvError::Closed)) => return None,
                    Some(Err(RecvError::Lagged(_))) => {
                        live.cache.terminated(live.index);
                        return None;
                    }
                    None => {
                        // The revision is read first: a change that is in the queue by then is older than no bookmark.
                        let revision = live.cache.revision().max(live.newest);
                        if live.receiver.is_empty() {
                            return Some((Event::Object(BOOKMARK, bookmark(&live.spec, revision, false)), live));
                        }
                    }
                }
            }
        })
    }
}

/// What a change is to a watcher: an object that comes into its selection is added, one that leaves it is deleted.
fn seen(change: &Change, selected: &Filter) -> Option<(&'static str, Arc<Entry>)> {
    let sees = |entry: &Option<Arc<Entry>>| entry.as_ref().filter(|entry| selected(entry)).cloned();
    match (sees(&change.old), sees(&change.new)) {
        (None, Some(new)) => Some(("ADDED", new)),
        (Some(_), Some(new)) => Some(("MODIFIED", new)),
        (Some(old), None) => Some(("DELETED", old)),
        (None, None) => None,
    }
}

/// The object that an event shows.
fn object_of(spec: &ResourceSpec, kind: &str, entry: &Arc<Entry>, change: &Change) -> Item {
    if kind == "DELETED" {
        return Item::Made(view::bytes(spec, &deleted(entry, change.revision)));
    }
    view::item(spec, entry)
}

fn encode(spec: &ResourceSpec, change: &Change, selected: &Filter) -> Option<Event> {
    let (kind, entry) = seen(change, selected)?;
    Some(Event::Object(kind, object_of(spec, kind, &entry, change)))
}

/// The last state of an object that is gone, at the revision of its end.
fn deleted(old: &Entry, revision: i64) -> Bytes {
    match kinit_api::object::Object::from_slice(&old.json) {
        Ok(mut object) => {
            object.set(&["metadata", "resourceVersion"], revision.to_string());
            object.to_vec().into()
        }
        Err(_) => old.json.clone(),
    }
}

fn bookmark(spec: &ResourceSpec, revision: i64, initial_events_end: bool) -> Item {
    let mut object = json!({
        "kind": spec.kind(), "apiVersion": spec.api_version(), "metadata": {"resourceVersion": revision.to_string()},
    });
    if initial_events_end {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    Item::Made(object.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookmarks_come_each_minute_and_before_the_end() {
        let now = Instant::now();
        let after = |seconds: u64| now + Duration::from_secs(seconds);
        // The end of the watch, and when the next bookmark comes, in seconds from now.
        for (end, next) in [(1, 60), (2, 60), (3, 1), (30, 28), (61, 59), (62, 60), (3600, 60)] {
            assert_eq!(next_bookmark(now, after(end)), after(next), "{end}");
        }
    }
}
