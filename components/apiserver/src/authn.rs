//! Who asks: a client certificate, a front proxy's word, a bearer token, or nobody; and whom they ask to be.

pub mod bootstrap;
pub mod certificates;
pub mod impersonation;
pub mod tokens;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use http::HeaderMap;
use kinit_api::status::Status;
use kinit_serving::listener::Peer;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::cache::Cache;
use crate::options::AuthenticationOptions;
use certificates::Certificates;
use tokens::Tokens;

/// Everybody who has proved to be somebody.
pub const AUTHENTICATED: &str = "system:authenticated";
/// How long a good token is taken for good without another look, upstream's ten seconds, and how many are remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
const REMEMBERED: usize = 4096;
/// Those who may do everything.
pub const MASTERS: &str = "system:masters";

/// The asking user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Self { name: name.into(), groups, ..Self::default() }
    }

    pub fn anonymous() -> Self {
        Self::new("system:anonymous", &["system:unauthenticated"])
    }

    /// The server itself.
    pub fn server() -> Self {
        Self::new("system:apiserver", &[MASTERS, AUTHENTICATED])
    }

    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The node that the user is the kubelet of.
    pub fn node(&self) -> Option<&str> {
        self.name.strip_prefix("system:node:").filter(|_| self.in_group("system:nodes"))
    }

    fn authenticated(mut self) -> Self {
        if !self.in_group(AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.into());
        }
        self
    }

    /// As reviews show a user.
    pub fn to_value(&self) -> serde_json::Value {
        let mut value = serde_json::json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            value["uid"] = self.uid.as_str().into();
        }
        if !self.extra.is_empty() {
            value["extra"] = serde_json::json!(self.extra);
        }
        value
    }
}

/// All ways to prove who one is.
pub struct Authenticator {
    certificates: Certificates,
    pub tokens: Tokens,
    bootstrap_tokens: bool,
    anonymous: bool,
    /// Users of tokens, by the tokens' digests.
    recent: Mutex<HashMap<[u8; 32], (User, Instant)>>,
}

impl Authenticator {
    /// Reads CAs and keys; errors name the file.
    pub fn new(options: &AuthenticationOptions) -> anyhow::Result<Self> {
        Ok(Self {
            certificates: Certificates::new(options)?,
            tokens: Tokens::new(options)?,
            bootstrap_tokens: options.enable_bootstrap_token_auth,
            anonymous: options.anonymous_auth,
            recent: Mutex::default(),
        })
    }

    /// Who asks. A credential that is there and is not good is an error, not an anonymous request.
    pub fn user(&self, peer: Option<&Peer>, headers: &HeaderMap, cache: &Cache) -> Result<User, Status> {
        if let Some(user) = peer.and_then(|peer| self.certificates.user(peer, headers)) {
            return Ok(user.authenticated());
        }
        if let Some(token) = bearer(headers) {
            return self.remembered(token, cache).ok_or_else(Status::unauthorized);
        }
        if self.anonymous { Ok(User::anonymous()) } else { Err(Status::unauthorized()) }
    }

    /// Whose token it is, found out at most every [`REMEMBERED_FOR`].
    fn remembered(&self, token: &str, cache: &Cache) -> Option<User> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let known = self.recent.lock().get(&digest).filter(|(_, until)| *until > Instant::now()).cloned();
        if let Some((user, _)) = known {
            return Some(user);
        }
        let (user, _) = self.token(token, &[], cache)?;
        let mut recent = self.recent.lock();
        if recent.len() >= REMEMBERED {
            recent.clear();
        }
        recent.insert(digest, (user.clone(), Instant::now() + REMEMBERED_FOR));
        Some(user)
    }

    /// Whose token it is and for which of `audiences` (empty: the API's own) it is good.
    pub fn token(&self, token: &str, audiences: &[String], cache: &Cache) -> Option<(User, Vec<String>)> {
        match self.tokens.user(token, audiences, cache) {
            Ok(Some((user, audiences))) => return Some((user.authenticated(), audiences)),
            Ok(None) => {}
            Err(reason) => {
                tracing::info!(reason, "a ServiceAccount token was refused");
                return None;
            }
        }
        let api = self.tokens.audiences();
        if !audiences.is_empty() && !audiences.iter().any(|wanted| api.contains(wanted)) {
            return None;
        }
        let user = bootstrap::user(token, cache, jiff::Timestamp::now()).filter(|_| self.bootstrap_tokens)?;
        let good_for = audiences.iter().filter(|wanted| api.contains(wanted)).cloned().collect();
        Some((user.authenticated(), good_for))
    }
}

/// The token of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
