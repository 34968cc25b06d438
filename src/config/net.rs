//! Addresses and ranges.

use std::net::IpAddr;
use std::str::FromStr;

/// An address range. The address is the range's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The `index`th address of the range.
    pub fn nth(&self, index: u128) -> Option<IpAddr> {
        let host_bits = u32::from(self.width() - self.prefix);
        if host_bits < 128 && index >> host_bits != 0 {
            return None;
        }
        Some(match self.address {
            IpAddr::V4(four) => IpAddr::from((four.to_bits() | index as u32).to_be_bytes()),
            IpAddr::V6(six) => IpAddr::from((six.to_bits() | index).to_be_bytes()),
        })
    }

    /// Whether `ip` lies in the range.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.address.is_ipv4() == ip.is_ipv4() && masked(ip, self.prefix) == self.address
    }

    /// Whether the two ranges share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the prefix.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    fn width(&self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }
}

fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::from((four.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::from((six.to_bits() & mask).to_be_bytes())
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "is no address range".to_owned();
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > if address.is_ipv4() { 32 } else { 128 } {
            return Err(wrong());
        }
        Ok(Self { address: masked(address, prefix), prefix })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// One range, or one of each address family: what kubeadm calls dual stack. The first is the cluster's own family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges(Vec<Cidr>);

impl Ranges {
    /// The range of the cluster's own family.
    pub fn first(&self) -> Cidr {
        self.0[0]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Cidr> {
        self.0.iter()
    }

    /// Whether there is one of each family.
    pub fn is_dual(&self) -> bool {
        self.0.len() == 2
    }

    /// Whether any range of these shares an address with one of those.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.iter().any(|one| other.iter().any(|two| one.overlaps(two)))
    }
}

impl FromStr for Ranges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all: Vec<Cidr> = text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>()?;
        match all.as_slice() {
            [_] => Ok(Self(all)),
            [one, two] if one.address.is_ipv4() != two.address.is_ipv4() => Ok(Self(all)),
            [_, _] => Err("has two ranges of one address family".into()),
            _ => Err("has more than two ranges".into()),
        }
    }
}

impl std::fmt::Display for Ranges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(","))
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Splits `host[:port]`; brackets around an IPv6 address are taken off.
pub fn split_host_port(text: &str, default_port: u16) -> Result<(String, u16), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("lacks a closing bracket")?;
        (host, rest.strip_prefix(':'))
    } else if text.matches(':').count() == 1 {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    } else {
        (text, None)
    };
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or("has no valid port")?,
    };
    if host.parse::<IpAddr>().is_err() && !is_dns_name(host) {
        return Err("is neither an address nor a DNS name".into());
    }
    Ok((host.to_owned(), port))
}

/// Whether `name` is an RFC 1123 subdomain.
pub fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        bytes.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase() || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_counted() {
        let services: Cidr = "10.96.0.0/12".parse().unwrap();
        assert_eq!(services.nth(10).unwrap().to_string(), "10.96.0.10");
        assert_eq!("10.99.1.1/12".parse::<Cidr>().unwrap(), services);
        assert_eq!("10.0.0.0/30".parse::<Cidr>().unwrap().nth(4), None);
        assert_eq!("fd00::/112".parse::<Cidr>().unwrap().nth(10).unwrap().to_string(), "fd00::a");
        assert!(services.contains("10.111.255.255".parse().unwrap()));
        assert!(!services.contains("10.112.0.0".parse().unwrap()));
        assert!(services.overlaps(&"10.0.0.0/8".parse().unwrap()));
        assert!(!services.overlaps(&"10.244.0.0/16".parse().unwrap()));
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/-1", "fd00::/129"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pair_of_ranges_is_one_of_each_family() {
        let dual: Ranges = "10.96.0.0/12, fd00:10::/112".parse().unwrap();
        assert_eq!((dual.to_string().as_str(), dual.is_dual()), ("10.96.0.0/12,fd00:10::/112", true));
        assert_eq!(dual.first(), "10.96.0.0/12".parse().unwrap());
        assert!(dual.overlaps(&"fd00:10::/120".parse().unwrap()));
        for bad in ["10.0.0.0/8,10.1.0.0/16", "10.0.0.0/8,fd00::/64,fd01::/64", "10.0.0.0/8,", ""] {
            assert!(bad.parse::<Ranges>().is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoints_are_split() {
        for (text, host, port) in [
            ("10.0.0.1", "10.0.0.1", 6443),
            ("10.0.0.1:443", "10.0.0.1", 443),
            ("api.example:7443", "api.example", 7443),
            ("[fd00::1]:443", "fd00::1", 443),
            ("fd00::1", "fd00::1", 6443),
        ] {
            assert_eq!(split_host_port(text, 6443).unwrap(), (host.to_owned(), port));
        }
        for bad in ["", ":6443", "a_b", "host:", "host:0", "host:99999", "[fd00::1", "https://x"] {
            assert!(split_host_port(bad, 6443).is_err(), "{bad}");
        }
    }
}
