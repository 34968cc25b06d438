//! Resources that are another form of what is stored: events of `events.k8s.io` are the core group's with other names, and
//! autoscalers of `autoscaling/v1` are those of `autoscaling/v2` with one metric.

mod autoscaling;
mod events;

use std::sync::Arc;

use bytes::Bytes;
use kinit_api::object::Object;

use crate::cache::Entry;
use crate::custom;
use crate::registry::{ResourceSpec, Storage};
use crate::render::Item;

/// What is stored, as the resource shows it.
pub fn shown(spec: &ResourceSpec, mut object: Object) -> Object {
    if let Storage::As { group, .. } = spec.storage {
        if group == "autoscaling" {
            autoscaling::show(&mut object)
        } else {
            events::show(&mut object)
        }
        object.set(&["apiVersion"], spec.api_version());
    }
    object
}

/// What the resource shows, as it is stored.
pub fn stored(spec: &ResourceSpec, mut object: Object) -> Object {
    if let Storage::As { group, version } = spec.storage {
        if group == "autoscaling" {
            autoscaling::store(&mut object)
        } else {
            events::store(&mut object)
        }
        object.set(&["apiVersion"], if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") });
    }
    object
}

/// [`shown`] for an object of the cache; nothing is decoded where both forms are the same.
pub fn item(spec: &ResourceSpec, entry: &Arc<Entry>) -> Item {
    if is_stored(spec) { Item::Stored(entry.clone()) } else { Item::Made(bytes(spec, &entry.json)) }
}

/// Whether the resource shows objects as they are stored.
pub fn is_stored(spec: &ResourceSpec) -> bool {
    spec.custom.is_none() && !matches!(spec.storage, Storage::As { .. })
}

/// [`shown`] for encoded objects.
pub fn bytes(spec: &ResourceSpec, json: &Bytes) -> Bytes {
    if !matches!(spec.storage, Storage::As { .. }) {
        return custom::bytes(spec, json);
    }
    match Object::from_slice(json) {
        Ok(object) => shown(spec, object).to_vec().into(),
        Err(_) => json.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::find;
    use serde_json::json;

    #[test]
    fn events_have_two_forms() {
        let spec = find("events.k8s.io", "v1", "events").unwrap().1;
        let new = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "note": "n",
            "regarding": {"kind": "Pod"}, "reportingController": "c", "reason": "r"});
        let kept = stored(spec, Object::from_value(new.clone()).unwrap());
        assert_eq!(kept.api_version(), "v1");
        assert_eq!((kept.str(&["message"]), kept.str(&["involvedObject", "kind"])), ("n", "Pod"));
        assert_eq!(shown(spec, kept.clone()).into_value(), new);
        let core = find("", "v1", "events").unwrap().1;
        assert_eq!(shown(core, kept.clone()), kept);
    }

    #[test]
    fn an_autoscaler_of_one_metric_is_one_of_many() {
        let (v1, v2) = (
            find("autoscaling", "v1", "horizontalpodautoscalers").unwrap(),
            find("autoscaling", "v2", "horizontalpodautoscalers").unwrap(),
        );
        assert_eq!(v1.0, v2.0);
        let first = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}});
        let kept = stored(v1.1, Object::from_value(first.clone()).unwrap());
        assert_eq!(kept.api_version(), "autoscaling/v2");
        assert_eq!(
            kept.get(&["spec", "metrics"]),
            Some(&json!([{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 50}}}]))
        );
        assert_eq!(shown(v1.1, kept.clone()).into_value(), first);
        assert_eq!(shown(v2.1, kept.clone()), kept);
    }
}
