//! The cluster's names.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// What a name has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// An address.
    Address(IpAddr),
    /// A port and the name of who has it.
    Service {
        /// The port.
        port: u16,
        /// The name.
        target: String,
    },
    /// The name of an address.
    Pointer(String),
    /// Another name for this one.
    Alias(String),
    /// A text.
    Text(String),
}

/// The answer of a zone.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name has these, of whatever types; none means that it only stands above other names.
    Found(Vec<Data>),
    /// There is no such name.
    NoName,
    /// The name is not the zone's.
    Elsewhere,
}

/// All names, in lower case and without the last dot.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    domain: String,
    names: HashMap<String, Vec<Data>>,
    namespaces: HashSet<String>,
}

impl Zone {
    /// The names of these objects.
    pub fn build<'a>(
        domain: &str,
        services: impl IntoIterator<Item = &'a Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
        namespaces: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut zone = Self {
            domain: domain.trim_end_matches('.').to_lowercase(),
            names: HashMap::new(),
            namespaces: namespaces.into_iter().collect(),
        };
        let mut headless: HashMap<(String, String), bool> = HashMap::new();
        for service in services {
            if let Some((key, publish_all)) = zone.service(service) {
                headless.insert(key, publish_all);
            }
        }
        for slice in slices {
            zone.slice(slice, &headless);
        }
        let version = format!("dns-version.{}", zone.domain);
        zone.put(version, Data::Text("1.1.0".into()));
        zone
    }

    fn put(&mut self, name: String, data: Data) {
        // The names above it exist too, without anything of their own.
        let suffix = format!(".{}", self.domain);
        let mut above = name.as_str();
        while let Some((_, rest)) = above.split_once('.')
            && rest.ends_with(&suffix)
            && !self.names.contains_key(rest)
        {
            self.names.insert(rest.to_owned(), Vec::new());
            above = rest;
        }
        let all = self.names.entry(name).or_default();
        if !all.contains(&data) {
            all.push(data);
        }
    }

    /// Puts a Service in; returns its key if its names are its endpoints', with whether unready ones count.
    fn service(&mut self, service: &Service) -> Option<((String, String), bool)> {
        let spec = service.spec.as_ref()?;
        let (namespace, name) = (service.metadata.namespace.clone()?, service.metadata.name.clone()?);
        let own = format!("{name}.{namespace}.svc.{}", self.domain);
        if spec.type_.as_deref() == Some("ExternalName") {
            let target = spec.external_name.as_deref().unwrap_or_default().trim_end_matches('.').to_lowercase();
            match target.parse() {
                Ok(address) => self.put(own, Data::Address(address)),
                Err(_) => self.put(own, Data::Alias(target)),
            }
            return None;
        }
        if spec.cluster_ip.as_deref() == Some("None") {
            return Some(((namespace, name), spec.publish_not_ready_addresses == Some(true)));
        }
        let single = || Vec::from_iter(spec.cluster_ip.clone());
        for address in spec.cluster_ips.clone().unwrap_or_else(single) {
            let Ok(address) = address.parse::<IpAddr>() else { continue };
            self.put(own.clone(), Data::Address(address));
            self.put(reverse(address), Data::Pointer(own.clone()));
        }
        for port in spec.ports.iter().flatten() {
            let Some(port_name) = port.name.as_ref().filter(|name| !name.is_empty()) else { continue };
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
            let data = Data::Service { port: port.port as u16, target: own.clone() };
            self.put(format!("_{port_name}._{protocol}.{own}"), data);
        }
        None
    }

    fn slice(&mut self, slice: &EndpointSlice, headless: &HashMap<(String, String), bool>) {
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get("kubernetes.io/service-name")) else { return };
        let key = (slice.metadata.namespace.clone().unwrap_or_default(), service.clone());
        let Some(publish_all) = headless.get(&key) else { return };
        let own = format!("{}.{}.svc.{}", key.1, key.0, self.domain);
        for endpoint in slice.endpoints.iter().flatten() {
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
            if !ready && !publish_all {
                continue;
            }
            for address in endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok()) {
                let host = endpoint.hostname.clone().unwrap_or_else(|| address.to_string().replace(['.', ':'], "-"));
                let host = format!("{host}.{own}");
                self.put(own.clone(), Data::Address(address));
                self.put(host.clone(), Data::Address(address));
                self.put(reverse(address), Data::Pointer(host.clone()));
                for port in slice.ports.iter().flatten() {
                    let Some(port_name) = port.name.as_ref().filter(|name| !name.is_empty()) else { continue };
                    let Some(number) = port.port.and_then(|port| u16::try_from(port).ok()) else { continue };
                    let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
                    let data = Data::Service { port: number, target: host.clone() };
                    self.put(format!("_{port_name}._{protocol}.{own}"), data);
                }
            }
        }
    }

    /// The cluster's domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// What a name has. It must be in lower case and without the last dot.
    pub fn answer(&self, name: &str) -> Answer {
        if let Some(data) = self.names.get(name) {
            return Answer::Found(data.clone());
        }
        if name == self.domain {
            return Answer::Found(Vec::new());
        }
        let Some(rest) = name.strip_suffix(&self.domain).and_then(|rest| rest.strip_suffix('.')) else {
            return Answer::Elsewhere;
        };
        let labels: Vec<&str> = rest.split('.').collect();
        match labels[..] {
            ["svc" | "pod"] => Answer::Found(Vec::new()),
            [namespace, "svc" | "pod"] if self.namespaces.contains(namespace) => Answer::Found(Vec::new()),
            [address, namespace, "pod"] if self.namespaces.contains(namespace) => match pod_address(address) {
                Some(address) => Answer::Found(vec![Data::Address(address)]),
                None => Answer::NoName,
            },
            _ => Answer::NoName,
        }
    }
}

/// The address that the label of a pod says, such as 10-244-1-2.
fn pod_address(label: &str) -> Option<IpAddr> {
    let four = label.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    four.or_else(|_| label.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6)).ok()
}

/// The name under which an address's name is found.
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles: String =
                address.octets().iter().rev().map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4)).collect();
            format!("{nibbles}ip6.arpa")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn zone() -> Zone {
        let services: Vec<Service> = [
            json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.20",
                "ports": [{"name": "http", "port": 80}]}}),
            json!({"metadata": {"name": "db", "namespace": "default"}, "spec": {"clusterIP": "None"}}),
            json!({"metadata": {"name": "out", "namespace": "default"},
                "spec": {"type": "ExternalName", "externalName": "Example.com."}}),
        ]
        .into_iter()
        .map(|value| serde_json::from_value(value).expect("a Service"))
        .collect();
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
            "addressType": "IPv4", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.244.1.2"], "hostname": "db-0", "conditions": {"ready": true}},
                {"addresses": ["10.244.1.3"], "conditions": {"ready": true}},
                {"addresses": ["10.244.1.4"], "conditions": {"ready": false}}
            ]
        }))
        .expect("an EndpointSlice");
        Zone::build("cluster.local", &services, [&slice], ["default".to_owned()])
    }

    #[test]
    fn names_are_those_of_the_specification() {
        let address = |text: &str| Data::Address(text.parse().expect("an address"));
        let target = |port, target: &str| Data::Service { port, target: target.into() };
        let db = "db.default.svc.cluster.local";
        for (name, expected) in [
            ("web.default.svc.cluster.local", vec![address("10.96.0.20")]),
            ("_http._tcp.web.default.svc.cluster.local", vec![target(80, "web.default.svc.cluster.local")]),
            ("20.0.96.10.in-addr.arpa", vec![Data::Pointer("web.default.svc.cluster.local".into())]),
            (db, vec![address("10.244.1.2"), address("10.244.1.3")]),
            ("db-0.db.default.svc.cluster.local", vec![address("10.244.1.2")]),
            ("10-244-1-3.db.default.svc.cluster.local", vec![address("10.244.1.3")]),
            (
                "_sql._tcp.db.default.svc.cluster.local",
                vec![target(5432, &format!("db-0.{db}")), target(5432, &format!("10-244-1-3.{db}"))],
            ),
            ("out.default.svc.cluster.local", vec![Data::Alias("example.com".into())]),
            ("10-244-1-9.default.pod.cluster.local", vec![address("10.244.1.9")]),
            ("dns-version.cluster.local", vec![Data::Text("1.1.0".into())]),
            ("_tcp.web.default.svc.cluster.local", Vec::new()),
            ("default.svc.cluster.local", Vec::new()),
            ("cluster.local", Vec::new()),
        ] {
            assert_eq!(zone().answer(name), Answer::Found(expected), "{name}");
        }
    }

    #[test]
    fn names_that_are_not_there_and_names_of_others_differ() {
        for name in ["no.default.svc.cluster.local", "10-244-1-9.none.pod.cluster.local", "x.cluster.local"] {
            assert_eq!(zone().answer(name), Answer::NoName, "{name}");
        }
        for name in ["example.com", "notcluster.local", "9.9.9.9.in-addr.arpa"] {
            assert_eq!(zone().answer(name), Answer::Elsewhere, "{name}");
        }
    }
}
