//! What makes Pods from a template and keeps them: the group apps, and ReplicationControllers.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{immutable, list, metadata, not_negative, pod, same, str_of};
use crate::object::Object;
use crate::selector::LabelSelector;

pub(super) fn whole(kind: &str, object: &Object) -> Errors {
    if !matches!(kind, "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" | "ReplicationController") {
        return Errors::new();
    }
    let path = Path::new("spec");
    let spec = object.get(&["spec"]).cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let mut errors = Errors::new();
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        not_negative(&spec, field, &path, &mut errors);
    }
    let strategy = &spec[if kind == "Deployment" { "strategy" } else { "updateStrategy" }];
    match kind {
        "Deployment" => deployment(&spec, strategy, &path, &mut errors),
        "DaemonSet" | "StatefulSet" => {
            let path = path.child("updateStrategy");
            if !matches!(str_of(strategy, "type"), "RollingUpdate" | "OnDelete") {
                let text = "must be 'RollingUpdate' or 'OnDelete'";
                errors.push(Error::invalid(&path, strategy.clone(), text));
            }
        }
        _ => {}
    }
    if kind == "ReplicationController" {
        equality(&spec, &path, &mut errors);
    } else {
        selects(&spec, &kind.to_lowercase(), &path, &mut errors);
    }
    let of_pods = path.child("template").child("spec");
    let mut template = pod::template(object, &["spec", "template"], &path.child("template"));
    if kind == "StatefulSet" {
        // Volumes of claims are added later, so a mount of one is not known here.
        let claims = list(&spec, "volumeClaimTemplates");
        let claimed: Vec<&str> = claims.iter().map(|claim| str_of(&claim["metadata"], "name")).collect();
        template.retain(|error| !claimed.iter().any(|name| error.is_missing(name)));
    }
    errors.extend(template);
    let policy = str_of(&spec["template"]["spec"], "restartPolicy");
    if !matches!(policy, "Always" | "") {
        errors.push(Error::not_supported(&of_pods.child("restartPolicy"), policy, &["Always"]));
    }
    if !spec["template"]["spec"]["activeDeadlineSeconds"].is_null() {
        let text = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(Error::forbidden(&of_pods.child("activeDeadlineSeconds"), text));
    }
    errors
}

/// That the selector selects something, and the template's Pods.
pub(super) fn selects(spec: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let selector = &spec["selector"];
    let path_of_selector = path.child("selector");
    if selector.is_null() {
        errors.push(Error::required(&path_of_selector, ""));
        return;
    }
    let before = errors.len();
    metadata::selector(selector, &path_of_selector, errors);
    if list(selector, "matchExpressions").is_empty() && same(selector.get("matchLabels"), None) {
        let text = format!("empty selector is invalid for {kind}");
        errors.push(Error::invalid(&path_of_selector, selector.clone(), text));
    }
    if errors.len() > before {
        return;
    }
    matches_template(LabelSelector::from_object(selector).ok(), spec, path, errors);
}

fn matches_template(selector: Option<LabelSelector>, spec: &Value, path: &Path, errors: &mut Errors) {
    let labels = &spec["template"]["metadata"]["labels"];
    let pairs = labels.as_object().into_iter().flatten();
    let own = pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
    if selector.is_some_and(|selector| !selector.matches(&own)) {
        let path = path.child("template").child("metadata").child("labels");
        let labels = if labels.is_null() { Value::Object(serde_json::Map::new()) } else { labels.clone() };
        errors.push(Error::invalid(&path, labels, "`selector` does not match template `labels`"));
    }
}

/// The selector of a ReplicationController is a map.
fn equality(spec: &Value, path: &Path, errors: &mut Errors) {
    let selector = &spec["selector"];
    if same(Some(selector), None) {
        errors.push(Error::required(&path.child("selector"), ""));
        return;
    }
    let selector = serde_json::json!({"matchLabels": selector});
    matches_template(LabelSelector::from_object(&selector).ok(), spec, path, errors);
}

fn deployment(spec: &Value, strategy: &Value, path: &Path, errors: &mut Errors) {
    let path_of_strategy = path.child("strategy");
    let rolling = &strategy["rollingUpdate"];
    match str_of(strategy, "type") {
        "Recreate" if !rolling.is_null() => {
            let text = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(Error::forbidden(&path_of_strategy.child("rollingUpdate"), text));
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let path = path_of_strategy.child("rollingUpdate").child("maxUnavailable");
            let is_none = |field: &str| rolling[field] == 0 || rolling[field] == "0%" || rolling[field] == "0";
            if is_none("maxUnavailable") && is_none("maxSurge") {
                let value = rolling["maxUnavailable"].clone();
                errors.push(Error::invalid(&path, value, "may not be 0 when `maxSurge` is 0"));
            }
        }
        _ => errors.push(Error::not_supported(&path_of_strategy, strategy.clone(), &["Recreate", "RollingUpdate"])),
    }
    let (deadline, ready) = (&spec["progressDeadlineSeconds"], &spec["minReadySeconds"]);
    if let Some(deadline) = deadline.as_i64()
        && deadline <= ready.as_i64().unwrap_or_default()
    {
        let text = "must be greater than minReadySeconds";
        errors.push(Error::invalid(&path.child("progressDeadlineSeconds"), deadline, text));
    }
}

pub(super) fn changed(kind: &str, old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    match kind {
        "Deployment" | "ReplicaSet" | "DaemonSet" => immutable(old, new, &["spec", "selector"], &mut errors),
        "StatefulSet" => {
            let free = [
                "replicas",
                "template",
                "updateStrategy",
                "minReadySeconds",
                "ordinals",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
            ];
            let fixed = |object: &Object| {
                let mut spec = object.get(&["spec"]).cloned().unwrap_or(Value::Null);
                if let Some(spec) = spec.as_object_mut() {
                    spec.retain(|field, _| !free.contains(&field.as_str()));
                }
                spec
            };
            if !same(Some(&fixed(old)), Some(&fixed(new))) {
                let text = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                            'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                            'minReadySeconds' are forbidden";
                errors.push(Error::forbidden(&Path::new("spec"), text));
            }
        }
        "ControllerRevision" => immutable(old, new, &["data"], &mut errors),
        _ => {}
    }
    errors
}
