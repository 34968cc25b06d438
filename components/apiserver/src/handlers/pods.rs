//! Binding a Pod to a node.

use http::Response;
use kinit_api::status::{Status, unmet};
use kinit_serving::Body;
use serde_json::{Value, json};

use super::part::{self, Kind};
use super::{Api, Payload, now, success};
use crate::admission::{Attributes, Operation};
use crate::request::ResourceRequest;

const BINDING: Kind = Kind { group: "", versions: &["v1"], name: "Binding" };

impl Api {
    /// Binds a Pod to a node, once.
    pub(super) async fn bind(&self, request: &ResourceRequest, payload: &Payload) -> Result<Response<Body>, Status> {
        let mut binding = part::sent(request, payload, &BINDING)?;
        if request.name.is_empty() {
            return Err(Status::bad_request("Name parameter required."));
        }
        if binding.name() != request.name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        let attributes = Attributes::new(Operation::Create, request, &request.name, None);
        self.ask(&attributes, &mut binding).await?;
        let uid = binding.uid();
        let annotations = binding.get(&["metadata", "annotations"]).and_then(Value::as_object);
        let labels = binding.labels();
        let node = binding.str(&["target", "name"]).to_owned();
        if node.is_empty() {
            // Upstream tells what is wrong with a binding without saying that it is invalid.
            return Err(Status::failed("target.name: Required value"));
        }
        let kind = binding.str(&["target", "kind"]);
        if !matches!(kind, "" | "Node") {
            let known = "supported values: \"Node\", \"<empty>\"";
            return Err(Status::failed(format!("target.kind: Unsupported value: {kind:?}: {known}")));
        }
        let write = ResourceRequest { internal: true, ..request.clone() };
        self.change(&write, |current| {
            if !uid.is_empty() && uid != current.uid() {
                let why = unmet("UID", uid, current.uid());
                return Err(Status::conflict("", "pods/binding", &request.name, &why));
            }
            if current.is_being_deleted() {
                let why = format!("pod {} is being deleted, cannot be assigned to a host", request.name);
                return Err(Status::conflict("", "pods/binding", &request.name, &why));
            }
            let assigned = current.str(&["spec", "nodeName"]);
            if !assigned.is_empty() {
                let why = format!("pod {} is already assigned to node {assigned:?}", request.name);
                return Err(Status::conflict("", "pods/binding", &request.name, &why));
            }
            let gates = current.get(&["spec", "schedulingGates"]).and_then(Value::as_array);
            if gates.is_some_and(|gates| !gates.is_empty()) {
                let why = format!("pod {} has non-empty .spec.schedulingGates", request.name);
                return Err(Status::conflict("", "pods/binding", &request.name, &why));
            }
            let mut bound = current.clone();
            bound.set(&["spec", "nodeName"], node.clone());
            for (key, value) in annotations.into_iter().flatten() {
                bound.set(&["metadata", "annotations", key], value.clone());
            }
            let own = bound.labels();
            for (key, value) in labels.iter().filter(|(key, _)| !own.contains_key(*key)) {
                bound.set(&["metadata", "labels", key], value.clone());
            }
            // Where it was to go once others had made room is of no more use.
            bound.remove(&["status", "nominatedNodeName"]);
            let scheduled =
                json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now()});
            let conditions =
                current.get(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
            let others = conditions.into_iter().filter(|condition| condition["type"] != "PodScheduled");
            bound.set(&["status", "conditions"], others.chain([scheduled]).collect::<Vec<_>>());
            Ok(bound)
        })
        .await?;
        Ok(success(201))
    }
}
