//! ClusterIPs: each is the name of an IPAddress object, and whoever creates it has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use ipnet::IpNet;
use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::json;

use super::invalid_ip;
use crate::handlers::Api;
use crate::registry::{self, ResourceSpec};
use crate::storage::WriteError;

/// Random addresses that are tried before all are tried in turn.
const RANDOM_TRIES: usize = 64;
/// The first addresses are left for those who choose theirs, for example a cluster's DNS; upstream's numbers.
const STATIC_MIN: u128 = 16;
const STATIC_MAX: u128 = 256;

pub(super) fn row() -> &'static ResourceSpec {
    &registry::RESOURCES[registry::position("networking.k8s.io", "ipaddresses").expect("IPAddress has a row")]
}

pub(super) async fn take_address(api: &Api, service: &Object, range: IpNet, address: IpAddr) -> Result<(), Status> {
    if !range.contains(&address) {
        let why = format!(
            "failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
        );
        return Err(invalid_ip(service, &address.to_string(), &why));
    }
    match try_address(api, service, address).await? {
        true => Ok(()),
        false => {
            let why = format!("failed to allocate IP {address}: provided IP is already allocated");
            Err(invalid_ip(service, &address.to_string(), &why))
        }
    }
}

pub(super) async fn any_address(api: &Api, service: &Object, range: IpNet) -> Result<IpAddr, Status> {
    let size = size(range);
    let offset = (size / STATIC_MIN).clamp(STATIC_MIN, STATIC_MAX);
    let dynamic = if offset < size { offset..size } else { 0..size };
    for _ in 0..RANDOM_TRIES {
        let address = nth(range, rand::random_range(dynamic.clone()) + 1);
        if api.cache.find("networking.k8s.io", "ipaddresses", "", &address.to_string()).is_none()
            && try_address(api, service, address).await?
        {
            return Ok(address);
        }
    }
    for index in dynamic.chain(0..offset.min(size)) {
        let address = nth(range, index + 1);
        if api.cache.find("networking.k8s.io", "ipaddresses", "", &address.to_string()).is_none()
            && try_address(api, service, address).await?
        {
            return Ok(address);
        }
    }
    Err(Status::internal(format!("failed to allocate a serviceIP: range {range} is full")))
}

/// How many addresses of a range can be given: neither its first nor, for IPv4, its last.
pub(super) fn size(range: IpNet) -> u128 {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len()).min(64);
    let all = 1u128 << bits;
    all.saturating_sub(if matches!(range, IpNet::V4(_)) { 2 } else { 1 })
}

pub(super) fn nth(range: IpNet, index: u128) -> IpAddr {
    match range.trunc().addr() {
        IpAddr::V4(base) => {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            IpAddr::V4(Ipv4Addr::from(u32::from(base).saturating_add(index)))
        }
        IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from(u128::from(base).saturating_add(index))),
    }
}

async fn try_address(api: &Api, service: &Object, address: IpAddr) -> Result<bool, Status> {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let object = json!({
        "kind": "IPAddress", "apiVersion": row().api_version(),
        "metadata": {
            "name": address.to_string(), "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": crate::handlers::now(), "generation": 1,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {"resource": "services", "namespace": service.namespace(), "name": service.name()}},
    });
    let key = api.etcd.key(row(), "", &address.to_string());
    match api.etcd.put(&key, Bytes::from(object.to_string()), 0).await {
        Ok(_) => Ok(true),
        Err(WriteError::Mismatch(Some(found))) => Ok(belongs(&found.value, service.namespace(), service.name())
            && api.cache.find("", "services", service.namespace(), service.name()).is_none()),
        Err(WriteError::Mismatch(None)) => Ok(false),
        Err(WriteError::Failed(status)) => Err(status),
    }
}

fn belongs(address: &[u8], namespace: &str, name: &str) -> bool {
    let parent = |field| Object::from_slice(address).map(|object| object.str(&["spec", "parentRef", field]).to_owned());
    parent("namespace").is_ok_and(|own| own == namespace) && parent("name").is_ok_and(|own| own == name)
}

pub(super) async fn release_address(api: &Api, address: IpAddr, namespace: &str, name: &str) {
    let key = api.etcd.key(row(), "", &address.to_string());
    if let Ok(Some(stored)) = api.etcd.get(&key).await
        && belongs(&stored.value, namespace, name)
        && api.etcd.delete(&key, stored.revision).await.is_err()
    {
        tracing::warn!(%address, "could not be released; the next repair will");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_and_number_their_addresses() {
        let range: IpNet = "10.96.0.0/12".parse().unwrap();
        assert_eq!(size(range), (1 << 20) - 2);
        assert_eq!(nth(range, 10).to_string(), "10.96.0.10");
        assert_eq!(nth("fd00::/108".parse().unwrap(), 1).to_string(), "fd00::1");
    }
}
