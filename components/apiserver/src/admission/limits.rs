//! LimitRanger: what containers get that say nothing of resources, and how much Pods and claims may ask for.

use kinit_api::object::Object;
use kinit_api::quantity::Quantity;
use kinit_api::quota::{self, Amounts};
use kinit_api::status::Status;
use serde_json::{Map, Value};

use super::{Attributes, Context, Operation};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// All limits of the write's namespace, range by range.
fn ranges(context: &Context<'_>, attributes: &Attributes<'_>) -> Vec<Vec<Value>> {
    let namespace = &attributes.request.namespace;
    let all = context.cache.all("", "limitranges");
    let own = crate::cache::within(&all, namespace).filter_map(|(_, entry)| entry.object());
    own.filter_map(|range| range.get(&["spec", "limits"]).and_then(Value::as_array).cloned()).collect()
}

/// Whether the write is one whose resources are limited.
fn concerns(attributes: &Attributes<'_>) -> bool {
    if attributes.old.is_some_and(Object::is_being_deleted) {
        return false;
    }
    match attributes.operation {
        Operation::Create => attributes.is("pods") || attributes.is("persistentvolumeclaims"),
        Operation::Update => attributes.is("pods/resize") || attributes.is("persistentvolumeclaims"),
        Operation::Delete | Operation::Connect => false,
    }
}

/// Gives containers the defaults of the namespace's ranges.
pub fn defaults(context: &Context<'_>, attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    if concerns(attributes) && attributes.request.spec.resource() == "pods" {
        for range in ranges(context, attributes) {
            set_defaults(&range, pod);
        }
    }
    Ok(())
}

fn set_defaults(range: &[Value], pod: &mut Object) {
    let mut told = Vec::new();
    for (field, word) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.get_mut(&["spec", field]).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            for (kind, source, what) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")] {
                let mut set = Vec::new();
                for limit in range.iter().filter(|limit| limit["type"] == "Container") {
                    for (resource, amount) in limit[source].as_object().into_iter().flatten() {
                        if container["resources"][kind].get(resource).is_some_and(|_| !set.contains(resource)) {
                            continue;
                        }
                        entry(container, kind).insert(resource.clone(), amount.clone());
                        if !set.contains(resource) {
                            set.push(resource.clone());
                        }
                    }
                }
                if !set.is_empty() {
                    set.sort();
                    told.push(format!("{} {what} for {word} {name}", set.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        pod.set(&["metadata", "annotations", ANNOTATION], format!("LimitRanger plugin set: {}", told.join("; ")));
    }
}

/// A map of a container's resources, made where there is none.
fn entry<'a>(container: &'a mut Value, kind: &str) -> &'a mut Map<String, Value> {
    for path in [&["resources"][..], &["resources", kind]] {
        let value = path.iter().fold(&mut *container, |value, field| &mut value[*field]);
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
    }
    container["resources"][kind].as_object_mut().expect("made an object just above")
}

/// Refuses what is beyond the namespace's ranges.
pub fn check(context: &Context<'_>, attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    if !concerns(attributes) {
        return Ok(());
    }
    let all = ranges(context, attributes);
    if all.is_empty() {
        return Ok(());
    }
    let tree = object.value();
    for range in all {
        let errors = if attributes.request.spec.resource() == "pods" { pod(&range, tree) } else { claim(&range, tree) };
        match errors.as_slice() {
            [] => {}
            [only] => return Err(attributes.forbidden(only)),
            several => return Err(attributes.forbidden(format!("[{}]", several.join(", ")))),
        }
    }
    Ok(())
}

/// One limit of a range, and what it is compared with.
struct Compared<'a> {
    kind: &'a str,
    requests: &'a Amounts,
    limits: &'a Amounts,
}

fn pod(range: &[Value], pod: &Value) -> Vec<String> {
    let spec = &pod["spec"];
    let mut errors = Vec::new();
    for limit in range {
        match limit["type"].as_str() {
            Some("Container") => {
                for field in ["containers", "initContainers"] {
                    for container in spec[field].as_array().into_iter().flatten() {
                        let of = |kind: &str| quota::amounts(&container["resources"][kind]);
                        let (requests, limits) = (of("requests"), of("limits"));
                        Compared { kind: "Container", requests: &requests, limits: &limits }.all(limit, &mut errors);
                    }
                }
            }
            Some("Pod") => {
                let (requests, limits) = (quota::of_containers(spec, "requests"), quota::of_containers(spec, "limits"));
                Compared { kind: "Pod", requests: &requests, limits: &limits }.all(limit, &mut errors);
            }
            _ => {}
        }
    }
    errors
}

fn claim(range: &[Value], claim: &Value) -> Vec<String> {
    let requests = quota::amounts(&claim["spec"]["resources"]["requests"]);
    let none = Amounts::new();
    let mut errors = Vec::new();
    for limit in range.iter().filter(|limit| limit["type"] == "PersistentVolumeClaim") {
        let compared = Compared { kind: "PersistentVolumeClaim", requests: &requests, limits: &none };
        errors.extend(quota::amounts(&limit["min"]).iter().filter_map(|(name, least)| compared.least(name, *least)));
        for (name, most) in quota::amounts(&limit["max"]) {
            errors.extend(compared.most_requested(&name, most));
        }
    }
    errors
}

impl Compared<'_> {
    fn all(&self, limit: &Value, errors: &mut Vec<String>) {
        errors.extend(quota::amounts(&limit["min"]).iter().filter_map(|(name, least)| self.least(name, *least)));
        errors.extend(quota::amounts(&limit["max"]).iter().filter_map(|(name, most)| self.most(name, *most)));
        let ratios = quota::amounts(&limit["maxLimitRequestRatio"]);
        errors.extend(ratios.iter().filter_map(|(name, most)| self.ratio(name, *most)));
    }

    fn least(&self, name: &str, least: Quantity) -> Option<String> {
        let text = format!("minimum {name} usage per {} is {least}", self.kind);
        let Some(request) = self.requests.get(name) else { return Some(format!("{text}.  No request is specified")) };
        if *request < least {
            return Some(format!("{text}, but request is {request}"));
        }
        let limit = self.limits.get(name).filter(|limit| **limit < least)?;
        Some(format!("{text}, but limit is {limit}"))
    }

    fn most_requested(&self, name: &str, most: Quantity) -> Option<String> {
        let text = format!("maximum {name} usage per {} is {most}", self.kind);
        let Some(request) = self.requests.get(name) else { return Some(format!("{text}.  No request is specified")) };
        (*request > most).then(|| format!("{text}, but request is {request}"))
    }

    fn most(&self, name: &str, most: Quantity) -> Option<String> {
        let text = format!("maximum {name} usage per {} is {most}", self.kind);
        let Some(limit) = self.limits.get(name) else { return Some(format!("{text}.  No limit is specified")) };
        if *limit > most {
            return Some(format!("{text}, but limit is {limit}"));
        }
        let request = self.requests.get(name).filter(|request| **request > most)?;
        Some(format!("{text}, but request is {request}"))
    }

    fn ratio(&self, name: &str, most: Quantity) -> Option<String> {
        let text = format!("{name} max limit to request ratio per {} is {most}", self.kind);
        let some = |all: &Amounts| all.get(name).filter(|amount| !amount.is_zero()).copied();
        let Some(request) = some(self.requests) else {
            return Some(format!("{text}, but no request is specified or request is 0"));
        };
        let Some(limit) = some(self.limits) else {
            return Some(format!("{text}, but no limit is specified or limit is 0"));
        };
        let ratio = limit.as_f64() / request.as_f64();
        (ratio > most.as_f64()).then(|| format!("{text}, but provided ratio is {ratio:.6}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_get_defaults_and_are_held_to_limits() {
        let range = json!([{"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"},
            "defaultRequest": {"cpu": "100m"}, "min": {"cpu": "50m"}, "max": {"cpu": "500m"},
            "maxLimitRequestRatio": {"cpu": "5"}}, {"type": "Pod", "max": {"memory": "1Gi"}}]);
        let range = range.as_array().unwrap();
        let pod_of = |resources: Value| {
            Object::from_value(json!({"spec": {"containers": [{"name": "c", "resources": resources}]}})).unwrap()
        };
        let mut plain = pod_of(json!({}));
        set_defaults(range, &mut plain);
        let tree = plain.clone().into_value();
        assert_eq!(tree["spec"]["containers"][0]["resources"]["limits"], json!({"cpu": "500m", "memory": "1Gi"}));
        let told = "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c";
        assert_eq!(plain.str(&["metadata", "annotations", ANNOTATION]), told);
        assert!(pod(range, &tree).is_empty());
        for (resources, wanted) in [
            (
                json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "40m"}}),
                "minimum cpu usage per Container is 50m, but request is 10m",
            ),
            (
                json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}),
                "maximum cpu usage per Container is 500m, but limit is 1",
            ),
            (json!({"requests": {"cpu": "60m"}, "limits": {"cpu": "480m"}}), "provided ratio is 8.000000"),
            (
                json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "100m", "memory": "2Gi"}}),
                "maximum memory usage per Pod is 1Gi, but limit is 2Gi",
            ),
        ] {
            let mut object = pod_of(resources);
            set_defaults(range, &mut object);
            let errors = pod(range, &object.into_value());
            assert!(errors.iter().any(|error| error.contains(wanted)), "{wanted}: {errors:?}");
        }
    }
}
