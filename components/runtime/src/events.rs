//! Events: what a component did and what went wrong, for people who ask the API.
//!
//! Parts of a component say what happened and go on at once. One task sends it: the same thing again raises a count, an
//! object that is talked of too much is left alone for a while, and what does not fit the queue is lost.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const QUEUE: usize = 256;
/// Things said that are remembered, to be counted when they are said again.
const REMEMBERED: usize = 512;
/// An object may be talked of this much at once, and one thing more each [`REFILL`] seconds.
const BURST: f64 = 25.0;
const REFILL: f64 = 300.0;
/// The same thing said later than this is a new event.
const FRESH: i64 = 600;
/// The API takes no longer message.
const MESSAGE_LIMIT: usize = 1024;

/// Whether something is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It is.
    Normal,
    /// It is not.
    Warning,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct About {
    /// Version of its kind; may be empty.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for what has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The part of it that is meant; empty for all of it.
    pub field: String,
}

impl About {
    /// An object as a whole.
    pub fn object<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            field: String::new(),
        }
    }
}

/// One thing that is said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Said {
    kind: Kind,
    reason: &'static str,
    message: String,
    about: About,
}

/// Where events are said. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder(mpsc::Sender<Said>);

/// What has been said and is to be sent.
pub struct Queue(mpsc::Receiver<Said>);

/// A recorder and what it fills.
pub fn channel() -> (Recorder, Queue) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Recorder(sender), Queue(receiver))
}

impl Recorder {
    /// Says something.
    pub fn say(&self, about: About, kind: Kind, reason: &'static str, message: impl Into<String>) {
        let mut message = message.into();
        if message.len() > MESSAGE_LIMIT {
            let cut = (0..=MESSAGE_LIMIT).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(cut);
        }
        // A full queue means that the API does not answer; what happens meanwhile is in the log.
        let _ = self.0.try_send(Said { kind, reason, message, about });
    }
}

/// What was sent of a thing said.
struct Sent {
    name: String,
    count: i32,
    at: Timestamp,
}

/// Decides what is sent. Pure.
#[derive(Default)]
struct Memory {
    sent: HashMap<Said, Sent>,
    budgets: HashMap<String, (f64, Timestamp)>,
}

enum Sending {
    Nothing,
    New,
    Again { name: String, count: i32 },
}

impl Memory {
    fn decide(&mut self, said: &Said, now: Timestamp) -> Sending {
        if self.budgets.len() >= REMEMBERED {
            self.budgets.retain(|_, (_, at)| (now.as_second() - at.as_second()) < REFILL as i64);
        }
        let (budget, at) = self.budgets.entry(said.about.uid.clone()).or_insert((BURST, now));
        let passed = (now.as_second() - at.as_second()).max(0) as f64;
        *budget = (*budget + passed / REFILL).min(BURST);
        *at = now;
        if *budget < 1.0 {
            return Sending::Nothing;
        }
        *budget -= 1.0;
        match self.sent.get_mut(said).filter(|sent| now.as_second() - sent.at.as_second() < FRESH) {
            Some(sent) => {
                sent.count += 1;
                sent.at = now;
                Sending::Again { name: sent.name.clone(), count: sent.count }
            }
            None => Sending::New,
        }
    }

    fn remember(&mut self, said: Said, name: String, now: Timestamp) {
        if self.sent.len() >= REMEMBERED {
            let oldest = self.sent.iter().min_by_key(|(_, sent)| sent.at).map(|(said, _)| said.clone());
            oldest.and_then(|oldest| self.sent.remove(&oldest));
        }
        self.sent.insert(said, Sent { name, count: 1, at: now });
    }
}

/// Who says what is said.
#[derive(Debug, Clone)]
pub struct Source {
    /// The component.
    pub component: String,
    /// The host that it runs on; may be empty.
    pub host: String,
}

/// Sends what is said until shutdown; `client` gives the client as it is then, or none if there is no connection.
pub async fn run(
    source: Source,
    mut queue: Queue,
    client: impl Fn() -> Option<kube::Client> + Send,
    shutdown: CancellationToken,
) {
    let mut memory = Memory::default();
    loop {
        let said = tokio::select! {
            said = queue.0.recv() => said,
            () = shutdown.cancelled() => return,
        };
        let Some(said) = said else { return };
        let Some(client) = client() else { continue };
        let namespace = if said.about.namespace.is_empty() { "default" } else { &said.about.namespace };
        let api: Api<Event> = Api::namespaced(client, namespace);
        let now = Timestamp::now();
        let result = match memory.decide(&said, now) {
            Sending::Nothing => Ok(()),
            Sending::Again { name, count } => {
                let patch = json!({"count": count, "lastTimestamp": whole(now)});
                let answer = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
                // One that has expired is not missed.
                answer.map(|_| ())
            }
            Sending::New => {
                let event = event(&source, &said, now);
                let name = event.metadata.name.clone().unwrap_or_default();
                let answer = api.create(&PostParams::default(), &event).await;
                if answer.is_ok() {
                    memory.remember(said, name, now);
                }
                answer.map(|_| ())
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "an event was not taken");
        }
    }
}

fn whole(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

fn event(source: &Source, said: &Said, now: Timestamp) -> Event {
    let About { api_version, kind, namespace, name, uid, field } = &said.about;
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(if namespace.is_empty() { "default".into() } else { namespace.clone() }),
            ..Default::default()
        },
        involved_object: ObjectReference {
            api_version: some(api_version),
            kind: some(kind),
            name: some(name),
            namespace: some(namespace),
            uid: some(uid),
            field_path: some(field),
            ..Default::default()
        },
        type_: Some(if said.kind == Kind::Normal { "Normal".into() } else { "Warning".into() }),
        reason: Some(said.reason.into()),
        message: Some(said.message.clone()),
        source: Some(EventSource { component: Some(source.component.clone()), host: some(&source.host) }),
        reporting_component: Some(source.component.clone()),
        reporting_instance: Some(source.host.clone()),
        first_timestamp: Some(whole(now)),
        last_timestamp: Some(whole(now)),
        count: Some(1),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> Said {
        let about = About {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "a".into(),
            name: "p".into(),
            uid: "u".into(),
            field: "spec.containers{c}".into(),
        };
        Said { kind: Kind::Warning, reason: "BackOff", message: message.into(), about }
    }

    #[test]
    fn the_same_thing_is_counted_and_talkers_are_not_heard() {
        let mut memory = Memory::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(matches!(memory.decide(&said("x"), at(0)), Sending::New));
        memory.remember(said("x"), "e".into(), at(0));
        assert!(matches!(memory.decide(&said("x"), at(1)), Sending::Again { count: 2, .. }));
        assert!(matches!(memory.decide(&said("x"), at(1000)), Sending::New));
        let heard = (0..100).filter(|n| !matches!(memory.decide(&said(&n.to_string()), at(1000)), Sending::Nothing));
        assert!(heard.count() <= 25);
        assert!(matches!(memory.decide(&said("y"), at(1001)), Sending::Nothing));
        assert!(matches!(memory.decide(&said("y"), at(1301)), Sending::New));
    }

    #[test]
    fn an_event_names_its_container() {
        let source = Source { component: "kubelet".into(), host: "n".into() };
        let event = event(&source, &said("x"), Timestamp::UNIX_EPOCH);
        assert_eq!(event.involved_object.field_path.as_deref(), Some("spec.containers{c}"));
        assert_eq!((event.type_.as_deref(), event.count), (Some("Warning"), Some(1)));
    }
}
