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
    /// Reads all Services and EndpointSlices, as node `node` sees them.
    pub fn of<'a>(
        services: impl IntoIterator<Item = &'a Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
        node: &str,
    ) -> Self {
        let mut state = Self::default();
        for service in services {
            state.ports.extend(read_service(service));
        }
        for slice in slices {
            state.read_slice(slice, node);
        }
        state
    }

    fn read_slice(&mut self, slice: &EndpointSlice, node: &str) {
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
                let address = endpoint.addresses.first().and_then(|address| address.parse().ok());
                endpoints.extend(address.map(|address| Endpoint {
                    address,
                    port: number,
                    local: endpoint.node_name.as_deref() == Some(node),
                    ready,
                    serving: conditions.serving.unwrap_or(ready),
                }));
            }
        }
    }

    /// The endpoints of one family that traffic may go to: those that are ready, or if none is those that end but still
    /// answer; with `local` those on this node alone.
    pub fn usable(&self, name: &PortName, six: bool, local: bool) -> Vec<&Endpoint> {
        let all = self.endpoints.get(name).into_iter().flatten();
        let mine: Vec<&Endpoint> = all.filter(|one| one.address.is_ipv6() == six && (one.local || !local)).collect();
        let ready: Vec<&Endpoint> = mine.iter().copied().filter(|one| one.ready).collect();
        if ready.is_empty() { mine.into_iter().filter(|one| one.serving).collect() } else { ready }
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
