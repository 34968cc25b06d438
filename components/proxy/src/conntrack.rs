//! Flows of UDP that the kernel remembers although they must go elsewhere now.
//!
//! The kernel decides on a flow once. For TCP a new connection is a new flow; a client of UDP that keeps its port would
//! talk to an endpoint that is gone for as long as it talks.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::service::{ServicePort, State};

/// Arguments for `conntrack`, one list for each call.
pub fn stale(old: &State, new: &State) -> Vec<Vec<String>> {
    let mut calls = BTreeSet::new();
    for (name, port) in old.ports.iter().filter(|(name, _)| name.protocol == "udp") {
        let still = new.ports.get(name);
        for six in [false, true] {
            let before: BTreeSet<IpAddr> =
                old.usable(name, six, false).iter().map(|endpoint| endpoint.address).collect();
            let after: BTreeSet<IpAddr> = match still {
                Some(_) => new.usable(name, six, false).iter().map(|endpoint| endpoint.address).collect(),
                None => BTreeSet::new(),
            };
            for gone in before.difference(&after) {
                calls.extend(forget(port, six, Some(*gone)));
            }
            // Packets that found no endpoint are remembered as going nowhere.
            if before.is_empty() && !after.is_empty() {
                calls.extend(forget(port, six, None));
            }
        }
    }
    calls.into_iter().collect()
}

fn forget(port: &ServicePort, six: bool, endpoint: Option<IpAddr>) -> Vec<Vec<String>> {
    let family = if six { "ipv6" } else { "ipv4" };
    let call = |rest: [String; 2]| {
        let mut call: Vec<String> = ["-D", "-f", family, "-p", "udp"].map(str::to_owned).into();
        call.extend(rest);
        if let Some(endpoint) = endpoint {
            call.extend(["--dst-nat".to_owned(), endpoint.to_string()]);
        }
        call
    };
    let addresses = port.cluster_ips.iter().chain(&port.external_ips).chain(&port.balancer_ips);
    let mut calls: Vec<Vec<String>> = addresses
        .filter(|address| address.is_ipv6() == six)
        .map(|address| call(["--orig-dst".into(), address.to_string()]))
        .collect();
    if port.node_port != 0 {
        calls.push(call(["--orig-port-dst".into(), port.node_port.to_string()]));
    }
    calls
}
