//! Deployments: a ReplicaSet per template, and moving from one to the next.
//!
//! [`sets`]: the sets of templates and what is written on them; [`plan`]: their sizes; [`status`]: how it goes.

pub mod plan;
pub mod sets;
pub mod status;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use kinit_runtime::events::{About, Kind};
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::context::{Actor, Context};
use crate::{pods, write};
use plan::{Goal, Size};
use sets::{DESIRED, EARLIER, MAX, REVISION};

pub use plan::part;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("deployment-controller").await;
    let (deployments, all) = (context.caches.deployments.clone(), context.caches.replica_sets.clone());
    deployments.synced().await;
    all.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    deployments.handle(move |_, deployment| keys.add(key_of(deployment.as_ref())));
    let (keys, known) = (queue.clone(), deployments.clone());
    all.handle(move |_, set| {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        match pods::controller(&set.metadata) {
            Some(owner) if owner.kind == "Deployment" => keys.add(format!("{namespace}/{}", owner.name)),
            Some(_) => {}
            // One that nobody controls may be one to take over.
            None => known.list_in(namespace).iter().filter(|one| selects(one, set)).for_each(|one| {
                keys.add(key_of(one.as_ref()));
            }),
        }
    });
    work("deployment", queue, 5, context.shutdown.clone(), move |key: String| {
        let (deployments, all, actor) = (deployments.clone(), all.clone(), actor.clone());
        async move {
            let Some(deployment) = deployments.get(&key) else { return Ok(None) };
            let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
            let own = claim(&actor, &deployment, all.list_in(namespace)).await?;
            reconcile(&actor, &deployment, own).await
        }
    })
    .await;
}

fn selects(deployment: &Deployment, set: &ReplicaSet) -> bool {
    deployment.spec.as_ref().is_some_and(|spec| pods::matches(&spec.selector, set.metadata.labels.as_ref()))
}

/// The Deployment's sets, the oldest first; strays that it selects become its own, and those that it no longer selects strays.
async fn claim(
    actor: &Actor,
    deployment: &Deployment,
    all: Vec<Arc<ReplicaSet>>,
) -> Result<Vec<Arc<ReplicaSet>>, kube::Error> {
    let uid = deployment.metadata.uid.as_deref();
    let api: Api<ReplicaSet> =
        Api::namespaced(actor.client(), deployment.metadata.namespace.as_deref().unwrap_or_default());
    let deleted = deployment.metadata.deletion_timestamp.is_some();
    let mut own = Vec::new();
    for set in all {
        let (ours, selected) = (pods::is_controlled_by(&set.metadata, uid), selects(deployment, &set));
        let stray = pods::controller(&set.metadata).is_none() && set.metadata.deletion_timestamp.is_none();
        let mut owners = set.metadata.owner_references.clone().unwrap_or_default();
        if ours && selected {
            own.push(set);
        } else if ours && !deleted {
            owners.retain(|one| Some(one.uid.as_str()) != uid);
            write::object(&api, set.as_ref(), &json!({"metadata": {"ownerReferences": owners}})).await?;
        } else if selected && stray && !deleted {
            owners.push(pods::owner(deployment));
            let taken = write::object(&api, set.as_ref(), &json!({"metadata": {"ownerReferences": owners}})).await?;
            own.push(Arc::new(taken));
        }
    }
    own.sort_by_key(|set| (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.clone()));
    Ok(own)
}

/// A Deployment and its sets, the oldest first.
struct Shell<'a> {
    actor: &'a Actor,
    deployment: &'a Deployment,
    spec: DeploymentSpec,
    api: Api<ReplicaSet>,
    own: Vec<Arc<ReplicaSet>>,
    goal: Goal,
}

async fn reconcile(
    actor: &Actor,
    deployment: &Deployment,
    own: Vec<Arc<ReplicaSet>>,
) -> Result<Option<Duration>, kube::Error> {
    let spec = deployment.spec.clone().unwrap_or_default();
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let api = Api::namespaced(actor.client(), namespace);
    let goal = plan::goal(&spec);
    let mut shell = Shell { actor, deployment, spec, api, own, goal };
    if deployment.metadata.deletion_timestamp.is_some() {
        return shell.report().await;
    }
    if shell.spec.paused == Some(true) || shell.is_rescaled() {
        shell.rescale().await?;
        return shell.report().await;
    }
    let Some(newest) = shell.newest() else {
        shell.create().await?;
        return shell.report().await;
    };
    if shell.describe(newest).await? {
        // The rest is done with the objects as they are then.
        return Ok(None);
    }
    let sizes: Vec<Size> = shell.own.iter().map(|set| Size::of(set)).collect();
    for (index, replicas) in plan::roll(&sizes, newest, goal) {
        shell.scale(index, replicas).await?;
    }
    shell.clean(newest).await?;
    shell.report().await
}

impl Shell<'_> {
    fn newest(&self) -> Option<usize> {
        sets::find_new(&self.own, &self.spec.template)
    }

    /// Whether another number of pods is wanted than when the sets were scaled last.
    fn is_rescaled(&self) -> bool {
        self.own.iter().filter(|set| Size::of(set).wanted > 0).any(|set| {
            let annotations = set.metadata.annotations.as_ref();
            let desired: Option<i32> = annotations.and_then(|all| all.get(DESIRED)?.parse().ok());
            desired.is_some_and(|desired| desired != self.goal.wanted)
        })
    }

    async fn rescale(&mut self) -> Result<(), kube::Error> {
        let sizes: Vec<Size> = self.own.iter().map(|set| Size::of(set)).collect();
        let present = self.deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
        let changes = plan::rescale(&sizes, self.newest(), self.goal, present);
        for (index, size) in sizes.iter().enumerate() {
            let change = changes.iter().find(|(changed, _)| *changed == index);
            // All of them note what is wanted now.
            if change.is_some() || size.wanted > 0 {
                self.scale(index, change.map_or(size.wanted, |(_, replicas)| *replicas)).await?;
            }
        }
        Ok(())
    }

    async fn scale(&mut self, index: usize, replicas: i32) -> Result<(), kube::Error> {
        let set = self.own[index].clone();
        let (desired, max) = (self.goal.wanted.to_string(), (self.goal.wanted + self.goal.surge).to_string());
        let before = Size::of(&set).wanted;
        let noted = set.metadata.annotations.as_ref();
        let noted = noted.is_some_and(|all| all.get(DESIRED) == Some(&desired) && all.get(MAX) == Some(&max));
        if before == replicas && noted {
            return Ok(());
        }
        let fields = json!({"metadata": {"annotations": {DESIRED: desired, MAX: max}}, "spec": {"replicas": replicas}});
        self.own[index] = Arc::new(write::object(&self.api, set.as_ref(), &fields).await?);
        if before != replicas {
            self.say_scaled(&set, before, replicas);
        }
        Ok(())
    }

    fn say_scaled(&self, set: &ReplicaSet, before: i32, replicas: i32) {
        let way = if replicas > before { "up" } else { "down" };
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let text = format!("Scaled {way} replica set {name} from {before} to {replicas}");
        self.actor.events.say(About::object(self.deployment), Kind::Normal, "ScalingReplicaSet", text);
    }

    /// Makes the set of a new template, as large as there is room for.
    async fn create(&mut self) -> Result<(), kube::Error> {
        let revision = self.own.iter().map(|set| sets::revision(set)).max().unwrap_or(0) + 1;
        let sizes: Vec<Size> = self.own.iter().map(|set| Size::of(set)).collect();
        let replicas = plan::first(&sizes, self.goal);
        for attempt in 0..sets::NAMES {
            let made = sets::new(self.deployment, self.goal, replicas, revision, attempt);
            match self.api.create(&PostParams::default(), &made).await {
                Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
                    let there = self.api.get(made.metadata.name.as_deref().unwrap_or_default()).await?;
                    // If it is ours, the cache will show it; another's name is avoided.
                    if pods::is_controlled_by(&there.metadata, self.deployment.metadata.uid.as_deref()) {
                        return Ok(());
                    }
                }
                other => {
                    let set = other?;
                    if replicas > 0 {
                        self.say_scaled(&set, 0, replicas);
                    }
                    self.own.push(Arc::new(set));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Writes revisions and annotations on the newest set and on the Deployment. Whether anything was written.
    async fn describe(&mut self, newest: usize) -> Result<bool, kube::Error> {
        let others = self.own.iter().enumerate().filter(|(index, _)| *index != newest);
        let last = others.map(|(_, set)| sets::revision(set)).max().unwrap_or(0);
        // Going back to an earlier template makes its set the newest revision.
        let revision = sets::revision(&self.own[newest]).max(last + 1);
        let set = self.own[newest].clone();
        let mut annotations = sets::inherited(self.deployment);
        annotations.insert(REVISION.into(), revision.to_string());
        if revision > sets::revision(&set)
            && let Some(earlier) = sets::earlier(&set)
        {
            annotations.insert(EARLIER.into(), earlier);
        }
        let there = set.metadata.annotations.clone().unwrap_or_default();
        let least = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        let wanted_least = self.spec.min_ready_seconds.unwrap_or(0);
        if least != wanted_least || annotations.iter().any(|(key, value)| there.get(key) != Some(value)) {
            let fields = json!({"metadata": {"annotations": annotations}, "spec": {"minReadySeconds": wanted_least}});
            write::object(&self.api, set.as_ref(), &fields).await?;
            return Ok(true);
        }
        let told = self.deployment.metadata.annotations.as_ref().and_then(|all| all.get(REVISION));
        if told != Some(&revision.to_string()) {
            let namespace = self.deployment.metadata.namespace.as_deref().unwrap_or_default();
            let deployments: Api<Deployment> = Api::namespaced(self.actor.client(), namespace);
            let fields = json!({"metadata": {"annotations": {REVISION: revision.to_string()}}});
            write::object(&deployments, self.deployment, &fields).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Removes the oldest sets that have no pods, beyond the history that is kept, once the newest is all there is.
    async fn clean(&self, newest: usize) -> Result<(), kube::Error> {
        let (new, goal) = (Size::of(&self.own[newest]), self.goal.wanted);
        let old: Vec<&Arc<ReplicaSet>> =
            self.own.iter().enumerate().filter(|(index, _)| *index != newest).map(|(_, set)| set).collect();
        let complete = new.present == goal && new.available == goal && old.iter().all(|set| Size::of(set).present == 0);
        if !complete {
            return Ok(());
        }
        for set in sets::surplus(&old, self.spec.revision_history_limit) {
            match self.api.delete(set.metadata.name.as_deref().unwrap_or_default(), &DeleteParams::background()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => {
                    other?;
                }
            }
        }
        Ok(())
    }

    async fn report(&self) -> Result<Option<Duration>, kube::Error> {
        let all: Vec<&ReplicaSet> = self.own.iter().map(Arc::as_ref).collect();
        let newest = self.newest().map(|index| self.own[index].as_ref());
        let (status, again) = status::next(self.deployment, &all, newest, self.goal, Timestamp::now());
        let before = self.deployment.status.clone().unwrap_or_default();
        if status::plain(&status) != status::plain(&before) {
            let namespace = self.deployment.metadata.namespace.as_deref().unwrap_or_default();
            let api: Api<Deployment> = Api::namespaced(self.actor.client(), namespace);
            let mut next = self.deployment.clone();
            next.status = Some(status);
            api.replace_status(next.metadata.name.as_deref().unwrap_or_default(), &PostParams::default(), &next)
                .await?;
        }
        Ok(again)
    }
}
