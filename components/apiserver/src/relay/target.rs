//! Where a request is relayed to, from the objects that it names; pure.

use std::net::IpAddr;

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::Value;

/// Where a backend listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    pub security: Security,
}

/// How the connection to a backend is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// A kubelet: the server shows its client certificate, and checks the kubelet's if it has a CA for that.
    Kubelet,
    /// A kubelet whose certificate the client asked not to be checked.
    UncheckedKubelet,
    /// Anybody over TLS; nobody vouches for pods' certificates.
    Tls,
    /// Anybody without TLS.
    Plain,
}

/// `name`, `name:port` or `scheme:name:port`, as paths ending in `/proxy` name pods, nodes and services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    pub security: Security,
    pub name: &'a str,
    /// A number or, of a service, a name; empty for none.
    pub port: &'a str,
}

impl<'a> Named<'a> {
    /// `None` for what has another form.
    pub fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (security, name, port) = match parts.as_slice() {
            [name] => (Security::Plain, *name, ""),
            [name, port] => (Security::Plain, *name, *port),
            ["" | "http", name, port] => (Security::Plain, *name, *port),
            ["https", name, port] => (Security::Tls, *name, *port),
            _ => return None,
        };
        (!name.is_empty()).then_some(Self { security, name, port })
    }
}

fn list<'a>(object: &'a Object, path: &[&str]) -> &'a [Value] {
    object.get(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The container that is meant: the named one, or the only one.
pub fn container(pod: &Object, wanted: &str) -> Result<String, Status> {
    let kinds = ["initContainers", "containers", "ephemeralContainers"];
    let all: Vec<&str> =
        kinds.iter().flat_map(|kind| list(pod, &["spec", kind])).filter_map(|one| one["name"].as_str()).collect();
    let name = pod.name();
    if !wanted.is_empty() {
        let there = all.contains(&wanted);
        let refusal = || Status::bad_request(format!("container {wanted} is not valid for pod {name}"));
        return there.then(|| wanted.to_owned()).ok_or_else(refusal);
    }
    match list(pod, &["spec", "containers"]) {
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        [only] => Ok(only["name"].as_str().unwrap_or_default().to_owned()),
        _ => {
            let names = all.join(" ");
            let text = format!("a container name must be specified for pod {name}, choose one of: [{names}]");
            Err(Status::bad_request(text))
        }
    }
}

/// A node's kubelet: the first address of the types in order of preference.
pub fn kubelet(node: &Object, preferred: &[String]) -> Result<Endpoint, Status> {
    let addresses = list(node, &["status", "addresses"]);
    let of_type = |wanted: &String| addresses.iter().find(|one| one["type"] == wanted.as_str());
    let Some(found) = preferred.iter().find_map(of_type).and_then(|one| one["address"].as_str()) else {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let known: Vec<String> =
            addresses.iter().map(|one| format!("{{{} {}}}", text(&one["type"]), text(&one["address"]))).collect();
        return Err(Status::failed(format!("no preferred addresses found; known addresses: [{}]", known.join(" "))));
    };
    let port = node.get(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"]).and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).unwrap_or(10250);
    Ok(Endpoint { host: found.to_owned(), port, security: Security::Kubelet })
}

/// A pod itself, at the named port or the first that it declares.
pub fn pod(pod: &Object, named: &Named<'_>) -> Result<Endpoint, Status> {
    let ip = pod.str(&["status", "podIP"]);
    if !proxyable(ip) {
        return Err(not_allowed());
    }
    let declared = || {
        let containers = list(pod, &["spec", "containers"]).iter();
        let first = containers.filter_map(|one| one["ports"].as_array()?.first()).next();
        first.and_then(|port| port["containerPort"].as_u64()).and_then(|port| u16::try_from(port).ok())
    };
    let port = match named.port {
        "" => declared().unwrap_or(if named.security == Security::Tls { 443 } else { 80 }),
        text => port_number(text)?,
    };
    Ok(Endpoint { host: ip.to_owned(), port, security: named.security })
}

/// Another port of a node, or its kubelet.
pub fn node(kubelet: Endpoint, named: &Named<'_>) -> Result<Endpoint, Status> {
    if named.port.is_empty() {
        return Ok(kubelet);
    }
    let port = port_number(named.port)?;
    if port == kubelet.port {
        return Ok(kubelet);
    }
    Ok(Endpoint { port, security: named.security, ..kubelet })
}

fn port_number(text: &str) -> Result<u16, Status> {
    text.parse().map_err(|_| Status::bad_request(format!("invalid port {text:?}")))
}

/// What is said of an address that is not [`reachable`].
pub fn not_allowed() -> Status {
    Status::bad_request("address not allowed")
}

/// Whether it is an address that pods and nodes may have: the server must not be led to its own host or to the cloud's services.
pub fn reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            !(ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast())
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()),
    }
}

fn proxyable(address: &str) -> bool {
    address.parse().is_ok_and(reachable)
}

/// That nobody stands behind a service.
pub fn no_endpoints(service: &str) -> Status {
    Status::out_of_service(format!("no endpoints available for service {service:?}"))
}

/// All ready endpoints behind a port of a service, out of the service and its slices; 503 where it has no such port.
pub fn service(service: &Object, slices: &[Object], named: &Named<'_>) -> Result<Vec<Endpoint>, Status> {
    let name = service.name();
    let port_name = match named.port.parse::<u64>() {
        Ok(number) => {
            let ports = list(service, &["spec", "ports"]);
            let declared = ports.iter().find(|one| one["port"] == number);
            let missing = || Status::out_of_service(format!("no service port {number} found for service {name:?}"));
            declared.ok_or_else(missing)?["name"].as_str().unwrap_or_default()
        }
        Err(_) => named.port,
    };
    let mut all = Vec::new();
    for slice in slices {
        let ports = list(slice, &["ports"]).iter();
        let Some(port) = ports
            .filter(|one| one["name"].as_str().unwrap_or_default() == port_name)
            .find_map(|one| u16::try_from(one["port"].as_u64()?).ok())
        else {
            continue;
        };
        // Only endpoints that are pods: anybody may write the addresses of other slices.
        let ready = |one: &&Value| one["conditions"]["ready"] != false && one["targetRef"]["kind"] == "Pod";
        let hosts = list(slice, &["endpoints"]).iter().filter(ready);
        let hosts = hosts.filter_map(|one| one["addresses"].get(0)?.as_str()).filter(|host| proxyable(host));
        all.extend(hosts.map(|host| Endpoint { host: host.to_owned(), port, security: named.security }));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn the_container_is_the_named_or_the_only_one() {
        let one = object(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}}));
        let two = object(json!({"metadata": {"name": "p"}, "spec": {"initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b"}]}}));
        assert_eq!(container(&one, "").unwrap(), "a");
        assert_eq!(container(&two, "i").unwrap(), "i");
        let text = "a container name must be specified for pod p, choose one of: [i a b]";
        assert_eq!(container(&two, "").unwrap_err().message, text);
        assert_eq!(container(&one, "x").unwrap_err().message, "container x is not valid for pod p");
    }

    #[test]
    fn a_kubelet_is_found_by_preference() {
        let node = object(json!({"status": {"addresses": [{"type": "Hostname", "address": "n"},
            {"type": "InternalIP", "address": "10.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 1234}}}}));
        let found = |types: &[&str]| kubelet(&node, &types.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        let wanted = Endpoint { host: "10.0.0.1".into(), port: 1234, security: Security::Kubelet };
        assert_eq!(found(&["ExternalIP", "InternalIP", "Hostname"]).unwrap(), wanted);
        assert_eq!(found(&["Hostname"]).unwrap().host, "n");
        let none = found(&["ExternalIP"]).unwrap_err();
        let known = "no preferred addresses found; known addresses: [{Hostname n} {InternalIP 10.0.0.1}]";
        assert_eq!((none.code, none.message.as_str(), &*none.reason), (500, known, ""));
        let named = Named::parse("https:n:9").unwrap();
        let other = Endpoint { port: 9, security: Security::Tls, ..wanted.clone() };
        assert_eq!(super::node(wanted.clone(), &named).unwrap(), other);
        assert_eq!(super::node(wanted.clone(), &Named::parse("n:1234").unwrap()).unwrap(), wanted);
    }

    #[test]
    fn pods_are_reached_at_their_own_addresses_only() {
        let made = |ip: &str| {
            object(json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 8080}]}]},
                "status": {"podIP": ip}}))
        };
        let at = |ip: &str, text: &str| pod(&made(ip), &Named::parse(text).unwrap());
        let wanted = Endpoint { host: "10.1.1.1".into(), port: 8080, security: Security::Plain };
        assert_eq!(at("10.1.1.1", "p").unwrap(), wanted);
        assert_eq!(at("10.1.1.1", "https:p:1").unwrap(), Endpoint { port: 1, security: Security::Tls, ..wanted });
        for bad in ["", "127.0.0.1", "169.254.169.254", "::1", "x"] {
            assert_eq!(at(bad, "p").unwrap_err().message, "address not allowed", "{bad}");
        }
        assert!(Named::parse("a:b:c:d").is_none() && Named::parse("ftp:b:1").is_none() && Named::parse("").is_none());
    }

    #[test]
    fn services_lead_to_ready_pods() {
        let service_object = object(json!({"metadata": {"name": "s"},
            "spec": {"ports": [{"name": "web", "port": 80}, {"name": "dns", "port": 53}]}}));
        let endpoint = |address: &str, ready: bool| json!({"addresses": [address], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": "p"}});
        let slice = object(json!({"ports": [{"name": "web", "port": 8080}],
            "endpoints": [endpoint("10.1.1.1", true), endpoint("10.1.1.2", false), {"addresses": ["10.1.1.3"]}]}));
        let found = |text: &str| service(&service_object, std::slice::from_ref(&slice), &Named::parse(text).unwrap());
        let wanted = vec![Endpoint { host: "10.1.1.1".into(), port: 8080, security: Security::Plain }];
        assert_eq!(found("s:web").unwrap(), wanted);
        assert_eq!(found("s:80").unwrap(), wanted);
        assert_eq!(found("s:81").unwrap_err().message, "no service port 81 found for service \"s\"");
        assert_eq!(found("s:dns").unwrap(), []);
    }
}
