//! The watches, told to the core as events.

use std::collections::HashSet;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kinit_runtime::key_of;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::core::Event;
use crate::node::NodeFacts;
use crate::pod::PodInfo;
use crate::preemption::Budget;
use crate::volumes::{Claim, Class, News, Volume};

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
    let budgets = Translation::<PodDisruptionBudget> {
        applied: |budget| Event::Budget(key_of(&budget), Box::new(Budget::of(budget))),
        gone: Event::BudgetGone,
        // One that went while the watch was broken makes its pods the last choice, and no more.
        listed: |_| None,
    };
    // Those that go while a watch is broken are missed by the kubelet, which says so.
    let claims = Translation::<PersistentVolumeClaim> {
        applied: |claim| Event::Storage(News::Claim(key_of(&claim), Some(Box::new(Claim::of(claim))))),
        gone: |key| Event::Storage(News::Claim(key, None)),
        listed: |_| None,
    };
    let volumes = Translation::<PersistentVolume> {
        applied: |volume| Event::Storage(News::Volume(key_of(&volume), Some(Box::new(Volume::of(volume))))),
        gone: |name| Event::Storage(News::Volume(name, None)),
        listed: |_| None,
    };
    let classes = Translation::<StorageClass> {
        applied: |class| Event::Storage(News::Class(key_of(&class), Some(Class::of(class)))),
        gone: |name| Event::Storage(News::Class(name, None)),
        listed: |_| None,
    };
    tokio::join!(
        one(client.clone(), claims, &events),
        one(client.clone(), volumes, &events),
        one(client.clone(), classes, &events),
        one(client.clone(), budgets, &events),
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
