//! Endpoints that people write become EndpointSlices, for those who read only these.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::context::{Caches, Context};

const SERVICE: &str = "kubernetes.io/service-name";
const MANAGED: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints of leader election of old.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Addresses of one subset that are mirrored.
const MOST: usize = 1000;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("endpointslicemirroring-controller").await;
    let caches = &context.caches;
    caches.endpoints.synced().await;
    caches.services.synced().await;
    caches.slices.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    caches.endpoints.handle(move |_, one| keys.add(key_of(one.as_ref())));
    let keys = queue.clone();
    caches.services.handle(move |_, one| keys.add(key_of(one.as_ref())));
    let shutdown = context.shutdown.clone();
    work("endpointslicemirroring", queue, 2, shutdown, move |key: String| {
        let (context, actor) = (context.clone(), actor.clone());
        async move {
            let (namespace, name) = key.split_once('/').unwrap_or_default();
            let api: Api<EndpointSlice> = Api::namespaced(actor.client(), namespace);
            let mut present: Vec<Arc<EndpointSlice>> = context.caches.slices.list_in(namespace);
            present.retain(|slice| {
                let label = |key: &str| slice.metadata.labels.as_ref().and_then(|labels| labels.get(key));
                label(SERVICE).is_some_and(|of| of == name) && label(MANAGED).is_some_and(|by| by == MANAGER)
            });
            present.sort_by_key(|slice| slice.metadata.name.clone());
            let wanted = wanted(&context.caches, &key);
            for (at, slice) in wanted.iter().enumerate() {
                let typed =
                    |value: Value| serde_json::from_value::<EndpointSlice>(value).map_err(kube::Error::SerdeError);
                match present.get(at) {
                    None => {
                        api.create(&PostParams::default(), &typed(slice.clone())?).await?;
                    }
                    Some(old) => {
                        let mut changed = slice.clone();
                        changed["metadata"]["name"] = json!(old.metadata.name);
                        changed["metadata"]["resourceVersion"] = json!(old.metadata.resource_version);
                        let changed = typed(changed)?;
                        let same = (&old.endpoints, &old.ports, &old.metadata.labels)
                            == (&changed.endpoints, &changed.ports, &changed.metadata.labels);
                        if !same {
                            let name = old.metadata.name.as_deref().unwrap_or_default();
                            api.replace(name, &PostParams::default(), &changed).await?;
                        }
                    }
                }
            }
            for slice in present.iter().skip(wanted.len()) {
                let name = slice.metadata.name.as_deref().unwrap_or_default();
                match api.delete(name, &DeleteParams::default()).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    other => {
                        other?;
                    }
                }
            }
            Ok::<_, kube::Error>(None)
        }
    })
    .await;
}

/// The slices that mirror the Endpoints of a key: none unless they are somebody's own, of a service that selects nothing.
fn wanted(caches: &Caches, key: &str) -> Vec<Value> {
    let (Some(endpoints), Some(service)) = (caches.endpoints.get(key), caches.services.get(key)) else {
        return Vec::new();
    };
    let selects = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_some_and(|one| !one.is_empty());
    let skipped =
        endpoints.metadata.labels.as_ref().is_some_and(|labels| labels.get(SKIP).is_some_and(|value| value == "true"));
    let leads = endpoints.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(LEADER));
    if selects || skipped || leads { Vec::new() } else { mirrored(&endpoints) }
}

/// A slice for each subset and family of addresses. Pure.
fn mirrored(endpoints: &Endpoints) -> Vec<Value> {
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    labels.insert(SERVICE.into(), name.clone());
    labels.insert(MANAGED.into(), MANAGER.into());
    let mut all = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        for family in ["IPv4", "IPv6"] {
            let found = of_family(subset, family);
            if found.is_empty() {
                continue;
            }
            let ports: Vec<Value> = subset
                .ports
                .iter()
                .flatten()
                .map(|port| {
                    json!({"name": port.name.clone().unwrap_or_default(), "port": port.port,
                        "protocol": port.protocol.clone().unwrap_or_else(|| "TCP".into()), "appProtocol": port.app_protocol})
                })
                .collect();
            all.push(json!({
                "metadata": {
                    "generateName": format!("{name}-"),
                    "namespace": endpoints.metadata.namespace,
                    "labels": labels,
                    "ownerReferences": [{"apiVersion": "v1", "kind": "Endpoints", "name": name,
                        "uid": endpoints.metadata.uid, "controller": true, "blockOwnerDeletion": true}],
                },
                "addressType": family,
                "endpoints": found,
                "ports": ports,
            }));
        }
    }
    all
}

fn of_family(subset: &EndpointSubset, family: &str) -> Vec<Value> {
    let one = |address: &EndpointAddress, ready: bool| {
        json!({"addresses": [address.ip], "conditions": {"ready": ready}, "hostname": address.hostname,
            "nodeName": address.node_name, "targetRef": address.target_ref})
    };
    let is = |address: &&EndpointAddress| address.ip.contains(':') == (family == "IPv6");
    let ready = subset.addresses.iter().flatten().filter(is).map(|address| one(address, true));
    let others = subset.not_ready_addresses.iter().flatten().filter(is).map(|address| one(address, false));
    ready.chain(others).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subset_and_family_has_a_slice() {
        let endpoints: Endpoints =
            serde_json::from_value(json!({"metadata": {"name": "e", "namespace": "a", "uid": "u"},
            "subsets": [{"addresses": [{"ip": "1.1.1.1"}, {"ip": "::1"}], "notReadyAddresses": [{"ip": "2.2.2.2"}],
                "ports": [{"port": 80}]}, {"addresses": [], "ports": []}]}))
            .unwrap();
        let all = mirrored(&endpoints);
        let typed: Vec<EndpointSlice> = all.into_iter().map(|one| serde_json::from_value(one).unwrap()).collect();
        assert_eq!(typed.iter().map(|one| one.address_type.as_str()).collect::<Vec<_>>(), ["IPv4", "IPv6"]);
        assert_eq!(typed[0].endpoints.as_ref().map(Vec::len), Some(2));
        assert_eq!(typed[0].ports.as_ref().unwrap()[0].port, Some(80));
        assert_eq!(typed[0].metadata.labels.as_ref().unwrap()[SERVICE], "e");
    }
}
