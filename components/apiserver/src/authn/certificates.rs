//! Client certificates: a user's own, and those of front proxies that speak for a user in headers.

use std::collections::HashMap;
use std::path::Path;

use http::HeaderMap;
use jiff::Timestamp;
use kinit_pki::Certificate;
use kinit_serving::listener::Peer;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::User;
use super::figures::Figures;
use crate::options::AuthenticationOptions;

/// Certificates whose verdict is remembered; a signature check costs a hundred times what looking it up does.
const REMEMBERED: usize = 4096;

/// The CAs, and what was found out about certificates.
pub struct Certificates {
    clients: Vec<Certificate>,
    proxies: Vec<Certificate>,
    proxy_names: Vec<String>,
    headers: Headers,
    verdicts: Mutex<HashMap<[u8; 32], Verdict>>,
}

/// What a front proxy says whom it speaks for in.
struct Headers {
    names: Vec<String>,
    uids: Vec<String>,
    groups: Vec<String>,
    extra_prefixes: Vec<String>,
}

#[derive(Clone)]
struct Verdict {
    user: Option<User>,
    proxy: bool,
    not_after: Timestamp,
}

impl Certificates {
    pub fn new(options: &AuthenticationOptions) -> anyhow::Result<Self> {
        let load = |path: &Option<std::path::PathBuf>| path.as_deref().map_or(Ok(Vec::new()), read_all);
        let small = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect();
        Ok(Self {
            clients: load(&options.client_ca_file)?,
            proxies: load(&options.requestheader_client_ca_file)?,
            proxy_names: options.requestheader_allowed_names.clone(),
            headers: Headers {
                names: small(&options.requestheader_username_headers),
                uids: small(&options.requestheader_uid_headers),
                groups: small(&options.requestheader_group_headers),
                extra_prefixes: small(&options.requestheader_extra_headers_prefix),
            },
            verdicts: Mutex::default(),
        })
    }

    /// The user of a connection, or the one that a front proxy on it speaks for. For how long a certificate is good that stands
    /// for its own user is noted in `figures`.
    pub fn user(&self, peer: &Peer, headers: &HeaderMap, figures: &Figures) -> Option<User> {
        let verdict = self.verdict(peer)?;
        let left = verdict.not_after.duration_since(Timestamp::now());
        if !left.is_negative()
            && let Some(user) = verdict.proxy.then(|| self.headers.user(headers)).flatten()
        {
            return Some(user);
        }
        if !self.clients.is_empty() {
            figures.certificate(left.try_into().unwrap_or_default());
        }
        verdict.user.filter(|_| !left.is_negative())
    }

    fn verdict(&self, peer: &Peer) -> Option<Verdict> {
        let leaf = peer.certificates.first()?;
        let digest: [u8; 32] = Sha256::digest(leaf).into();
        if let Some(known) = self.verdicts.lock().get(&digest) {
            return Some(known.clone());
        }
        let chain: Vec<Certificate> =
            peer.certificates.iter().filter_map(|der| Certificate::from_der(der, "client").ok()).collect();
        let own = chain.first()?;
        // TLS has verified the chain to one of all CAs; here it is told which of them that is.
        let vouched = |authorities: &[Certificate]| {
            authorities.iter().any(|ca| chain.iter().any(|certificate| certificate.is_signed_by(ca)))
        };
        let named = self.proxy_names.is_empty() || self.proxy_names.contains(&own.common_name);
        let user = (!own.common_name.is_empty() && vouched(&self.clients)).then(|| User {
            name: own.common_name.clone(),
            groups: own.organizations.clone(),
            extra: [(
                "authentication.kubernetes.io/credential-id".to_owned(),
                vec![format!("X509SHA256={}", hex::encode(digest))],
            )]
            .into(),
            ..User::default()
        });
        let verdict = Verdict { user, proxy: named && vouched(&self.proxies), not_after: own.not_after };
        let mut verdicts = self.verdicts.lock();
        if verdicts.len() >= REMEMBERED {
            verdicts.clear();
        }
        verdicts.insert(digest, verdict.clone());
        Some(verdict)
    }
}

impl Headers {
    fn user(&self, headers: &HeaderMap) -> Option<User> {
        let first = |names: &[String]| {
            names.iter().find_map(|name| headers.get(name)?.to_str().ok().filter(|text| !text.is_empty()))
        };
        let mut user = User { name: first(&self.names)?.to_owned(), ..User::default() };
        user.uid = first(&self.uids).unwrap_or_default().to_owned();
        for name in &self.groups {
            user.groups.extend(headers.get_all(name).iter().filter_map(|group| group.to_str().ok()).map(str::to_owned));
        }
        for (name, value) in headers {
            let key = self.extra_prefixes.iter().find_map(|prefix| name.as_str().strip_prefix(prefix.as_str()));
            if let (Some(key), Ok(value)) = (key, value.to_str()) {
                user.extra.entry(unescape(key)).or_default().push(value.to_owned());
            }
        }
        Some(user)
    }
}

/// A header's name cannot hold every character of a key, so keys come percent-encoded.
pub fn unescape(key: &str) -> String {
    percent_decode(key).unwrap_or_else(|| key.to_owned())
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

fn read_all(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let text = std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    Ok(Certificate::all_from_pem(&text, &path.display().to_string())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn a_proxy_speaks_in_headers() {
        let options = crate::options::Options::parse_from(["x", "--etcd-servers=http://127.0.0.1:1"]);
        let certificates = Certificates::new(&options.authentication).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(certificates.headers.user(&headers), None);
        for (name, value) in [
            ("x-remote-user", "ann"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-extra-example.org%2fteam", "red"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let user = certificates.headers.user(&headers).unwrap();
        assert_eq!((user.name.as_str(), user.groups.len()), ("ann", 2));
        assert_eq!(user.extra["example.org/team"], ["red"]);
        assert_eq!(unescape("100%"), "100%");
    }
}
