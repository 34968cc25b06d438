//! Which of several certificates a client is shown, by the name or address that it asks for; upstream's `--tls-sni-cert-key`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use kinit_pki::Certificate;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// A certificate, its key, and the names that it is shown for; those that it has itself without any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPair {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// DNS names, `*` in place of the first label for all, and addresses.
    pub names: Vec<String>,
}

impl FromStr for NamedPair {
    type Err = String;

    /// `CERT,KEY` or `CERT,KEY:NAME,NAME`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (pair, names) = match text.split_once(':') {
            None => (text, Vec::new()),
            Some((_, names)) if names.trim().is_empty() => return Err("empty names list is not allowed".to_owned()),
            Some((pair, names)) => (pair, names.split(',').map(|name| name.trim().to_owned()).collect()),
        };
        let mut files = pair.split(',').map(|file| PathBuf::from(file.trim()));
        match (files.next(), files.next(), files.next()) {
            (Some(cert), Some(key), None) => Ok(Self { cert, key, names }),
            _ => Err("expected comma separated certificate and key file paths".to_owned()),
        }
    }
}

/// One certificate that is served, and what it is for.
#[derive(Debug)]
pub(super) struct Served {
    pub key: Arc<CertifiedKey>,
    /// What it says itself.
    pub certificate: Certificate,
    /// What it is shown for, if that was said.
    pub names: Vec<String>,
}

/// Chooses among certificates. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// Who asks for no name, or for one that none has.
    default: Arc<CertifiedKey>,
    named: Arc<HashMap<String, Arc<CertifiedKey>>>,
    /// What certificates have beside the names that they are shown for, the default's first.
    own: Arc<Vec<(Vec<String>, Arc<CertifiedKey>)>>,
}

impl Choice {
    /// Of two for one name the earlier is shown; a name that was said goes before one that a certificate has.
    pub fn new(default: Served, others: Vec<Served>) -> Self {
        let mut named: HashMap<String, Arc<CertifiedKey>> = HashMap::new();
        let said = others.iter().flat_map(|one| one.names.iter().map(move |name| (name.clone(), one)));
        let unsaid = others.iter().filter(|one| one.names.is_empty());
        let unsaid = unsaid.flat_map(|one| names(&one.certificate).into_iter().map(move |name| (name, one)));
        for (name, one) in said.chain(unsaid) {
            named.entry(name).or_insert_with(|| one.key.clone());
        }
        let shown = default.key.clone();
        let all = std::iter::once(default).chain(others);
        let own = all.map(|one| (one.certificate.dns_names, one.key)).collect();
        Self { default: shown, named: Arc::new(named), own: Arc::new(own) }
    }

    /// The addresses that have a certificate of their own, with the choice of those who came to them and ask for no name.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, Self)> {
        let addressed = self.named.iter().filter_map(|(name, key)| Some((name.parse().ok()?, key)));
        addressed.map(|(address, key)| (address, Self { default: key.clone(), ..self.clone() }))
    }

    /// The certificate for a name, in any case of letters.
    fn choose(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(name) = name else { return &self.default };
        let name = name.to_ascii_lowercase();
        let any = name.split_once('.').map_or_else(|| "*".to_owned(), |(_, rest)| format!("*.{rest}"));
        if let Some(key) = self.named.get(&name).or_else(|| self.named.get(&any)) {
            return key;
        }
        let has = |own: &str| own.eq_ignore_ascii_case(&name) || own.eq_ignore_ascii_case(&any);
        let own = self.own.iter().find(|(names, _)| names.iter().any(|own| has(own)));
        own.map_or(&self.default, |(_, key)| key)
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()).clone())
    }
}

/// The names that a certificate has: that of its subject, if it may be a DNS name, and its DNS names; no addresses.
fn names(certificate: &Certificate) -> Vec<String> {
    let subject = &certificate.common_name;
    let plain = subject.strip_prefix("*.").unwrap_or(subject);
    let label = |label: &str| {
        let ends = |end: Option<u8>| end.is_some_and(|byte| byte != b'-');
        let fits = label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        fits && ends(label.bytes().next()) && ends(label.bytes().next_back())
    };
    let fits = subject == "*" || (plain.len() <= 253 && plain.split('.').all(label));
    let subject = (fits && subject.parse::<IpAddr>().is_err()).then(|| subject.clone());
    subject.into_iter().chain(certificate.dns_names.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_pair_is_read_with_its_names() {
        let pair = |cert: &str, key: &str, names: &[&str]| NamedPair {
            cert: Path::new(cert).to_owned(),
            key: Path::new(key).to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        for (text, expected) in [
            ("foo.crt,foo.key", Ok(pair("foo.crt", "foo.key", &[]))),
            ("foo.crt,foo.key:abc", Ok(pair("foo.crt", "foo.key", &["abc"]))),
            (" foo.crt , foo.key : *.foo.com , foo.com", Ok(pair("foo.crt", "foo.key", &["*.foo.com", "foo.com"]))),
            ("foo.crt", Err("expected comma separated certificate and key file paths")),
            ("foo.crt,foo.key,x", Err("expected comma separated certificate and key file paths")),
            ("foo.crt:abc", Err("expected comma separated certificate and key file paths")),
            ("foo.crt,foo.key:", Err("empty names list is not allowed")),
        ] {
            assert_eq!(text.parse::<NamedPair>(), expected.map_err(str::to_owned), "{text}");
        }
    }

    fn served(subject: &str, own: &[&str], said: &[&str]) -> Served {
        let profile = kinit_pki::Profile {
            common_name: subject.to_owned(),
            dns_names: own.iter().map(|name| (*name).to_owned()).collect(),
            usages: vec![kinit_pki::Usage::Server],
            ..Default::default()
        };
        let now = jiff::Timestamp::now();
        let authority = kinit_pki::Authority::create("ca", now).unwrap();
        let (certificate, key) = authority.issue(&profile, now, kinit_pki::certificate::LEAF_VALIDITY).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let chain = vec![certificate.der().to_vec().into()];
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.to_pkcs8().to_vec());
        let key = Arc::new(CertifiedKey::from_der(chain, key.into(), &provider).unwrap());
        Served { key, certificate, names: said.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn clients_are_shown_the_certificate_of_the_name_that_they_ask_for() {
        let all = [
            served("default", &["default.example"], &[]),
            served("one", &["one.example", "*.one.example"], &[]),
            served("two", &["one.example", "hidden.example"], &["said.example", "*.said.example", "10.0.0.9"]),
            served("three", &[], &["one.example", "said.example"]),
            served("10.0.0.8", &[], &[]),
        ];
        let keys: Vec<_> = all.iter().map(|one| one.key.clone()).collect();
        let [default, others @ ..] = all;
        let choice = Choice::new(default, others.into());
        for (name, expected) in [
            (None, 0),
            (Some("default.example"), 0),
            (Some("nobody.example"), 0),
            (Some("a.one.example"), 1),
            (Some("A.One.Example"), 1),
            (Some("a.b.one.example"), 0),
            (Some("one"), 1),
            (Some("one.example"), 3),
            (Some("said.example"), 2),
            (Some("x.said.example"), 2),
            (Some("hidden.example"), 2),
            (Some("two"), 0),
        ] {
            assert!(Arc::ptr_eq(choice.choose(name), &keys[expected]), "{name:?}");
        }
        let addresses: Vec<(IpAddr, Choice)> = choice.addresses().collect();
        let [(address, there)] = &addresses[..] else { panic!("{addresses:?}") };
        assert_eq!(address.to_string(), "10.0.0.9", "an address that a certificate has itself does not count");
        assert!(Arc::ptr_eq(there.choose(None), &keys[2]) && Arc::ptr_eq(there.choose(Some("one")), &keys[1]));
    }
}
