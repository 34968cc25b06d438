//! What decisions write: bindings, conditions, events, evictions.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use crate::plugins::volume_binding::Step;
use crate::pod::PodInfo;
use crate::preemption::Eviction;
use crate::volumes::{Claim, SELECTED};

/// How long a pod's volumes may take.
const VOLUMES: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_secs(1);

/// Writes for one scheduler. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    instance: Arc<str>,
}

impl Writer {
    /// A writer whose events name this instance.
    pub fn new(client: Client, instance: &str) -> Self {
        Self { client, instance: instance.into() }
    }

    /// Binds a pod; says whether it is bound.
    pub async fn bind(&self, pod: &PodInfo, node: &str) -> bool {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node}
        });
        let result: Result<serde_json::Value, _> =
            pods.create_subresource("binding", &pod.name, &PostParams::default(), &binding).await;
        match result {
            Ok(_) => {
                let note = format!("Successfully assigned {} to {node}", pod.key);
                self.event(pod, "Normal", "Scheduled", "Binding", note).await;
                true
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                tracing::debug!(pod = pod.key, "the pod went before it was bound");
                false
            }
            Err(error) => {
                tracing::warn!(pod = pod.key, node, %error, "cannot bind");
                self.event(pod, "Warning", "FailedScheduling", "Scheduling", format!("binding rejected: {error}"))
                    .await;
                false
            }
        }
    }

    /// Does what a pod's claims need, and waits until they have their volumes; says whether they do.
    pub async fn prepare(&self, pod: &PodInfo, node: &str, steps: &[Step]) -> bool {
        let result = tokio::time::timeout(VOLUMES, self.volumes(pod, node, steps)).await;
        let reason = match result {
            Ok(Ok(())) => return true,
            Ok(Err(reason)) => reason,
            Err(_) => "binding volumes: context deadline exceeded".to_owned(),
        };
        tracing::warn!(pod = pod.key, node, reason, "its volumes are not there");
        self.event(pod, "Warning", "FailedScheduling", "Scheduling", reason).await;
        false
    }

    async fn volumes(&self, pod: &PodInfo, node: &str, steps: &[Step]) -> Result<(), String> {
        let name_of = |key: &str| key.split_once('/').map_or(key, |(_, name)| name).to_owned();
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &pod.namespace);
        let said = |error: kube::Error| format!("binding volumes: {error}");
        for step in steps {
            match step {
                Step::Hold { claim, uid, volume } => {
                    let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
                    let found = volumes.get(volume).await.map_err(said)?;
                    let held = found.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
                    if held.is_some_and(|held| held.name.as_deref() != Some(&name_of(claim))) {
                        return Err(format!("binding volumes: volume {volume:?} was taken"));
                    }
                    // The version makes sure that nobody else takes it meanwhile.
                    let patch = json!({"metadata": {"resourceVersion": found.metadata.resource_version,
                        "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
                        "spec": {"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "uid": uid,
                            "name": name_of(claim), "namespace": pod.namespace}}});
                    volumes.patch(volume, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(said)?;
                }
                Step::Provision { claim } => {
                    let patch = json!({"metadata": {"annotations": {SELECTED: node}}});
                    let name = name_of(claim);
                    claims.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(said)?;
                }
            }
        }
        for step in steps {
            let (Step::Hold { claim, .. } | Step::Provision { claim }) = step;
            loop {
                let found = Claim::of(claims.get(&name_of(claim)).await.map_err(said)?);
                if found.bound {
                    break;
                }
                // Who makes volumes takes the node away if it has none to give there.
                if matches!(step, Step::Provision { .. }) && found.selected.as_deref() != Some(node) {
                    return Err("binding volumes: provisioning failed for the node that was selected".into());
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Says why a pod waits, in its condition and an event; what was said before is not said again.
    pub async fn refuse(&self, pod: &PodInfo, message: &str, eviction: Option<&Eviction>, give_up: bool) {
        let said = pod.unscheduled_message.as_deref() == Some(message);
        if said && eviction.is_none() && !give_up {
            return;
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let mut condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        if pod.unscheduled_message.is_none() {
            condition["lastTransitionTime"] = json!(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        }
        if let Some(generation) = pod.generation {
            condition["observedGeneration"] = json!(generation);
        }
        let mut status = json!({"conditions": [condition]});
        if let Some(eviction) = eviction {
            status["nominatedNodeName"] = json!(eviction.node);
        } else if give_up {
            status["nominatedNodeName"] = json!(null);
        }
        let patch = json!({"metadata": {"uid": pod.uid}, "status": status});
        if let Err(error) = pods.patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            tracing::debug!(pod = pod.key, %error, "cannot write the condition");
        }
        if !said {
            self.event(pod, "Warning", "FailedScheduling", "Scheduling", message.to_owned()).await;
        }
        for victim in eviction.into_iter().flat_map(|eviction| &eviction.victims) {
            self.evict(pod, victim).await;
        }
    }

    async fn evict(&self, pod: &PodInfo, victim: &PodInfo) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &victim.namespace);
        let note = format!("Preempted by pod {} on node {}", pod.uid, victim.node);
        let patch = json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod",
            "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
        }]}});
        if let Err(error) = pods.patch_status(&victim.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            tracing::debug!(pod = victim.key, %error, "cannot mark the victim");
        }
        let same = Preconditions { uid: Some(victim.uid.clone()), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        match pods.delete(&victim.name, &parameters).await {
            Ok(_) => self.event(victim, "Normal", "Preempted", "Preempting", note).await,
            Err(error) => tracing::warn!(pod = victim.key, %error, "cannot evict"),
        }
    }

    async fn event(&self, pod: &PodInfo, kind: &str, reason: &str, action: &str, note: String) {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &pod.namespace);
        let now = Timestamp::now();
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{:x}", pod.name, now.as_nanosecond())),
                namespace: Some(pod.namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(pod.scheduler.clone()),
            reporting_instance: Some(self.instance.to_string()),
            action: Some(action.into()),
            reason: Some(reason.into()),
            regarding: Some(ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                namespace: Some(pod.namespace.clone()),
                name: Some(pod.name.clone()),
                uid: Some(pod.uid.clone()),
                ..ObjectReference::default()
            }),
            note: Some(note.chars().take(1024).collect()),
            type_: Some(kind.into()),
            ..Event::default()
        };
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            tracing::debug!(pod = pod.key, reason, %error, "cannot write an event");
        }
    }
}
