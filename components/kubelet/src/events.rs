//! Events: what the kubelet did and what went wrong, for people who ask the API.
//!
//! Parts of the kubelet say what happened and go on at once. One task sends it: the same thing again raises a count, a
//! pod that says too much is not heard for a while, and what does not fit the queue is lost.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::pod::facts;

const QUEUE: usize = 256;
/// Things said that are remembered, to be counted when they are said again.
const REMEMBERED: usize = 512;
/// An object may say this much at once, and one thing more each [`REFILL`] seconds.
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

/// One thing that is said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Said {
    kind: Kind,
    reason: &'static str,
    message: String,
    about: About,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct About {
    kind: &'static str,
    namespace: String,
    name: String,
    uid: String,
    field: String,
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
    /// Says something of a pod, or of one of its containers.
    pub fn pod(
        &self,
        pod: &Pod,
        container: Option<&str>,
        kind: Kind,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let uid = match facts::is_static(pod) {
            // The API knows a static pod by its image, whose annotation has the pod's own uid.
            true => facts::annotation(pod, facts::HASH).unwrap_or_default(),
            false => facts::uid(pod),
        };
        let about = About {
            kind: "Pod",
            namespace: facts::namespace(pod).to_owned(),
            name: facts::name(pod).to_owned(),
            uid: uid.to_owned(),
            field: container.map(|name| field(pod, name)).unwrap_or_default(),
        };
        self.say(kind, reason, message.into(), about);
    }

    /// Says something of the node. Its events are found by its name.
    pub fn node(&self, name: &str, kind: Kind, reason: &'static str, message: impl Into<String>) {
        let about = About {
            kind: "Node",
            namespace: String::new(),
            name: name.to_owned(),
            uid: name.to_owned(),
            field: String::new(),
        };
        self.say(kind, reason, message.into(), about);
    }

    fn say(&self, kind: Kind, reason: &'static str, mut message: String, about: About) {
        if message.len() > MESSAGE_LIMIT {
            let cut = (0..=MESSAGE_LIMIT).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(cut);
        }
        // A full queue means that the API does not answer; what happens meanwhile is in the log.
        let _ = self.0.try_send(Said { kind, reason, message, about });
    }
}

fn field(pod: &Pod, container: &str) -> String {
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let list = if init.into_iter().any(|one| one.name == container) { "initContainers" } else { "containers" };
    format!("spec.{list}{{{container}}}")
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

/// Sends what is said until shutdown, once there is a connection.
pub async fn run(context: Arc<Context>, mut queue: Queue, shutdown: CancellationToken) {
    let mut clients = context.client.subscribe();
    let connected = async { clients.wait_for(Option::is_some).await.is_ok() };
    tokio::select! {
        connected = connected => if !connected { return },
        () = shutdown.cancelled() => return,
    }
    let mut memory = Memory::default();
    loop {
        let said = tokio::select! {
            said = queue.0.recv() => said,
            () = shutdown.cancelled() => return,
        };
        let Some(said) = said else { return };
        let Ok(client) = context.client() else { continue };
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
                let event = event(&context.node_name, &said, now);
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

fn event(node: &str, said: &Said, now: Timestamp) -> Event {
    let About { kind, namespace, name, uid, field } = &said.about;
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(if namespace.is_empty() { "default".into() } else { namespace.clone() }),
            ..Default::default()
        },
        involved_object: ObjectReference {
            api_version: (*kind == "Pod").then(|| "v1".into()),
            kind: Some((*kind).into()),
            name: some(name),
            namespace: some(namespace),
            uid: some(uid),
            field_path: some(field),
            ..Default::default()
        },
        type_: Some(if said.kind == Kind::Normal { "Normal".into() } else { "Warning".into() }),
        reason: Some(said.reason.into()),
        message: Some(said.message.clone()),
        source: Some(EventSource { component: Some("kubelet".into()), host: Some(node.into()) }),
        reporting_component: Some("kubelet".into()),
        reporting_instance: Some(node.into()),
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
            kind: "Pod",
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
        let event = event("n", &said("x"), Timestamp::UNIX_EPOCH);
        assert_eq!(event.involved_object.field_path.as_deref(), Some("spec.containers{c}"));
        assert_eq!((event.type_.as_deref(), event.count), (Some("Warning"), Some(1)));
    }
}
