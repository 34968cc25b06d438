//! HorizontalPodAutoscalers of `autoscaling/v1`, which know the processor alone, and of `autoscaling/v2`. What the former
//! have no field for is in annotations, as upstream has it, so that nothing is lost by a client of the old version.

use kinit_api::object::Object;
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// A path in a metric of `v2` and the field that it is in one of `v1`.
type Names = &'static [(&'static [&'static str], &'static str)];

const RESOURCE: Names = &[
    (&["name"], "name"),
    (&["container"], "container"),
    (&["target", "averageUtilization"], "targetAverageUtilization"),
    (&["target", "averageValue"], "targetAverageValue"),
    (&["current", "averageUtilization"], "currentAverageUtilization"),
    (&["current", "averageValue"], "currentAverageValue"),
];

/// Where a metric comes from: the field that tells of it, and the names in there.
const SOURCES: &[(&str, Names)] = &[
    ("resource", RESOURCE),
    ("containerResource", RESOURCE),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "averageValue"], "targetAverageValue"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "averageValue"),
            (&["current", "value"], "currentValue"),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "targetAverageValue"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
];

/// The types of targets and the fields that hold them.
const TARGETS: &[(&str, &str)] =
    &[("averageUtilization", "Utilization"), ("averageValue", "AverageValue"), ("value", "Value")];

/// Makes one of `autoscaling/v1` of a stored one.
pub fn show(object: &mut Object) {
    let places = [
        (&["spec", "metrics"], &["spec", "targetCPUUtilizationPercentage"], "target", METRICS),
        (&["status", "currentMetrics"], &["status", "currentCPUUtilizationPercentage"], "current", CURRENT),
    ];
    for (list, field, part, annotation) in places {
        let Some(Value::Array(mut metrics)) = object.remove(list) else { continue };
        if let Some(at) = metrics.iter().position(|metric| is_processor(metric, part)) {
            object.set(field, metrics.remove(at)["resource"][part]["averageUtilization"].take());
        }
        if !metrics.is_empty() {
            let others: Vec<Value> = metrics.iter().map(to_v1).collect();
            annotate(object, annotation, &others.into());
        }
    }
    for (path, annotation) in [(&["spec", "behavior"], BEHAVIOR), (&["status", "conditions"], CONDITIONS)] {
        if let Some(value) = object.remove(path) {
            annotate(object, annotation, &value);
        }
    }
}

/// Makes a stored one of one of `autoscaling/v1`.
pub fn store(object: &mut Object) {
    let places = [
        (&["spec", "metrics"], &["spec", "targetCPUUtilizationPercentage"], "target", METRICS),
        (&["status", "currentMetrics"], &["status", "currentCPUUtilizationPercentage"], "current", CURRENT),
    ];
    for (list, field, part, annotation) in places {
        let others = annotated(object, annotation);
        let others = others.as_ref().and_then(Value::as_array);
        let mut metrics: Vec<Value> = others.into_iter().flatten().map(from_v1).collect();
        if let Some(percentage) = object.remove(field) {
            let mut resource = json!({"name": "cpu", part: {"averageUtilization": percentage}});
            if part == "target" {
                resource[part]["type"] = "Utilization".into();
            }
            metrics.push(json!({"type": "Resource", "resource": resource}));
        }
        if !metrics.is_empty() {
            object.set(list, metrics);
        }
    }
    for (path, annotation) in [(&["spec", "behavior"], BEHAVIOR), (&["status", "conditions"], CONDITIONS)] {
        if let Some(value) = annotated(object, annotation) {
            object.set(path, value);
        }
    }
}

/// Whether a metric is the one that `v1` has a field for.
fn is_processor(metric: &Value, part: &str) -> bool {
    metric["type"] == "Resource"
        && metric["resource"]["name"] == "cpu"
        && !metric["resource"][part]["averageUtilization"].is_null()
}

fn annotate(object: &mut Object, name: &str, value: &Value) {
    object.set(&["metadata", "annotations", name], value.to_string());
}

/// What an annotation held; it is taken away.
fn annotated(object: &mut Object, name: &str) -> Option<Value> {
    let text = object.remove(&["metadata", "annotations", name])?;
    if object.get(&["metadata", "annotations"]).and_then(Value::as_object).is_some_and(Map::is_empty) {
        object.remove(&["metadata", "annotations"]);
    }
    serde_json::from_str(text.as_str()?).ok()
}

fn to_v1(metric: &Value) -> Value {
    let mut made = json!({"type": metric["type"]});
    for (source, names) in SOURCES {
        let Some(from) = metric.get(source) else { continue };
        let values = names.iter().filter_map(|(path, name)| {
            let value = path.iter().try_fold(from, |value, part| value.get(part))?;
            Some(((*name).to_owned(), value.clone()))
        });
        made[*source] = values.collect::<Map<_, _>>().into();
    }
    made
}

fn from_v1(metric: &Value) -> Value {
    let mut made = json!({"type": metric["type"]});
    for (source, names) in SOURCES {
        let Some(from) = metric.get(source) else { continue };
        let mut to = json!({});
        for (path, name) in *names {
            if let Some(value) = from.get(name) {
                let place = path.iter().fold(&mut to, |place, part| &mut place[*part]);
                *place = value.clone();
            }
        }
        if let Some(target) = to.get_mut("target").and_then(Value::as_object_mut) {
            let kind = TARGETS.iter().find(|(field, _)| target.contains_key(*field)).map(|(_, kind)| *kind);
            target.extend(kind.map(|kind| ("type".to_owned(), kind.into())));
        }
        made[*source] = to;
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_old_version_has_no_field_for_is_kept() {
        let metric = |name: &str| json!({"name": name, "selector": {"matchLabels": {"a": "b"}}});
        let whole = json!({"metadata": {}, "spec": {"behavior": {"scaleDown": {"policies": []}}, "metrics": [
            {"type": "Pods", "pods": {"metric": metric("p"), "target": {"type": "AverageValue", "averageValue": "1k"}}},
            {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "o"},
                "target": {"type": "Value", "value": "2"}}},
            {"type": "External", "external": {"metric": metric("e"), "target": {"type": "Value", "value": "3"}}},
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 9}}},
        ]}, "status": {"conditions": [{"type": "AbleToScale"}], "currentMetrics": [
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7, "averageValue": "1m"}}}]}});
        let mut object = Object::from_value(whole.clone()).unwrap();
        show(&mut object);
        assert_eq!(object.get(&["spec", "targetCPUUtilizationPercentage"]), Some(&json!(9)));
        assert_eq!(object.get(&["status", "currentCPUUtilizationPercentage"]), Some(&json!(7)));
        assert!(object.get(&["spec", "metrics"]).is_none() && object.get(&["spec", "behavior"]).is_none());
        let annotation = object.str(&["metadata", "annotations", METRICS]).to_owned();
        assert!(annotation.contains(r#""metricSelector":{"matchLabels":{"a":"b"}}"#), "{annotation}");
        store(&mut object);
        let mut wanted = whole;
        // The amount beside the percentage is the one thing that the old version cannot say.
        wanted["status"]["currentMetrics"][0]["resource"]["current"] = json!({"averageUtilization": 7});
        assert_eq!(object.into_value(), wanted);
    }
}
