//! What objects take of a namespace's quota. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaim, Pod, ResourceQuota, ScopedResourceSelectorRequirement, Service,
};
use kinit_api::quantity::{Format, Quantity};

use crate::pods;

/// Amounts by the names that quotas use.
pub type Amounts = BTreeMap<String, Quantity>;

type Resources = BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>;

/// One of something.
fn one() -> Quantity {
    Quantity::new(1, Format::DecimalSi)
}

/// Adds amounts to others.
pub fn add(all: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = all.get(name).copied().unwrap_or(Quantity::ZERO).plus(*amount);
        all.insert(name.clone(), sum);
    }
}

fn parsed(resources: Option<&Resources>) -> Amounts {
    let pairs = resources.into_iter().flatten();
    pairs.filter_map(|(name, amount)| Some((name.clone(), amount.0.parse().ok()?))).collect()
}

/// What a pod asks for: the sum of its containers, or the most that a phase of its initialization asks for, which
/// sidecars that began before take part in.
fn asked(pod: &Pod, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::new() };
    let mut sum = Amounts::new();
    for container in &spec.containers {
        add(&mut sum, &of(container));
    }
    let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        let mut now = sidecars.clone();
        add(&mut now, &own);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = now.clone();
        }
        for (name, amount) in now {
            let before = most.get(&name).copied().unwrap_or(Quantity::ZERO);
            most.insert(name, before.max(amount));
        }
    }
    add(&mut sum, &sidecars);
    for (name, amount) in most {
        let before = sum.get(&name).copied().unwrap_or(Quantity::ZERO);
        sum.insert(name, before.max(amount));
    }
    let overhead = parsed(spec.overhead.as_ref());
    add(&mut sum, &overhead);
    sum
}

/// What a pod takes. One that has ended is counted, and takes nothing else.
pub fn of_pod(pod: &Pod) -> Amounts {
    let mut all = Amounts::from([("count/pods".to_owned(), one())]);
    if matches!(pods::phase(pod), "Succeeded" | "Failed") {
        return all;
    }
    all.insert("pods".into(), one());
    let requests = asked(pod, |one| parsed(one.resources.as_ref().and_then(|all| all.requests.as_ref())));
    let limits = asked(pod, |one| parsed(one.resources.as_ref().and_then(|all| all.limits.as_ref())));
    for (name, amount) in requests {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            all.insert(name.clone(), amount);
        }
        all.insert(format!("requests.{name}"), amount);
    }
    all.extend(limits.into_iter().map(|(name, amount)| (format!("limits.{name}"), amount)));
    all
}

/// What a service takes.
pub fn of_service(service: &Service) -> Amounts {
    let mut all = Amounts::from([("count/services".to_owned(), one()), ("services".to_owned(), one())]);
    let spec = service.spec.clone().unwrap_or_default();
    let ports = spec.ports.unwrap_or_default();
    let node_ports = match spec.type_.as_deref() {
        Some("NodePort") => ports.len(),
        Some("LoadBalancer") => {
            all.insert("services.loadbalancers".into(), one());
            match spec.allocate_load_balancer_node_ports {
                Some(false) => ports.iter().filter(|port| port.node_port.is_some_and(|port| port > 0)).count(),
                _ => ports.len(),
            }
        }
        _ => 0,
    };
    all.insert("services.nodeports".into(), Quantity::new(node_ports as i64, Format::DecimalSi));
    all
}

/// What a claim takes.
pub fn of_claim(claim: &PersistentVolumeClaim) -> Amounts {
    let spec = claim.spec.clone().unwrap_or_default();
    let asked = parsed(spec.resources.as_ref().and_then(|all| all.requests.as_ref())).get("storage").copied();
    let storage = asked.unwrap_or(Quantity::ZERO);
    let mut all = Amounts::from([
        ("count/persistentvolumeclaims".to_owned(), one()),
        ("persistentvolumeclaims".to_owned(), one()),
        ("requests.storage".to_owned(), storage),
    ]);
    if let Some(class) = spec.storage_class_name.filter(|class| !class.is_empty()) {
        all.insert(format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), one());
        all.insert(format!("{class}.storageclass.storage.k8s.io/requests.storage"), storage);
    }
    all
}

/// Whether a quota is about a pod: all of its scopes have to be the pod's.
pub fn is_about(quota: &ResourceQuota, pod: &Pod) -> bool {
    let spec = quota.spec.clone().unwrap_or_default();
    let selected = spec.scope_selector.and_then(|selector| selector.match_expressions).unwrap_or_default();
    spec.scopes.iter().flatten().all(|scope| in_scope(pod, scope)) && selected.iter().all(|one| is_selected(pod, one))
}

fn in_scope(pod: &Pod, scope: &str) -> bool {
    let spec = pod.spec.clone().unwrap_or_default();
    let best_effort = || {
        spec.init_containers.iter().flatten().chain(&spec.containers).all(|one| {
            let resources = one.resources.clone().unwrap_or_default();
            let named =
                |all: Option<&Resources>| all.is_some_and(|all| all.contains_key("cpu") || all.contains_key("memory"));
            !named(resources.requests.as_ref()) && !named(resources.limits.as_ref())
        })
    };
    match scope {
        "Terminating" => spec.active_deadline_seconds.is_some(),
        "NotTerminating" => spec.active_deadline_seconds.is_none(),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => spec.priority_class_name.is_some_and(|name| !name.is_empty()),
        _ => false,
    }
}

fn is_selected(pod: &Pod, wanted: &ScopedResourceSelectorRequirement) -> bool {
    if wanted.scope_name != "PriorityClass" {
        return in_scope(pod, &wanted.scope_name);
    }
    let class = pod.spec.as_ref().and_then(|spec| spec.priority_class_name.clone()).unwrap_or_default();
    let among = wanted.values.iter().flatten().any(|value| *value == class);
    match wanted.operator.as_str() {
        "In" => among,
        "NotIn" => !among,
        "Exists" => !class.is_empty(),
        "DoesNotExist" => class.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value, phase: &str) -> Pod {
        serde_json::from_value(json!({"spec": spec, "status": {"phase": phase}})).unwrap()
    }

    fn get(all: &Amounts, name: &str) -> String {
        all.get(name).map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn pods_take_what_their_containers_ask_for() {
        let container =
            |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}, "limits": {"memory": "1Gi"}}});
        let spec = json!({"containers": [container("100m"), container("200m")], "initContainers": [container("1")]});
        let all = of_pod(&pod(spec.clone(), "Running"));
        assert_eq!(
            (get(&all, "cpu"), get(&all, "requests.cpu"), get(&all, "limits.memory")),
            ("1".into(), "1".into(), "2Gi".into())
        );
        assert_eq!((get(&all, "pods"), get(&all, "count/pods")), ("1".into(), "1".into()));
        let ended = of_pod(&pod(spec, "Succeeded"));
        assert_eq!(
            (get(&ended, "pods"), get(&ended, "count/pods"), get(&ended, "cpu")),
            (String::new(), "1".into(), String::new())
        );
    }

    #[test]
    fn scopes_choose_pods() {
        let quota = |spec: Value| -> ResourceQuota { serde_json::from_value(json!({"spec": spec})).unwrap() };
        let plain = pod(json!({"containers": [{"name": "c"}]}), "Running");
        let limited =
            pod(json!({"containers": [], "activeDeadlineSeconds": 5, "priorityClassName": "high"}), "Running");
        let class = |operator: &str| {
            quota(
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": operator, "values": ["high"]}]}}),
            )
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
            assert_eq!(
                (is_about(&quota, &plain), is_about(&quota, &limited)),
                (plain_wanted, limited_wanted),
                "{quota:?}"
            );
        }
    }

    #[test]
    fn services_and_claims_take_their_own() {
        let service: Service =
            serde_json::from_value(json!({"spec": {"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}})).unwrap();
        assert_eq!(get(&of_service(&service), "services.nodeports"), "2");
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({"spec": {"storageClassName": "fast",
            "resources": {"requests": {"storage": "5Gi"}}}}))
        .unwrap();
        assert_eq!(get(&of_claim(&claim), "fast.storageclass.storage.k8s.io/requests.storage"), "5Gi");
    }
}
