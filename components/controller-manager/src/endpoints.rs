//! Endpoints and EndpointSlices: the addresses of a service's pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kinit_runtime::{Change, Informer, Queue, key_of, work};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::context::Context;
use crate::pods;

const SERVICE: &str = "kubernetes.io/service-name";
const MANAGED: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Addresses in one slice.
const SLICE: usize = 100;

/// Adds the keys of all services that a change may concern.
fn follow(context: &Context, queue: &Arc<Queue<String>>) {
    let caches = &context.caches;
    let keys = queue.clone();
    caches.services.handle(move |_, service| keys.add(key_of(service.as_ref())));
    let (keys, services) = (queue.clone(), caches.services.clone());
    caches.pods.handle(move |_, pod| {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        for service in services.list_in(&namespace) {
            if selects(&service, pod) {
                keys.add(key_of(service.as_ref()));
            }
        }
    });
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let selector =
        service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).filter(|selector| !selector.is_empty());
    let labels = pod.metadata.labels.as_ref();
    selector.is_some_and(|selector| {
        selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    })
}

/// Runs the controller of Endpoints until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("endpoint-controller").await;
    synced(&context).await;
    context.caches.endpoints.synced().await;
    let queue = Queue::new();
    follow(&context, &queue);
    let shutdown = context.shutdown.clone();
    work("endpoint", queue, 4, shutdown, move |key: String| {
        let (context, actor) = (context.clone(), actor.clone());
        async move {
            let (namespace, name) = key.split_once('/').unwrap_or_default();
            let api: Api<Endpoints> = Api::namespaced(actor.client(), namespace);
            let present = context.caches.endpoints.get(&key);
            let Some(service) = context.caches.services.get(&key) else {
                let ours = present.is_some_and(|one| {
                    one.metadata
                        .labels
                        .as_ref()
                        .is_some_and(|all| all.contains_key("endpoints.kubernetes.io/managed-by"))
                });
                if ours {
                    gone(api.delete(name, &DeleteParams::default()).await)?;
                }
                return Ok(None);
            };
            if !has_selector(&service) {
                return Ok(None);
            }
            let subsets = subsets(&service, &own(&context.caches.pods, &service));
            let mut labels = service.metadata.labels.clone().unwrap_or_default();
            labels.insert("endpoints.kubernetes.io/managed-by".into(), "endpoint-controller".into());
            let mut wanted =
                json!({"metadata": {"name": name, "namespace": namespace, "labels": labels}, "subsets": subsets});
            match present {
                None => {
                    api.create(&PostParams::default(), &typed(wanted)?).await?;
                }
                Some(present) => {
                    let same = serde_json::to_value(&present.subsets).ok()
                        == serde_json::to_value(typed::<Endpoints>(wanted.clone())?.subsets).ok();
                    if !same {
                        wanted["metadata"]["resourceVersion"] = json!(present.metadata.resource_version);
                        api.replace(name, &PostParams::default(), &typed(wanted)?).await?;
                    }
                }
            }
            Ok::<_, kube::Error>(None)
        }
    })
    .await;
}

/// Runs the controller of EndpointSlices until shutdown.
pub async fn run_slices(context: Arc<Context>) {
    let actor = context.actor("endpointslice-controller").await;
    synced(&context).await;
    context.caches.slices.synced().await;
    let queue = Queue::new();
    follow(&context, &queue);
    let keys = queue.clone();
    context.caches.slices.handle(move |change, slice| {
        // Somebody else may have changed or removed one of ours.
        if let Some(service) =
            slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE)).filter(|_| change != Change::Added)
        {
            keys.add(format!("{}/{service}", slice.metadata.namespace.as_deref().unwrap_or_default()));
        }
    });
    let shutdown = context.shutdown.clone();
    work("endpointslice", queue, 4, shutdown, move |key: String| {
        let (context, actor) = (context.clone(), actor.clone());
        async move {
            let (namespace, name) = key.split_once('/').unwrap_or_default();
            let api: Api<EndpointSlice> = Api::namespaced(actor.client(), namespace);
            let label =
                |slice: &EndpointSlice, key: &str| slice.metadata.labels.as_ref().and_then(|all| all.get(key).cloned());
            let mut present: Vec<Arc<EndpointSlice>> = context.caches.slices.list_in(namespace);
            present.retain(|slice| {
                label(slice, SERVICE).as_deref() == Some(name) && label(slice, MANAGED).as_deref() == Some(MANAGER)
            });
            present.sort_by_key(|slice| slice.metadata.name.clone());
            let service = context.caches.services.get(&key).filter(|service| has_selector(service));
            let wanted = service
                .as_ref()
                .map(|service| slices(service, &own(&context.caches.pods, service), &context))
                .unwrap_or_default();
            for (index, wanted) in wanted.iter().enumerate() {
                match present.get(index) {
                    None => {
                        api.create(&PostParams::default(), &typed(wanted.clone())?).await?;
                    }
                    Some(slice) if !same_slice(slice, wanted) => {
                        let mut changed = wanted.clone();
                        changed["metadata"]["name"] = json!(slice.metadata.name);
                        changed["metadata"]["resourceVersion"] = json!(slice.metadata.resource_version);
                        let object: EndpointSlice = typed(changed)?;
                        api.replace(
                            slice.metadata.name.as_deref().unwrap_or_default(),
                            &PostParams::default(),
                            &object,
                        )
                        .await?;
                    }
                    Some(_) => {}
                }
            }
            for slice in present.iter().skip(wanted.len()) {
                gone(api.delete(slice.metadata.name.as_deref().unwrap_or_default(), &DeleteParams::default()).await)?;
            }
            Ok::<_, kube::Error>(None)
        }
    })
    .await;
}

async fn synced(context: &Context) {
    context.caches.services.synced().await;
    context.caches.pods.synced().await;
    context.caches.nodes.synced().await;
}

fn gone<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, kube::Error> {
    serde_json::from_value(value).map_err(kube::Error::SerdeError)
}

fn has_selector(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|selector| !selector.is_empty())
}

/// Pods of a service that have an address and have not ended, in a stable order.
fn own(all: &Informer<Pod>, service: &Service) -> Vec<Arc<Pod>> {
    let mut found: Vec<Arc<Pod>> = all.list_in(service.metadata.namespace.as_deref().unwrap_or_default());
    found.retain(|pod| {
        selects(service, pod) && !matches!(pods::phase(pod), "Succeeded" | "Failed") && address(pod).is_some()
    });
    found.sort_by_key(|pod| pod.metadata.name.clone());
    found
}

fn address(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.pod_ip.as_deref().filter(|ip| !ip.is_empty())
}

/// The number that a port of a service has in a pod.
fn port_of(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(if *number == 0 { port.port } else { *number }),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let ports = spec
                .containers
                .iter()
                .chain(spec.init_containers.iter().flatten())
                .flat_map(|one| one.ports.iter().flatten());
            let mut named = ports.filter(|one| {
                one.name.as_deref() == Some(name) && one.protocol.as_deref().unwrap_or("TCP") == protocol
            });
            named.next().map(|one| one.container_port)
        }
    }
}

/// The ports of a service in a pod, as both kinds write them.
fn ports(service: &Service, pod: &Pod) -> Vec<Value> {
    let all = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    all.into_iter()
        .flatten()
        .filter_map(|port| {
            let mut value = json!({"port": port_of(port, pod)?, "protocol": port.protocol.as_deref().unwrap_or("TCP")});
            if let Some(name) = &port.name {
                value["name"] = json!(name);
            }
            Some(value)
        })
        .collect()
}

fn reference(pod: &Pod) -> Value {
    json!({"kind": "Pod", "namespace": pod.metadata.namespace, "name": pod.metadata.name, "uid": pod.metadata.uid})
}

fn publishes_all(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false)
}

/// Ready addresses, others, and the ports of both.
type Subset = (Vec<Value>, Vec<Value>, Vec<Value>);

/// The subsets of Endpoints: addresses that have the same ports together.
fn subsets(service: &Service, own: &[Arc<Pod>]) -> Vec<Value> {
    let mut by_ports: BTreeMap<String, Subset> = BTreeMap::new();
    for pod in own {
        let terminating = pod.metadata.deletion_timestamp.is_some();
        if terminating && !publishes_all(service) {
            continue;
        }
        let ports = ports(service, pod);
        let entry = by_ports.entry(json!(ports).to_string()).or_insert_with(|| (Vec::new(), Vec::new(), ports));
        let mut address = json!({"ip": address(pod), "targetRef": reference(pod)});
        if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
            address["nodeName"] = json!(node);
        }
        if pods::is_ready(pod) || publishes_all(service) { entry.0.push(address) } else { entry.1.push(address) }
    }
    by_ports
        .into_values()
        .map(|(ready, unready, ports)| {
            let mut subset = json!({"ports": ports});
            if !ready.is_empty() {
                subset["addresses"] = json!(ready);
            }
            if !unready.is_empty() {
                subset["notReadyAddresses"] = json!(unready);
            }
            subset
        })
        .collect()
}

/// The slices of a service, without names of their own.
fn slices(service: &Service, own: &[Arc<Pod>], context: &Context) -> Vec<Value> {
    let zone = |node: &str| {
        let node = context.caches.nodes.get(node)?;
        node.metadata.labels.as_ref()?.get("topology.kubernetes.io/zone").cloned()
    };
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE.into(), name.clone());
    labels.insert(MANAGED.into(), MANAGER.into());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert("service.kubernetes.io/headless".into(), String::new());
    }
    let slice = |ports: &Value, endpoints: &[Value]| {
        json!({
            "metadata": {
                "generateName": format!("{name}-"),
                "namespace": service.metadata.namespace,
                "labels": labels,
                "ownerReferences": [pods::owner(service)],
            },
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": endpoints,
        })
    };
    let mut by_ports: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    for pod in own.iter().filter(|pod| address(pod).is_some_and(|ip| !ip.contains(':'))) {
        let ports = json!(ports(service, pod));
        let entry = by_ports.entry(ports.to_string()).or_insert_with(|| (ports, Vec::new()));
        let mut value = endpoint(pod, publishes_all(service), &zone);
        hint(&mut value, distribution(service));
        entry.1.push(value);
    }
    if by_ports.is_empty() {
        let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).map(|_| json!([])).unwrap_or_default();
        return vec![slice(&ports, &[])];
    }
    by_ports
        .into_values()
        .flat_map(|(ports, all)| all.chunks(SLICE).map(|part| slice(&ports, part)).collect::<Vec<_>>())
        .collect()
}

fn endpoint(pod: &Pod, publish: bool, zone: &dyn Fn(&str) -> Option<String>) -> Value {
    let serving = pods::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let mut value = json!({
        "addresses": [address(pod)],
        "conditions": {"ready": publish || (serving && !terminating), "serving": serving || publish, "terminating": terminating},
        "targetRef": reference(pod),
    });
    if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
        if let Some(zone) = zone(&node) {
            value["zone"] = json!(zone);
        }
        value["nodeName"] = json!(node);
    }
    let spec = pod.spec.as_ref();
    if let (Some(host), Some(_)) =
        (spec.and_then(|spec| spec.hostname.clone()), spec.and_then(|spec| spec.subdomain.clone()))
    {
        value["hostname"] = json!(host);
    }
    value
}

/// How near a service's clients its traffic is to stay, if it says so by its field and not by the older annotation.
fn distribution(service: &Service) -> Option<&str> {
    let annotations = service.metadata.annotations.as_ref();
    let automatic = ["service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"]
        .iter()
        .find_map(|key| annotations?.get(*key))
        .is_some_and(|mode| matches!(mode.as_str(), "Auto" | "auto"));
    service.spec.as_ref()?.traffic_distribution.as_deref().filter(|_| !automatic)
}

/// Says whom an endpoint that takes connections is meant for: its zone, and its node if traffic is to stay there.
fn hint(endpoint: &mut Value, distribution: Option<&str>) {
    let node = match distribution {
        Some("PreferSameNode") => endpoint.get("nodeName"),
        Some("PreferClose" | "PreferSameZone") => None,
        _ => return,
    };
    let mut hints = serde_json::Map::new();
    hints.extend(endpoint.get("zone").map(|zone| ("forZones".to_owned(), json!([{"name": zone}]))));
    hints.extend(node.map(|node| ("forNodes".to_owned(), json!([{"name": node}]))));
    if endpoint["conditions"]["ready"] == json!(true) && !hints.is_empty() {
        endpoint["hints"] = Value::Object(hints);
    }
}

fn same_slice(present: &EndpointSlice, wanted: &Value) -> bool {
    let Ok(wanted) = serde_json::from_value::<EndpointSlice>(wanted.clone()) else { return false };
    (&present.endpoints, present.ports.clone().unwrap_or_default(), &present.metadata.labels)
        == (&wanted.endpoints, wanted.ports.clone().unwrap_or_default(), &wanted.metadata.labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "x"}, "spec": {"selector": {"app": "a"},
            "ports": [{"port": 80, "targetPort": "web", "name": "http"}]}}))
        .unwrap()
    }

    fn pod(name: &str, ready: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "x", "labels": {"app": "a"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
            "status": {"podIP": "10.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": status}]}}))
            .unwrap(),
        )
    }

    #[test]
    fn ready_and_other_addresses_are_kept_apart() {
        let found = subsets(&service(), &[pod("a", true), pod("b", false)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
        assert_eq!(found[0]["addresses"][0]["targetRef"]["name"], "a");
        assert_eq!(found[0]["notReadyAddresses"][0]["targetRef"]["name"], "b");
    }

    #[test]
    fn an_endpoint_says_how_its_pod_is() {
        let value = endpoint(&pod("a", true), false, &|_| None);
        assert_eq!(value["conditions"], json!({"ready": true, "serving": true, "terminating": false}));
        let value = endpoint(&pod("a", false), true, &|_| Some("z".into()));
        assert_eq!((&value["conditions"]["ready"], &value["zone"]), (&json!(true), &json!("z")));
    }

    #[test]
    fn hints_follow_the_services_wish() {
        let (zone, node) = (json!([{"name": "z"}]), json!([{"name": "n"}]));
        for (wish, mode, ready, wanted) in [
            ("PreferClose", "", true, json!({"forZones": zone})),
            ("PreferSameZone", "Disabled", true, json!({"forZones": zone})),
            ("PreferSameNode", "", true, json!({"forZones": zone, "forNodes": node})),
            ("PreferSameNode", "", false, Value::Null),
            ("PreferSameNode", "Auto", true, Value::Null),
            ("Other", "", true, Value::Null),
        ] {
            let mut service = service();
            service.spec.as_mut().unwrap().traffic_distribution = Some(wish.into());
            service.metadata.annotations = Some([("service.kubernetes.io/topology-mode".into(), mode.into())].into());
            let mut value = endpoint(&pod("a", ready), false, &|_| Some("z".into()));
            hint(&mut value, distribution(&service));
            assert_eq!(value["hints"], wanted, "{wish} {mode} {ready}");
        }
    }
}
