//! Pods that wait.
//!
//! Active: to be decided on now, by priority, then age. Backing off: will be active after a pause that grows with its
//! attempts. Unschedulable: no node fits; something must happen that the plugins which refused it care about.
//! Gated: its own gates keep it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::pod::PodInfo;

/// Moments, since any fixed one.
pub type Moment = Duration;

/// Unschedulable pods are looked at again after this long, in case a hint was missed.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// What happened in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A node came or changed.
    Node,
    /// A bound pod came, or its labels changed.
    Pod,
    /// A bound pod is gone.
    PodGone,
    /// A namespace's labels changed.
    Namespace,
    /// A claim, a volume or a storage class came, went or changed.
    Storage,
}

impl Happening {
    /// Whether a plugin that refused a node might now say otherwise.
    fn matters_to(self, plugin: &str) -> bool {
        match self {
            Self::Node => true,
            Self::Pod => matches!(plugin, "InterPodAffinity" | "PodTopologySpread"),
            Self::PodGone => {
                matches!(plugin, "NodeResourcesFit" | "NodePorts" | "InterPodAffinity" | "PodTopologySpread")
            }
            Self::Namespace => plugin == "InterPodAffinity",
            Self::Storage => plugin == "VolumeBinding",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Active,
    BackingOff(Moment),
    Unschedulable(Moment),
    Gated,
}

struct Entry {
    pod: Arc<PodInfo>,
    order: u64,
    attempts: u32,
    tried: Moment,
    refused_by: Vec<&'static str>,
    place: Place,
}

/// The queue.
pub struct Queue {
    entries: HashMap<String, Entry>,
    active: BTreeSet<(Reverse<i32>, u64, String)>,
    due: BTreeMap<(Moment, u64), String>,
    /// Keys of pods that room is made for.
    nominated: BTreeSet<String>,
    count: u64,
    first_pause: Duration,
    longest_pause: Duration,
}

impl Queue {
    /// An empty queue with the first and the longest pause between attempts.
    pub fn new(first_pause: Duration, longest_pause: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            active: BTreeSet::new(),
            due: BTreeMap::new(),
            nominated: BTreeSet::new(),
            count: 0,
            first_pause,
            longest_pause,
        }
    }

    /// Puts a pod in, or notes its new state.
    pub fn apply(&mut self, mut pod: Arc<PodInfo>, now: Moment) {
        let known = self.entries.get(&pod.key).filter(|entry| entry.pod.uid == pod.uid && pod.nominated.is_empty());
        if let Some(node) = known.map(|entry| entry.pod.nominated.clone()).filter(|node| !node.is_empty()) {
            // The API may not have heard yet where room is made for it.
            pod = Arc::new(PodInfo { nominated: node, ..PodInfo::clone(&pod) });
        }
        let same_pod = self.entries.get(&pod.key).filter(|entry| entry.pod.uid == pod.uid);
        let place = match same_pod {
            None if pod.gates.is_empty() => Place::Active,
            None => Place::Gated,
            Some(entry) if !pod.gates.is_empty() && entry.place == Place::Gated => Place::Gated,
            Some(entry) if entry.place == Place::Gated => Place::Active,
            Some(entry) if entry.pod.same_wishes(&pod) => entry.place,
            // It asks for something else now, so the last answer does not hold.
            Some(entry) => self.after_pause(entry, now),
        };
        let old = self.take_out(&pod.key).filter(|entry| entry.pod.uid == pod.uid);
        self.count += 1;
        let order = self.count;
        let mut entry = old.unwrap_or_else(|| Entry {
            pod: pod.clone(),
            order,
            attempts: 0,
            tried: now,
            refused_by: Vec::new(),
            place,
        });
        entry.pod = pod;
        self.put(entry, place);
    }

    /// Takes a pod out.
    pub fn remove(&mut self, key: &str) {
        self.take_out(key);
    }

    /// Whether a pod waits here.
    pub fn get(&self, key: &str) -> Option<&Arc<PodInfo>> {
        self.entries.get(key).map(|entry| &entry.pod)
    }

    /// The pods that wait and that room is made for.
    pub fn nominated(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.nominated.iter().filter_map(|key| self.get(key))
    }

    /// Keys of all pods that wait.
    pub fn keys(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    /// How many wait: active, backing off, unschedulable, gated.
    pub fn depths(&self) -> [usize; 4] {
        let mut depths = [0; 4];
        for entry in self.entries.values() {
            depths[match entry.place {
                Place::Active => 0,
                Place::BackingOff(_) => 1,
                Place::Unschedulable(_) => 2,
                Place::Gated => 3,
            }] += 1;
        }
        depths
    }

    /// Takes the next pod to decide on, with how often it was tried before.
    pub fn pop(&mut self, now: Moment) -> Option<(Arc<PodInfo>, u32)> {
        while let Some(((_, _), key)) = self.due.first_key_value().filter(|((at, _), _)| *at <= now) {
            let key = key.clone();
            if let Some(entry) = self.take_out(&key) {
                self.put(entry, Place::Active);
            }
        }
        let (_, _, key) = self.active.first()?.clone();
        let entry = self.take_out(&key)?;
        Some((entry.pod, entry.attempts))
    }

    /// Puts a pod back that was refused by plugins, or whose binding failed (by none).
    pub fn refused(&mut self, pod: Arc<PodInfo>, attempts: u32, plugins: Vec<&'static str>, now: Moment) {
        self.count += 1;
        let attempts = attempts + 1;
        let entry = Entry { pod, order: self.count, attempts, tried: now, refused_by: plugins, place: Place::Active };
        let place = if entry.refused_by.is_empty() {
            self.after_pause(&entry, now)
        } else {
            Place::Unschedulable(now + LOOK_AGAIN)
        };
        self.put(entry, place);
    }

    /// Moves the pods that a happening may have made room for.
    pub fn happened(&mut self, happening: Happening, now: Moment) {
        let concerned = |entry: &Entry| {
            matches!(entry.place, Place::Unschedulable(_))
                && (entry.refused_by.iter().any(|plugin| happening.matters_to(plugin)))
        };
        let keys: Vec<String> =
            self.entries.iter().filter(|(_, entry)| concerned(entry)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            if let Some(entry) = self.take_out(&key) {
                let place = self.after_pause(&entry, now);
                self.put(entry, place);
            }
        }
    }

    /// When the next pod becomes active by itself.
    pub fn wake(&self) -> Option<Moment> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    fn after_pause(&self, entry: &Entry, now: Moment) -> Place {
        if entry.attempts == 0 {
            return Place::Active;
        }
        let pause = self.first_pause.saturating_mul(1 << (entry.attempts - 1).min(16)).min(self.longest_pause);
        let until = entry.tried + pause;
        if until <= now { Place::Active } else { Place::BackingOff(until) }
    }

    fn put(&mut self, mut entry: Entry, place: Place) {
        entry.place = place;
        let key = entry.pod.key.clone();
        match place {
            Place::Active => {
                self.active.insert((Reverse(entry.pod.priority), entry.order, key.clone()));
            }
            Place::BackingOff(at) | Place::Unschedulable(at) => {
                self.due.insert((at, entry.order), key.clone());
            }
            Place::Gated => {}
        }
        if !entry.pod.nominated.is_empty() {
            self.nominated.insert(key.clone());
        }
        self.entries.insert(key, entry);
    }

    fn take_out(&mut self, key: &str) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.nominated.remove(key);
        match entry.place {
            Place::Active => {
                self.active.remove(&(Reverse(entry.pod.priority), entry.order, key.to_owned()));
            }
            Place::BackingOff(at) | Place::Unschedulable(at) => {
                self.due.remove(&(at, entry.order));
            }
            Place::Gated => {}
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    const SECOND: Duration = Duration::from_secs(1);

    fn queue() -> Queue {
        Queue::new(SECOND, 10 * SECOND)
    }

    fn popped(queue: &mut Queue, now: Moment) -> Option<(String, u32)> {
        queue.pop(now).map(|(pod, attempts)| (pod.name.clone(), attempts))
    }

    #[test]
    fn priority_goes_before_age() {
        let mut queue = queue();
        for (name, priority) in [("old", 0), ("young", 0), ("vip", 9)] {
            queue.apply(Arc::new(PodInfo { priority, ..pod(name) }), Moment::ZERO);
        }
        let order: Vec<_> = std::iter::from_fn(|| popped(&mut queue, Moment::ZERO)).map(|(name, _)| name).collect();
        assert_eq!(order, ["vip", "old", "young"]);
    }

    #[test]
    fn only_what_matters_brings_an_unschedulable_pod_back_and_not_before_its_pause() {
        let mut queue = queue();
        queue.refused(Arc::new(pod("a")), 0, vec!["NodeResourcesFit"], Moment::ZERO);
        queue.happened(Happening::Pod, 2 * SECOND);
        assert_eq!(popped(&mut queue, 2 * SECOND), None);
        queue.happened(Happening::PodGone, SECOND / 2);
        assert_eq!(queue.wake(), Some(SECOND));
        assert_eq!(popped(&mut queue, SECOND / 2), None);
        assert_eq!(popped(&mut queue, SECOND), Some(("a".into(), 1)));
    }

    #[test]
    fn a_gated_pod_waits_for_its_gates_alone() {
        let mut queue = queue();
        queue.apply(Arc::new(PodInfo { gates: vec!["g".into()], ..pod("a") }), Moment::ZERO);
        queue.happened(Happening::Node, SECOND);
        assert_eq!(popped(&mut queue, SECOND), None);
        assert_eq!(queue.depths(), [0, 0, 0, 1]);
        queue.apply(Arc::new(pod("a")), SECOND);
        assert_eq!(popped(&mut queue, SECOND), Some(("a".into(), 0)));
    }

    #[test]
    fn a_change_of_wishes_tries_again_and_a_new_status_does_not() {
        let mut queue = queue();
        queue.refused(Arc::new(pod("a")), 0, vec!["NodeAffinity"], Moment::ZERO);
        queue.apply(Arc::new(PodInfo { unscheduled_message: Some("no".into()), ..pod("a") }), 2 * SECOND);
        assert_eq!(popped(&mut queue, 2 * SECOND), None);
        queue.apply(Arc::new(PodInfo { priority: 1, ..pod("a") }), 2 * SECOND);
        assert_eq!(popped(&mut queue, 2 * SECOND), Some(("a".into(), 1)));
    }
}
