//! Client certificates: a user's own, and those of front proxies that speak for a user in headers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use jiff::Timestamp;
use kinit_pki::Certificate;
use kinit_serving::listener::Peer;
use kinit_serving::trust::Clients;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::User;
use super::figures::Figures;
use crate::options::AuthenticationOptions;
use crate::recent::Recent;
use crate::reload::Followed;

/// Certificates whose verdict is remembered; a signature check costs a hundred times what looking it up does.
const REMEMBERED: usize = 4096;

/// The CAs, and what was found out about certificates.
pub struct Certificates {
    /// Whoever may be a user of their own.
    clients: Option<Authorities>,
    /// Whoever may speak for others.
    proxies: Option<Authorities>,
    proxy_names: Vec<String>,
    headers: Headers,
    verdicts: Recent<[u8; 32], Verdict>,
}

/// A file of CAs, and what is in it now.
struct Authorities {
    path: PathBuf,
    current: ArcSwap<Clients>,
    followed: Mutex<Option<Followed>>,
}

impl Authorities {
    fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            current: ArcSwap::from_pointee(parse(path, &text)?),
            followed: Mutex::new(Some(Followed::new(path.to_owned(), &text))),
        })
    }

    /// Whether they vouch for the first of a chain.
    fn vouch(&self, peer: &Peer, now: Timestamp) -> bool {
        let now = now.duration_since(Timestamp::UNIX_EPOCH).try_into().unwrap_or_default();
        let judged = self.current.load().vouch(&peer.certificates, now);
        judged.inspect_err(|error| tracing::debug!(%error, file = %self.path.display(), "no vouching")).is_ok()
    }
}

/// The CAs in the text of a file.
fn parse(path: &Path, text: &str) -> anyhow::Result<Clients> {
    let named = || path.display().to_string();
    let all = Certificate::all_from_pem(text, &named())?;
    let all = all.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    Clients::new(all).map_err(|why| anyhow::anyhow!("{}: {why}", named()))
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
    /// The certificate's own user, where the CAs of users vouch for it and it has a name.
    user: Option<User>,
    /// Whether the CAs of users vouch for it.
    client: bool,
    /// Whether it may speak for others.
    proxy: bool,
    not_after: Timestamp,
}

impl Verdict {
    fn of(own: &Certificate, digest: &[u8], client: bool, proxy: bool, not_after: Timestamp) -> Self {
        let user = (client && !own.common_name.is_empty()).then(|| User {
            name: own.common_name.clone(),
            groups: own.organizations.clone(),
            extra: [(
                "authentication.kubernetes.io/credential-id".to_owned(),
                vec![format!("X509SHA256={}", hex::encode(digest))],
            )]
            .into(),
            ..User::default()
        });
        Self { user, client, proxy, not_after }
    }
}

/// A certificate that is shown and is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong;

impl Certificates {
    pub fn new(options: &AuthenticationOptions) -> anyhow::Result<Self> {
        let load = |path: &Option<PathBuf>| path.as_deref().map(Authorities::load).transpose();
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
            verdicts: Recent::new(REMEMBERED),
        })
    }

    /// The user of a connection, or the one that a front proxy on it speaks for; none where no certificate says who that is. One is
    /// wrong of which any of the ways in which this server takes certificates makes nothing, as upstream has it. For how long a
    /// certificate is good is noted in `figures`.
    pub fn user(&self, peer: &Peer, headers: &HeaderMap, figures: &Figures) -> Result<Option<User>, Wrong> {
        if peer.certificates.is_empty() || self.clients.is_none() && self.proxies.is_none() {
            return Ok(None);
        }
        let now = Timestamp::now();
        let verdict = self.verdict(peer, now).ok_or(Wrong)?;
        let left = verdict.not_after.duration_since(now);
        let alive = !left.is_negative();
        if alive && let Some(user) = verdict.proxy.then(|| self.headers.user(headers)).flatten() {
            return Ok(Some(user));
        }
        if self.clients.is_some() {
            figures.certificate(left.try_into().unwrap_or_default());
        }
        if alive && verdict.user.is_some() {
            return Ok(verdict.user);
        }
        let ways = [(self.clients.is_some(), verdict.client), (self.proxies.is_some(), verdict.proxy)];
        if ways.iter().any(|(there, good)| *there && !(*good && alive)) { Err(Wrong) } else { Ok(None) }
    }

    /// What is thought of a connection's certificate; none of what is no certificate.
    fn verdict(&self, peer: &Peer, now: Timestamp) -> Option<Verdict> {
        let leaf = peer.certificates.first()?;
        let digest: [u8; 32] = Sha256::digest(leaf).into();
        if let Some(known) = self.verdicts.get(&digest) {
            return Some(known);
        }
        let own = Certificate::from_der(leaf, "client").ok()?;
        let rest = peer.certificates.iter().skip(1).filter_map(|der| Certificate::from_der(der, "client").ok());
        // What is over already has not been of use to the verdict, and what is not may have been.
        let first_end = rest.map(|other| other.not_after).filter(|end| *end > now).fold(own.not_after, Timestamp::min);
        let vouched = |of: &Option<Authorities>| of.as_ref().is_some_and(|of| of.vouch(peer, now));
        let named = self.proxy_names.is_empty() || self.proxy_names.contains(&own.common_name);
        let (client, proxy) = (vouched(&self.clients), named && vouched(&self.proxies));
        let verdict = Verdict::of(&own, &digest, client, proxy, first_end);
        // Whom nobody vouches for today may be vouched for tomorrow.
        if client || proxy {
            let left = verdict.not_after.duration_since(now).try_into().unwrap_or_default();
            self.verdicts.keep(digest, verdict.clone(), left);
        }
        Some(verdict)
    }

    /// Follows the files of CAs until `shutdown`. One that cannot be used is logged, and what was in it before stays.
    pub async fn run(&self, shutdown: &CancellationToken) {
        let follow = async |of: &Option<Authorities>| {
            let Some(of) = of else { return };
            let followed = of.followed.lock().take();
            let Some(mut followed) = followed else { return };
            while let Some(text) = shutdown.run_until_cancelled(followed.changed()).await {
                match parse(&of.path, &text) {
                    Ok(new) => {
                        of.current.store(Arc::new(new));
                        self.verdicts.clear();
                        tracing::info!(file = %of.path.display(), "the CAs of clients have been read again");
                    }
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), "the changed CAs of clients are not used")
                    }
                }
            }
        };
        tokio::join!(follow(&self.clients), follow(&self.proxies));
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use kinit_pki::Authority;

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

    /// A connection with certificates that were made for common names: by the CA of users (`u`), of proxies (`p`) or another (`o`);
    /// the certificates of the first are the client's own.
    struct Made {
        folder: tempfile::TempDir,
        users: Authority,
        proxies: Authority,
        others: Authority,
    }

    impl Made {
        fn new() -> Self {
            let authority = |name: &str| Authority::create(name, Timestamp::now()).unwrap();
            let made = Self {
                folder: tempfile::tempdir().unwrap(),
                users: authority("users"),
                proxies: authority("proxies"),
                others: authority("others"),
            };
            for (name, of) in [("u", &made.users), ("p", &made.proxies)] {
                std::fs::write(made.folder.path().join(name), of.certificate().to_pem()).unwrap();
            }
            made
        }

        fn certificates(&self, files: &[(&str, &str)], names: &[&str]) -> Certificates {
            let file = |name: &str| self.folder.path().join(name).display().to_string();
            let flags = files.iter().map(|(flag, name)| format!("--{flag}={}", file(name)));
            let names = names.iter().map(|name| format!("--requestheader-allowed-names={name}"));
            let first = ["x", "--etcd-servers=http://127.0.0.1:1"].map(str::to_owned);
            let options = crate::options::Options::parse_from(first.into_iter().chain(flags).chain(names));
            Certificates::new(&options.authentication).unwrap()
        }

        fn peer(&self, chain: &[(char, &str)]) -> Peer {
            let made = chain.iter().map(|(by, name)| {
                let by = match by {
                    'u' => &self.users,
                    'p' => &self.proxies,
                    _ => &self.others,
                };
                let profile = kinit_pki::Profile::client(*name, &["g"]);
                let day = std::time::Duration::from_secs(86400);
                CertificateDer::from(by.issue(&profile, Timestamp::now(), day).unwrap().0.der().to_vec())
            });
            Peer {
                address: ([127, 0, 0, 1], 1).into(),
                certificates: made.collect(),
                tls: true,
                leave: CancellationToken::default(),
            }
        }
    }

    const BOTH: &[(&str, &str)] = &[("client-ca-file", "u"), ("requestheader-client-ca-file", "p")];

    #[test]
    fn a_certificate_counts_by_its_own_authority_and_a_bad_one_is_nobody_s() {
        let made = Made::new();
        let speaking = HeaderMap::from_iter([("x-remote-user".parse().unwrap(), "eve".parse().unwrap())]);
        let user = |certificates: &Certificates, chain: &[(char, &str)], headers: &HeaderMap| {
            let user = certificates.user(&made.peer(chain), headers, &Figures::default());
            user.map(|user| user.map(|user| user.name)).map_err(|_| "wrong")
        };
        let (ann, eve) = (Ok(Some("ann".to_owned())), Ok(Some("eve".to_owned())));
        let both = made.certificates(BOTH, &[]);
        let named = made.certificates(BOTH, &["proxy"]);
        let users = made.certificates(&BOTH[..1], &[]);
        let silent = HeaderMap::new();
        for (certificates, chain, headers, found) in [
            (&both, &[][..], &speaking, Ok(None)),
            (&both, &[('u', "ann")], &silent, ann.clone()),
            (&both, &[('u', "ann")], &speaking, ann.clone()),
            (&both, &[('p', "proxy")], &speaking, eve.clone()),
            (&both, &[('p', "proxy")], &silent, Err("wrong")),
            (&both, &[('o', "ann")], &speaking, Err("wrong")),
            (&named, &[('p', "proxy")], &speaking, eve),
            (&named, &[('p', "other")], &speaking, Err("wrong")),
            // What others were given, laid beside one's own, makes nobody a proxy or a user.
            (&both, &[('u', "ann"), ('p', "proxy")], &speaking, ann),
            (&both, &[('p', "proxy"), ('u', "ann")], &silent, Err("wrong")),
            (&both, &[('o', "ann"), ('u', "ann")], &silent, Err("wrong")),
            // Without a name it is nobody, which is wrong only where it might have been a proxy's.
            (&users, &[('u', "")], &silent, Ok(None)),
            (&both, &[('u', "")], &silent, Err("wrong")),
        ] {
            assert_eq!(user(certificates, chain, headers), found, "{chain:?} {headers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn authorities_follow_their_file() {
        let made = Made::new();
        let certificates = made.certificates(BOTH, &[]);
        let ask = |chain: &[(char, &str)]| {
            let user = certificates.user(&made.peer(chain), &HeaderMap::new(), &Figures::default());
            user.map(|user| user.is_some())
        };
        assert_eq!((ask(&[('u', "ann")]), ask(&[('o', "ann")])), (Ok(true), Err(Wrong)));
        let shutdown = CancellationToken::new();
        let changes = async {
            std::fs::write(made.folder.path().join("u"), "nothing").unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
            let kept = (ask(&[('u', "ann")]), ask(&[('o', "ann")]));
            std::fs::write(made.folder.path().join("u"), made.others.certificate().to_pem()).unwrap();
            // Reading is done by other threads, for which a paused clock does not wait.
            while ask(&[('o', "ann")]).is_err() {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            shutdown.cancel();
            (kept, ask(&[('u', "ann")]))
        };
        let (_, (kept, last)) = tokio::join!(certificates.run(&shutdown), changes);
        assert_eq!((kept, last), ((Ok(true), Err(Wrong)), Err(Wrong)));
    }
}
