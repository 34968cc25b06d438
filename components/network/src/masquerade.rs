//! The nftables table that has pod traffic leave the cluster with the node's address.

use crate::conflist::BRIDGE;

/// The table, which is this program's own.
pub const TABLE: &str = "inet kinit-network";

/// A transaction that makes the table anew. `own` are this node's ranges of pods, `cluster` those of all nodes.
pub fn render(own: &[String], cluster: &[String]) -> String {
    let mut text = format!("add table {TABLE}\ndelete table {TABLE}\nadd table {TABLE}\n");
    text.push_str(&format!(
        "add chain {TABLE} postrouting {{ type nat hook postrouting priority srcnat; policy accept; }}\n"
    ));
    for (family, six) in [("ip", false), ("ip6", true)] {
        let of = |ranges: &[String]| -> Vec<String> {
            ranges.iter().filter(|range| range.contains(':') == six).cloned().collect()
        };
        let (own, cluster) = (of(own), of(cluster));
        if own.is_empty() {
            continue;
        }
        // Own ranges are part of the cluster's even if nobody said what the cluster's are.
        let kept = if cluster.is_empty() { &own } else { &cluster };
        let multicast = if six { "ff00::/8" } else { "224.0.0.0/4" };
        text.push_str(&format!(
            "add rule {TABLE} postrouting {family} saddr {{ {} }} {family} daddr != {{ {}, {multicast} }} oifname != \"{BRIDGE}\" masquerade\n",
            own.join(", "),
            kept.join(", "),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_rule() {
        let text = render(&["10.244.1.0/24".into()], &["10.244.0.0/16".into(), "fd00::/48".into()]);
        assert!(text.contains(
            "ip saddr { 10.244.1.0/24 } ip daddr != { 10.244.0.0/16, 224.0.0.0/4 } oifname != \"cni0\" masquerade"
        ));
        assert!(!text.contains("ip6 saddr"), "the node has no such range");
    }
}
