//! HorizontalPodAutoscalers, as far as they can be served without a server of metrics: the bounds are kept, and the
//! status says what is missing.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

use crate::context::{Actor, Context};
use crate::write;

/// How often a target is looked at.
const PERIOD: Duration = Duration::from_secs(15);
const NO_METRICS: &str = "unable to get metrics for resource: no server of metrics.k8s.io is known to this controller";

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("horizontal-pod-autoscaler").await;
    let scalers = context.caches.scalers.clone();
    scalers.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    scalers.handle(move |_, scaler| keys.add(key_of(scaler.as_ref())));
    work("horizontalpodautoscaling", queue, 2, context.shutdown.clone(), move |key: String| {
        let (scalers, actor) = (scalers.clone(), actor.clone());
        async move {
            let Some(scaler) = scalers.get(&key).filter(|one| one.metadata.deletion_timestamp.is_none()) else {
                return Ok::<_, kube::Error>(None);
            };
            reconcile(&actor, &scaler).await?;
            Ok(Some(PERIOD))
        }
    })
    .await;
}

/// The number of replicas that bounds make of `present`, and why it is another. A target at zero is switched off. Pure.
fn bounded(present: i32, least: i32, most: i32) -> Option<(i32, &'static str)> {
    match present {
        0 => None,
        _ if present > most => Some((most, "TooManyReplicas")),
        _ if present < least => Some((least, "TooFewReplicas")),
        _ => None,
    }
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

async fn reconcile(actor: &Actor, scaler: &HorizontalPodAutoscaler) -> Result<(), kube::Error> {
    let spec = &scaler.spec;
    let namespace = scaler.metadata.namespace.as_deref().unwrap_or_default();
    let target = &spec.scale_target_ref;
    let (group, version) = match target.api_version.as_deref().unwrap_or("v1").split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", target.api_version.as_deref().unwrap_or("v1")),
    };
    let kind = GroupVersionKind::gvk(group, version, &target.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &plural(&target.kind));
    let api: Api<DynamicObject> = Api::namespaced_with(actor.client(), namespace, &resource);
    let scale: Scale = match api.get_subresource("scale", &target.name).await {
        Ok(found) => typed(json!(found))?,
        Err(kube::Error::Api(status)) => {
            let message =
                format!("the HPA controller was unable to get the target's current scale: {}", status.message);
            return report(actor, scaler, 0, 0, &[("AbleToScale", "False", "FailedGetScale", message)]).await;
        }
        Err(error) => return Err(error),
    };
    let present = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    let of_status = scale.status.as_ref().map_or(present, |status| status.replicas);
    let able = (
        "AbleToScale",
        "True",
        "SucceededGetScale",
        "the HPA controller was able to get the target's current scale".to_owned(),
    );
    if present == 0 {
        let off = (
            "ScalingActive",
            "False",
            "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero".to_owned(),
        );
        return report(actor, scaler, of_status, 0, &[able, off]).await;
    }
    let blind = ("ScalingActive", "False", "FailedGetResourceMetric", NO_METRICS.to_owned());
    let Some((wanted, reason)) = bounded(present, spec.min_replicas.unwrap_or(1), spec.max_replicas) else {
        return report(actor, scaler, of_status, present, &[able, blind]).await;
    };
    let mut changed = json!(scale);
    changed["spec"]["replicas"] = wanted.into();
    let body = typed::<DynamicObject>(changed)?;
    api.replace_subresource("scale", &target.name, &PostParams::default(), &body).await?;
    let able = (
        "AbleToScale",
        "True",
        "SucceededRescale",
        format!("the HPA controller was able to update the target scale to {wanted}"),
    );
    let limited = ("ScalingLimited", "True", reason, "the desired replica count is outside the bounds".to_owned());
    report(actor, scaler, of_status, wanted, &[able, blind, limited]).await
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, kube::Error> {
    serde_json::from_value(value).map_err(kube::Error::SerdeError)
}

async fn report(
    actor: &Actor,
    scaler: &HorizontalPodAutoscaler,
    current: i32,
    desired: i32,
    conditions: &[(&str, &str, &str, String)],
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
    let told: Vec<_> = old.iter().map(|one| (one.type_.as_str(), one.status.as_str(), one.reason.as_deref())).collect();
    let now_told: Vec<_> = conditions.iter().map(|(kind, status, reason, _)| (*kind, *status, Some(*reason))).collect();
    if told == now_told && (before.current_replicas.unwrap_or(0), before.desired_replicas) == (current, desired) {
        return Ok(());
    }
    let api: Api<HorizontalPodAutoscaler> =
        Api::namespaced(actor.client(), scaler.metadata.namespace.as_deref().unwrap_or_default());
    let patch = json!({"status": {"currentReplicas": current, "desiredReplicas": desired, "conditions": made,
        "observedGeneration": scaler.metadata.generation}});
    write::status(&api, scaler, &patch).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_kept() {
        for (present, wanted) in
            [(0, None), (1, Some((2, "TooFewReplicas"))), (3, None), (9, Some((5, "TooManyReplicas")))]
        {
            assert_eq!(bounded(present, 2, 5), wanted, "{present}");
        }
        assert_eq!(plural("ReplicaSet"), "replicasets");
    }
}
