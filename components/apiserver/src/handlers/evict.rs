//! Eviction: a deletion of a Pod that the budgets of its application allow.

use http::Response;
use kinit_api::object::Object;
use kinit_api::selector::LabelSelector;
use kinit_api::status::Status;
use kinit_serving::Body;
use serde_json::{Value, json};

use super::part::{self, Kind};
use super::{Api, Payload, body, now, success};
use crate::admission::{Attributes, Operation};
use crate::registry;
use crate::request::ResourceRequest;
use crate::strategy::DeleteOptions;

const GROUP: &str = "policy";
const EVICTION: Kind = Kind { group: GROUP, versions: &["v1", "v1beta1"], name: "Eviction" };
const BUDGETS: &str = "poddisruptionbudgets";

impl Api {
    pub(super) async fn evict(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        let mut eviction = part::sent(request, payload, &EVICTION)?;
        let named = eviction.name();
        if named != request.name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let options = body::options_of(request, eviction.get(&["deleteOptions"]).unwrap_or(&Value::Null))?;
        // Nothing on the way may be written in a trial either, so the request says it for all that is done for it.
        let mut request = request.clone();
        if options.dry_run {
            request.query.insert("dryRun".into(), "All".into());
        }
        let attributes = Attributes::new(Operation::Create, &request, &request.name, None);
        self.ask(&attributes, &mut eviction).await?;
        request.internal = true;
        let request = &request;
        let (pod, _) = self.stored(request, &request.name).await?;
        // What never ran, has ended or is ending already disrupts nobody.
        let free =
            matches!(pod.str(&["status", "phase"]), "Succeeded" | "Failed" | "Pending") || pod.is_being_deleted();
        if !free {
            self.spend_budget(request, &pod).await?;
        }
        let mut deletion = request.clone();
        deletion.subresource.clear();
        let options = DeleteOptions { uid: options.uid.or_else(|| Some(pod.uid().to_owned())), ..options };
        if !request.is_dry_run() {
            self.mark_disrupted(&deletion, &pod).await?;
        }
        self.delete_one(&deletion, &request.name, &options).await?;
        Ok(success(201))
    }

    /// Takes one disruption from the budget that covers the Pod.
    async fn spend_budget(&self, request: &ResourceRequest, pod: &Object) -> Result<(), Status> {
        let budgets = self.cache.all(GROUP, BUDGETS);
        let namespace = &request.namespace;
        let covering: Vec<Object> = crate::cache::within(&budgets, namespace)
            .filter_map(|(_, entry)| entry.object())
            .filter(|budget| covers(budget, pod))
            .collect();
        let budget = match covering.as_slice() {
            [] => return Ok(()),
            [budget] => budget,
            _ => {
                return Err(Status::internal(
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        };
        let (index, spec) = registry::find(GROUP, "v1", BUDGETS).expect("PodDisruptionBudget has a row");
        let mut write = request.clone();
        (write.index, write.spec) = (index, spec.clone());
        write.name = budget.name().to_owned();
        write.subresource = "status".into();
        let spent = self.change(&write, |current| {
            let allowed = current.get(&["status", "disruptionsAllowed"]).and_then(Value::as_i64).unwrap_or(0);
            let observed = current.get(&["status", "observedGeneration"]).and_then(Value::as_i64).unwrap_or(0);
            if observed < current.generation() {
                return Err(too_many(&format!(
                    "The disruption budget {} is still being processed by the server.",
                    current.name()
                )));
            }
            if allowed <= 0 {
                let healthy = current.get(&["status", "currentHealthy"]).and_then(Value::as_i64).unwrap_or(0);
                let desired = current.get(&["status", "desiredHealthy"]).and_then(Value::as_i64).unwrap_or(0);
                return Err(too_many(&format!(
                    "The disruption budget {} needs {desired} healthy pods and has {healthy} currently",
                    current.name()
                )));
            }
            let mut spent = current.clone();
            spent.set(&["status", "disruptionsAllowed"], allowed - 1);
            spent.set(&["status", "disruptedPods", pod.name()], now());
            Ok(spent)
        });
        spent.await.map(|_| ())
    }

    /// Says in the Pod's status why it goes.
    async fn mark_disrupted(&self, request: &ResourceRequest, pod: &Object) -> Result<(), Status> {
        let mut write = request.clone();
        write.subresource = "status".into();
        let marked = self.change(&write, |current| {
            let mut marked = current.clone();
            let conditions =
                current.get(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
            let others = conditions.into_iter().filter(|condition| condition["type"] != "DisruptionTarget");
            let own = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting", "lastTransitionTime": now()});
            marked.set(&["status", "conditions"], others.chain([own]).collect::<Vec<_>>());
            Ok(marked)
        });
        match marked.await {
            // A Pod of another UID is refused by the deletion that follows.
            Ok(_) => Ok(()),
            Err(status) => {
                tracing::debug!(pod = pod.name(), %status, "its status could not be marked");
                Err(status)
            }
        }
    }
}

fn covers(budget: &Object, pod: &Object) -> bool {
    let Some(selector) = budget.get(&["spec", "selector"]) else { return false };
    LabelSelector::from_object(selector).is_ok_and(|selector| selector.matches(&pod.labels()))
}

fn too_many(why: &str) -> Status {
    let mut status = Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.");
    let causes = json!([{"reason": "DisruptionBudget", "message": why}]);
    status.details = Some(json!({"causes": causes}));
    status
}
