//! What a Service gets from the cluster: ClusterIPs and node ports, each given to one Service at a time.
//!
//! A ClusterIP is taken by creating the IPAddress object of its name, node ports by changing one bitmap, both by
//! compare-and-swap in etcd, so that several API servers never give the same twice. [`repair`] takes back what belongs to
//! no Service, which a server leaves behind that dies between taking and storing.

mod addresses;
mod change;
mod ports;
mod repair;
mod settle;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};

use crate::handlers::Api;
use addresses::{any_address, release_address, take_address};
pub use change::drop_type_dependent;
use ports::{release_ports, take_ports};
pub use repair::repair;

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

/// What a Service that is only tried is shown: of each range the first address, which nobody is given, as upstream does it.
pub fn pretend(api: &Api, service: &mut Object) {
    if service.str(&["spec", "type"]) == "ExternalName" || service.str(&["spec", "clusterIP"]) == "None" {
        return;
    }
    let mut addresses = strings(service, "clusterIPs");
    for name in strings(service, "ipFamilies").into_iter().skip(addresses.len()) {
        let range = api.options.service_cluster_ip_range.iter().find(|range| family(range) == name);
        addresses.extend(range.map(|range| range.network().to_string()));
    }
    if let Some(first) = addresses.first().cloned() {
        service.set(&["spec", "clusterIP"], first);
        service.set(&["spec", "clusterIPs"], addresses);
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
    let keeps = new.map(addresses_of).unwrap_or_default();
    for address in addresses_of(old).into_iter().filter(|address| !keeps.contains(address)) {
        release_address(api, address, old.namespace(), old.name()).await;
    }
    let kept = new.map(ports_of).unwrap_or_default();
    let gone: Vec<u16> = ports_of(old).difference(&kept).copied().collect();
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
    let had = old.map(addresses_of).unwrap_or_default();
    let families = strings(service, "ipFamilies");
    let mut chosen: Vec<String> = Vec::new();
    if service.str(&["spec", "clusterIP"]) == "None" {
        chosen.push("None".to_owned());
    } else {
        let asked = strings(service, "clusterIPs");
        for (at, name) in families.iter().enumerate() {
            let range = api.options.service_cluster_ip_range.iter().find(|range| family(range) == name);
            let range = *range.ok_or_else(|| Status::internal(format!("no range of {name} is configured")))?;
            let address = match asked.get(at).and_then(|wanted| wanted.parse::<IpAddr>().ok()) {
                Some(address) if had.contains(&address) => address,
                Some(address) => {
                    take_address(api, service, range, address).await?;
                    taken.addresses.push(address);
                    address
                }
                None => {
                    let address = any_address(api, service, range).await?;
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
    take_ports(api, service, old, taken).await
}

/// Makes plain what a Service asks for; see [`settle::settle`].
pub fn settle(api: &Api, service: &mut Object, old: Option<&Object>) -> Result<(), Status> {
    let families: Vec<&str> = api.options.service_cluster_ip_range.iter().map(family).collect();
    settle::settle(service, old, &families)
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

fn addresses_of(service: &Object) -> Vec<IpAddr> {
    strings(service, "clusterIPs").iter().filter_map(|address| address.parse().ok()).collect()
}

fn ports_of(service: &Object) -> BTreeSet<u16> {
    let list = service.get(&["spec", "ports"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let numbers = list.iter().map(|port| &port["nodePort"]).chain(service.get(&["spec", "healthCheckNodePort"]));
    numbers.filter_map(Value::as_u64).filter_map(|port| u16::try_from(port).ok()).filter(|port| *port > 0).collect()
}

fn invalid_ip(service: &Object, value: &str, why: &str) -> Status {
    let text = format!("Invalid value: {:?}: {why}", json!([value]).to_string().replace('"', ""));
    let text = text.replace("\"[", "[\"").replace("]\"", "\"]");
    Status::invalid("", "Service", service.name(), &[("FieldValueInvalid", "spec.clusterIPs".to_owned(), text)])
}
