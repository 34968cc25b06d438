//! DaemonSets: one pod on each node that it fits on.
//!
//! [`nodes`]: which nodes, and the pod for each; [`plan`]: which pods are made and which go.

pub mod nodes;
pub mod plan;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kinit_runtime::events::{About, Kind};
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::claim::{self, Claimant};
use crate::context::{Actor, Context};
use crate::deployment::part;
use crate::pods::{self, Expectations};
use crate::revisions::{self, Source};
use crate::write;
use nodes::{HASH, Place};
use plan::Inputs;

/// The pause before a failed pod of a node is replaced for the second time; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(900);

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("daemon-set-controller").await;
    let caches = &context.caches;
    let (sets, nodes, all) = (caches.daemon_sets.clone(), caches.nodes.clone(), caches.pods.clone());
    sets.synced().await;
    nodes.synced().await;
    all.synced().await;
    caches.revisions.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    sets.handle(move |_, set| keys.add(key_of(set.as_ref())));
    pods::watch_owned(&all, "DaemonSet", &queue);
    pods::watch_strays(&all, &sets, selects, &queue);
    let (keys, known) = (queue.clone(), sets.clone());
    let shapes: Mutex<HashMap<String, Value>> = Default::default();
    nodes.handle(move |_, node| {
        // Heartbeats of nodes are of no interest here, only where pods may go.
        let spec = node.spec.clone().unwrap_or_default();
        let shape = json!([node.metadata.labels, spec.taints, spec.unschedulable, node.metadata.uid]);
        let changed = shapes.lock().insert(key_of(node.as_ref()), shape.clone()) != Some(shape);
        if changed {
            for set in known.list() {
                keys.add(key_of(set.as_ref()));
            }
        }
    });
    let shutdown = context.shutdown.clone();
    let shell = Arc::new(Shell {
        context: context.clone(),
        actor,
        expectations: Expectations::default(),
        pauses: Mutex::default(),
    });
    work("daemonset", queue, 2, shutdown, move |key: String| {
        let (sets, shell) = (sets.clone(), shell.clone());
        async move {
            let Some(set) = sets.get(&key) else {
                shell.expectations.forget(&key);
                shell.pauses.lock().remove(&key);
                return Ok(None);
            };
            shell.reconcile(&key, &set).await
        }
    })
    .await;
}

fn selects(set: &DaemonSet, pod: &Pod) -> bool {
    set.spec.as_ref().is_some_and(|spec| pods::matches(&spec.selector, pod.metadata.labels.as_ref()))
}

/// How long failed pods of a node are left there, and since when.
type Pauses = HashMap<String, (Duration, Instant)>;

struct Shell {
    context: Arc<Context>,
    actor: Actor,
    expectations: Expectations,
    pauses: Mutex<HashMap<String, Pauses>>,
}

impl Shell {
    async fn reconcile(&self, key: &str, set: &DaemonSet) -> Result<Option<Duration>, kube::Error> {
        let caches = &self.context.caches;
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let spec = set.spec.clone().unwrap_or_default();
        let claimant = Claimant::of(set);
        let own = claim::claim(&self.actor, &claimant, caches.pods.list_in(namespace), |pod| selects(set, pod)).await?;
        let source = Source { selector: &spec.selector, template: &spec.template, label: HASH };
        let history = revisions::revise(caches, &self.actor, set, &source).await?;
        let label = |metadata: &kube::api::ObjectMeta| metadata.labels.as_ref().and_then(|all| all.get(HASH)).cloned();
        let hash = label(&history.newest.metadata).unwrap_or_default();
        let template = spec.template.spec.clone().unwrap_or_default();
        let place = |node: Arc<Node>| Some((node.metadata.name.clone()?, nodes::place(&template, &node)));
        let places: BTreeMap<String, Place> = caches.nodes.list().into_iter().filter_map(place).collect();
        let pods = by_node(&own);
        let count = places.values().filter(|place| **place == Place::Run).count();
        let now = Timestamp::now().as_second();
        let inputs = Inputs { set, places: &places, pods: &pods, hash: &hash, limits: limits(&spec, count), now };
        let mut again = None;
        if !claimant.deleted && self.expectations.met(key, &own) {
            let mut plan = plan::plan(&inputs);
            for (node, pod) in plan.ended {
                match self.pause(key, &node, &pod) {
                    None => {
                        self.say_ended(set, &node, &pod);
                        plan.delete.push(pod);
                    }
                    Some(pause) => again = Some(again.map_or(pause, |other: Duration| other.min(pause))),
                }
            }
            let made = plan.create.iter().map(|node| nodes::new_pod(set, node, &hash)).collect();
            pods::create_expected(&self.actor, &self.expectations, key, &own, made).await?;
            pods::delete(&self.actor, &plan.delete).await?;
        }
        self.report(set, plan::status(&inputs)).await?;
        let used: Vec<String> = own.iter().filter_map(|pod| label(&pod.metadata)).collect();
        let in_use = |one: &k8s_openapi::api::apps::v1::ControllerRevision| {
            label(&one.metadata).is_some_and(|hash| used.contains(&hash))
        };
        revisions::trim(&self.actor, &history, spec.revision_history_limit, in_use).await?;
        let least = spec.min_ready_seconds.unwrap_or(0);
        let waits = least > 0 && own.iter().any(|pod| pods::is_ready(pod) && !pods::is_available(pod, least, now));
        Ok(if waits { Some(Duration::from_secs(1)) } else { again })
    }

    /// How long a failed pod is still left there, so that a node which refuses it is not asked all the time.
    fn pause(&self, key: &str, node: &str, pod: &Pod) -> Option<Duration> {
        if pods::phase(pod) != "Failed" {
            return None;
        }
        let mut all = self.pauses.lock();
        let pauses = all.entry(key.to_owned()).or_default();
        let now = Instant::now();
        let Some((pause, since)) = pauses.get_mut(node) else {
            pauses.insert(node.to_owned(), (FIRST_PAUSE, now));
            return None;
        };
        let passed = now.duration_since(*since);
        if passed < *pause {
            return Some(*pause - passed);
        }
        // Long after the last failure, counting begins again.
        *pause = if passed > LONGEST_PAUSE * 2 { FIRST_PAUSE } else { (*pause * 2).min(LONGEST_PAUSE) };
        *since = now;
        None
    }

    fn say_ended(&self, set: &DaemonSet, node: &str, pod: &Pod) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let say = |kind, reason, text| self.actor.events.say(About::object(set), kind, reason, text);
        if pods::phase(pod) == "Failed" {
            let text = format!("Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it");
            say(Kind::Warning, "FailedDaemonPod", text);
        } else {
            let text = format!("Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it");
            say(Kind::Normal, "SucceededDaemonPod", text);
        }
    }

    async fn report(&self, set: &DaemonSet, status: DaemonSetStatus) -> Result<(), kube::Error> {
        if set.status.as_ref().map(numbers) == Some(numbers(&status)) {
            return Ok(());
        }
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<DaemonSet> = Api::namespaced(self.actor.client(), namespace);
        write::status(&api, set, &json!({"status": status})).await?;
        Ok(())
    }
}

/// The pods of each node, the oldest first; those that have ended and are being deleted are as good as gone.
fn by_node(own: &[Arc<Pod>]) -> BTreeMap<String, Vec<Arc<Pod>>> {
    let mut all: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in own {
        let ended = matches!(pods::phase(pod), "Failed" | "Succeeded");
        if !(ended && pod.metadata.deletion_timestamp.is_some()) {
            all.entry(nodes::node_of(pod).unwrap_or_default()).or_default().push(pod.clone());
        }
    }
    for pods in all.values_mut() {
        pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    }
    all
}

/// How many more pods there may be on so many nodes, and how many nodes without one, while templates change.
fn limits(spec: &DaemonSetSpec, nodes: usize) -> (usize, usize) {
    let rolling = spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.clone());
    let rolling = rolling.unwrap_or_default();
    let scaled = |value: Option<IntOrString>, default| {
        part(&value.unwrap_or(IntOrString::Int(default)), nodes as i32, true).max(0) as usize
    };
    match (scaled(rolling.max_surge, 0), scaled(rolling.max_unavailable, 1)) {
        // With neither nothing could ever move.
        (0, 0) => (0, 1),
        limits => limits,
    }
}

/// The numbers of a status, absent ones as zero.
fn numbers(status: &DaemonSetStatus) -> ([i32; 7], i64) {
    let or = |value: Option<i32>| value.unwrap_or(0);
    let counts = [
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_misscheduled,
        status.number_ready,
        or(status.number_available),
        or(status.number_unavailable),
        or(status.updated_number_scheduled),
    ];
    (counts, status.observed_generation.unwrap_or(0))
}
