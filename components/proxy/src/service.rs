//! What is kept of Services and EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// Which port of which Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortName {
    /// Namespace of the Service.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// The port's name, empty for an only port.
    pub port: String,
    /// tcp, udp or sctp.
    pub protocol: String,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its addresses within the cluster, at most one of each family.
    pub cluster_ips: Vec<IpAddr>,
    /// The port there.
    pub port: u16,
    /// The port on every node, 0 for none.
    pub node_port: u16,
    /// Other addresses that it answers at.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of its load balancer.
    pub balancer_ips: Vec<IpAddr>,
    /// Who may come by the load balancer; empty for all.
    pub source_ranges: Vec<String>,
    /// For how many seconds a client stays with its endpoint.
    pub affinity: Option<u32>,
    /// Traffic from within goes to endpoints on this node alone.
    pub internal_local: bool,
    /// Traffic from outside goes to endpoints on this node alone, and keeps its source.
    pub external_local: bool,
    /// Port that tells load balancers whether endpoints are on this node.
    pub health_port: u16,
}

/// What an endpoint's hints say of this node or of its zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hint {
    /// There are none.
    #[default]
    None,
    /// The endpoint is meant for here.
    Here,
    /// It is meant for others.
    Elsewhere,
}

impl Hint {
    fn of<'a>(meant_for: impl Iterator<Item = &'a str>, here: &str) -> Self {
        let mut hint = Self::None;
        for name in meant_for {
            if name == here {
                return Self::Here;
            }
            hint = Self::Elsewhere;
        }
        hint
    }
}

/// Where this proxy is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: String,
    /// Its zone; empty if it has none.
    pub zone: String,
}

/// An endpoint of a service port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether it is on this node.
    pub local: bool,
    /// Whether it takes new connections.
    pub ready: bool,
    /// Whether it still answers although it ends.
    pub serving: bool,
    /// Whether it is meant for this node.
    pub for_node: Hint,
    /// Whether it is meant for this node's zone.
    pub for_zone: Hint,
}

/// All that rules are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The service ports.
    pub ports: BTreeMap<PortName, ServicePort>,
    /// Their endpoints.
    pub endpoints: BTreeMap<PortName, BTreeSet<Endpoint>>,
}

impl State {
    /// Reads all Services and EndpointSlices, as they are seen from a place.
    pub fn of<'a>(
        services: impl IntoIterator<Item = &'a Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
        place: &Place,
    ) -> Self {
        let mut state = Self::default();
        for service in services {
            state.ports.extend(read_service(service));
        }
        for slice in slices {
            state.read_slice(slice, place);
        }
        state
    }

    fn read_slice(&mut self, slice: &EndpointSlice, place: &Place) {
        let Some(service) = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"))
        else {
            return;
        };
        for port in slice.ports.iter().flatten() {
            let Some(number) = port.port.and_then(|port| u16::try_from(port).ok()) else { continue };
            let name = PortName {
                namespace: slice.metadata.namespace.clone().unwrap_or_default(),
                service: service.clone(),
                port: port.name.clone().unwrap_or_default(),
                protocol: port.protocol.as_deref().unwrap_or("TCP").to_lowercase(),
            };
            let endpoints = self.endpoints.entry(name).or_default();
            for endpoint in slice.endpoints.iter().flatten() {
                let conditions = endpoint.conditions.clone().unwrap_or_default();
                let ready = conditions.ready.unwrap_or(true);
                let hints = endpoint.hints.clone().unwrap_or_default();
                let (nodes, zones) = (hints.for_nodes.unwrap_or_default(), hints.for_zones.unwrap_or_default());
                let address = endpoint.addresses.first().and_then(|address| address.parse().ok());
                endpoints.extend(address.map(|address| Endpoint {
                    address,
                    port: number,
                    local: endpoint.node_name.as_deref() == Some(&place.node),
                    ready,
                    serving: conditions.serving.unwrap_or(ready),
                    for_node: Hint::of(nodes.iter().map(|one| one.name.as_str()), &place.node),
                    for_zone: Hint::of(zones.iter().map(|one| one.name.as_str()), &place.zone),
                }));
            }
        }
    }

    /// The endpoints of one family that traffic may go to: those that are ready, or if none is those that end but still
    /// answer; with `local` those on this node alone, and else those that are meant for this node, or for its zone, if
    /// every one says whom it is meant for.
    pub fn usable(&self, name: &PortName, six: bool, local: bool) -> Vec<&Endpoint> {
        let all = self.endpoints.get(name).into_iter().flatten();
        let mine: Vec<&Endpoint> = all.filter(|one| one.address.is_ipv6() == six && (one.local || !local)).collect();
        let ready: Vec<&Endpoint> = mine.iter().copied().filter(|one| one.ready).collect();
        if ready.is_empty() {
            return mine.into_iter().filter(|one| one.serving).collect();
        }
        let hints: [fn(&Endpoint) -> Hint; 2] = [|one| one.for_node, |one| one.for_zone];
        for hint in hints.into_iter().filter(|_| !local) {
            let near: Vec<&Endpoint> = ready.iter().copied().filter(|one| hint(one) == Hint::Here).collect();
            if !near.is_empty() && ready.iter().all(|one| hint(one) != Hint::None) {
                return near;
            }
        }
        ready
    }
}

fn read_service(service: &Service) -> Vec<(PortName, ServicePort)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let headless = spec.cluster_ip.as_deref().is_none_or(|ip| ip.is_empty() || ip == "None");
    let labels = service.metadata.labels.as_ref();
    let foreign = labels.is_some_and(|labels| labels.contains_key("service.kubernetes.io/service-proxy-name"));
    if headless || foreign || spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let addresses = |list: Option<&Vec<String>>| -> Vec<IpAddr> {
        list.into_iter().flatten().filter_map(|address| address.parse().ok()).collect()
    };
    let mut cluster_ips = addresses(spec.cluster_ips.as_ref());
    if cluster_ips.is_empty() {
        cluster_ips.extend(spec.cluster_ip.as_ref().and_then(|address| address.parse::<IpAddr>().ok()));
    }
    let ingress = service.status.iter().filter_map(|status| status.load_balancer.as_ref()?.ingress.as_ref()).flatten();
    let balancer_ips: Vec<IpAddr> = ingress
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_ref()?.parse().ok())
        .collect();
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        config
            .and_then(|config| config.timeout_seconds)
            .and_then(|seconds| u32::try_from(seconds).ok())
            .unwrap_or(10800)
    });
    let number = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
    let ports = spec.ports.iter().flatten().map(|port| {
        let name = PortName {
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            service: service.metadata.name.clone().unwrap_or_default(),
            port: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.as_deref().unwrap_or("TCP").to_lowercase(),
        };
        let port = ServicePort {
            cluster_ips: cluster_ips.clone(),
            port: number(Some(port.port)),
            node_port: number(port.node_port),
            external_ips: addresses(spec.external_ips.as_ref()),
            balancer_ips: balancer_ips.clone(),
            source_ranges: spec.load_balancer_source_ranges.clone().unwrap_or_default(),
            affinity,
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            health_port: number(spec.health_check_node_port),
        };
        (name, port)
    });
    ports.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn traffic_stays_as_near_as_every_endpoint_hints() {
        let place = Place { node: "w1".into(), zone: "a".into() };
        let zone = |name: &str| json!({"forZones": [{"name": name}]});
        let both = |zone: &str, node: &str| json!({"forZones": [{"name": zone}], "forNodes": [{"name": node}]});
        for (hints, wanted) in [
            (vec![zone("a"), zone("b"), zone("a")], vec![1, 3]),
            (vec![zone("a"), json!({}), zone("a")], vec![1, 2, 3]),
            (vec![zone("b"), zone("c"), zone("b")], vec![1, 2, 3]),
            (vec![both("a", "w1"), both("a", "w2"), both("b", "w3")], vec![1]),
            (vec![both("a", "w2"), both("a", "w3"), both("b", "w4")], vec![1, 2]),
            (vec![both("a", "w1"), zone("a"), zone("b")], vec![1, 2]),
        ] {
            let endpoint = |(index, hints): (usize, &serde_json::Value)| json!({"addresses": [format!("10.0.0.{}", index + 1)], "hints": hints});
            let endpoints: Vec<_> = hints.iter().enumerate().map(endpoint).collect();
            let slice = json!({"metadata": {"labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
                "ports": [{"port": 80}], "endpoints": endpoints});
            let slice: EndpointSlice = serde_json::from_value(slice).expect("an EndpointSlice");
            let state = State::of([], [&slice], &place);
            let name = state.endpoints.keys().next().expect("a port");
            let last = |one: &Endpoint| one.address.to_string().rsplit('.').next().and_then(|text| text.parse().ok());
            let found: Vec<i32> = state.usable(name, false, false).into_iter().filter_map(last).collect();
            assert_eq!(found, wanted, "{hints:?}");
            assert!(state.usable(name, false, true).is_empty());
        }
    }
}
