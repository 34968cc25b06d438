//! What a Service gets from the cluster: ClusterIPs and node ports, each given to one Service at a time.
//!
//! A ClusterIP is taken by creating the IPAddress object of its name, node ports by changing one bitmap, both by
//! compare-and-swap in etcd, so that several API servers never give the same twice. [`repair`] takes back what belongs to
//! no Service, which a server leaves behind that dies between taking and storing.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use ipnet::IpNet;
use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::handlers::Api;
use crate::options::PortRange;
use crate::registry::{self, ResourceSpec};
use crate::storage::{Etcd, WriteError};

/// Random addresses that are tried before all are tried in turn.
const RANDOM_TRIES: usize = 64;
/// The first addresses are left for those who choose theirs, for example a cluster's DNS; upstream's numbers.
const STATIC_MIN: u128 = 16;
const STATIC_MAX: u128 = 256;
const ATTEMPTS: usize = 16;
const REPAIR_EVERY: Duration = Duration::from_secs(180);
const NODE_PORTS: &str = "ranges/servicenodeports";

/// What has been taken for a Service that is not stored yet.
#[derive(Debug, Default)]
pub struct Taken {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
}

/// Gives `service` what it lacks. On an error nothing stays taken. `old` is the stored Service of an update.
pub async fn allocate(api: &Api, service: &mut Object, old: Option<&Object>) -> Result<Taken, Status> {
    let mut taken = Taken::default();
    match take(api, service, old, &mut taken).await {
        Ok(()) => Ok(taken),
        Err(error) => {
            give_back(api, service.namespace(), service.name(), &taken).await;
            Err(error)
        }
    }
}

/// Takes back what was taken for a Service that was not stored.
pub async fn give_back(api: &Api, namespace: &str, name: &str, taken: &Taken) {
    for address in &taken.addresses {
        release_address(api, *address, namespace, name).await;
    }
    release_ports(api, &taken.ports).await;
}

/// Takes back what `old` had and `new` (absent when it was deleted) has no more.
pub async fn release(api: &Api, old: &Object, new: Option<&Object>) {
    let keeps = new.map(addresses).unwrap_or_default();
    for address in addresses(old).into_iter().filter(|address| !keeps.contains(address)) {
        release_address(api, address, old.namespace(), old.name()).await;
    }
    let kept = new.map(ports).unwrap_or_default();
    let gone: Vec<u16> = ports(old).difference(&kept).copied().collect();
    release_ports(api, &gone).await;
}

async fn take(api: &Api, service: &mut Object, old: Option<&Object>, taken: &mut Taken) -> Result<(), Status> {
    let kind = service.str(&["spec", "type"]).to_owned();
    if kind == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            service.remove(&["spec", field]);
        }
        return Ok(());
    }
    carry_over(service, old);
    let ranges = &api.options.service_cluster_ip_range;
    let families = families(service, ranges)?;
    let had = old.map(addresses).unwrap_or_default();
    let headless = service.str(&["spec", "clusterIP"]) == "None";
    let mut chosen: Vec<String> = Vec::new();
    if headless {
        chosen.push("None".to_owned());
    } else {
        let asked = strings(service, "clusterIPs");
        let first = service.str(&["spec", "clusterIP"]).to_owned();
        for (at, range) in families.iter().enumerate() {
            let wanted = asked.get(at).cloned().or_else(|| (at == 0).then(|| first.clone())).unwrap_or_default();
            let address = match wanted.parse::<IpAddr>() {
                Ok(address) if had.contains(&address) => address,
                Ok(address) => {
                    take_address(api, service, *range, address).await?;
                    taken.addresses.push(address);
                    address
                }
                Err(_) if !wanted.is_empty() => {
                    return Err(invalid_ip(
                        service,
                        &wanted,
                        "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    ));
                }
                Err(_) => {
                    let address = any_address(api, service, *range).await?;
                    taken.addresses.push(address);
                    address
                }
            };
            chosen.push(address.to_string());
        }
    }
    if let Some(first) = chosen.first() {
        service.set(&["spec", "clusterIP"], first.clone());
    }
    service.set(&["spec", "clusterIPs"], chosen);
    let names: Vec<&str> = families.iter().map(|range| family(range)).collect();
    service.set(&["spec", "ipFamilies"], names.clone());
    if service.str(&["spec", "ipFamilyPolicy"]).is_empty() {
        service.set(&["spec", "ipFamilyPolicy"], if names.len() > 1 { "RequireDualStack" } else { "SingleStack" });
    }
    take_ports(api, service, old, taken).await
}

/// An update that does not name what the Service has keeps it.
fn carry_over(service: &mut Object, old: Option<&Object>) {
    let Some(old) = old.filter(|old| old.str(&["spec", "type"]) != "ExternalName") else { return };
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"] {
        let absent = service.get(&["spec", field]).is_none_or(|value| value.is_null() || value == "");
        if let (true, Some(value)) = (absent, old.get(&["spec", field])) {
            service.set(&["spec", field], value.clone());
        }
    }
    let numbered = matches!(service.str(&["spec", "type"]), "NodePort" | "LoadBalancer");
    let old_ports = old.get(&["spec", "ports"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let Some(ports) = service.get_mut(&["spec", "ports"]).and_then(Value::as_array_mut) else { return };
    let taken: BTreeSet<u64> = ports.iter().filter_map(|port| port["nodePort"].as_u64()).collect();
    for port in ports.iter_mut().filter(|port| numbered && port["nodePort"].as_u64().unwrap_or(0) == 0) {
        let same = old_ports.iter().find(|own| own["port"] == port["port"] && own["protocol"] == port["protocol"]);
        if let Some(number) = same.and_then(|own| own["nodePort"].as_u64()).filter(|number| !taken.contains(number)) {
            port["nodePort"] = number.into();
        }
    }
}

/// The ranges that the Service's addresses come from, one per family in the Service's order.
fn families(service: &Object, ranges: &[IpNet]) -> Result<Vec<IpNet>, Status> {
    let asked = strings(service, "ipFamilies");
    let policy = service.str(&["spec", "ipFamilyPolicy"]);
    let given: Vec<IpAddr> = std::iter::once(service.str(&["spec", "clusterIP"]).to_owned())
        .chain(strings(service, "clusterIPs"))
        .filter_map(|address| address.parse().ok())
        .collect();
    let mut found: Vec<IpNet> = Vec::new();
    for name in &asked {
        let range = ranges.iter().find(|range| family(range) == name);
        let range = range.ok_or_else(|| {
            let text = format!("Invalid value: {name:?}: not configured on this cluster");
            let errors = [("FieldValueInvalid", "spec.ipFamilies[0]".to_owned(), text)];
            Status::invalid("", "Service", service.name(), &errors)
        })?;
        found.push(*range);
    }
    for address in given {
        if let Some(range) = ranges.iter().find(|range| range.contains(&address)).filter(|range| !found.contains(range))
        {
            found.push(*range);
        }
    }
    if found.is_empty() {
        found.extend(ranges.first());
    }
    if matches!(policy, "PreferDualStack" | "RequireDualStack") {
        let others: Vec<IpNet> = ranges.iter().filter(|range| !found.contains(range)).copied().collect();
        found.extend(others);
        if policy == "RequireDualStack" && found.len() < 2 {
            let text = format!("Invalid value: {policy:?}: this cluster is not configured for dual-stack services");
            let errors = [("FieldValueInvalid", "spec.ipFamilyPolicy".to_owned(), text)];
            return Err(Status::invalid("", "Service", service.name(), &errors));
        }
    }
    Ok(found)
}

fn family(range: &IpNet) -> &'static str {
    match range {
        IpNet::V4(_) => "IPv4",
        IpNet::V6(_) => "IPv6",
    }
}

fn strings(service: &Object, field: &str) -> Vec<String> {
    let list = service.get(&["spec", field]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn addresses(service: &Object) -> Vec<IpAddr> {
    strings(service, "clusterIPs").iter().filter_map(|address| address.parse().ok()).collect()
}

fn ports(service: &Object) -> BTreeSet<u16> {
    let list = service.get(&["spec", "ports"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let numbers = list.iter().map(|port| &port["nodePort"]).chain(service.get(&["spec", "healthCheckNodePort"]));
    numbers.filter_map(Value::as_u64).filter_map(|port| u16::try_from(port).ok()).filter(|port| *port > 0).collect()
}

fn invalid_ip(service: &Object, value: &str, why: &str) -> Status {
    let text = format!("Invalid value: {:?}: {why}", json!([value]).to_string().replace('"', ""));
    let text = text.replace("\"[", "[\"").replace("]\"", "\"]");
    Status::invalid("", "Service", service.name(), &[("FieldValueInvalid", "spec.clusterIPs".to_owned(), text)])
}

fn row() -> &'static ResourceSpec {
    &registry::RESOURCES[registry::position("networking.k8s.io", "ipaddresses").expect("IPAddress has a row")]
}

async fn take_address(api: &Api, service: &Object, range: IpNet, address: IpAddr) -> Result<(), Status> {
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

async fn any_address(api: &Api, service: &Object, range: IpNet) -> Result<IpAddr, Status> {
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
fn size(range: IpNet) -> u128 {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len()).min(64);
    let all = 1u128 << bits;
    all.saturating_sub(if matches!(range, IpNet::V4(_)) { 2 } else { 1 })
}

fn nth(range: IpNet, index: u128) -> IpAddr {
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

async fn release_address(api: &Api, address: IpAddr, namespace: &str, name: &str) {
    let key = api.etcd.key(row(), "", &address.to_string());
    if let Ok(Some(stored)) = api.etcd.get(&key).await
        && belongs(&stored.value, namespace, name)
        && api.etcd.delete(&key, stored.revision).await.is_err()
    {
        tracing::warn!(%address, "could not be released; the next repair will");
    }
}

/// Gives every port that wants one a node port, and the health check where the Service is local.
async fn take_ports(api: &Api, service: &mut Object, old: Option<&Object>, taken: &mut Taken) -> Result<(), Status> {
    let kind = service.str(&["spec", "type"]).to_owned();
    let balanced = kind == "LoadBalancer";
    let wants = kind == "NodePort"
        || (balanced && service.get(&["spec", "allocateLoadBalancerNodePorts"]) != Some(&Value::Bool(false)));
    let had = old.map(ports).unwrap_or_default();
    let local = balanced && service.str(&["spec", "externalTrafficPolicy"]) == "Local";
    if !local {
        service.remove(&["spec", "healthCheckNodePort"]);
    }
    let health = service.get(&["spec", "healthCheckNodePort"]).and_then(Value::as_u64).unwrap_or(0);
    let name = service.name().to_owned();
    let Some(list) = service.get_mut(&["spec", "ports"]).and_then(Value::as_array_mut) else { return Ok(()) };
    if !wants && !balanced {
        for port in list.iter_mut().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
        return Ok(());
    }
    // One number may serve two protocols of the same Service.
    let mut own: BTreeSet<u16> = had;
    let range = api.options.service_node_port_range;
    for (at, port) in list.iter_mut().enumerate() {
        let asked = port["nodePort"].as_u64().unwrap_or(0);
        if asked == 0 && !wants {
            continue;
        }
        let number = u16::try_from(asked).unwrap_or(0);
        if number != 0 && own.contains(&number) {
            continue;
        }
        let number = take_port(&api.etcd, range, number).await.map_err(|problem| match problem {
            PortProblem::Failed(status) => status,
            PortProblem::Refused(why) => {
                let text = format!("Invalid value: {asked}: {why}");
                let errors = [("FieldValueInvalid", format!("spec.ports[{at}].nodePort"), text)];
                Status::invalid("", "Service", &name, &errors)
            }
        })?;
        own.insert(number);
        taken.ports.push(number);
        port["nodePort"] = number.into();
    }
    if local && health == 0 {
        let number = take_port(&api.etcd, range, 0).await.map_err(|problem| match problem {
            PortProblem::Failed(status) => status,
            PortProblem::Refused(why) => Status::internal(format!("failed to allocate HealthCheck NodePort: {why}")),
        })?;
        taken.ports.push(number);
        service.set(&["spec", "healthCheckNodePort"], number);
    }
    Ok(())
}

enum PortProblem {
    Refused(String),
    Failed(Status),
}

/// Takes a port, or any if it is 0.
async fn take_port(etcd: &Etcd, range: PortRange, wanted: u16) -> Result<u16, PortProblem> {
    if wanted != 0 && !(range.first..=range.last).contains(&wanted) {
        let why = format!(
            "provided port is not in the valid range. The range of valid ports is {}-{}",
            range.first, range.last
        );
        return Err(PortProblem::Refused(why));
    }
    let mut chosen = wanted;
    change_bitmap(etcd, range, |bitmap| {
        if wanted == 0 {
            let count = u32::from(range.last - range.first) + 1;
            let start = rand::random_range(0..count);
            let free = (0..count).map(|step| (start + step) % count).find(|index| !bitmap.contains(*index));
            let index = free.ok_or_else(|| "range is full".to_owned())?;
            chosen = range.first + u16::try_from(index).unwrap_or(0);
        }
        if bitmap.insert(u32::from(chosen - range.first)) {
            Ok(())
        } else {
            Err("provided port is already allocated".to_owned())
        }
    })
    .await?;
    Ok(chosen)
}

async fn release_ports(api: &Api, ports: &[u16]) {
    if ports.is_empty() {
        return;
    }
    let range = api.options.service_node_port_range;
    let released = change_bitmap(&api.etcd, range, |bitmap| {
        for port in ports.iter().filter(|port| (range.first..=range.last).contains(port)) {
            bitmap.remove(u32::from(port - range.first));
        }
        Ok(())
    });
    if released.await.is_err() {
        tracing::warn!(?ports, "could not be released; the next repair will");
    }
}

/// The taken ports, a bit each, as Go's big.Int writes its bytes: the highest first.
struct Bitmap(Vec<u8>);

impl Bitmap {
    fn place(&self, index: u32) -> Option<(usize, u8)> {
        let from_end = usize::try_from(index / 8).ok()?;
        Some((self.0.len().checked_sub(from_end + 1)?, 1 << (index % 8)))
    }

    fn contains(&self, index: u32) -> bool {
        self.place(index).is_some_and(|(at, bit)| self.0[at] & bit != 0)
    }

    fn insert(&mut self, index: u32) -> bool {
        let needed = usize::try_from(index / 8).unwrap_or(0) + 1;
        if self.0.len() < needed {
            let mut grown = vec![0; needed - self.0.len()];
            grown.append(&mut self.0);
            self.0 = grown;
        }
        let Some((at, bit)) = self.place(index) else { return false };
        let free = self.0[at] & bit == 0;
        self.0[at] |= bit;
        free
    }

    fn remove(&mut self, index: u32) {
        if let Some((at, bit)) = self.place(index) {
            self.0[at] &= !bit;
        }
    }
}

async fn change_bitmap(
    etcd: &Etcd,
    range: PortRange,
    mut change: impl FnMut(&mut Bitmap) -> Result<(), String>,
) -> Result<(), PortProblem> {
    let key = etcd.other_key(NODE_PORTS);
    let base64 = base64::engine::general_purpose::STANDARD;
    let shown = format!("{}-{}", range.first, range.last);
    for _ in 0..ATTEMPTS {
        let stored = etcd.get(&key).await.map_err(PortProblem::Failed)?;
        let revision = stored.as_ref().map_or(0, |stored| stored.revision);
        let object = stored.and_then(|stored| Object::from_slice(&stored.value).ok()).unwrap_or_default();
        // Bits of another range say nothing about this one; repair sets those that are in use.
        let data = if object.str(&["range"]) == shown { object.str(&["data"]) } else { "" };
        let mut bitmap = Bitmap(base64.decode(data).unwrap_or_default());
        change(&mut bitmap).map_err(PortProblem::Refused)?;
        let value = json!({"kind": "RangeAllocation", "apiVersion": "v1", "metadata": {},
            "range": shown, "data": base64.encode(&bitmap.0)});
        match etcd.put(&key, Bytes::from(value.to_string()), revision).await {
            Ok(_) => return Ok(()),
            Err(WriteError::Mismatch(_)) => {}
            Err(WriteError::Failed(status)) => return Err(PortProblem::Failed(status)),
        }
    }
    Err(PortProblem::Failed(Status::unavailable("too many writers of node ports; try again")))
}

/// Takes back, again and again, what belongs to no Service, and takes what a Service has and is not marked.
pub async fn repair(api: Api, shutdown: CancellationToken) {
    api.cache.wait_until_synced().await;
    let mut suspects: BTreeSet<String> = BTreeSet::new();
    loop {
        suspects = repair_addresses(&api, &suspects).await;
        repair_ports(&api).await;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(REPAIR_EVERY) => {}
        }
    }
}

/// Deletes addresses that were without a Service the last time and are so now; returns those that are so now.
async fn repair_addresses(api: &Api, suspects: &BTreeSet<String>) -> BTreeSet<String> {
    let mut orphans = BTreeSet::new();
    for (name, entry) in &api.cache.all("networking.k8s.io", "ipaddresses") {
        let Some(object) = entry.object() else { continue };
        let parent = |field| object.str(&["spec", "parentRef", field]).to_owned();
        let managed =
            object.labels().get("ipaddress.kubernetes.io/managed-by").is_some_and(|by| by == "ipallocator.k8s.io");
        let service = api.cache.find("", "services", &parent("namespace"), &parent("name"));
        let used = service
            .and_then(|entry| entry.object())
            .is_some_and(|service| name.parse().is_ok_and(|address: IpAddr| addresses(&service).contains(&address)));
        if !managed || used {
            continue;
        }
        orphans.insert(name.clone());
        if suspects.contains(name) {
            tracing::info!(address = name, "released: it belongs to no Service");
            let _ = api.etcd.delete(&api.etcd.key(row(), "", name), entry.revision).await;
        }
    }
    orphans
}

async fn repair_ports(api: &Api) {
    let services = api.cache.all("", "services");
    let used: BTreeSet<u16> =
        services.values().filter_map(|entry| entry.object()).flat_map(|service| ports(&service)).collect();
    let range = api.options.service_node_port_range;
    if used.is_empty() {
        return;
    }
    let marked = change_bitmap(&api.etcd, range, |bitmap| {
        for port in used.iter().filter(|port| (range.first..=range.last).contains(port)) {
            bitmap.insert(u32::from(port - range.first));
        }
        Ok(())
    });
    if marked.await.is_err() {
        tracing::warn!("node ports could not be looked through; the next repair will");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_is_written_as_go_does() {
        let mut bitmap = Bitmap(Vec::new());
        assert!(bitmap.insert(0) && bitmap.insert(9));
        assert!(!bitmap.insert(9));
        assert_eq!(bitmap.0, [2, 1]);
        bitmap.remove(9);
        assert!(!bitmap.contains(9) && bitmap.contains(0) && !bitmap.contains(100));
    }

    #[test]
    fn ranges_count_and_number_their_addresses() {
        let range: IpNet = "10.96.0.0/12".parse().unwrap();
        assert_eq!(size(range), (1 << 20) - 2);
        assert_eq!(nth(range, 10).to_string(), "10.96.0.10");
        assert_eq!(nth("fd00::/108".parse().unwrap(), 1).to_string(), "fd00::1");
    }

    #[test]
    fn updates_keep_what_the_service_has() {
        let object = |value: Value| Object::from_value(value).unwrap();
        let old = object(json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]}}));
        let mut new = object(json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}}));
        carry_over(&mut new, Some(&old));
        assert_eq!(new.str(&["spec", "clusterIP"]), "10.0.0.5");
        assert_eq!(ports(&new), BTreeSet::from([30001]));
    }

    #[test]
    fn families_follow_the_service_and_the_cluster() {
        let both: Vec<IpNet> = vec!["10.0.0.0/16".parse().unwrap(), "fd00::/108".parse().unwrap()];
        let ask = |spec: Value, ranges: &[IpNet]| {
            let service = Object::from_value(json!({"spec": spec})).unwrap();
            families(&service, ranges).map(|found| found.iter().map(family).collect::<Vec<_>>())
        };
        assert_eq!(ask(json!({}), &both).unwrap(), ["IPv4"]);
        assert_eq!(ask(json!({"ipFamilies": ["IPv6"]}), &both).unwrap(), ["IPv6"]);
        assert_eq!(ask(json!({"ipFamilyPolicy": "PreferDualStack"}), &both).unwrap(), ["IPv4", "IPv6"]);
        assert_eq!(ask(json!({"ipFamilyPolicy": "PreferDualStack"}), &both[..1]).unwrap(), ["IPv4"]);
        assert_eq!(ask(json!({"clusterIP": "fd00::7"}), &both).unwrap(), ["IPv6"]);
        assert_eq!(ask(json!({"ipFamilyPolicy": "RequireDualStack"}), &both[..1]).unwrap_err().code, 422);
        assert_eq!(ask(json!({"ipFamilies": ["IPv6"]}), &both[..1]).unwrap_err().code, 422);
    }
}
