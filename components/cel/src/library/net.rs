//! URLs, addresses and prefixes of addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;
use url::Url;

use super::numbers::to_string;
use super::operators::text;
use super::{Cost, Row, f, fail, row};
use crate::value::Value::{Bool, Int, Opaque, String as Str};
use crate::value::{Key, Map, Opaque as Kind, Text, Value};

const ONE: Cost = Cost::Fixed(1);
const SCAN: Cost = Cost::Scan { sized: false };

macro_rules! address {
    ($rows:ident, $name:literal, $test:expr) => {
        $rows.push(row(concat!("ip:", $name, "()->bool"), ONE, f!([Opaque(Kind::Ip(ip))] => {
            let test: fn(&IpAddr) -> bool = $test;
            Ok(Bool(test(ip)))
        })));
    };
}

macro_rules! url_part {
    ($rows:ident, $name:literal, $get:expr) => {
        $rows.push(row(concat!("url:", $name, "()->string"), ONE, f!([Opaque(Kind::Url(url))] => {
            let get: fn(&Url) -> String = $get;
            Ok(get(url).into())
        })));
    };
}

pub(super) fn rows() -> Vec<Row> {
    let parsed = |parses| Cost::ContainsIp { parses };
    let nested = |parses| Cost::ContainsCidr { parses };
    let mut rows = vec![
        row(
            "url(string)->url",
            Cost::Scan { sized: true },
            f!([Str(source)] => match parse_url(source) {
                Some(url) => Ok(Opaque(Kind::Url(Rc::new(url)))),
                None => fail(format!("URL parse error during conversion from string: parse {:?}: invalid URI for request", &**source)),
            }),
        ),
        row("isURL(string)->bool", ONE, f!([Str(source)] => Ok(Bool(parse_url(source).is_some())))),
        row("url:getQuery()->map<string,list<string>>", ONE, f!([Opaque(Kind::Url(url))] => Ok(query(url)))),
        row(
            "ip(string)->ip",
            SCAN,
            f!([Str(source)] => match parse_ip(source) {
                Some(ip) => Ok(Opaque(Kind::Ip(ip))),
                None => fail(format!("IP Address {:?} parse error during conversion from string", &**source)),
            }),
        ),
        row("isIP(string)->bool", SCAN, f!([Str(source)] => Ok(Bool(parse_ip(source).is_some())))),
        row(
            "ip.isCanonical(string)->bool",
            Cost::ScanTwice,
            f!([Str(source)] => match parse_ip(source) {
                Some(ip) => Ok(Bool(ip.to_string() == **source)),
                None => fail(format!("IP Address {:?} parse error during conversion from string", &**source)),
            }),
        ),
        row("string(ip)->string", ONE, to_string),
        row("ip:family()->int", ONE, f!([Opaque(Kind::Ip(ip))] => Ok(Int(if ip.is_ipv4() { 4 } else { 6 })))),
        row(
            "cidr(string)->cidr",
            SCAN,
            f!([Str(source)] => match parse_cidr(source) {
                Some((ip, bits)) => Ok(Opaque(Kind::Cidr(ip, bits))),
                None => fail("network address parse error during conversion from string"),
            }),
        ),
        row("isCIDR(string)->bool", SCAN, f!([Str(source)] => Ok(Bool(parse_cidr(source).is_some())))),
        row("string(cidr)->string", ONE, to_string),
        row("cidr:ip()->ip", ONE, f!([Opaque(Kind::Cidr(ip, _))] => Ok(Opaque(Kind::Ip(*ip))))),
        row("cidr:prefixLength()->int", ONE, f!([Opaque(Kind::Cidr(_, bits))] => Ok(Int(i64::from(*bits))))),
        row(
            "cidr:masked()->cidr",
            ONE,
            f!([Opaque(Kind::Cidr(ip, bits))] => {
                Ok(Opaque(Kind::Cidr(net(*ip, *bits).map_or(*ip, |net| net.network()), *bits)))
            }),
        ),
        row(
            "cidr:containsIP(string)->bool",
            parsed(true),
            f!([Opaque(Kind::Cidr(ip, bits)), Str(other)] => {
                match parse_ip(other) {
                    Some(other) => Ok(Bool(covers(*ip, *bits, other))),
                    None => fail(format!("IP Address {:?} parse error during conversion from string", &**other)),
                }
            }),
        ),
        row(
            "cidr:containsIP(ip)->bool",
            parsed(false),
            f!([Opaque(Kind::Cidr(ip, bits)), Opaque(Kind::Ip(other))] => {
                Ok(Bool(covers(*ip, *bits, *other)))
            }),
        ),
        row(
            "cidr:containsCIDR(string)->bool",
            nested(true),
            f!([Opaque(Kind::Cidr(ip, bits)), Str(other)] => {
                match parse_cidr(other) {
                    Some((other, length)) => Ok(Bool(*bits <= length && covers(*ip, *bits, other))),
                    None => fail("network address parse error during conversion from string"),
                }
            }),
        ),
        row(
            "cidr:containsCIDR(cidr)->bool",
            nested(false),
            f!([
            Opaque(Kind::Cidr(ip, bits)),
            Opaque(Kind::Cidr(other, length)),
        ] => Ok(Bool(bits <= length && covers(*ip, *bits, *other)))),
        ),
    ];
    address!(rows, "isUnspecified", IpAddr::is_unspecified);
    address!(rows, "isLoopback", IpAddr::is_loopback);
    address!(rows, "isLinkLocalMulticast", |ip| match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    });
    address!(rows, "isLinkLocalUnicast", link_local);
    address!(rows, "isGlobalUnicast", |ip| {
        let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || broadcast || link_local(ip))
    });
    url_part!(rows, "getScheme", |url| if url.scheme() == NO_SCHEME { String::new() } else { url.scheme().to_owned() });
    url_part!(rows, "getHost", |url| match (bracketed(url), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host,
    });
    url_part!(rows, "getHostname", |url| bracketed(url).trim_matches(['[', ']']).to_owned());
    url_part!(rows, "getPort", |url| url.port().map(|port| port.to_string()).unwrap_or_default());
    url_part!(rows, "getEscapedPath", |url| {
        if url.path() == "/" && !url.as_str().ends_with('/') { String::new() } else { url.path().to_owned() }
    });
    rows
}

fn link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// Stands for the scheme of a path without one, which is a URL here.
const NO_SCHEME: &str = "kinit-path";

fn parse_url(source: &str) -> Option<Url> {
    if source.starts_with('/') {
        return Url::parse(&format!("{NO_SCHEME}:{source}")).ok();
    }
    let (scheme, _) = source.split_once(':')?;
    let blank = |c: char| c.is_whitespace() || c.is_control();
    (scheme != NO_SCHEME && !source.contains(blank)).then(|| Url::parse(source).ok()).flatten()
}

fn bracketed(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn query<'a>(url: &Url) -> Value<'a> {
    let mut found: BTreeMap<String, Vec<Value<'a>>> = BTreeMap::new();
    for (key, value) in url.query_pairs() {
        found.entry(key.into_owned()).or_default().push(text(&value));
    }
    let entries = found.into_iter().map(|(key, values)| (Key::String(Text::Owned(key.into())), Value::list(values)));
    Value::Map(Map::Owned(Rc::new(entries.collect())))
}

/// An address; one that is another in disguise, or has a zone, is none.
fn parse_ip(source: &str) -> Option<IpAddr> {
    let ip: IpAddr = source.parse().ok()?;
    match ip {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => None,
        ip => Some(ip),
    }
}

fn parse_cidr(source: &str) -> Option<(IpAddr, u8)> {
    let (ip, bits) = source.split_once('/')?;
    if bits.len() > 1 && bits.starts_with('0') || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (ip, bits) = (parse_ip(ip)?, bits.parse().ok()?);
    net(ip, bits).map(|_| (ip, bits))
}

fn net(ip: IpAddr, bits: u8) -> Option<IpNet> {
    IpNet::new(ip, bits).ok()
}

fn covers(ip: IpAddr, bits: u8, other: IpAddr) -> bool {
    net(ip, bits).is_some_and(|net| net.contains(&other))
}

#[cfg(test)]
mod tests {
    use super::{parse_cidr, parse_ip, parse_url};

    #[test]
    fn addresses_are_strict() {
        assert!(parse_ip("::ffff:1.2.3.4").is_none());
        assert!(parse_ip("fe80::1%eth0").is_none());
        assert!(parse_ip("01.2.3.4").is_none());
        assert!(parse_cidr("10.0.0.0/08").is_none());
        assert!(parse_cidr("10.0.0.1/33").is_none());
        assert!(parse_cidr("10.0.0.1/8").is_some());
        assert!(parse_url("/path?x=1").is_some());
        assert!(parse_url("no scheme").is_none());
    }
}
