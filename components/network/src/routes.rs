//! Routes by netlink.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::plan::Range;

/// The number that marks this program's routes. Those of other routing programs have theirs.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(77);

/// The host's routing table, as far as it is this program's.
pub struct Routes {
    handle: Handle,
}

impl Routes {
    /// Connects to the kernel.
    pub fn connect() -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Own routes: range and next hop.
    pub async fn list(&self) -> Result<BTreeSet<(Range, IpAddr)>, rtnetlink::Error> {
        let mut own = BTreeSet::new();
        let (four, six) =
            (RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build());
        for question in [four, six] {
            let mut answers = self.handle.route().get(question).execute();
            while let Some(route) = answers.try_next().await? {
                if route.header.protocol == PROTOCOL {
                    own.extend(read(&route));
                }
            }
        }
        Ok(own)
    }

    /// Makes a route in place of any other for the range.
    pub async fn set(&self, range: Range, via: IpAddr) -> Result<(), rtnetlink::Error> {
        let Some(route) = message(range, via) else { return Ok(()) };
        self.handle.route().add(route).replace().execute().await
    }

    /// Takes a route away.
    pub async fn remove(&self, range: Range, via: IpAddr) -> Result<(), rtnetlink::Error> {
        let Some(route) = message(range, via) else { return Ok(()) };
        self.handle.route().del(route).execute().await
    }
}

/// The kernel's form of a route; None if its families differ.
fn message(range: Range, via: IpAddr) -> Option<RouteMessage> {
    match (range.address, via) {
        (IpAddr::V4(address), IpAddr::V4(via)) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, range.length);
            Some(route.gateway(via).protocol(PROTOCOL).build())
        }
        (IpAddr::V6(address), IpAddr::V6(via)) => {
            let route = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(address, range.length);
            Some(route.gateway(via).protocol(PROTOCOL).build())
        }
        _ => None,
    }
}

fn read(route: &RouteMessage) -> Option<(Range, IpAddr)> {
    let address = |address: &RouteAddress| match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    let (mut destination, mut via) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(one) => destination = address(one),
            RouteAttribute::Gateway(one) => via = address(one),
            _ => {}
        }
    }
    Some((Range { address: destination?, length: route.header.destination_prefix_length }, via?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_it_was_made() {
        for (range, via) in [("10.244.1.0/24", "10.0.0.2"), ("fd00:1::/64", "fd00::2")] {
            let (range, via): (Range, IpAddr) = (range.parse().expect("a range"), via.parse().expect("an address"));
            let route = message(range, via).expect("a route");
            assert_eq!((read(&route), route.header.protocol), (Some((range, via)), PROTOCOL));
        }
    }
}
