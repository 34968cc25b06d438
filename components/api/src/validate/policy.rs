//! The groups autoscaling and policy.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{autoscaler, metadata, workloads};
use crate::object::Object;

pub(super) fn whole(kind: &str, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let spec = object.get(&["spec"]).unwrap_or(&Value::Null);
    match kind {
        "HorizontalPodAutoscaler" => autoscaler::spec(spec, &path, &mut errors),
        "PodDisruptionBudget" => budget(spec, &path, &mut errors),
        _ => {}
    }
    errors
}

fn budget(spec: &Value, path: &Path, errors: &mut Errors) {
    let fields = ["minAvailable", "maxUnavailable"];
    if fields.iter().all(|field| !spec[*field].is_null()) {
        errors.push(Error::invalid(path, spec.clone(), "minAvailable and maxUnavailable cannot be both set"));
    }
    for field in fields {
        workloads::portion(&spec[field], true, &path.child(field), errors);
    }
    if spec["selector"].is_object() {
        metadata::selector(&spec["selector"], &path.child("selector"), errors);
    }
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    let policy = spec["unhealthyPodEvictionPolicy"].as_str();
    if let Some(policy) = policy.filter(|policy| !policies.contains(policy)) {
        errors.push(Error::not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &policies));
    }
}
