//! Addresses and ranges that can be read, and that are still not written as all others write them.

use std::net::IpAddr;

use crate::validate::address::{Range, sloppy};

fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(whole) => whole.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Whether the text is no address by the strict rules: zeros before its numbers, or IPv4 in IPv6.
fn is_odd(text: &str) -> bool {
    text.parse::<IpAddr>().map_or(true, |address| plain(address) != address)
}

/// What is told of an address at `path`.
pub fn address(path: &str, text: &str, all: &mut Vec<String>) {
    let Some(address) = sloppy(text) else { return };
    if is_odd(text) {
        let plain = plain(address).to_string();
        all.push(format!("{path}: non-standard IP address {text:?} is invalid: use {plain:?}"));
    } else if address.is_ipv6() && address.to_string() != text {
        let best = address.to_string();
        all.push(format!("{path}: IPv6 address {text:?} should be in RFC 5952 canonical format ({best:?})"));
    }
}

/// What is told of a range at `path`.
pub fn range(path: &str, text: &str, all: &mut Vec<String>) {
    let (Some(range), Some((written, length))) = (Range::parse(text), text.split_once('/')) else { return };
    let best = range.canonical();
    let before = all.len();
    if range.rest() != 0 {
        let most = if range.address.is_ipv4() { 32 } else { 128 };
        let one = format!("{}/{most}", range.address);
        all.push(format!("{path}: CIDR value {text:?} is ambiguous in this context (should be {best:?} or {one:?}?)"));
    }
    if is_odd(written) || (length.len() > 1 && length.starts_with('0')) {
        all.push(format!("{path}: non-standard CIDR value {text:?} is invalid: use {best:?}"));
    }
    if all.len() == before && range.address.is_ipv6() && best != text {
        all.push(format!("{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({best:?})"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_how_they_are_written() {
        let told = |how: fn(&str, &str, &mut Vec<String>), text: &str| {
            let mut all = Vec::new();
            how("p", text, &mut all);
            all
        };
        for (text, wanted) in [
            ("1.2.3.4", None),
            ("2001:db8::1", None),
            ("no address", None),
            ("001.2.3.4", Some("p: non-standard IP address \"001.2.3.4\" is invalid: use \"1.2.3.4\"")),
            ("::ffff:1.2.3.4", Some("p: non-standard IP address \"::ffff:1.2.3.4\" is invalid: use \"1.2.3.4\"")),
            (
                "2001:DB8:0::1",
                Some("p: IPv6 address \"2001:DB8:0::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")"),
            ),
        ] {
            assert_eq!(told(address, text), Vec::from_iter(wanted.map(str::to_owned)), "{text}");
        }
        for (text, wanted) in [
            ("1.2.3.0/24", vec![]),
            (
                "1.2.3.4/24",
                vec![
                    "p: CIDR value \"1.2.3.4/24\" is ambiguous in this context (should be \"1.2.3.0/24\" or \"1.2.3.4/32\"?)",
                ],
            ),
            ("001.2.3.0/24", vec!["p: non-standard CIDR value \"001.2.3.0/24\" is invalid: use \"1.2.3.0/24\""]),
            (
                "2001:DB8::/32",
                vec!["p: IPv6 CIDR value \"2001:DB8::/32\" should be in RFC 5952 canonical format (\"2001:db8::/32\")"],
            ),
        ] {
            assert_eq!(told(range, text), wanted, "{text}");
        }
    }
}
