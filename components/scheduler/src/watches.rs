//! The watches, told to the core as events.

use std::collections::HashSet;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kinit_runtime::key_of;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::core::Event;
use crate::node::NodeFacts;
use crate::pod::PodInfo;

/// Pause after a watch broke.
const RECONNECT: std::time::Duration = std::time::Duration::from_millis(300);

/// How objects of one kind become events.
struct Translation<K> {
    applied: fn(K) -> Event,
    gone: fn(String) -> Event,
    listed: fn(HashSet<String>) -> Option<Event>,
}

/// Follows all kinds that decisions need, until the receiver is gone.
pub async fn follow(client: Client, events: mpsc::Sender<Event>) {
    let pods = Translation::<Pod> {
        applied: |pod| Event::Pod(Box::new(PodInfo::of(pod))),
        gone: Event::PodGone,
        listed: |keys| Some(Event::PodsListed(keys)),
    };
    let nodes = Translation::<Node> {
        applied: |node| Event::Node(Box::new(NodeFacts::of(node))),
        gone: Event::NodeGone,
        listed: |names| Some(Event::NodesListed(names)),
    };
    let namespaces = Translation::<Namespace> {
        applied: |one| Event::Namespace(one.metadata.name.unwrap_or_default(), one.metadata.labels.unwrap_or_default()),
        gone: Event::NamespaceGone,
        // A namespace that went while the watch was broken holds no pods, so its labels do no harm.
        listed: |_| None,
    };
    tokio::join!(
        one(client.clone(), pods, &events),
        one(client.clone(), nodes, &events),
        one(client, namespaces, &events)
    );
}

/// Follows one kind. The channel is bounded: when decisions are behind, the watch waits.
async fn one<K>(client: Client, translation: Translation<K>, events: &mpsc::Sender<Event>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut stream = watcher(Api::<K>::all(client), watcher::Config::default()).boxed();
    let mut listed = HashSet::new();
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(watcher::Event::Init) => {
                listed.clear();
                None
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(key_of(&object));
                Some((translation.applied)(object))
            }
            Ok(watcher::Event::InitDone) => (translation.listed)(std::mem::take(&mut listed)),
            Ok(watcher::Event::Apply(object)) => Some((translation.applied)(object)),
            Ok(watcher::Event::Delete(object)) => Some((translation.gone)(key_of(&object))),
            Err(error) => {
                tracing::debug!(kind = %K::kind(&()), %error, "a watch broke");
                tokio::time::sleep(RECONNECT).await;
                None
            }
        };
        if let Some(event) = event
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}
