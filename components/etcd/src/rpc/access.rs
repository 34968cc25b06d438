//! Who may ask at all, before anything is asked: names in certificates, hosts and origins.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use kinit_serving::listener::Peer;
use kinit_serving::text;
use tonic::body::Body;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config;

/// For which side a listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Clients,
    Peers,
}

/// The rules of one side. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    rules: Arc<config::Access>,
    side: Side,
}

const ANY: &str = "*";

fn any(list: &[String]) -> bool {
    list.iter().all(String::is_empty) || list.iter().any(|item| item == ANY)
}

impl Access {
    pub fn new(rules: config::Access, side: Side) -> Self {
        Self { rules: Arc::new(rules), side }
    }

    /// The answer to whoever may not ask.
    pub fn refusal<B>(&self, request: &Request<B>, peer: Option<&Peer>, grpc: bool) -> Option<Response<Body>> {
        let (names, hostnames) = match self.side {
            Side::Clients => (&[][..], &self.rules.client_hostnames[..]),
            Side::Peers => (&self.rules.peer_names[..], &self.rules.peer_hostnames[..]),
        };
        let tls = peer.is_some_and(|peer| peer.tls);
        if tls && !(names.is_empty() && hostnames.is_empty()) && !peer.is_some_and(|peer| named(peer, names, hostnames))
        {
            return Some(
                text(StatusCode::FORBIDDEN, "the certificate is for none of the names allowed\n").map(Body::new),
            );
        }
        if grpc
            || tls
            || any(&self.rules.hosts)
            || host(request).is_some_and(|host| self.rules.hosts.iter().any(|known| known == host))
        {
            return None;
        }
        Some(text(StatusCode::MISDIRECTED_REQUEST, "the host is none of --host-whitelist\n").map(Body::new))
    }

    /// The origin that a browser is told of, if its script may ask.
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.rules.origins.iter().any(|origin| origin == ANY) {
            return Some(HeaderValue::from_static(ANY));
        }
        let origin = headers.get(header::ORIGIN)?;
        self.rules.origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }
}

/// Tells a browser which scripts may ask.
pub fn allow(response: &mut Response<Body>, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers
        .insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("accept, content-type, authorization"));
}

fn host<B>(request: &Request<B>) -> Option<&str> {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| request.uri().authority().map(|authority| authority.as_str()))?;
    // A port is no part of the name; an address of IPv6 stands in brackets.
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    }
}

fn named(peer: &Peer, names: &[String], hostnames: &[String]) -> bool {
    let Some(leaf) = peer.certificates.first() else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return false };
    let mut common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    if common.any(|name| names.iter().any(|allowed| allowed == name)) {
        return true;
    }
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let mut held =
        alternatives.filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
    held.any(|held| hostnames.iter().any(|asked| covers(held, asked)))
}

/// Whether a certificate's name is for a host. A star stands for the first label.
fn covers(held: &str, asked: &str) -> bool {
    let (held, asked) = (held.to_ascii_lowercase(), asked.to_ascii_lowercase());
    match held.strip_prefix("*.") {
        Some(parent) => asked.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => held == asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(origins: &[&str], hosts: &[&str]) -> Access {
        let texts = |list: &[&str]| list.iter().map(|text| text.to_string()).collect();
        let rules = config::Access { origins: texts(origins), hosts: texts(hosts), ..config::Access::default() };
        Access::new(rules, Side::Clients)
    }

    #[test]
    fn hosts_are_told_apart_without_their_ports() {
        let table = [
            (&["*"][..], "any", false, false),
            (&[], "any", false, false),
            (&["one", "::1"], "one:2379", false, false),
            (&["one", "::1"], "[::1]:2379", false, false),
            (&["one"], "two:2379", false, true),
            (&["one"], "two:2379", true, false),
        ];
        for (hosts, host, grpc, refused) in table {
            let request = Request::builder().header(header::HOST, host).body(()).expect("a request");
            assert_eq!(access(&[], hosts).refusal(&request, None, grpc).is_some(), refused, "{hosts:?} {host}");
        }
    }

    #[test]
    fn scripts_are_told_apart_by_origin() {
        let origin = |allowed: &[&str], from: &'static str| {
            let headers = HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static(from))]);
            access(allowed, &[]).origin(&headers).map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(origin(&["*"], "http://a").as_deref(), Some("*"));
        assert_eq!(origin(&["http://a"], "http://a").as_deref(), Some("http://a"));
        assert_eq!(origin(&["http://a"], "http://b"), None);
    }

    #[test]
    fn a_star_is_one_label() {
        assert!(covers("*.example.org", "a.example.org") && covers("A.org", "a.ORG"));
        assert!(!covers("*.example.org", "a.b.example.org") && !covers("*.example.org", "example.org"));
    }
}
