//! The pure heart: events in, actions out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::cycle;
use crate::node::NodeFacts;
use crate::plugins::volume_binding::{self, Step};
use crate::pod::PodInfo;
use crate::preemption::{self, Budget, Eviction};
use crate::profile::Profile;
use crate::queue::{Happening, Moment, Queue};
use crate::selector::Labels;
use crate::volumes::News;

/// What the shell tells.
#[derive(Debug)]
pub enum Event {
    /// A pod is there, in this state.
    Pod(Box<PodInfo>),
    /// A pod is gone, by key.
    PodGone(String),
    /// All pods were listed; those with other keys are gone.
    PodsListed(HashSet<String>),
    /// A node is there, in this state.
    Node(Box<NodeFacts>),
    /// A node is gone.
    NodeGone(String),
    /// All nodes were listed.
    NodesListed(HashSet<String>),
    /// A namespace has these labels.
    Namespace(String, Labels),
    /// A namespace is gone.
    NamespaceGone(String),
    /// How many pods of a selection may be evicted, by key.
    Budget(String, Box<Budget>),
    /// Any number of them may be.
    BudgetGone(String),
    /// Something is known of claims, volumes or storage classes.
    Storage(News),
    /// A binding was written, or failed.
    Bound {
        /// The pod.
        pod: Arc<PodInfo>,
        /// How often it was tried before.
        attempts: u32,
        /// Whether it is bound.
        well: bool,
    },
    /// This scheduler leads.
    Leads,
}

/// What the shell is to do.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Bind a pod; [`Event::Bound`] must follow.
    Bind {
        /// The pod.
        pod: Arc<PodInfo>,
        /// Where.
        node: String,
        /// What is done for its claims before.
        steps: Vec<Step>,
        /// How often it was tried before.
        attempts: u32,
    },
    /// Say why a pod waits, and make room for it.
    Refuse {
        /// The pod.
        pod: Arc<PodInfo>,
        /// The sentence.
        message: String,
        /// Pods that must go for it.
        eviction: Option<Eviction>,
        /// Whether the room that was made for it is of no use any more.
        give_up: bool,
    },
}

/// The scheduler without its surroundings.
pub struct Core {
    profiles: Vec<Profile>,
    cache: Cache,
    queue: Queue,
    pods_listed: bool,
    nodes_listed: bool,
    leads: bool,
    decisions: usize,
}

impl Core {
    /// A scheduler for pods that name one of `profiles`, with the first and the longest pause between attempts.
    pub fn new(profiles: Vec<Profile>, first_pause: Duration, longest_pause: Duration) -> Self {
        Self {
            profiles,
            cache: Cache::default(),
            queue: Queue::new(first_pause, longest_pause),
            pods_listed: false,
            nodes_listed: false,
            leads: false,
            decisions: 0,
        }
    }

    /// How many pods wait: active, backing off, unschedulable, gated.
    pub fn depths(&self) -> [usize; 4] {
        self.queue.depths()
    }

    /// When there is something to do even if nothing happens.
    pub fn wake(&self) -> Option<Moment> {
        self.queue.wake()
    }

    /// Takes an event in.
    pub fn step(&mut self, event: Event, now: Moment) {
        match event {
            Event::Pod(pod) => self.pod(Arc::new(*pod), now),
            Event::PodGone(key) => self.pod_gone(&key, now),
            Event::PodsListed(keys) => {
                self.pods_listed = true;
                for key in self.cache.pods().into_iter().chain(self.queue.keys()) {
                    if !keys.contains(&key) && !self.cache.is_assumed(&key) {
                        self.pod_gone(&key, now);
                    }
                }
            }
            Event::Node(facts) => {
                if self.cache.apply_node(*facts) {
                    self.queue.happened(Happening::Node, now);
                }
            }
            Event::NodeGone(name) => self.cache.remove_node(&name),
            Event::NodesListed(names) => {
                self.nodes_listed = true;
                for name in self.cache.nodes().into_iter().filter(|name| !names.contains(name)) {
                    self.cache.remove_node(&name);
                }
            }
            Event::Namespace(name, labels) => {
                self.cache.apply_namespace(name, labels);
                self.queue.happened(Happening::Namespace, now);
            }
            Event::NamespaceGone(name) => self.cache.remove_namespace(&name),
            Event::Budget(key, budget) => self.cache.apply_budget(key, Some(*budget)),
            Event::BudgetGone(key) => self.cache.apply_budget(key, None),
            Event::Storage(news) => {
                if self.cache.apply_storage(news) {
                    self.queue.happened(Happening::Storage, now);
                }
            }
            Event::Bound { pod, attempts, well } => self.bound(pod, attempts, well, now),
            Event::Leads => self.leads = true,
        }
    }

    fn pod(&mut self, pod: Arc<PodInfo>, now: Moment) {
        if pod.finished {
            return self.pod_gone(&pod.key, now);
        }
        if !pod.node.is_empty() {
            self.queue.remove(&pod.key);
            let old = self.cache.pod(&pod.key);
            let news = old.is_none_or(|old| old.uid != pod.uid || old.labels != pod.labels);
            self.cache.apply_pod(pod);
            if news {
                self.queue.happened(Happening::Pod, now);
            }
            return;
        }
        if let Some(assumed) = self.cache.pod(&pod.key).cloned() {
            if assumed.uid == pod.uid {
                // The watch is behind the binding that is under way.
                return;
            }
            self.pod_gone(&pod.key, now);
        }
        if pod.terminating || self.profile(&pod.scheduler).is_none() {
            self.queue.remove(&pod.key);
        } else {
            self.queue.apply(pod, now);
        }
    }

    fn pod_gone(&mut self, key: &str, now: Moment) {
        self.queue.remove(key);
        if self.cache.remove_pod(key) {
            self.queue.happened(Happening::PodGone, now);
        }
    }

    fn bound(&mut self, pod: Arc<PodInfo>, attempts: u32, well: bool, now: Moment) {
        let ours = self.cache.pod(&pod.key).is_some_and(|assumed| assumed.uid == pod.uid);
        if well || !ours || !self.cache.is_assumed(&pod.key) {
            return;
        }
        self.cache.remove_pod(&pod.key);
        self.queue.happened(Happening::PodGone, now);
        self.queue.refused(pod, attempts, Vec::new(), now);
    }

    fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    /// Decides on the next pod; None when there is nothing to decide.
    pub fn next(&mut self, now: Moment) -> Option<Action> {
        if !(self.leads && self.pods_listed && self.nodes_listed) {
            return None;
        }
        let (pod, attempts) = self.queue.pop(now)?;
        let snapshot = self.cache.snapshot();
        self.decisions = self.decisions.wrapping_add(1);
        let reserved = snapshot.reserving(self.queue.nominated().filter(|other| other.priority >= pod.priority));
        let profile = self.profiles.iter().find(|profile| profile.name == pod.scheduler);
        let profile = profile.expect("only pods that name a profile are put into the queue");
        match cycle::schedule(profile, &pod, &snapshot, reserved.as_ref(), self.decisions) {
            Ok(node) => {
                let facts = snapshot.nodes.iter().find(|one| one.name() == node).map(|one| one.facts.clone());
                let steps = facts.and_then(|facts| volume_binding::plan(&pod, &snapshot.storage, &facts).ok());
                self.cache.assume(&pod, &node);
                self.queue.happened(Happening::Pod, now);
                Some(Action::Bind { pod, node, steps: steps.unwrap_or_default(), attempts })
            }
            Err(error) => {
                let mut message = error.message();
                let room = profile
                    .preempts
                    .then(|| preemption::preempt(profile, &pod, reserved.as_ref().unwrap_or(&snapshot), &error));
                let (eviction, waits) = match room.transpose() {
                    Ok(eviction) => {
                        let waits = eviction.is_some();
                        (eviction, waits)
                    }
                    Err(refused) => {
                        if error.nodes > 0 {
                            message = format!("{message} {}", refused.reason);
                        }
                        (None, refused.waits)
                    }
                };
                let give_up = !waits && !pod.nominated.is_empty();
                // Without nodes no plugin refused anything; a node is what is waited for.
                let plugins = if error.plugins.is_empty() { vec!["NodeName"] } else { error.plugins };
                let waiting = match &eviction {
                    Some(eviction) => Arc::new(PodInfo { nominated: eviction.node.clone(), ..(*pod).clone() }),
                    None if give_up => Arc::new(PodInfo { nominated: String::new(), ..(*pod).clone() }),
                    None => pod.clone(),
                };
                self.queue.refused(waiting, attempts, plugins, now);
                Some(Action::Refuse { pod, message, eviction, give_up })
            }
        }
    }
}

#[cfg(test)]
mod tests;
