//! The CNI configuration.

use serde_json::json;

/// Name of the file in the folder of the container runtime's configuration.
pub const FILE: &str = "10-kinit.conflist";
/// The bridge that pods are on.
pub const BRIDGE: &str = "cni0";

/// The configuration for a node with these ranges. `mtu` is that of the host's way out; without it the kernel's default
/// holds.
pub fn render(ranges: &[String], mtu: Option<u32>) -> String {
    let subnets: Vec<_> = ranges.iter().map(|range| json!([{"subnet": range}])).collect();
    let routes: Vec<_> =
        ranges.iter().map(|range| json!({"dst": if range.contains(':') { "::/0" } else { "0.0.0.0/0" }})).collect();
    let mut bridge = json!({
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": true,
        // A pod that reaches itself by a Service needs its packets back on the port they came from.
        "hairpinMode": true,
        "ipam": {"type": "host-local", "ranges": subnets, "routes": routes}
    });
    if let Some(mtu) = mtu {
        bridge["mtu"] = json!(mtu);
    }
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "kinit",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": true}}]
    });
    format!("{list:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_range_and_its_default_route() {
        let text = render(&["10.244.1.0/24".into(), "fd00:1::/64".into()], Some(1400));
        let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let bridge = &list["plugins"][0];
        assert_eq!(bridge["ipam"]["ranges"][0][0]["subnet"], "10.244.1.0/24");
        assert_eq!(bridge["ipam"]["routes"][1]["dst"], "::/0");
        assert_eq!((bridge["mtu"].as_u64(), bridge["hairpinMode"].as_bool()), (Some(1400), Some(true)));
        assert_eq!(list["plugins"][1]["type"], "portmap");
    }
}
