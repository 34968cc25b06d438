//! Writes of a Pod's subresources: its status, its size, containers for debugging.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, list, pod, pod_update, same, str_of, text};
use crate::difference;
use crate::object::Object;

/// A write of the status.
pub(super) fn status(old: &Object, new: &Object) -> Errors {
    let mut errors = pod_update::annotations(old, new);
    let path = Path::new("status");
    let none = Value::Null;
    let (before, after) = (old.get(&["status"]).unwrap_or(&none), new.get(&["status"]).unwrap_or(&none));
    for (at, condition) in list(after, "conditions").iter().enumerate() {
        let path = path.child("conditions").index(at);
        generation(condition, &path, &mut errors);
        let kind = str_of(condition, "type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            complain(text::qualified_name(kind), kind, &path.child("Type"), &mut errors);
        }
    }
    let (nominated, of_nominated) = (str_of(after, "nominatedNodeName"), path.child("nominatedNodeName"));
    if !nominated.is_empty() && nominated != str_of(before, "nominatedNodeName") {
        complain(text::dns_subdomain(nominated), nominated, &of_nominated, &mut errors);
        if !old.str(&["spec", "nodeName"]).is_empty() {
            let text = "may not be set on pods that are already bound to a node";
            errors.push(Error::forbidden(&of_nominated, text));
        }
    }
    generation(after, &path, &mut errors);
    if str_of(before, "qosClass") != str_of(after, "qosClass") {
        errors.push(Error::invalid(&path.child("qosClass"), str_of(after, "qosClass"), super::IMMUTABLE));
    }
    let spec = old.get(&["spec"]).unwrap_or(&none);
    for (field, containers) in [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")] {
        restarts(before, after, field, &|name, code| may_restart(spec, containers, name, code), &path, &mut errors);
    }
    restarts(before, after, "ephemeralContainerStatuses", &|_, _| false, &path, &mut errors);
    claims(after, spec, &path.child("resourceClaimStatuses"), &mut errors);
    extended(&after["extendedResourceClaimStatus"], spec, &path.child("extendedResourceClaimStatus"), &mut errors);
    addresses(after, &path, &mut errors);
    users(after, spec, &path, &mut errors);
    for (field, containers) in [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")] {
        for (at, status) in list(after, field).iter().enumerate() {
            let container = list(spec, containers).iter().find(|container| container["name"] == status["name"]);
            allocated(status, container, &path.child(field).index(at).child("allocatedResourcesStatus"), &mut errors);
        }
    }
    for (at, status) in list(after, "ephemeralContainerStatuses").iter().enumerate() {
        if !list(status, "allocatedResourcesStatus").is_empty() {
            let path = path.child("ephemeralContainerStatuses").index(at).child("allocatedResourcesStatus");
            errors.push(Error::forbidden(&path, "must not be specified in container status"));
        }
    }
    errors
}

/// The claims that were made for a Pod's own.
fn claims(status: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let statuses = list(status, "resourceClaimStatuses");
    for (at, status) in statuses.iter().enumerate() {
        let (name, path) = (str_of(status, "name"), path.index(at));
        if !list(spec, "resourceClaims").iter().any(|claim| str_of(claim, "name") == name) {
            let text = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(Error::invalid(&path.child("name"), name, text));
        }
        if statuses[..at].iter().any(|other| str_of(other, "name") == name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        if let Some(claim) = status["resourceClaimName"].as_str() {
            complain(text::dns_subdomain(claim), claim, &path.child("resourceClaimName"), errors);
        }
    }
}

/// The claim that was made for what containers ask of devices by the names of resources.
fn extended(status: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    if !status.is_object() {
        return;
    }
    let of_mappings = path.child("requestMappings");
    let mappings = list(status, "requestMappings");
    if mappings.is_empty() {
        errors.push(Error::required(&of_mappings, "at least one request mapping is required"));
    }
    for (at, mapping) in mappings.iter().enumerate() {
        let fields = ["containerName", "resourceName", "requestName"];
        let [container, resource, request] = fields.map(|field| str_of(mapping, field));
        let of_this = of_mappings.index(at);
        let mut all = ["containers", "initContainers"].into_iter().flat_map(|field| list(spec, field).iter().rev());
        match all.find(|one| str_of(one, "name") == container) {
            None => {
                let text = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(Error::invalid(&of_this.child("containerName"), container, text));
            }
            Some(one) if one["resources"]["requests"].get(resource).is_none() => {
                let text = "must match the extended resource name of an entry in spec.initContainers.resources.requests \
                            or spec.containers.resources.requests";
                errors.push(Error::invalid(&of_this.child("resourceName"), resource, text));
            }
            Some(_) => {}
        }
        complain(text::dns_label(request), request, &path.child("requestName"), errors);
        if mappings[..at].iter().any(|other| fields.iter().all(|field| other[*field] == mapping[*field])) {
            errors.extend(fields.map(|field| Error::duplicate(&of_this.child(field), str_of(mapping, field))));
        }
    }
    match str_of(status, "resourceClaimName") {
        "" => errors.push(Error::required(&path.child("resourceClaimName"), "")),
        name => complain(text::dns_subdomain(name), name, &path.child("resourceClaimName"), errors),
    }
}

/// Whom containers run as, on the systems that have such users.
fn users(status: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    const ID: &str = "must be between 0 and 2147483647, inclusive";
    let fields = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    for field in fields {
        for (at, status) in list(status, field).iter().enumerate() {
            let (user, path) = (&status["user"]["linux"], path.child(field).index(at).child("user.linux"));
            if !user.is_object() {
                continue;
            }
            match spec["os"]["name"].as_str() {
                Some("windows") => errors.push(Error::forbidden(&path, "cannot be set for a windows pod")),
                None | Some("linux") => {
                    let mut check = |id: &Value, path: &Path| {
                        let wrong = id.as_i64().filter(|id| !(0..=i64::from(i32::MAX)).contains(id));
                        errors.extend(wrong.map(|id| Error::invalid(path, id, ID)));
                    };
                    check(&user["uid"], &path.child("uid"));
                    check(&user["gid"], &path.child("gid"));
                    for (at, group) in list(user, "supplementalGroups").iter().enumerate() {
                        check(group, &path.child("supplementalGroups").index(at));
                    }
                }
                Some(_) => {}
            }
        }
    }
}

/// How the devices are that a container has been given.
fn allocated(status: &Value, container: Option<&Value>, path: &Path, errors: &mut Errors) {
    const HEALTH: &[&str] = &["Healthy", "Unhealthy", "Unknown"];
    for (at, given) in list(status, "allocatedResourcesStatus").iter().enumerate() {
        let (name, path) = (str_of(given, "name"), path.index(at));
        if let Some(container) = container {
            let claims = list(&container["resources"], "claims").iter();
            let (known, text) = match name.strip_prefix("claim:") {
                Some(wanted) => (
                    claims.map(|claim| (str_of(claim, "name"), str_of(claim, "request"))).any(|(name, request)| {
                        if request.is_empty() { name == wanted } else { format!("{name}/{request}") == wanted }
                    }),
                    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or \
                     'claim:<claimName>' if request is empty",
                ),
                None => (
                    container["resources"]["requests"].get(name).is_some(),
                    "must match one of the container's resource requests",
                ),
            };
            if !known {
                errors.push(Error::invalid(&path.child("name"), name, text));
            }
        }
        let resources = list(given, "resources");
        for (at, resource) in resources.iter().enumerate() {
            let (health, path) = (str_of(resource, "health"), path.child("resources").index(at));
            if !HEALTH.contains(&health) {
                errors.push(Error::not_supported(&path.child("health"), health, HEALTH));
            }
            if resource["message"] == "" {
                errors.push(Error::required(&path.child("message"), "must be non-empty if specified"));
            }
            if resources[..at].iter().any(|other| other["resourceID"] == resource["resourceID"]) {
                errors.push(Error::duplicate(&path.child("resourceID"), str_of(resource, "resourceID")));
            }
        }
    }
}

fn generation(holder: &Value, path: &Path, errors: &mut Errors) {
    if let Some(number) = holder["observedGeneration"].as_i64().filter(|number| *number < 0) {
        errors.push(Error::invalid(&path.child("observedGeneration"), number, "must be a non-negative integer"));
    }
}

/// A container that has ended and is not to start again stays ended.
fn restarts(
    before: &Value,
    after: &Value,
    field: &str,
    may: &dyn Fn(&str, i64) -> bool,
    path: &Path,
    errors: &mut Errors,
) {
    for (at, old) in list(before, field).iter().enumerate() {
        let ended = &old["state"]["terminated"];
        let name = str_of(old, "name");
        let new = list(after, field).iter().find(|new| str_of(new, "name") == name);
        if !ended.is_object() || new.is_none_or(|new| new["state"]["terminated"].is_object()) {
            continue;
        }
        if !may(name, ended["exitCode"].as_i64().unwrap_or_default()) {
            let text = "may not be transitioned to non-terminated state";
            errors.push(Error::forbidden(&path.child(field).index(at).child("state"), text));
        }
    }
}

/// Whether a container that ended so is started again.
fn may_restart(spec: &Value, containers: &str, name: &str, code: i64) -> bool {
    let everything = ["containers", "initContainers"].iter().flat_map(|field| list(spec, field));
    let mut rules = everything.flat_map(|container| list(container, "restartPolicyRules"));
    if rules.any(|rule| rule["action"] == "RestartAllContainers") {
        return true;
    }
    let Some(container) = list(spec, containers).iter().find(|container| str_of(container, "name") == name) else {
        return false;
    };
    let holds = |rule: &&Value| {
        let codes = &rule["exitCodes"];
        let listed = list(codes, "values").iter().any(|value| value.as_i64() == Some(code));
        match str_of(codes, "operator") {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    };
    if list(container, "restartPolicyRules").iter().any(|rule| holds(&rule)) {
        return true;
    }
    let own = container["restartPolicy"].as_str();
    match own.unwrap_or(str_of(spec, "restartPolicy")) {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

fn addresses(status: &Value, path: &Path, errors: &mut Errors) {
    let hosts = list(status, "hostIPs");
    if let Some(first) = hosts.first().map(|host| str_of(host, "ip")).filter(|ip| *ip != str_of(status, "hostIP")) {
        errors.push(Error::invalid(&path.child("hostIPs").index(0).child("ip"), first, "must be equal to `hostIP`"));
    }
    for field in ["podIPs", "hostIPs"] {
        let (all, path) = (list(status, field), path.child(field));
        for (at, address) in all.iter().enumerate() {
            super::address::check(&address["ip"], &path.index(at), errors);
        }
        let six = all.iter().filter(|address| str_of(address, "ip").contains(':')).count();
        if all.len() > 2 || all.len() == 2 && six != 1 {
            let text = "may specify no more than one IP for each IP family";
            errors.push(Error::invalid(&path, all.to_vec(), text));
        }
    }
}

/// A write of the containers for debugging, which come and then stay as they are.
pub(super) fn debugging(old: &Object, new: &Object) -> Errors {
    if old.get(&["metadata", "annotations", pod::MIRROR]).is_some() {
        return vec![Error::forbidden(&Path::new("[]"), "static pods do not support ephemeral containers")];
    }
    let mut errors = pod::whole(new);
    errors.extend(pod_update::annotations(old, new));
    let path = Path::new("spec.ephemeralContainers");
    let of = |pod: &Object| pod.get(&["spec", "ephemeralContainers"]).and_then(Value::as_array).cloned();
    let after = of(new).unwrap_or_default();
    for before in of(old).unwrap_or_default() {
        let name = str_of(&before, "name");
        let text = match after.iter().find(|container| str_of(container, "name") == name) {
            None => format!("existing ephemeral containers {name:?} may not be removed\n"),
            Some(after) if !same(Some(&before), Some(after)) => {
                let changes = difference::of("core/v1", "EphemeralContainer", &before, after);
                format!("existing ephemeral containers {name:?} may not be changed\n{changes}")
            }
            Some(_) => continue,
        };
        errors.push(Error::forbidden(&path, text));
    }
    errors
}

/// A write of the size. `classes` are the Pod's, before and after.
pub(super) fn resize(old: &Object, new: &Object, classes: (&str, &str)) -> Errors {
    if old.get(&["metadata", "annotations", pod::MIRROR]).is_some() {
        return vec![Error::forbidden(&Path::new("[]"), "static pods cannot be resized")];
    }
    if old.str(&["spec", "os", "name"]) == "windows" {
        return vec![Error::forbidden(&Path::new("[]"), "windows pods cannot be resized")];
    }
    let mut errors = pod::whole(new);
    let path = Path::new("spec");
    if classes.0 != classes.1 {
        let text = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid(&path, classes.0, text));
    }
    let none = Value::Null;
    let status = old.get(&["status"]).unwrap_or(&none);
    let running = list(status, "containerStatuses").iter().find(|status| status["state"]["running"].is_object());
    if running.is_some_and(|status| !status["resources"].is_object()) {
        errors.push(Error::forbidden(&path, "Pod running on node without support for resize"));
    }
    let (before, after) = (old.get(&["spec"]).unwrap_or(&none), new.get(&["spec"]).unwrap_or(&none));
    of_pod(before, after, &path, &mut errors);
    let ordered = errors.len();
    for field in ["containers", "initContainers"] {
        alike(before, after, field, &path, &mut errors);
    }
    if errors.len() > ordered {
        return errors;
    }
    for field in ["initContainers", "containers"] {
        for (at, (old, new)) in list(before, field).iter().zip(list(after, field)).enumerate() {
            let path = path.child(field).index(at);
            removals(&old["resources"], &new["resources"], &path.child("resources"), "resource", &mut errors);
            let other = |container: &Value| others(&container["resources"]);
            if !same(Some(&other(old)), Some(&other(new))) {
                let (path, text) = if field == "containers" {
                    (Path::new("spec"), "only cpu and memory resources are mutable")
                } else {
                    (path.clone(), "only cpu and memory resources for init or sidecar containers are mutable")
                };
                errors.push(Error::forbidden(&path, text));
            }
            let sidecar = old["restartPolicy"] == "Always";
            let restarts = list(new, "resizePolicy").iter().any(|one| one["restartPolicy"] == "RestartContainer");
            if field == "initContainers" && !sidecar && restarts && !same(old.get("resources"), new.get("resources")) {
                let text = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                errors.push(Error::forbidden(&path, text));
            }
        }
    }
    errors
}

fn of_pod(before: &Value, after: &Value, path: &Path, errors: &mut Errors) {
    let path_of = path.child("resources");
    let (old, new) = (&before["resources"], &after["resources"]);
    if old.is_object() && !new.is_object() {
        errors.push(Error::forbidden(&path_of, "pod-level resources cannot be removed"));
        return;
    }
    removals(old, new, &path_of, "pod-level resource", errors);
    if !same(Some(&others(old)), Some(&others(new))) {
        errors.push(Error::forbidden(path, "only cpu and memory resources are mutable at pod-level"));
    }
}

fn alike(before: &Value, after: &Value, field: &str, path: &Path, errors: &mut Errors) {
    let (old, new) = (list(before, field), list(after, field));
    let path = path.child(field);
    if old.len() != new.len() {
        errors.push(Error::forbidden(&path, format!("{field} may not be added or removed on resize")));
        return;
    }
    for (at, _) in old.iter().zip(new).enumerate().filter(|(_, (old, new))| str_of(old, "name") != str_of(new, "name"))
    {
        let text = format!("{field} may not be renamed or reordered on resize");
        errors.push(Error::forbidden(&path.index(at).child("name"), text));
    }
}

fn removals(old: &Value, new: &Value, path: &Path, what: &str, errors: &mut Errors) {
    for field in ["requests", "limits"] {
        let names = |holder: &Value| -> Vec<String> {
            holder[field].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
        };
        let after = names(new);
        if names(old).iter().any(|name| !after.contains(name)) {
            errors.push(Error::forbidden(&path.child(field), format!("{what} {field} cannot be removed")));
        }
    }
}

/// Resources without those that can be resized.
fn others(resources: &Value) -> Value {
    let mut rest = resources.clone();
    for field in ["requests", "limits"] {
        if let Some(list) = rest.get_mut(field).and_then(Value::as_object_mut) {
            list.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_said_of_claims_users_and_devices_fits_the_pod() {
        let told = |status_of_pod: Value| {
            let container = json!({"name": "c", "resources": {"requests": {"a.io/b": "1"}, "claims": [{"name": "d"}]}});
            let spec = json!({"containers": [container], "resourceClaims": [{"name": "d"}]});
            let pod = |status: Value| Object::from_value(json!({"spec": spec, "status": status})).unwrap();
            let errors = status(&pod(json!({})), &pod(status_of_pod));
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let of = |given: Value| json!({"containerStatuses": [{"name": "c", "allocatedResourcesStatus": [given]}]});
        assert!(
            told(of(json!({"name": "claim:d", "resources": [{"resourceID": "r", "health": "Healthy"}]}))).is_empty()
        );
        let cases = [
            (
                of(json!({"name": "x", "resources": [{"resourceID": "r", "health": "Well"}]})),
                &[
                    "status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"x\": must match one of the \
                     container's resource requests",
                    "status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: \"Well\": \
                     supported values: \"Healthy\", \"Unhealthy\", \"Unknown\"",
                ][..],
            ),
            (
                json!({"ephemeralContainerStatuses": [{"allocatedResourcesStatus": [{}]}]}),
                &[
                    "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container \
                   status",
                ],
            ),
            (
                json!({"containerStatuses": [{"user": {"linux": {"uid": -1, "gid": 0, "supplementalGroups": [-2]}}}]}),
                &[
                    "status.containerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                    "status.containerStatuses[0].user.linux.supplementalGroups[0]: Invalid value: -2: must be between 0 and \
                     2147483647, inclusive",
                ],
            ),
            (
                json!({"resourceClaimStatuses": [{"name": "e"}, {"name": "d"}, {"name": "d"}]}),
                &[
                    "status.resourceClaimStatuses[0].name: Invalid value: \"e\": must match the name of an entry in \
                     `spec.resourceClaims`",
                    "status.resourceClaimStatuses[2].name: Duplicate value: \"d\"",
                ],
            ),
            (
                json!({"extendedResourceClaimStatus": {"requestMappings": [
                    {"containerName": "x", "resourceName": "a.io/b", "requestName": "r"},
                    {"containerName": "c", "resourceName": "a.io/c", "requestName": "r"}]}}),
                &[
                    "status.extendedResourceClaimStatus.requestMappings[0].containerName: Invalid value: \"x\": must match the \
                     name of an entry in spec.initContainers.name or spec.containers.name",
                    "status.extendedResourceClaimStatus.requestMappings[1].resourceName: Invalid value: \"a.io/c\": must match \
                     the extended resource name of an entry in spec.initContainers.resources.requests or \
                     spec.containers.resources.requests",
                    "status.extendedResourceClaimStatus.resourceClaimName: Required value",
                ],
            ),
        ];
        for (status, expected) in cases {
            assert_eq!(told(status.clone()), expected, "{status}");
        }
    }
}
