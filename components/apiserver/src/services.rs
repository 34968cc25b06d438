//! What a Service gets from the cluster: ClusterIPs and node ports, each given to one Service at a time.
//!
//! A ClusterIP is taken by creating the IPAddress object of its name, node ports by changing one bitmap, both by
//! compare-and-swap in etcd, so that several API servers never give the same twice. [`repair`] takes back what belongs to
//! no Service, which a server leaves behind that dies between taking and storing.

mod addresses;
mod change;
mod ports;
mod repair;

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
    carry_over(service, old);
    let ranges = &api.options.service_cluster_ip_range;
    let families = families(service, ranges)?;
    let had = old.map(addresses_of).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_keep_what_the_service_has() {
        let object = |value: Value| Object::from_value(value).unwrap();
        let old = object(json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]}}));
        let mut new = object(json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}}));
        carry_over(&mut new, Some(&old));
        assert_eq!(new.str(&["spec", "clusterIP"]), "10.0.0.5");
        assert_eq!(ports_of(&new), BTreeSet::from([30001]));
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
