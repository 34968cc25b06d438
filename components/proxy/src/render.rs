//! Service ports and endpoints as a table of nftables.
//!
//! A packet's way: `nat-prerouting` or `nat-output` -> `services` -> by the maps `service-ips` and `service-nodeports` ->
//! `service-…` or `external-…` -> `endpoint-…`, which changes its destination. Packets whose answer must come back by
//! this node are marked on the way and masqueraded in `masquerading`. Addresses without endpoints are refused in
//! `endpoints-check`, ports that no Service has in `cluster-ips-check`.

use std::net::IpAddr;

use crate::ruleset::{Chain, Collection, Ruleset};
use crate::service::{Endpoint, PortName, ServicePort, State};

/// Settings that hold for all Services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Ranges of pods: traffic from elsewhere to a Service is masqueraded.
    pub cluster_ranges: Vec<String>,
    /// The interfaces that pods' packets come by, where pods are known by that; a `*` at the end stands for any rest.
    pub pod_interface: Option<String>,
    /// Masquerade all traffic to Services.
    pub masquerade_all: bool,
    /// The bit that marks packets to be masqueraded.
    pub mark: u32,
    /// Ranges of the node's addresses that node ports are at; all if there are none.
    pub node_ports: Vec<String>,
}

/// Base chains: name, type, hook, priority.
const HOOKS: &[(&str, &str, &str, i32)] = &[
    ("filter-prerouting-pre-dnat", "filter", "prerouting", -110),
    ("filter-output-pre-dnat", "filter", "output", -110),
    ("filter-input", "filter", "input", 0),
    ("filter-forward", "filter", "forward", 0),
    ("filter-output", "filter", "output", 0),
    ("nat-prerouting", "nat", "prerouting", -100),
    ("nat-output", "nat", "output", -100),
    ("nat-postrouting", "nat", "postrouting", 100),
];

/// Where base chains lead.
const JUMPS: &[(&str, &str)] = &[
    ("filter-prerouting-pre-dnat", "ct state new jump firewall-check"),
    ("filter-output-pre-dnat", "ct state new jump firewall-check"),
    ("filter-input", "ct state new jump nodeport-endpoints-check"),
    ("filter-input", "ct state new jump service-endpoints-check"),
    ("filter-forward", "ct state new jump service-endpoints-check"),
    ("filter-forward", "ct state new jump cluster-ips-check"),
    ("filter-output", "ct state new jump service-endpoints-check"),
    ("filter-output", "ct state new jump cluster-ips-check"),
    ("nat-prerouting", "jump services"),
    ("nat-output", "jump services"),
    ("nat-postrouting", "jump masquerading"),
];

/// The table of one family.
pub fn render(state: &State, settings: &Settings, six: bool) -> Ruleset {
    let mut family = Family::new(settings, six);
    for (name, port) in &state.ports {
        family.service(state, name, port);
    }
    family.rules
}

struct Family<'a> {
    settings: &'a Settings,
    six: bool,
    ip: &'static str,
    /// The statement that has a packet masqueraded later.
    mark: String,
    /// The match of packets that pods sent, and of those that others did.
    from_pods: Option<[String; 2]>,
    rules: Ruleset,
}

impl<'a> Family<'a> {
    fn new(settings: &'a Settings, six: bool) -> Self {
        let ip = if six { "ip6" } else { "ip" };
        let ranges: Vec<&str> =
            settings.cluster_ranges.iter().filter(|range| range.contains(':') == six).map(String::as_str).collect();
        let mut family = Self {
            settings,
            six,
            ip,
            mark: format!("meta mark set meta mark or {:#x}", settings.mark),
            from_pods: match &settings.pod_interface {
                Some(name) => Some(["", "!= "].map(|not| format!("iifname {not}\"{name}\""))),
                None if ranges.is_empty() => None,
                None => Some(["", "!= "].map(|not| format!("{ip} saddr {not}{{ {} }}", ranges.join(", ")))),
            },
            rules: Ruleset { table: format!("{ip} kube-proxy"), ..Ruleset::default() },
        };
        family.declare();
        family.base();
        family
    }

    fn declare(&mut self) {
        let address = if self.six { "ipv6_addr" } else { "ipv4_addr" };
        let place = format!("type {address} . inet_proto . inet_service : verdict;");
        let port = "type inet_proto . inet_service : verdict;".to_owned();
        for (name, kind, declaration) in [
            ("cluster-ips", "set", format!("type {address};")),
            ("service-ips", "map", place.clone()),
            ("service-nodeports", "map", port.clone()),
            ("no-endpoint-services", "map", place.clone()),
            ("no-endpoint-nodeports", "map", port),
            ("firewall-ips", "map", place),
        ] {
            let collection = Collection { kind, declaration, ..Collection::default() };
            self.rules.collections.insert(name.into(), collection);
        }
    }

    fn base(&mut self) {
        let (ip, mark) = (self.ip, self.settings.mark);
        for (name, kind, hook, priority) in HOOKS {
            let hook = format!("{{ type {kind} hook {hook} priority {priority}; }}");
            self.rules.chains.insert((*name).into(), Chain { hook, rules: Vec::new() });
        }
        for (from, rule) in JUMPS {
            self.rules.chain(from).push((*rule).to_owned());
        }
        let place = format!("{ip} daddr . meta l4proto . th dport vmap");
        let own: Vec<&str> = self.settings.node_ports.iter().map(String::as_str).collect();
        let mut on_node = if self.six { "ip6 daddr != ::1" } else { "ip daddr != 127.0.0.0/8" }.to_owned();
        if !own.is_empty() {
            let own: Vec<&str> = own.into_iter().filter(|range| range.contains(':') == self.six).collect();
            // None of this family means that the family has no node ports.
            let none = if self.six { "::/128" } else { "0.0.0.0/32" };
            let own = if own.is_empty() { none.to_owned() } else { own.join(", ") };
            on_node = format!("{ip} daddr {{ {own} }}");
        }
        let masquerade_what = match &self.from_pods {
            _ if self.settings.masquerade_all => Some(String::new()),
            Some([_, others]) => Some(format!("{others} ")),
            None => None,
        };
        let services = self.rules.chain("services");
        services.extend(masquerade_what.map(|what| format!("{ip} daddr @cluster-ips {what}{}", self.mark)));
        services.push(format!("{place} @service-ips"));
        services.push(format!("fib daddr type local {on_node} meta l4proto . th dport vmap @service-nodeports"));
        for (chain, rule) in [
            ("service-endpoints-check", format!("{place} @no-endpoint-services")),
            (
                "nodeport-endpoints-check",
                format!("fib daddr type local {on_node} meta l4proto . th dport vmap @no-endpoint-nodeports"),
            ),
            ("firewall-check", format!("{place} @firewall-ips")),
            ("cluster-ips-check", format!("{ip} daddr @cluster-ips reject")),
            ("reject-chain", "reject".to_owned()),
            (
                "masquerading",
                format!("meta mark and {mark:#x} != 0 meta mark set meta mark xor {mark:#x} masquerade fully-random"),
            ),
        ] {
            self.rules.chain(chain).push(rule);
        }
    }

    fn service(&mut self, state: &State, name: &PortName, port: &ServicePort) {
        let six = self.six;
        let of_family = |addresses: &[IpAddr]| -> Vec<IpAddr> {
            addresses.iter().copied().filter(|address| address.is_ipv6() == six).collect()
        };
        let Some(cluster_ip) = of_family(&port.cluster_ips).first().copied() else { return };
        self.rules.element("cluster-ips", cluster_ip.to_string(), String::new());
        let (all, local) = (state.usable(name, six, false), state.usable(name, six, true));
        let base = chain_name(name);
        for endpoint in &all {
            self.endpoint(&base, name, endpoint, port.affinity);
        }
        // Local endpoints that only still answer are not among all of them while others are ready.
        for endpoint in local.iter().filter(|endpoint| !all.contains(endpoint)) {
            self.endpoint(&base, name, endpoint, port.affinity);
        }
        let (cluster_chain, local_chain) = (format!("service-{base}"), format!("local-{base}"));
        let has_outside = port.node_port != 0 || !port.external_ips.is_empty() || !port.balancer_ips.is_empty();
        if !all.is_empty() && (!port.internal_local || has_outside) {
            self.balance(&cluster_chain, &base, &all, port.affinity);
        }
        if !local.is_empty() && (port.internal_local || port.external_local && has_outside) {
            self.balance(&local_chain, &base, &local, port.affinity);
        }
        let refusal = |some_elsewhere: bool| if some_elsewhere { "drop" } else { "goto reject-chain" };

        let place = |address: IpAddr| format!("{address} . {} . {}", name.protocol, port.port);
        let inside = if port.internal_local { &local } else { &all };
        if inside.is_empty() {
            self.rules.element("no-endpoint-services", place(cluster_ip), refusal(!all.is_empty()).into());
        } else {
            let chain = if port.internal_local { &local_chain } else { &cluster_chain };
            self.rules.element("service-ips", place(cluster_ip), format!("goto {chain}"));
        }
        if !has_outside {
            return;
        }
        let outside = format!("external-{base}");
        if !all.is_empty() {
            self.outside(&outside, &cluster_chain, (!local.is_empty()).then_some(&local_chain), port.external_local);
        }
        let target = if all.is_empty() {
            None
        } else if port.external_local && local.is_empty() && self.from_pods.is_none() {
            Some(("no-endpoint", "drop".to_owned()))
        } else {
            Some(("service", format!("goto {outside}")))
        };
        let (ips, ports, verdict) = match target {
            Some(("service", verdict)) => ("service-ips", "service-nodeports", verdict),
            Some((_, verdict)) => ("no-endpoint-services", "no-endpoint-nodeports", verdict),
            None => ("no-endpoint-services", "no-endpoint-nodeports", refusal(false).to_owned()),
        };
        for address in of_family(&port.external_ips).into_iter().chain(of_family(&port.balancer_ips)) {
            self.rules.element(ips, place(address), verdict.clone());
        }
        if port.node_port != 0 {
            self.rules.element(ports, format!("{} . {}", name.protocol, port.node_port), verdict);
        }
        let ranges: Vec<&str> =
            port.source_ranges.iter().map(|range| range.trim()).filter(|range| range.contains(':') == six).collect();
        if !port.source_ranges.is_empty() && !port.balancer_ips.is_empty() {
            let firewall = format!("firewall-{base}");
            let rule = if ranges.is_empty() {
                "drop".to_owned()
            } else {
                format!("{} saddr != {{ {} }} drop", self.ip, ranges.join(", "))
            };
            self.rules.chain(&firewall).push(rule);
            for address in of_family(&port.balancer_ips) {
                self.rules.element("firewall-ips", place(address), format!("goto {firewall}"));
            }
        }
    }

    /// The chain for traffic to the Service's addresses outside of the cluster.
    fn outside(&mut self, chain: &str, cluster: &str, local: Option<&String>, external_local: bool) {
        let mark = self.mark.clone();
        let from_pods = self.from_pods.clone();
        let rules = self.rules.chain(chain);
        if !external_local {
            rules.push(mark);
            rules.push(format!("goto {cluster}"));
            return;
        }
        // Pods and the node itself are within the cluster, so they may use every endpoint.
        rules.extend(from_pods.map(|[pods, _]| format!("{pods} goto {cluster}")));
        rules.push(format!("fib saddr type local {mark}"));
        rules.push(format!("fib saddr type local goto {cluster}"));
        rules.push(local.map_or_else(|| "drop".to_owned(), |local| format!("goto {local}")));
    }

    /// A chain that chooses an endpoint.
    fn balance(&mut self, chain: &str, base: &str, endpoints: &[&Endpoint], affinity: Option<u32>) {
        let ip = self.ip;
        let names: Vec<String> = endpoints.iter().map(|endpoint| endpoint_name(base, endpoint)).collect();
        let rules = self.rules.chain(chain);
        if let Some(seconds) = affinity {
            let stay = |name: &String| format!("{ip} saddr @affinity{seconds}-{name} goto endpoint-{name}");
            rules.extend(names.iter().map(stay));
        }
        let choices: Vec<String> =
            names.iter().enumerate().map(|(index, name)| format!("{index} : goto endpoint-{name}")).collect();
        rules.push(format!("numgen random mod {} vmap {{ {} }}", choices.len(), choices.join(", ")));
    }

    /// A chain that sends packets to an endpoint.
    fn endpoint(&mut self, base: &str, name: &PortName, endpoint: &Endpoint, affinity: Option<u32>) {
        let (ip, suffix, address) = (self.ip, endpoint_name(base, endpoint), endpoint.address);
        let mut rules = vec![format!("{ip} saddr {address} {}", self.mark)];
        if let Some(seconds) = affinity {
            let kind = if self.six { "ipv6_addr" } else { "ipv4_addr" };
            // The time is part of the name, because a declaration cannot be changed in place.
            let set = format!("affinity{seconds}-{suffix}");
            let declaration = format!("type {kind}; flags dynamic,timeout; timeout {seconds}s;");
            rules.push(format!("update @{set} {{ {ip} saddr }}"));
            self.rules.collections.insert(set, Collection { kind: "set", declaration, ..Collection::default() });
        }
        let target =
            if self.six { format!("[{address}]:{}", endpoint.port) } else { format!("{address}:{}", endpoint.port) };
        rules.push(format!("meta l4proto {} dnat to {target}", name.protocol));
        *self.rules.chain(&format!("endpoint-{suffix}")) = rules;
    }
}

/// The longest name that still leaves room for an endpoint in nftables' longest name.
const NAME: usize = 100;

/// A name for chains: readable, and unique by a hash in case that it must be cut.
fn chain_name(name: &PortName) -> String {
    let plain = format!("{}/{}/{}/{}", name.namespace, name.service, name.protocol, name.port);
    let hash = plain.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}-{}", &plain[..plain.len().min(NAME)])
}

fn endpoint_name(base: &str, endpoint: &Endpoint) -> String {
    format!("{base}__{}/{}", endpoint.address.to_string().replace(':', "."), endpoint.port)
}

#[cfg(test)]
mod tests;
