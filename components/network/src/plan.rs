//! What is to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// Its first address.
    pub address: IpAddr,
    /// How many bits are fixed.
    pub length: u8,
}

impl std::str::FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a range such as 10.244.1.0/24");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let length: u8 = length.parse().map_err(|_| wrong())?;
        if length > if address.is_ipv4() { 32 } else { 128 } { Err(wrong()) } else { Ok(Self { address, length }) }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.address, self.length)
    }
}

/// What matters of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its addresses within the cluster.
    pub addresses: Vec<IpAddr>,
    /// Its pods' ranges.
    pub ranges: Vec<Range>,
}

impl NodeFacts {
    /// Reads a node; a range that cannot be read is left out.
    pub fn of(node: &Node) -> Self {
        let spec = node.spec.clone().unwrap_or_default();
        let ranges =
            spec.pod_cidrs.filter(|ranges| !ranges.is_empty()).unwrap_or_else(|| Vec::from_iter(spec.pod_cidr));
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            addresses: addresses
                .filter(|address| address.type_ == "InternalIP")
                .filter_map(|address| address.address.parse().ok())
                .collect(),
            ranges: ranges.iter().filter_map(|range| range.parse().ok()).collect(),
        }
    }
}

/// What this program has put on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Its routes: range and next hop.
    pub routes: BTreeSet<(Range, IpAddr)>,
    /// Text of the CNI configuration, if it is there.
    pub conflist: Option<String>,
    /// Text of the table as last written by this process.
    pub masquerade: Option<String>,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a range's packets to a node, in place of any other way for it.
    SetRoute {
        /// The range.
        range: Range,
        /// The node's address.
        via: IpAddr,
        /// The node.
        node: String,
    },
    /// Take a route away.
    RemoveRoute {
        /// The range.
        range: Range,
        /// Where it led.
        via: IpAddr,
    },
    /// Run a transaction of nftables.
    Masquerade(String),
    /// Write the CNI configuration. It comes last: pods start when it is there.
    WriteConflist(String),
}

/// The plan for node `own`; None while it has no range yet.
pub fn plan(
    own: &str,
    nodes: &[NodeFacts],
    cluster: &[String],
    mtu: Option<u32>,
    observed: &Observed,
) -> Option<Vec<Action>> {
    let this = nodes.iter().find(|node| node.name == own).filter(|node| !node.ranges.is_empty())?;
    let mut wanted: BTreeMap<Range, (IpAddr, &str)> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.name != own) {
        for range in node.ranges.iter().filter(|range| !this.ranges.contains(range)) {
            let via = node.addresses.iter().find(|address| address.is_ipv4() == range.address.is_ipv4());
            if let Some(via) = via {
                wanted.insert(*range, (*via, &node.name));
            }
        }
    }
    let mut actions: Vec<Action> = wanted
        .iter()
        .filter(|(range, (via, _))| !observed.routes.contains(&(**range, *via)))
        .map(|(range, (via, node))| Action::SetRoute { range: *range, via: *via, node: (*node).to_owned() })
        .collect();
    // A range that leads elsewhere now is replaced in place, and so needs no removal.
    let stale = observed.routes.iter().filter(|(range, _)| !wanted.contains_key(range));
    actions.extend(stale.map(|(range, via)| Action::RemoveRoute { range: *range, via: *via }));
    let ranges: Vec<String> = this.ranges.iter().map(ToString::to_string).collect();
    let known: BTreeSet<String> = nodes.iter().flat_map(|node| node.ranges.iter().map(ToString::to_string)).collect();
    let cluster = if cluster.is_empty() { Vec::from_iter(known) } else { cluster.to_vec() };
    let masquerade = crate::masquerade::render(&ranges, &cluster);
    if observed.masquerade.as_ref() != Some(&masquerade) {
        actions.push(Action::Masquerade(masquerade));
    }
    let conflist = crate::conflist::render(&ranges, mtu);
    if observed.conflist.as_ref() != Some(&conflist) {
        actions.push(Action::WriteConflist(conflist));
    }
    Some(actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, address: &str, range: &str) -> NodeFacts {
        NodeFacts {
            name: name.into(),
            addresses: vec![address.parse().expect("an address")],
            ranges: range.parse().into_iter().collect(),
        }
    }

    fn route(range: &str, via: &str) -> (Range, IpAddr) {
        (range.parse().expect("a range"), via.parse().expect("an address"))
    }

    #[test]
    fn routes_are_made_replaced_and_removed_and_nothing_is_done_twice() {
        let nodes = [
            node("cp1", "10.0.0.1", "10.244.0.0/24"),
            node("w1", "10.0.0.2", "10.244.1.0/24"),
            node("w2", "10.0.0.3", "10.244.2.0/24"),
            node("new", "10.0.0.4", ""),
        ];
        let mut observed = Observed {
            routes: [route("10.244.1.0/24", "10.0.0.9"), route("10.244.7.0/24", "10.0.0.7")].into(),
            ..Observed::default()
        };
        let actions = plan("cp1", &nodes, &["10.244.0.0/16".into()], None, &observed).expect("a plan");
        let set = |(range, via), node: &str| Action::SetRoute { range, via, node: node.into() };
        let (stale, via) = route("10.244.7.0/24", "10.0.0.7");
        assert_eq!(
            actions[..3],
            [
                set(route("10.244.1.0/24", "10.0.0.2"), "w1"),
                set(route("10.244.2.0/24", "10.0.0.3"), "w2"),
                Action::RemoveRoute { range: stale, via },
            ]
        );
        assert!(matches!(actions[3..], [Action::Masquerade(_), Action::WriteConflist(_)]));

        observed.routes = [route("10.244.1.0/24", "10.0.0.2"), route("10.244.2.0/24", "10.0.0.3")].into();
        for action in actions {
            match action {
                Action::Masquerade(text) => observed.masquerade = Some(text),
                Action::WriteConflist(text) => observed.conflist = Some(text),
                _ => {}
            }
        }
        assert_eq!(plan("cp1", &nodes, &["10.244.0.0/16".into()], None, &observed), Some(Vec::new()));
    }

    #[test]
    fn a_node_without_range_waits() {
        assert_eq!(plan("new", &[node("new", "10.0.0.4", "")], &[], None, &Observed::default()), None);
        assert!("10.244.0.0/40".parse::<Range>().is_err());
    }
}
