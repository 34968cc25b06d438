//! What objects take of a namespace's quota, and which quotas are about them. Pure functions of trees.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::quantity::{Format, Quantity};

/// Amounts by the names that quotas use, or by names of resources.
pub type Amounts = BTreeMap<String, Quantity>;

/// Resources that a quota may name without saying whether it means requests.
const PLAIN: &[&str] = &["cpu", "memory", "ephemeral-storage"];
/// Names of Pods' amounts; hugepages and extended resources come on top.
const POD_NAMES: &[&str] = &[
    "count/pods",
    "pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
/// Limited amounts that each container has to say itself.
const REQUIRED: &[&str] = &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// So many of something.
pub fn count(number: usize) -> Quantity {
    Quantity::new(i64::try_from(number).unwrap_or(i64::MAX), Format::DecimalSi)
}

/// Adds amounts to others.
pub fn add(all: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = all.get(name).copied().unwrap_or(Quantity::ZERO).plus(*amount);
        all.insert(name.clone(), sum);
    }
}

/// A map of quantities as objects have it; what is no quantity is left out.
pub fn amounts(map: &Value) -> Amounts {
    let pairs = map.as_object().into_iter().flatten();
    pairs.filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?))).collect()
}

fn quantity(amount: &Value) -> Option<Quantity> {
    match amount {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

fn list<'a>(tree: &'a Value, field: &str) -> &'a [Value] {
    tree[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What a Pod asks for (`requests`) or may have (`limits`): the sum of its containers, or the most that a phase of its
/// initialization asks for, which sidecars that began before take part in; what is set for the Pod as a whole stands for
/// that. Its sandbox's overhead comes on top, for limits only where there is one.
pub fn of_containers(spec: &Value, kind: &str) -> Amounts {
    let of = |container: &Value| amounts(&container["resources"][kind]);
    let mut sum = Amounts::new();
    for container in list(spec, "containers") {
        add(&mut sum, &of(container));
    }
    let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
    for container in list(spec, "initContainers") {
        let mut now = sidecars.clone();
        add(&mut now, &of(container));
        if container["restartPolicy"] == "Always" {
            sidecars = now.clone();
        }
        raise(&mut most, now);
    }
    add(&mut sum, &sidecars);
    raise(&mut sum, most);
    sum.extend(amounts(&spec["resources"][kind]));
    let mut overhead = amounts(&spec["overhead"]);
    if kind == "limits" {
        overhead.retain(|name, _| sum.contains_key(name));
    }
    add(&mut sum, &overhead);
    sum
}

fn raise(all: &mut Amounts, others: Amounts) {
    for (name, amount) in others {
        let before = all.get(&name).copied().unwrap_or(Quantity::ZERO);
        all.insert(name, before.max(amount));
    }
}

/// Requests and limits by the names that quotas have for them.
fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut all = Amounts::new();
    for (name, amount) in requests {
        if PLAIN.contains(&name.as_str()) || name.starts_with("hugepages-") {
            all.insert(name.clone(), *amount);
        }
        all.insert(format!("requests.{name}"), *amount);
    }
    let limits = limits.iter().filter(|(name, _)| PLAIN.contains(&name.as_str()));
    all.extend(limits.map(|(name, amount)| (format!("limits.{name}"), *amount)));
    all
}

/// What a Pod takes. One that has ended is counted, and takes nothing else.
pub fn of_pod(pod: &Value) -> Amounts {
    let mut all = Amounts::from([("count/pods".to_owned(), count(1))]);
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return all;
    }
    all.insert("pods".into(), count(1));
    let spec = &pod["spec"];
    all.extend(named(&of_containers(spec, "requests"), &of_containers(spec, "limits")));
    all
}

/// What a Service takes.
pub fn of_service(service: &Value) -> Amounts {
    let spec = &service["spec"];
    let ports = list(spec, "ports");
    let mut all = Amounts::from([("count/services".to_owned(), count(1)), ("services".to_owned(), count(1))]);
    let balanced = spec["type"] == "LoadBalancer";
    let node_ports = match spec["type"].as_str() {
        Some("NodePort") => ports.len(),
        Some("LoadBalancer") if spec["allocateLoadBalancerNodePorts"] == false => {
            ports.iter().filter(|port| port["nodePort"].as_u64().is_some_and(|port| port > 0)).count()
        }
        Some("LoadBalancer") => ports.len(),
        _ => 0,
    };
    all.insert("services.loadbalancers".into(), count(usize::from(balanced)));
    all.insert("services.nodeports".into(), count(node_ports));
    all
}

/// What a claim takes.
pub fn of_claim(claim: &Value) -> Amounts {
    let spec = &claim["spec"];
    let storage = quantity(&spec["resources"]["requests"]["storage"]).unwrap_or(Quantity::ZERO);
    let mut all = Amounts::from([
        ("count/persistentvolumeclaims".to_owned(), count(1)),
        ("persistentvolumeclaims".to_owned(), count(1)),
        ("requests.storage".to_owned(), storage),
    ]);
    // The annotation of old counts before the field.
    let annotated = &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    let class = annotated.as_str().or_else(|| spec["storageClassName"].as_str());
    if let Some(class) = class.filter(|class| !class.is_empty()) {
        all.insert(format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), count(1));
        all.insert(format!("{class}.storageclass.storage.k8s.io/requests.storage"), storage);
    }
    all
}

/// What each device class's devices are counted under, behind its name.
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// Devices that a request for all may get.
const MOST_DEVICES: u64 = 32;

/// What a claim of devices takes: of each class as many as it may get in the worst case.
pub fn of_device_claim(claim: &Value) -> Amounts {
    let mut all = of_object("resource.k8s.io", "resourceclaims");
    let one = |request: &Value| {
        let class = request["deviceClassName"].as_str().unwrap_or_default();
        let devices = match request["allocationMode"].as_str() {
            Some("ExactCount") => request["count"].as_u64().unwrap_or_default(),
            Some("All") => MOST_DEVICES,
            _ => 0,
        };
        (format!("{class}{DEVICES}"), count(usize::try_from(devices).unwrap_or(usize::MAX)))
    };
    for request in list(&claim["spec"]["devices"], "requests") {
        let mut taken = Amounts::new();
        if let alternatives @ [_, ..] = list(request, "firstAvailable") {
            // One of them is got, and which is not known.
            alternatives.iter().for_each(|alternative| raise(&mut taken, [one(alternative)].into()));
        } else if request["exactly"].is_object() {
            taken.extend([one(&request["exactly"])]);
        }
        add(&mut all, &taken);
    }
    all
}

/// What one object of any other resource takes: it is counted, some under an older name too.
pub fn of_object(group: &str, resource: &str) -> Amounts {
    let mut all = Amounts::from([(format!("count/{}", crate::status::qualified(group, resource)), count(1))]);
    if group.is_empty() && matches!(resource, "secrets" | "configmaps" | "resourcequotas" | "replicationcontrollers") {
        all.insert(resource.to_owned(), count(1));
    }
    all
}

/// What an object of a resource takes.
pub fn of(group: &str, resource: &str, object: &Value) -> Amounts {
    match (group, resource) {
        ("", "pods") => of_pod(object),
        ("", "services") => of_service(object),
        ("", "persistentvolumeclaims") => of_claim(object),
        ("resource.k8s.io", "resourceclaims") => of_device_claim(object),
        _ => of_object(group, resource),
    }
}

/// Whether an amount of a quota is one that objects of the resource take.
pub fn concerns(group: &str, resource: &str, name: &str) -> bool {
    match (group, resource) {
        ("", "pods") => {
            let requested = name.strip_prefix("requests.").unwrap_or_default();
            POD_NAMES.contains(&name)
                || name.starts_with("hugepages-")
                || requested.starts_with("hugepages-")
                || requested.contains('/') && !requested.contains(".storageclass.storage.k8s.io/")
        }
        ("", "services") => {
            matches!(name, "count/services" | "services" | "services.loadbalancers" | "services.nodeports")
        }
        ("", "persistentvolumeclaims") => {
            matches!(name, "count/persistentvolumeclaims" | "persistentvolumeclaims" | "requests.storage")
                || name.contains(".storageclass.storage.k8s.io/")
        }
        ("resource.k8s.io", "resourceclaims") if name.ends_with(DEVICES) => true,
        _ => of_object(group, resource).contains_key(name),
    }
}

/// The limited amounts that containers of a Pod do not say, with the containers' names.
pub fn unsaid<'a>(pod: &Value, limited: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, BTreeSet<String>> {
    let mut missing: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let spec = &pod["spec"];
    if spec["resources"].as_object().is_some_and(|all| !all.is_empty()) {
        return missing;
    }
    let required: Vec<&str> = limited.filter(|name| REQUIRED.contains(name)).collect();
    for container in list(spec, "containers").iter().chain(list(spec, "initContainers")) {
        let resources = &container["resources"];
        let said = named(&amounts(&resources["requests"]), &amounts(&resources["limits"]));
        for name in required.iter().filter(|name| !said.contains_key(**name)) {
            let container = container["name"].as_str().unwrap_or_default().to_owned();
            missing.entry(name).or_default().insert(container);
        }
    }
    missing
}

/// What a quota says of the objects that it is about: for each of its scopes the name, `operator` and `values`.
pub fn scopes(quota: &Value) -> Vec<Value> {
    let spec = &quota["spec"];
    let plain = list(spec, "scopes").iter().map(|scope| json!({"scopeName": scope, "operator": "Exists"}));
    plain.chain(list(&spec["scopeSelector"], "matchExpressions").iter().cloned()).collect()
}

/// Whether an object is in a scope such as those of [`scopes`]. Only Pods and claims are in any.
pub fn is_in(scope: &Value, resource: &str, object: &Value) -> bool {
    let (operator, values) = (&scope["operator"], &scope["values"]);
    match (resource, scope["scopeName"].as_str().unwrap_or_default()) {
        ("pods", "PriorityClass") => {
            let class = object["spec"]["priorityClassName"].as_str().filter(|class| !class.is_empty());
            is_among(class.into_iter().collect(), operator, values)
        }
        ("pods", scope) => in_scope(object, scope),
        ("persistentvolumeclaims", "VolumeAttributesClass") => is_among(attributes_classes(object), operator, values),
        _ => false,
    }
}

/// Whether a quota's scopes are all an object's.
pub fn in_scopes(quota: &Value, resource: &str, object: &Value) -> bool {
    scopes(quota).iter().all(|scope| is_in(scope, resource, object))
}

/// Whether a Pod of a spec ends by itself.
pub fn terminates(spec: &Value) -> bool {
    spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

fn best_effort(spec: &Value) -> bool {
    let named = |resources: &Value| {
        ["requests", "limits"].iter().any(|kind| {
            let all = amounts(&resources[*kind]);
            ["cpu", "memory"].iter().any(|name| all.get(*name).is_some_and(|amount| !amount.is_zero()))
        })
    };
    let containers = list(spec, "containers").iter().chain(list(spec, "initContainers"));
    !named(&spec["resources"]) && !containers.into_iter().any(|one| named(&one["resources"]))
}

fn across_namespaces(spec: &Value) -> bool {
    let affinity = &spec["affinity"];
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let required = list(&affinity[*kind], "requiredDuringSchedulingIgnoredDuringExecution").iter();
        let preferred = list(&affinity[*kind], "preferredDuringSchedulingIgnoredDuringExecution").iter();
        let mut terms = required.chain(preferred.map(|one| &one["podAffinityTerm"]));
        terms.any(|term| !list(term, "namespaces").is_empty() || !term["namespaceSelector"].is_null())
    })
}

fn in_scope(pod: &Value, scope: &str) -> bool {
    let spec = &pod["spec"];
    match scope {
        "Terminating" => terminates(spec),
        "NotTerminating" => !terminates(spec),
        "BestEffort" => best_effort(spec),
        "NotBestEffort" => !best_effort(spec),
        "CrossNamespacePodAffinity" => across_namespaces(spec),
        _ => false,
    }
}

/// Whether one of an object's classes is wanted, or that it has none.
fn is_among(classes: BTreeSet<&str>, operator: &Value, values: &Value) -> bool {
    let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
    let listed = |class: &str| values.iter().any(|value| value == class);
    match operator.as_str().unwrap_or_default() {
        "In" => classes.iter().any(|class| listed(class)),
        "NotIn" => classes.is_empty() || classes.iter().any(|class| !listed(class)),
        "Exists" => !classes.is_empty(),
        "DoesNotExist" => classes.is_empty(),
        _ => false,
    }
}

/// The classes that a claim has, wants, and is on its way to: it is counted for each.
fn attributes_classes(claim: &Value) -> BTreeSet<&str> {
    let status = &claim["status"];
    let all = [
        &claim["spec"]["volumeAttributesClassName"],
        &status["currentVolumeAttributesClassName"],
        &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ];
    all.into_iter().filter_map(Value::as_str).filter(|class| !class.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(all: &Amounts, name: &str) -> String {
        all.get(name).map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn pods_take_what_their_containers_ask_for() {
        let container = |cpu: &str| {
            json!({"name": "c", "resources": {"requests": {"cpu": cpu, "example.org/dongle": "1"},
            "limits": {"memory": "1Gi"}}})
        };
        let spec = json!({"containers": [container("100m"), container("200m")], "initContainers": [container("1")],
            "overhead": {"cpu": "10m", "memory": "1Mi"}});
        let all = of_pod(&json!({"spec": spec}));
        assert_eq!((get(&all, "cpu"), get(&all, "requests.cpu")), ("1010m".into(), "1010m".into()));
        assert_eq!((get(&all, "limits.memory"), get(&all, "limits.cpu")), ("2049Mi".into(), String::new()));
        assert_eq!(
            (get(&all, "requests.example.org/dongle"), get(&all, "example.org/dongle")),
            ("2".into(), String::new())
        );
        assert_eq!((get(&all, "pods"), get(&all, "count/pods")), ("1".into(), "1".into()));
        let ended = of_pod(&json!({"spec": spec, "status": {"phase": "Succeeded"}}));
        assert_eq!((get(&ended, "pods"), get(&ended, "count/pods")), (String::new(), "1".into()));
        let missing = unsaid(&json!({"spec": spec}), ["cpu", "limits.cpu", "pods"].into_iter());
        assert_eq!(missing.keys().copied().collect::<Vec<_>>(), ["limits.cpu"]);
    }

    #[test]
    fn names_belong_to_resources() {
        for (resource, name, wanted) in [
            ("pods", "requests.example.org/dongle", true),
            ("pods", "hugepages-2Mi", true),
            ("pods", "services", false),
            ("services", "services.nodeports", true),
            ("persistentvolumeclaims", "gold.storageclass.storage.k8s.io/requests.storage", true),
            ("pods", "gold.storageclass.storage.k8s.io/requests.storage", false),
            ("secrets", "secrets", true),
            ("secrets", "count/secrets", true),
            ("secrets", "configmaps", false),
        ] {
            assert_eq!(concerns("", resource, name), wanted, "{resource} {name}");
        }
        assert!(concerns("example.org", "toys", "count/toys.example.org"));
    }

    #[test]
    fn scopes_choose_pods() {
        let quota = |spec: Value| json!({"spec": spec});
        let plain = json!({"spec": {"containers": [{"name": "c"}]}});
        let limited = json!({"spec": {"containers": [], "activeDeadlineSeconds": 5, "priorityClassName": "high"}});
        let class = |operator: &str| {
            let one = json!({"scopeName": "PriorityClass", "operator": operator, "values": ["high"]});
            quota(json!({"scopeSelector": {"matchExpressions": [one]}}))
        };
        for (quota, plain_wanted, limited_wanted) in [
            (quota(json!({})), true, true),
            (quota(json!({"scopes": ["BestEffort"]})), true, true),
            (quota(json!({"scopes": ["NotBestEffort"]})), false, false),
            (quota(json!({"scopes": ["Terminating"]})), false, true),
            (quota(json!({"scopes": ["NotTerminating", "BestEffort"]})), true, false),
            (class("In"), false, true),
            (class("NotIn"), true, false),
        ] {
            let found = (in_scopes(&quota, "pods", &plain), in_scopes(&quota, "pods", &limited));
            assert_eq!(found, (plain_wanted, limited_wanted), "{quota}");
        }
        assert!(!in_scopes(&class("In"), "services", &json!({})));
    }

    #[test]
    fn claims_are_in_the_scopes_of_all_their_classes() {
        let bare = json!({"spec": {}});
        let moving = json!({"spec": {"volumeAttributesClassName": "silver"}, "status": {
            "currentVolumeAttributesClassName": "gold", "modifyVolumeStatus": {"targetVolumeAttributesClassName": "silver"}}});
        let wanted = |operator: &str, values: &[&str]| {
            let one = json!({"scopeName": "VolumeAttributesClass", "operator": operator, "values": values});
            json!({"spec": {"scopeSelector": {"matchExpressions": [one]}}})
        };
        for (quota, of_bare, of_moving) in [
            (wanted("In", &["gold"]), false, true),
            (wanted("In", &["silver", "lead"]), false, true),
            (wanted("In", &["lead"]), false, false),
            (wanted("NotIn", &["gold"]), true, true),
            (wanted("NotIn", &["gold", "silver"]), true, false),
            (wanted("Exists", &[]), false, true),
            (wanted("DoesNotExist", &[]), true, false),
            (json!({"spec": {"scopes": ["VolumeAttributesClass"]}}), false, true),
            (json!({"spec": {"scopes": ["BestEffort"]}}), false, false),
            (json!({"spec": {}}), true, true),
        ] {
            let found = [&bare, &moving].map(|claim| in_scopes(&quota, "persistentvolumeclaims", claim));
            assert_eq!(found, [of_bare, of_moving], "{quota}");
        }
        assert!(!in_scopes(&wanted("Exists", &[]), "pods", &moving));
    }

    #[test]
    fn claims_of_devices_take_what_they_may_get() {
        let request =
            |mode: &str, count: u64| json!({"deviceClassName": "gold", "allocationMode": mode, "count": count});
        let silver = json!({"deviceClassName": "silver", "allocationMode": "ExactCount", "count": 1});
        let claim = json!({"spec": {"devices": {"requests": [
            {"name": "a", "exactly": request("ExactCount", 2)},
            {"name": "b", "firstAvailable": [request("ExactCount", 5), request("ExactCount", 3), silver]},
            {"name": "c", "exactly": request("All", 0)},
        ]}}});
        let all = of("resource.k8s.io", "resourceclaims", &claim);
        let shown: Vec<String> = all.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        assert_eq!(
            shown,
            [
                "count/resourceclaims.resource.k8s.io=1",
                "gold.deviceclass.resource.k8s.io/devices=39",
                "silver.deviceclass.resource.k8s.io/devices=1"
            ]
        );
        assert!(all.keys().all(|name| concerns("resource.k8s.io", "resourceclaims", name)));
        assert!(!concerns("resource.k8s.io", "resourceclaims", "pods"));
    }

    #[test]
    fn services_and_claims_take_their_own() {
        let service = json!({"spec": {"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}});
        assert_eq!(get(&of_service(&service), "services.nodeports"), "2");
        let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "5Gi"}}}});
        let mut annotated = claim.clone();
        annotated["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"] = "slow".into();
        assert!(of_claim(&annotated).contains_key("slow.storageclass.storage.k8s.io/requests.storage"));
        assert_eq!(get(&of_claim(&claim), "fast.storageclass.storage.k8s.io/requests.storage"), "5Gi");
    }
}
