//! What makes Pods from a template and keeps them: the group apps, and ReplicationControllers.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{immutable, list, metadata, not_negative, pod, same, str_of};
use crate::object::Object;
use crate::selector::LabelSelector;

pub(super) fn whole(kind: &str, object: &Object) -> Errors {
    if kind == "ControllerRevision" {
        return revision(object);
    }
    if !matches!(kind, "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" | "ReplicationController") {
        return Errors::new();
    }
    let path = Path::new("spec");
    let spec = object.get(&["spec"]).cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let mut errors = Errors::new();
    let strategy = &spec[if kind == "Deployment" { "strategy" } else { "updateStrategy" }];
    // In the order of upstream's, which is that of the causes.
    match kind {
        "Deployment" => {
            not_negative(&spec, "replicas", &path, &mut errors);
            selected(kind, "deployment", object, &spec, &path, &mut errors);
            deployment(&spec, strategy, &path, &mut errors);
        }
        "ReplicaSet" => {
            not_negative(&spec, "replicas", &path, &mut errors);
            not_negative(&spec, "minReadySeconds", &path, &mut errors);
            // Upstream calls it by the other name here.
            selected(kind, "deployment", object, &spec, &path, &mut errors);
        }
        "DaemonSet" => {
            metadata::selector(&spec["selector"], &path.child("selector"), &mut errors);
            matches_template(&selects(&spec["selector"]), &spec, &path, &mut errors);
            if spec["selector"].is_object() {
                not_empty(&spec["selector"], "daemonset", &path, &mut errors);
            }
            errors.extend(pod::template(object, &["spec", "template"], &path.child("template")));
            always(kind, &spec, &path, &mut errors);
            not_negative(&spec, "minReadySeconds", &path, &mut errors);
            daemon_set(strategy, &path.child("updateStrategy"), &mut errors);
            not_negative(&spec, "revisionHistoryLimit", &path, &mut errors);
        }
        "StatefulSet" => {
            stateful_set(&spec, strategy, &path, &mut errors);
            selected(kind, "statefulset", &with_claims(object), &spec, &path, &mut errors);
        }
        _ => {
            not_negative(&spec, "minReadySeconds", &path, &mut errors);
            if same(spec.get("selector"), None) {
                errors.push(Error::required(&path.child("selector"), ""));
            }
            not_negative(&spec, "replicas", &path, &mut errors);
            if spec["template"].is_null() {
                errors.push(Error::required(&path.child("template"), ""));
                return errors;
            }
            let selector = serde_json::json!({"matchLabels": spec["selector"]});
            // Of the keys and values of a plain map nothing is asked.
            let selector = LabelSelector::from_object(&selector).map_or(Selects::Unknown, Selects::By);
            matches_template(&selector, &spec, &path, &mut errors);
            errors.extend(pod::template(object, &["spec", "template"], &path.child("template")));
            always(kind, &spec, &path, &mut errors);
        }
    }
    errors
}

/// The set with the volumes that its claims will be in its template, where mounts look for them.
fn with_claims(object: &Object) -> Object {
    let mut object = object.clone();
    let claims = object.get(&["spec", "volumeClaimTemplates"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let Some(of_pods) = object.get_mut(&["spec", "template", "spec"]).and_then(Value::as_object_mut) else {
        return object;
    };
    // The controller sets both anew.
    of_pods.remove("subdomain");
    of_pods.remove("hostname");
    if claims.is_empty() {
        return object;
    }
    let names: Vec<&str> = claims.iter().map(|claim| str_of(&claim["metadata"], "name")).collect();
    let claimed = |name: &&str| serde_json::json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    let mut volumes: Vec<Value> = names.iter().map(claimed).collect();
    let own = of_pods.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    volumes.extend(own.into_iter().filter(|volume| !names.contains(&str_of(volume, "name"))));
    of_pods.insert("volumes".into(), volumes.into());
    object
}

/// That Pods of the template are kept running for as long as they are wanted.
fn always(kind: &str, spec: &Value, path: &Path, errors: &mut Errors) {
    let of_pods = path.child("template").child("spec");
    let policy = str_of(&spec["template"]["spec"], "restartPolicy");
    if !matches!(policy, "Always" | "") {
        errors.push(Error::not_supported(&of_pods.child("restartPolicy"), policy, &["Always"]));
    }
    if !spec["template"]["spec"]["activeDeadlineSeconds"].is_null() {
        let shown = if kind == "Deployment" { "ReplicaSet" } else { kind };
        let text = format!("activeDeadlineSeconds in {shown} is not Supported");
        errors.push(Error::forbidden(&of_pods.child("activeDeadlineSeconds"), text));
    }
}

/// What a selector selects.
enum Selects {
    /// Nothing can be said of one that is wrong.
    Unknown,
    /// There is none.
    Nothing,
    By(LabelSelector),
}

fn selects(selector: &Value) -> Selects {
    if !selector.is_object() {
        return Selects::Nothing;
    }
    let mut wrong = Errors::new();
    metadata::selector(selector, &Path::default(), &mut wrong);
    match LabelSelector::from_object(selector) {
        Ok(selector) if wrong.is_empty() => Selects::By(selector),
        _ => Selects::Unknown,
    }
}

fn not_empty(selector: &Value, shown: &str, path: &Path, errors: &mut Errors) {
    if list(selector, "matchExpressions").is_empty() && same(selector.get("matchLabels"), None) {
        let text = format!("empty selector is invalid for {shown}");
        errors.push(Error::invalid(&path.child("selector"), selector.clone(), text));
    }
}

/// That the selector selects something, and the template's Pods, which are looked at where the selector can be used.
fn selected(kind: &str, shown: &str, object: &Object, spec: &Value, path: &Path, errors: &mut Errors) {
    let (selector, of_selector) = (&spec["selector"], path.child("selector"));
    if selector.is_object() {
        metadata::selector(selector, &of_selector, errors);
        not_empty(selector, shown, path, errors);
    } else {
        errors.push(Error::required(&of_selector, ""));
    }
    match selects(selector) {
        Selects::Unknown => {
            let text = if kind == "StatefulSet" { "" } else { "invalid label selector" };
            errors.push(Error::invalid(&of_selector, selector.clone(), text));
            if kind == "StatefulSet" {
                always(kind, spec, path, errors);
            }
        }
        usable => {
            matches_template(&usable, spec, path, errors);
            errors.extend(pod::template(object, &["spec", "template"], &path.child("template")));
            if kind == "StatefulSet" {
                // Upstream looks at these once more.
                let (of_pods, path) = (&spec["template"]["metadata"], path.child("template"));
                metadata::labels(of_pods.get("labels"), &path.child("labels"), errors);
                metadata::annotations(of_pods.get("annotations"), &path.child("annotations"), errors);
            }
            always(kind, spec, path, errors);
        }
    }
}

/// That the selector selects the template's Pods; none selects nothing.
pub(super) fn matches(spec: &Value, path: &Path, errors: &mut Errors) {
    matches_template(&selects(&spec["selector"]), spec, path, errors);
}

fn matches_template(selects: &Selects, spec: &Value, path: &Path, errors: &mut Errors) {
    let labels = &spec["template"]["metadata"]["labels"];
    let pairs = labels.as_object().into_iter().flatten();
    let pairs = pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    let own: std::collections::BTreeMap<String, String> = pairs.collect();
    let matches = match selects {
        Selects::Unknown => true,
        Selects::Nothing => false,
        Selects::By(selector) => selector.matches(&own),
    };
    if !matches {
        mismatched(spec, path, errors);
    }
}

/// Tells that the template's Pods are not selected.
fn mismatched(spec: &Value, path: &Path, errors: &mut Errors) {
    let labels = &spec["template"]["metadata"]["labels"];
    let path = path.child("template").child("metadata").child("labels");
    errors.push(Error::invalid(&path, labels.clone(), "`selector` does not match template `labels`"));
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
            if rolling.is_null() {
                let text = "this should be defaulted and never be nil";
                errors.push(Error::required(&path_of_strategy.child("rollingUpdate"), text));
            }
            for (field, most) in [("maxUnavailable", true), ("maxSurge", false)] {
                portion(&rolling[field], most, &path_of_strategy.child("rollingUpdate").child(field), errors);
            }
            let path = path_of_strategy.child("rollingUpdate").child("maxUnavailable");
            let is_none = |field: &str| share(&rolling[field]) == 0;
            if is_none("maxUnavailable") && is_none("maxSurge") {
                let value = rolling["maxUnavailable"].clone();
                errors.push(Error::invalid(&path, value, "may not be 0 when `maxSurge` is 0"));
            }
        }
        _ => errors.push(Error::not_supported(&path_of_strategy, strategy.clone(), &["Recreate", "RollingUpdate"])),
    }
    for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        not_negative(spec, field, path, errors);
    }
    let (deadline, ready) = (&spec["progressDeadlineSeconds"], &spec["minReadySeconds"]);
    if let Some(deadline) = deadline.as_i64()
        && deadline <= ready.as_i64().unwrap_or_default()
    {
        let text = "must be greater than minReadySeconds";
        errors.push(Error::invalid(&path.child("progressDeadlineSeconds"), deadline, text));
    }
}

/// A number, or the number of a percentage.
fn share(value: &Value) -> i64 {
    let text = value.as_str().unwrap_or_default();
    let percent = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    value.as_i64().unwrap_or_else(|| percent.unwrap_or(text).parse().unwrap_or_default())
}

/// A number that is not negative, or a percentage; perhaps up to all.
pub(super) fn portion(value: &Value, up_to_all: bool, path: &Path, errors: &mut Errors) {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            errors.push(Error::invalid(path, value.clone(), "must be greater than or equal to 0"));
        }
        Value::String(text) => {
            let number = text.strip_suffix('%').filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
            match number.and_then(|number| number.parse::<u32>().ok()) {
                None => {
                    let text = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                                '93%', regex used for validation is '[0-9]+%')";
                    errors.push(Error::invalid(path, value.clone(), text));
                }
                Some(101..) if up_to_all => {
                    errors.push(Error::invalid(path, value.clone(), "must not be greater than 100%"));
                }
                Some(_) => {}
            }
        }
        _ => {}
    }
}

fn daemon_set(strategy: &Value, path: &Path, errors: &mut Errors) {
    let rolling = &strategy["rollingUpdate"];
    match str_of(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_null() => errors.push(Error::required(&path.child("rollingUpdate"), "")),
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            for field in ["maxUnavailable", "maxSurge"] {
                portion(&rolling[field], true, &path.child(field), errors);
            }
            match (share(&rolling["maxUnavailable"]) != 0, share(&rolling["maxSurge"]) != 0) {
                (true, true) => {
                    let text = "may not be set when maxUnavailable is non-zero";
                    errors.push(Error::invalid(&path.child("maxSurge"), rolling["maxSurge"].clone(), text));
                }
                (false, false) => {
                    errors.push(Error::required(&path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"));
                }
                _ => {}
            }
        }
        _ => errors.push(Error::not_supported(path, strategy.clone(), &["RollingUpdate", "OnDelete"])),
    }
}

fn stateful_set(spec: &Value, strategy: &Value, path: &Path, errors: &mut Errors) {
    match str_of(spec, "podManagementPolicy") {
        "" => errors.push(Error::required(&path.child("podManagementPolicy"), "")),
        "OrderedReady" | "Parallel" => {}
        other => {
            let text = "must be 'OrderedReady' or 'Parallel'";
            errors.push(Error::invalid(&path.child("podManagementPolicy"), other, text));
        }
    }
    let (of_strategy, rolling) = (path.child("updateStrategy"), &strategy["rollingUpdate"]);
    match str_of(strategy, "type") {
        "" => errors.push(Error::required(&of_strategy, "")),
        "OnDelete" if !rolling.is_null() => {
            let text = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(Error::invalid(&of_strategy.child("rollingUpdate"), rolling.clone(), text));
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            let path = of_strategy.child("rollingUpdate");
            not_negative(rolling, "partition", &path, errors);
            let most = &rolling["maxUnavailable"];
            if !most.is_null() {
                let path = path.child("maxUnavailable");
                portion(most, true, &path, errors);
                if share(most) == 0 {
                    errors.push(Error::invalid(&path, most.clone(), "cannot be 0"));
                }
            }
        }
        _ => {
            let text = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(Error::invalid(&of_strategy, strategy.clone(), text));
        }
    }
    let retention = &spec["persistentVolumeClaimRetentionPolicy"];
    for field in ["whenDeleted", "whenScaled"].into_iter().filter(|_| retention.is_object()) {
        let policy = str_of(retention, field);
        if !matches!(policy, "Retain" | "Delete") {
            let path = path.child("persistentVolumeClaimRetentionPolicy").child(field);
            errors.push(Error::not_supported(&path, policy, &["Retain", "Delete"]));
        }
    }
    for (at, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
        let path = path.child("volumeClaimTemplates").index(at).child("spec");
        super::claims::spec(&claim["spec"], &path, errors);
    }
    for field in ["replicas", "minReadySeconds"] {
        not_negative(spec, field, path, errors);
    }
    if let Some(start) = spec["ordinals"]["start"].as_i64().filter(|start| *start < 0) {
        errors.push(Error::invalid(&path.child("ordinals.start"), start, "must be greater than or equal to 0"));
    }
    let service = str_of(spec, "serviceName");
    if !service.is_empty() {
        super::complain(super::text::dns_label(service), service, &path.child("serviceName"), errors);
    }
}

fn revision(object: &Object) -> Errors {
    let mut errors = Errors::new();
    match object.get(&["data"]) {
        None | Some(Value::Null) => errors.push(Error::required(&Path::new("data"), "data is mandatory")),
        Some(Value::Object(_)) => {}
        Some(_) => errors.push(Error::required(&Path::new("data"), "data must be a valid JSON object")),
    }
    if let Some(number) = object.get(&["revision"]).and_then(Value::as_i64).filter(|number| *number < 0) {
        errors.push(Error::invalid(&Path::new("revision"), number, "must be greater than or equal to 0"));
    }
    errors
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
