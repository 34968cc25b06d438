//! IP addresses and ranges of them, in the strict form that v1.36 wants of new values.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::field::{Error, Errors, Path};

const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An IPv4 address whose numbers may have zeros in front.
pub(crate) fn sloppy(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: &&str| {
        (!part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then_some(())
            .and_then(|()| part.parse::<u8>().ok())
    };
    let [a, b, c, d] = parts.iter().map(number).collect::<Option<Vec<u8>>>()?[..] else { return None };
    Some(Ipv4Addr::new(a, b, c, d).into())
}

fn mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

/// A text as an address, and what is wrong with how it is written.
pub(super) fn problem(text: &str) -> Option<&'static str> {
    match (text.parse::<IpAddr>(), sloppy(text)) {
        (_, None) => Some(ADDRESS),
        (Err(_), Some(_)) => Some("must not have leading 0s"),
        (Ok(address), _) if mapped(address) => Some("must not be an IPv4-mapped IPv6 address"),
        (Ok(_), _) => None,
    }
}

/// An address.
pub(super) fn check(value: &Value, path: &Path, errors: &mut Errors) {
    let text = value.as_str().unwrap_or_default();
    errors.extend(problem(text).map(|why| Error::invalid(path, text, why)));
}

/// An address that others can be sent to.
pub(super) fn endpoint(text: &str, path: &Path, errors: &mut Errors) {
    let Some(address) = sloppy(text) else {
        errors.push(Error::invalid(path, text, "must be a valid IP address"));
        return;
    };
    let (near, near_group) = match address {
        IpAddr::V4(address) => (address.is_link_local(), address.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(address) => (address.segments()[0] & 0xffc0 == 0xfe80, address.segments()[0] & 0xff0f == 0xff02),
    };
    for (wrong, why) in [
        (address.is_unspecified(), format!("may not be unspecified ({text})")),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()),
        (near, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()),
        (near_group, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()),
    ] {
        if wrong {
            errors.push(Error::invalid(path, text, why));
        }
    }
}

/// A range: the address, how many bits it has, and how many of them are the same in all addresses of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub address: IpAddr,
    pub length: u32,
}

impl Range {
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address = sloppy(address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let length = length.parse().ok().filter(|length| *length <= most)?;
        Some(Self { address, length })
    }

    fn parts(self) -> (u128, u32) {
        match self.address {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        }
    }

    /// The bits of the address that the range does not fix.
    pub fn rest(self) -> u128 {
        let (number, bits) = self.parts();
        let free = bits - self.length;
        if free == 128 { number } else { number & ((1 << free) - 1) }
    }

    /// Whether `other` is a range within this one, and less than it.
    pub fn contains(self, other: Self) -> bool {
        let ((whole, bits), (part, of_bits)) = (self.parts(), other.parts());
        let network = |number: u128| number.checked_shr(bits - self.length).unwrap_or(0);
        bits == of_bits && self.length < other.length && network(whole) == network(part)
    }

    /// The range as it is written canonically.
    pub fn canonical(self) -> String {
        let (number, _) = self.parts();
        let network = number - self.rest();
        let address = match self.address {
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(network).unwrap_or_default().into()),
            IpAddr::V6(_) => IpAddr::V6(network.into()),
        };
        format!("{address}/{}", self.length)
    }
}

/// A text as a range, and what is wrong with how it is written.
pub(super) fn range_problem(text: &str) -> Option<&'static str> {
    let Some(range) = Range::parse(text) else { return Some(RANGE) };
    let (address, length) = text.split_once('/').unwrap_or_default();
    if address.parse::<IpAddr>().is_err() || length.len() > 1 && length.starts_with('0') {
        Some("must not have leading 0s in IP or prefix length")
    } else if mapped(range.address) {
        Some("must not have an IPv4-mapped IPv6 address")
    } else if range.rest() != 0 {
        Some("must not have bits set beyond the prefix length")
    } else {
        None
    }
}

/// A range of addresses. One that was there before may stay as it is.
pub(super) fn range(text: &str, before: &[&str], path: &Path, errors: &mut Errors) {
    if !before.contains(&text) {
        errors.extend(range_problem(text).map(|why| Error::invalid(path, text, why)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_two_ways_is_refused() {
        let cases = [
            ("10.0.0.1", None),
            ("::1", None),
            ("10.0.0.01", Some("must not have leading 0s")),
            ("::ffff:10.0.0.1", Some("must not be an IPv4-mapped IPv6 address")),
            ("10.0.0", Some(ADDRESS)),
            ("", Some(ADDRESS)),
        ];
        for (text, expected) in cases {
            assert_eq!(problem(text), expected, "{text}");
        }
        let cases = [
            ("10.0.0.0/8", None),
            ("::/0", None),
            ("10.0.0.1/8", Some("must not have bits set beyond the prefix length")),
            ("010.0.0.0/8", Some("must not have leading 0s in IP or prefix length")),
            ("10.0.0.0/08", Some("must not have leading 0s in IP or prefix length")),
            ("10.0.0.0/33", Some(RANGE)),
            ("10.0.0.0", Some(RANGE)),
        ];
        for (text, expected) in cases {
            assert_eq!(range_problem(text), expected, "{text}");
        }
        assert_eq!(Range::parse("10.1.2.3/8").unwrap().canonical(), "10.0.0.0/8");
        assert_eq!(Range::parse("::1/0").unwrap().canonical(), "::/0");
    }
}
