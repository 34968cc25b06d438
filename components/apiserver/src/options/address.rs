//! The address that a server tells others where none is given: one of the interface that the default route leaves by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// An address of an interface that is up.
#[derive(Clone, Debug)]
struct Own {
    interface: String,
    address: IpAddr,
    loopback: bool,
}

/// What upstream's server takes for `--advertise-address`: `bind`, or where that is no address for others, one of the host's of
/// the same family first. None where no default route leaves by an interface that has a global address.
pub fn advertised(bind: IpAddr) -> Option<IpAddr> {
    if !bind.is_unspecified() && !bind.is_loopback() {
        return Some(bind);
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let four = default_interfaces(&read("/proc/net/route"), &FOUR);
    let six = default_interfaces(&read("/proc/net/ipv6_route"), &SIX);
    let own: Vec<Own> = getifaddrs()
        .ok()?
        .filter(|one| one.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|one| {
            let address = one.address?;
            let four = address.as_sockaddr_in().map(|socket| IpAddr::V4(socket.ip()));
            let address = four.or_else(|| address.as_sockaddr_in6().map(|socket| IpAddr::V6(socket.ip())))?;
            let loopback = one.flags.contains(InterfaceFlags::IFF_LOOPBACK);
            Some(Own { interface: one.interface_name, address, loopback })
        })
        .collect();
    let order = if bind.is_ipv6() { [(true, six), (false, four)] } else { [(false, four), (true, six)] };
    order.iter().find_map(|(six, routes)| routes.iter().find_map(|route| choose(route, *six, &own)))
}

/// Where the kernel's table of routes has what: by the number of the column.
struct Columns {
    destination: usize,
    gateway: usize,
    interface: usize,
    /// Whether a route without a gateway counts; the kernel has one of its own that leads nowhere for IPv6.
    direct: bool,
}

/// Of `/proc/net/route`.
const FOUR: Columns = Columns { destination: 1, gateway: 2, interface: 0, direct: true };
/// Of `/proc/net/ipv6_route`.
const SIX: Columns = Columns { destination: 0, gateway: 4, interface: 9, direct: false };

/// The interfaces of the default routes in such a table.
fn default_interfaces(table: &str, columns: &Columns) -> Vec<String> {
    let nothing = |field: &&str| field.bytes().all(|digit| digit == b'0');
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let default = rows.filter(|row| {
        let leads = |gateway: &&str| columns.direct || !nothing(gateway);
        row.get(columns.destination).is_some_and(nothing) && row.get(columns.gateway).is_some_and(leads)
    });
    default.filter_map(|row| row.get(columns.interface).map(|name| (*name).to_owned())).collect()
}

/// The first global address of this family that the interface has, else that a loopback interface has (RFC 5549).
fn choose(interface: &str, six: bool, own: &[Own]) -> Option<IpAddr> {
    let global = || own.iter().filter(|one| one.address.is_ipv6() == six && is_global(one.address));
    let there = global().find(|one| one.interface == interface).or_else(|| global().find(|one| one.loopback));
    there.map(|one| one.address)
}

/// Whether others can send to it, private networks included.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            let odd = four.is_unspecified() || four.is_loopback() || four.is_multicast() || four.is_link_local();
            !odd && four != Ipv4Addr::BROADCAST
        }
        IpAddr::V6(six) => {
            six != Ipv6Addr::UNSPECIFIED && !six.is_loopback() && !six.is_multicast() && !six.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\n\
        lab\t0000580A\t00000000\t0001\neth1\t00000000\t010200C0\t0003\neth2\t00000000\t010200C0\t0003\n";
    const ROUTES_6: &str = "\
        fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 1 0 1 eth0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 1 0 3 eth1\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 1 0 200200 lo\n";

    #[test]
    fn default_routes_are_read_of_both_tables() {
        assert_eq!(default_interfaces(ROUTES, &FOUR), ["eth1", "eth2"]);
        assert_eq!(default_interfaces(ROUTES_6, &SIX), ["eth1"], "the kernel's own route to nowhere does not count");
    }

    #[test]
    fn the_first_global_address_of_the_interface_is_told() {
        let own = |interface: &str, address: &str| Own {
            interface: interface.to_owned(),
            address: address.parse().unwrap(),
            loopback: interface == "lo",
        };
        let all = [
            own("lo", "127.0.0.1"),
            own("lo", "10.9.9.9"),
            own("eth0", "192.0.2.7"),
            own("eth1", "169.254.0.1"),
            own("eth1", "10.0.0.5"),
            own("eth1", "10.0.0.6"),
            own("eth1", "fe80::1"),
            own("eth1", "fd00::5"),
        ];
        for (interface, six, expected) in [
            ("eth1", false, Some("10.0.0.5")),
            ("eth1", true, Some("fd00::5")),
            ("eth2", false, Some("10.9.9.9")),
            ("eth2", true, None),
        ] {
            let found = choose(interface, six, &all).map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{interface} {six}");
        }
    }

    #[test]
    fn an_address_that_others_reach_is_told_as_it_is() {
        let bind: IpAddr = "192.0.2.9".parse().unwrap();
        assert_eq!(advertised(bind), Some(bind));
        assert!(advertised("127.0.0.1".parse().unwrap()).is_none_or(|told| !told.is_loopback()));
    }
}
