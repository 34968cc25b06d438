//! What each metric of a scaler asks for, and which of them counts: the one that asks for most.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricIdentifier, MetricSpec, MetricTarget};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kinit_api::quantity::Quantity;
use kinit_api::selector::LabelSelector as LabelQuery;
use serde_json::{Value, json};

use super::metrics;
use super::replicas::{self, Samples, Standing, TOLERANCE, Target, Tolerances};
use crate::context::{Actor, Caches};
use crate::pods;

/// Within this time of its start, a pod that is not ready uses more than it will.
const STARTING: i64 = 300;
/// A pod that has not been ready this long after its start never was.
const FIRST_READY: i64 = 30;

/// What metrics ask for together.
#[derive(Debug, Default)]
pub struct Proposal {
    /// The replicas, and by which metric.
    pub replicas: Option<(i32, String)>,
    /// Why a metric could not be followed.
    pub failure: Option<(&'static str, String)>,
    /// What metrics say, for the status.
    pub metrics: Vec<Value>,
}

/// One metric's say.
struct Answer {
    replicas: i32,
    name: String,
    status: Value,
}

/// Asks for all metrics of a scaler whose target has `current` replicas.
pub async fn all(
    caches: &Caches,
    actor: &Actor,
    scaler: &HorizontalPodAutoscaler,
    selector: &str,
    current: i32,
) -> Proposal {
    let mut proposal = Proposal::default();
    let usual = serde_json::from_value(json!([{"type": "Resource", "resource":
        {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]));
    let specs: Vec<MetricSpec> = scaler.spec.metrics.clone().unwrap_or_else(|| usual.unwrap_or_default());
    let look = Look { caches, actor, scaler, selector, current };
    for spec in &specs {
        match look.at(spec).await {
            Ok(answer) => {
                if proposal.replicas.as_ref().is_none_or(|(most, _)| answer.replicas > *most) {
                    proposal.replicas = Some((answer.replicas, answer.name));
                }
                proposal.metrics.push(answer.status);
            }
            Err(failure) => {
                proposal.failure.get_or_insert(failure);
            }
        }
    }
    // Fewer replicas than a metric that cannot be read might ask for are no answer.
    if proposal.failure.is_some() && proposal.replicas.as_ref().is_some_and(|(most, _)| *most < current) {
        proposal.replicas = None;
    }
    proposal
}

struct Look<'a> {
    caches: &'a Caches,
    actor: &'a Actor,
    scaler: &'a HorizontalPodAutoscaler,
    selector: &'a str,
    current: i32,
}

impl Look<'_> {
    fn namespace(&self) -> &str {
        self.scaler.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn tolerances(&self) -> Tolerances {
        let behavior = self.scaler.spec.behavior.as_ref();
        let of = |rules: Option<&k8s_openapi::api::autoscaling::v2::HPAScalingRules>| {
            let text = rules.and_then(|rules| rules.tolerance.as_ref())?;
            text.0.parse::<Quantity>().ok().map(Quantity::as_f64)
        };
        Tolerances {
            down: of(behavior.and_then(|all| all.scale_down.as_ref())).unwrap_or(TOLERANCE),
            up: of(behavior.and_then(|all| all.scale_up.as_ref())).unwrap_or(TOLERANCE),
        }
    }

    async fn at(&self, spec: &MetricSpec) -> Result<Answer, (&'static str, String)> {
        match spec.type_.as_str() {
            "Resource" => {
                let source = spec.resource.as_ref().ok_or_else(invalid)?;
                let answer = self.resource(&source.name, None, &source.target).await;
                answer.map_err(|error| ("FailedGetResourceMetric", error))
            }
            "ContainerResource" => {
                let source = spec.container_resource.as_ref().ok_or_else(invalid)?;
                let answer = self.resource(&source.name, Some(&source.container), &source.target).await;
                answer.map_err(|error| ("FailedGetContainerResourceMetric", error))
            }
            "Pods" => {
                let source = spec.pods.as_ref().ok_or_else(invalid)?;
                let answer = self.pods_metric(&source.metric, &source.target).await;
                answer.map_err(|error| ("FailedGetPodsMetric", error))
            }
            "Object" => {
                let source = spec.object.as_ref().ok_or_else(invalid)?;
                let object = &source.described_object;
                let group = object.api_version.as_deref().and_then(|version| version.split_once('/')).map(|one| one.0);
                let plural = super::plural(&object.kind);
                let objects = group.map_or_else(|| plural.clone(), |group| format!("{plural}.{group}"));
                let place = format!("{objects}/{}", object.name);
                let found = metrics::of_objects(
                    &self.actor.client(),
                    self.namespace(),
                    &place,
                    &source.metric.name,
                    ("", &text(&source.metric)),
                )
                .await;
                let used =
                    found.map(|all| all.values().sum::<i64>()).map_err(|error| ("FailedGetObjectMetric", error))?;
                let status = json!({"type": "Object", "object": {"describedObject": object, "metric": source.metric,
                    "current": current_of(&source.target, used, self.current)}});
                let name = format!("{} metric {}", object.kind, source.metric.name);
                Ok(Answer { replicas: self.of_whole(&source.target, used), name, status })
            }
            "External" => {
                let source = spec.external.as_ref().ok_or_else(invalid)?;
                let found = metrics::external(
                    &self.actor.client(),
                    self.namespace(),
                    &source.metric.name,
                    &text(&source.metric),
                )
                .await;
                let used = found.map_err(|error| ("FailedGetExternalMetric", error))?;
                let status = json!({"type": "External", "external": {"metric": source.metric,
                    "current": current_of(&source.target, used, self.current)}});
                let name = format!("external metric {}", source.metric.name);
                Ok(Answer { replicas: self.of_whole(&source.target, used), name, status })
            }
            other => Err(("InvalidMetricSourceType", format!("unknown metric source type {other:?}"))),
        }
    }

    async fn resource(&self, name: &str, container: Option<&str>, target: &MetricTarget) -> Result<Answer, String> {
        let usage = metrics::of_resource(&self.actor.client(), self.namespace(), self.selector, name, container).await;
        let usage = usage.map_err(|error| format!("unable to get metrics for resource {name}: {error}"))?;
        let mut samples = self.samples(usage, name == "cpu");
        let aim = match (target.average_utilization, &target.average_value) {
            (Some(percent), _) => {
                samples.requests = self.requests(name, container)?;
                Target::Utilization(percent)
            }
            (None, Some(amount)) => Target::Average(milli(&amount.0)),
            (None, None) => {
                return Err(
                    "invalid resource metric source: neither a utilization target nor a value target was set".into()
                );
            }
        };
        let found = replicas::by_pods(self.current, &samples, aim, self.tolerances())?;
        let current = json!({"averageValue": quantity(found.average), "averageUtilization": found.utilization});
        let (status, what) = match container {
            None => (
                json!({"type": "Resource", "resource": {"name": name, "current": current}}),
                format!("{name} resource"),
            ),
            Some(container) => (
                json!({"type": "ContainerResource", "containerResource":
                    {"name": name, "container": container, "current": current}}),
                format!("{name} container resource"),
            ),
        };
        let how = if found.utilization.is_some() { "utilization (percentage of request)" } else { "value" };
        Ok(Answer { replicas: found.replicas, name: format!("{what} {how}"), status })
    }

    async fn pods_metric(&self, metric: &MetricIdentifier, target: &MetricTarget) -> Result<Answer, String> {
        let of = (self.selector, text(metric));
        let found =
            metrics::of_objects(&self.actor.client(), self.namespace(), "pods/%2A", &metric.name, (of.0, &of.1))
                .await?;
        let aim = Target::Average(target.average_value.as_ref().map_or(0, |amount| milli(&amount.0)));
        let found = replicas::by_pods(self.current, &self.samples(found, false), aim, self.tolerances())?;
        let status =
            json!({"type": "Pods", "pods": {"metric": metric, "current": {"averageValue": quantity(found.average)}}});
        Ok(Answer { replicas: found.replicas, name: format!("pods metric {}", metric.name), status })
    }

    /// What one value of the whole target asks for.
    fn of_whole(&self, target: &MetricTarget, used: i64) -> i32 {
        match (&target.value, &target.average_value) {
            (_, Some(share)) => replicas::by_share(self.current, used, milli(&share.0), self.tolerances()),
            (Some(aim), None) => {
                let ready = self.pods().iter().filter(|pod| pods::is_ready(pod)).count() as i32;
                replicas::by_value(self.current, used, milli(&aim.0), ready, self.tolerances())
            }
            (None, None) => self.current,
        }
    }

    fn pods(&self) -> Vec<std::sync::Arc<Pod>> {
        let Ok(selector) = LabelQuery::parse(self.selector) else { return Vec::new() };
        let all = self.caches.pods.list_in(self.namespace());
        let empty = BTreeMap::new();
        all.into_iter().filter(|pod| selector.matches(pod.metadata.labels.as_ref().unwrap_or(&empty))).collect()
    }

    fn samples(&self, usage: BTreeMap<String, i64>, starts: bool) -> Samples {
        let now = Timestamp::now().as_second();
        let pods = self
            .pods()
            .iter()
            .map(|pod| (pod.metadata.name.clone().unwrap_or_default(), standing(pod, starts, now)))
            .collect();
        Samples { pods, usage, requests: BTreeMap::new() }
    }

    /// What pods ask for of a resource, in thousandths.
    fn requests(&self, resource: &str, container: Option<&str>) -> Result<BTreeMap<String, i64>, String> {
        let mut all = BTreeMap::new();
        for pod in self.pods() {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let spec = pod.spec.clone().unwrap_or_default();
            let sidecars =
                spec.init_containers.iter().flatten().filter(|one| one.restart_policy.as_deref() == Some("Always"));
            let mut sum = 0;
            for one in
                spec.containers.iter().chain(sidecars).filter(|one| container.is_none_or(|name| one.name == name))
            {
                let request = one.resources.as_ref().and_then(|all| all.requests.as_ref()?.get(resource));
                let Some(request) = request else {
                    return Err(format!("missing request for {resource} in container {} of Pod {name}", one.name));
                };
                sum += milli(&request.0);
            }
            all.insert(name, sum);
        }
        Ok(all)
    }
}

/// How a pod counts. Pure.
fn standing(pod: &Pod, starts: bool, now: i64) -> Standing {
    if pod.metadata.deletion_timestamp.is_some() || pods::phase(pod) == "Failed" {
        return Standing::Ignored;
    }
    if pods::phase(pod) == "Pending" {
        return Standing::Unready;
    }
    let status = pod.status.as_ref();
    let ready = status.and_then(|status| status.conditions.iter().flatten().find(|one| one.type_ == "Ready"));
    let start = status.and_then(|status| status.start_time.as_ref()).map(|time| time.0.as_second());
    let unready = match (ready, start) {
        (Some(ready), Some(start)) => {
            let since = ready.last_transition_time.as_ref().map_or(start, |time| time.0.as_second());
            ready.status == "False" && (start + STARTING > now || start + FIRST_READY > since)
        }
        _ => true,
    };
    if starts && unready { Standing::Unready } else { Standing::Ready }
}

fn invalid() -> (&'static str, String) {
    ("InvalidMetricSourceType", "the metric's source is missing".into())
}

fn text(metric: &MetricIdentifier) -> String {
    metric.selector.as_ref().map(plain).unwrap_or_default()
}

/// A selector in the form of a query.
fn plain(selector: &LabelSelector) -> String {
    let equal = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let others = selector.match_expressions.iter().flatten().map(|one| {
        let values = one.values.clone().unwrap_or_default().join(",");
        match one.operator.as_str() {
            "In" => format!("{} in ({values})", one.key),
            "NotIn" => format!("{} notin ({values})", one.key),
            "Exists" => one.key.clone(),
            _ => format!("!{}", one.key),
        }
    });
    equal.chain(others).collect::<Vec<_>>().join(",")
}

fn milli(text: &str) -> i64 {
    text.parse::<Quantity>().map_or(0, Quantity::milli_value)
}

fn quantity(milli: i64) -> String {
    Quantity::from_milli(milli).to_string()
}

fn current_of(target: &MetricTarget, used: i64, current: i32) -> Value {
    if target.average_value.is_some() {
        return json!({"averageValue": quantity(used / i64::from(current.max(1)))});
    }
    json!({"value": quantity(used)})
}
