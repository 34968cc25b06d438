//! HorizontalPodAutoscalers: as many replicas as metrics ask for.
//!
//! - [`metrics`]: what the servers of metrics say. [`replicas`]: how many replicas that comes to, pure.
//! - [`behavior`]: how fast a target may follow, pure.

pub mod behavior;
pub mod evaluate;
pub mod metrics;
pub mod replicas;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kinit_runtime::events::{About, Kind};
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::context::{Actor, Caches, Context};
use crate::write;
use behavior::History;
use evaluate::Proposal;

/// How often a target is looked at.
const PERIOD: Duration = Duration::from_secs(15);

/// A condition: its type, status, reason and message.
type Condition = (&'static str, &'static str, &'static str, String);

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("horizontal-pod-autoscaler").await;
    let scalers = context.caches.scalers.clone();
    scalers.synced().await;
    context.caches.pods.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    scalers.handle(move |_, scaler| keys.add(key_of(scaler.as_ref())));
    let histories: Arc<Mutex<HashMap<String, History>>> = Arc::default();
    work("horizontalpodautoscaling", queue, 5, context.shutdown.clone(), move |key: String| {
        let (context, scalers, actor, histories) = (context.clone(), scalers.clone(), actor.clone(), histories.clone());
        async move {
            let Some(scaler) = scalers.get(&key).filter(|one| one.metadata.deletion_timestamp.is_none()) else {
                histories.lock().remove(&key);
                return Ok::<_, kube::Error>(None);
            };
            let mut history = histories.lock().get(&key).cloned().unwrap_or_default();
            let result = reconcile(&context.caches, &actor, &scaler, &mut history).await;
            histories.lock().insert(key, history);
            result.map(|()| Some(PERIOD))
        }
    })
    .await;
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

async fn reconcile(
    caches: &Caches,
    actor: &Actor,
    scaler: &HorizontalPodAutoscaler,
    history: &mut History,
) -> Result<(), kube::Error> {
    let spec = &scaler.spec;
    let namespace = scaler.metadata.namespace.as_deref().unwrap_or_default();
    let target = &spec.scale_target_ref;
    let version = target.api_version.as_deref().unwrap_or("v1");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = GroupVersionKind::gvk(group, version, &target.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &plural(&target.kind));
    let api: Api<DynamicObject> = Api::namespaced_with(actor.client(), namespace, &resource);
    let scale: Scale = match api.get_subresource("scale", &target.name).await {
        Ok(found) => typed(json!(found))?,
        Err(kube::Error::Api(status)) => {
            let message =
                format!("the HPA controller was unable to get the target's current scale: {}", status.message);
            tell(actor, scaler, Kind::Warning, "FailedGetScale", status.message);
            let before =
                scaler.status.as_ref().map_or((0, 0), |one| (one.current_replicas.unwrap_or(0), one.desired_replicas));
            return report(actor, scaler, before, None, &[("AbleToScale", "False", "FailedGetScale", message)]).await;
        }
        Err(error) => return Err(error),
    };
    let present = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    let of_status = scale.status.as_ref().map_or(present, |status| status.replicas);
    let text = "the HPA controller was able to get the target's current scale".to_owned();
    let mut conditions: Vec<Condition> = vec![("AbleToScale", "True", "SucceededGetScale", text)];
    let least = spec.min_replicas.unwrap_or(1);
    if present == 0 && least != 0 {
        let text = "scaling is disabled since the replica count of the target is zero".to_owned();
        conditions.push(("ScalingActive", "False", "ScalingDisabled", text));
        return report(actor, scaler, (of_status, 0), None, &conditions).await;
    }
    let mut told = None;
    let wanted = if present > spec.max_replicas {
        spec.max_replicas
    } else if present < least {
        least
    } else {
        let selector = scale.status.as_ref().and_then(|status| status.selector.clone()).unwrap_or_default();
        let proposal = evaluate::all(caches, actor, scaler, &selector, present).await;
        told = Some(proposal.metrics.clone());
        match metric_decision(actor, scaler, &proposal, present, history, &mut conditions) {
            Some(wanted) => wanted,
            None => return report(actor, scaler, (of_status, present), told, &conditions).await,
        }
    };
    if wanted != present {
        let mut changed = json!(scale);
        changed["spec"]["replicas"] = wanted.into();
        let body = typed::<DynamicObject>(changed)?;
        api.replace_subresource("scale", &target.name, &PostParams::default(), &body).await?;
        history.note(present, wanted, Timestamp::now().as_second());
        let text = format!("the HPA controller was able to update the target scale to {wanted}");
        conditions[0] = ("AbleToScale", "True", "SucceededRescale", text);
        tell(actor, scaler, Kind::Normal, "SuccessfulRescale", format!("New size: {wanted}"));
    }
    report(actor, scaler, (of_status, wanted), told, &conditions).await
}

/// What metrics decide; `None` when they say nothing that could be followed.
fn metric_decision(
    actor: &Actor,
    scaler: &HorizontalPodAutoscaler,
    proposal: &Proposal,
    present: i32,
    history: &mut History,
    conditions: &mut Vec<Condition>,
) -> Option<i32> {
    if let Some((reason, message)) = &proposal.failure {
        tell(actor, scaler, Kind::Warning, reason, message.clone());
    }
    let Some((asked, metric)) = &proposal.replicas else {
        let (reason, message) =
            proposal.failure.clone().unwrap_or(("InvalidMetricSourceType", "there is no metric".into()));
        conditions.push((
            "ScalingActive",
            "False",
            reason,
            format!("the HPA was unable to compute the replica count: {message}"),
        ));
        return None;
    };
    let text = format!("the HPA was able to successfully calculate a replica count from {metric}");
    conditions.push(("ScalingActive", "True", "ValidMetricFound", text));
    let decision = history.decide(&scaler.spec, present, *asked, Timestamp::now().as_second());
    let (reason, message) =
        decision.stabilized.unwrap_or(("ReadyForNewScale", "recommended size matches current size"));
    conditions[0] = ("AbleToScale", "True", reason, message.to_owned());
    let limited = if decision.limited { "True" } else { "False" };
    conditions.push(("ScalingLimited", limited, decision.limit.0, decision.limit.1.to_owned()));
    Some(decision.replicas)
}

fn tell(actor: &Actor, scaler: &HorizontalPodAutoscaler, kind: Kind, reason: &'static str, message: String) {
    actor.events.say(About::object(scaler), kind, reason, message);
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, kube::Error> {
    serde_json::from_value(value).map_err(kube::Error::SerdeError)
}

/// Writes the status: the replicas that there are and that are wanted, what metrics say, and conditions.
async fn report(
    actor: &Actor,
    scaler: &HorizontalPodAutoscaler,
    (current, desired): (i32, i32),
    metrics: Option<Vec<Value>>,
    conditions: &[Condition],
) -> Result<(), kube::Error> {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let before = scaler.status.clone().unwrap_or_default();
    let old = before.conditions.clone().unwrap_or_default();
    let made: Vec<Value> = conditions
        .iter()
        .map(|(kind, status, reason, message)| {
            let since = old.iter().find(|one| one.type_ == *kind && one.status == *status);
            let since = since.and_then(|one| one.last_transition_time.as_ref());
            let since = since.map_or(json!(now), |time| json!(time));
            json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
        })
        .collect();
    let rescaled = conditions.iter().any(|(_, _, reason, _)| *reason == "SucceededRescale");
    let mut patch = json!({"status": {"currentReplicas": current, "desiredReplicas": desired, "conditions": made,
        "currentMetrics": metrics, "observedGeneration": scaler.metadata.generation}});
    if rescaled {
        patch["status"]["lastScaleTime"] = now.into();
    }
    let mut after = json!(before);
    json_patch::merge(&mut after, &patch["status"]);
    if json!(before) == after {
        return Ok(());
    }
    let api: Api<HorizontalPodAutoscaler> =
        Api::namespaced(actor.client(), scaler.metadata.namespace.as_deref().unwrap_or_default());
    write::status(&api, scaler, &patch).await?;
    Ok(())
}
