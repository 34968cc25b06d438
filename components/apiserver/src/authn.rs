//! Who asks: a client certificate, a front proxy's word, a bearer token, or nobody; and whom they ask to be.

pub mod bootstrap;
pub mod certificates;
mod claims;
pub mod config;
pub(crate) mod figures;
pub mod impersonation;
mod jwt;
pub mod oidc;
mod token_file;
pub mod tokens;
pub mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use http::HeaderMap;
use kinit_api::status::Status;
use kinit_serving::listener::Peer;
use parking_lot::Mutex;
use prometheus_client::registry::Registry as Families;
use sha2::{Digest, Sha256};

pub use claims::condition;

use crate::cache::Cache;
use crate::options::AuthenticationOptions;
use crate::recent::Recent;
use crate::reload::{Figures as Reloads, Followed};
use certificates::Certificates;
use config::Anonymous;
use figures::{Figures, Found};
use jwt::Issuer;
use token_file::TokenFile;
use tokens::Tokens;
use tokio_util::sync::CancellationToken;
use webhook::TokenWebhook;

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
    token_file: TokenFile,
    webhook: Option<TokenWebhook>,
    /// How long the webhook's answers count.
    webhook_ttl: Duration,
    /// What the configuration file says.
    current: ArcSwap<Current>,
    followed: Mutex<Option<Followed>>,
    reloads: Reloads,
    figures: Figures,
    options: AuthenticationOptions,
    /// Users of tokens, by the tokens' digests.
    recent: Recent<[u8; 32], User>,
}

/// What may change while the server runs.
struct Current {
    issuers: Vec<Issuer>,
    anonymous: Anonymous,
}

impl Current {
    /// What a file's text and the flags say together.
    fn new(options: &AuthenticationOptions, text: Option<&str>) -> anyhow::Result<Self> {
        let mut issuers: Vec<Issuer> = options.oidc.issuer()?.map(Issuer::new).into_iter().collect();
        let by_flag = if options.anonymous_auth.unwrap_or(true) { Anonymous::Everywhere } else { Anonymous::Nowhere };
        let Some(text) = text else { return Ok(Self { issuers, anonymous: by_flag }) };
        anyhow::ensure!(issuers.is_empty(), "authentication-config file and oidc-* flags are mutually exclusive");
        let file = config::parse(text, &options.service_account_issuer).map_err(anyhow::Error::msg)?;
        issuers.extend(file.issuers.into_iter().map(Issuer::new));
        anyhow::ensure!(
            file.anonymous.is_none() || options.anonymous_auth.is_none(),
            "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file"
        );
        Ok(Self { issuers, anonymous: file.anonymous.unwrap_or(by_flag) })
    }
}

impl Authenticator {
    /// Reads CAs and keys; errors name the file.
    pub fn new(options: &AuthenticationOptions) -> anyhow::Result<Self> {
        let file = options.authentication_config.as_ref().map(|path| {
            let named = || format!("--authentication-config: {}", path.display());
            let text = std::fs::read_to_string(path).with_context(named)?;
            let current = Current::new(options, Some(&text)).with_context(named)?;
            anyhow::Ok((current, Followed::new(path.clone(), &text)))
        });
        let (current, followed) = match file.transpose()? {
            Some((current, followed)) => (current, Some(followed)),
            None => (Current::new(options, None)?, None),
        };
        let tokens =
            options.token_auth_file.as_deref().map(TokenFile::load).transpose().context("--token-auth-file")?;
        let webhook = TokenWebhook::new(&options.webhook).context("--authentication-token-webhook-config-file")?;
        Ok(Self {
            certificates: Certificates::new(options)?,
            tokens: Tokens::new(options)?,
            bootstrap_tokens: options.enable_bootstrap_token_auth,
            token_file: tokens.unwrap_or_default(),
            webhook,
            webhook_ttl: options.webhook.cache_ttl,
            current: ArcSwap::from_pointee(current),
            followed: Mutex::new(followed),
            reloads: Reloads::default(),
            figures: Figures::default(),
            options: options.clone(),
            recent: Recent::new(REMEMBERED),
        })
    }

    /// Who asks. A credential that is there and is not good is an error, not an anonymous request.
    pub async fn user(
        &self,
        peer: Option<&Peer>,
        headers: &HeaderMap,
        path: &str,
        cache: &Cache,
    ) -> Result<User, Status> {
        let began = Instant::now();
        let user = self.known(peer, headers, path, cache).await;
        let found = match &user {
            Ok(user) => Found::User(&user.name),
            Err(_) if bearer(headers).is_some() || peer.is_some_and(|peer| !peer.certificates.is_empty()) => {
                Found::Wrong
            }
            Err(_) => Found::Nobody,
        };
        self.figures.attempted(found, began.elapsed());
        user
    }

    async fn known(&self, peer: Option<&Peer>, headers: &HeaderMap, path: &str, cache: &Cache) -> Result<User, Status> {
        let certified = peer.map_or(Ok(None), |peer| self.certificates.user(peer, headers, &self.figures));
        if let Ok(Some(user)) = certified {
            return Ok(user.authenticated());
        }
        if let Some(token) = bearer(headers) {
            return self.remembered(token, cache).await.ok_or_else(Status::unauthorized);
        }
        // Whoever shows what is not good is told so, and not taken for somebody who shows nothing.
        certified.map_err(|_| Status::unauthorized())?;
        if self.current.load().anonymous.allows(path) { Ok(User::anonymous()) } else { Err(Status::unauthorized()) }
    }

    /// Whose token it is, found out at most every [`REMEMBERED_FOR`].
    async fn remembered(&self, token: &str, cache: &Cache) -> Option<User> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(user) = self.recent.get(&digest) {
            return Some(user);
        }
        let found = self.find(token, &[], cache).await;
        let found = found.map_err(|reasons| tracing::info!(?reasons, "a token was refused"));
        let (user, _, good_for) = found.ok()?;
        self.recent.keep(digest, user.clone(), good_for);
        Some(user)
    }

    /// Whose token it is and for which of `audiences` (empty: the API's own) it is good; the error says what is wrong with it, as
    /// reviews show that.
    pub async fn token(&self, token: &str, audiences: &[String], cache: &Cache) -> Result<(User, Vec<String>), String> {
        let found = self.find(token, audiences, cache).await;
        found.map(|(user, audiences, _)| (user, audiences)).map_err(|reasons| refusal(&reasons))
    }

    /// [`Authenticator::token`], and how long that counts. All who may know a token are asked, also where one has found it wrong;
    /// errors are what those said who take it for theirs.
    async fn find(
        &self,
        token: &str,
        audiences: &[String],
        cache: &Cache,
    ) -> Result<(User, Vec<String>, Duration), Vec<String>> {
        let mut reasons = Vec::new();
        match self.tokens.user(token, audiences, cache) {
            Ok(Some((user, audiences))) => return Ok((user.authenticated(), audiences, REMEMBERED_FOR)),
            Ok(None) => {}
            Err(reason) => reasons.push(reason),
        }
        let api = self.tokens.audiences();
        // None of these knows of audiences, so what they vouch for is for the API's own.
        let good_for: Vec<String> = audiences.iter().filter(|wanted| api.contains(wanted)).cloned().collect();
        if audiences.is_empty() || !good_for.is_empty() {
            let known = self.token_file.user(token);
            let known = known
                .or_else(|| bootstrap::user(token, cache, jiff::Timestamp::now()).filter(|_| self.bootstrap_tokens));
            if let Some(user) = known {
                return Ok((user.authenticated(), good_for, REMEMBERED_FOR));
            }
            match self.issued(token).await {
                Some(Ok(user)) => return Ok((user.authenticated(), good_for, REMEMBERED_FOR)),
                Some(Err(reason)) => reasons.push(reason),
                None => {}
            }
        }
        let wanted = if audiences.is_empty() { api } else { audiences };
        let Some(webhook) = &self.webhook else { return Err(reasons) };
        match webhook.user(token, wanted, api).await {
            Ok(Some((user, audiences))) => return Ok((user.authenticated(), audiences, self.webhook_ttl)),
            Ok(None) => {}
            Err(reason) => {
                tracing::warn!(reason, "the webhook for tokens gave no answer");
                reasons.push(reason);
            }
        }
        Err(reasons)
    }

    /// The user of a token that somebody else has issued.
    async fn issued(&self, token: &str) -> Option<Result<User, String>> {
        let current = self.current.load_full();
        let claims = tokens::peek(token)?;
        let issuer = current.issuers.iter().find(|issuer| issuer.issued(&claims))?;
        Some(issuer.user(token).await)
    }

    pub fn register(&self, families: &mut Families) {
        if self.options.authentication_config.is_some() {
            self.reloads.register("authentication", families);
        }
        families.register_collector(Box::new(self.figures.clone()));
    }

    /// Asks issuers for their keys, and follows the configuration file and those of CAs until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        tokio::join!(self.certificates.run(&shutdown), self.follow(&shutdown));
    }

    async fn follow(&self, shutdown: &CancellationToken) {
        shutdown.run_until_cancelled(self.fetch()).await;
        let followed = self.followed.lock().take();
        let Some(mut followed) = followed else { return };
        loop {
            let text = tokio::select! {
                () = shutdown.cancelled() => return,
                text = followed.changed() => text,
            };
            let new = Current::new(&self.options, Some(&text));
            self.reloads.count(new.is_ok());
            match new {
                Ok(new) => {
                    self.current.store(Arc::new(new));
                    // Whoever is no longer believed is not remembered either.
                    self.recent.clear();
                    tracing::info!("the authentication configuration has been reloaded");
                    shutdown.run_until_cancelled(self.fetch()).await;
                }
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the changed authentication configuration is not used")
                }
            }
        }
    }

    async fn fetch(&self) {
        for issuer in &self.current.load_full().issuers {
            if let Err(reason) = issuer.fetch().await {
                tracing::warn!(reason, "an issuer's keys are not known yet");
            }
        }
    }
}

/// What is wrong with a token, as upstream tells it: that it is no good, and each other reason once.
fn refusal(reasons: &[String]) -> String {
    let mut told = vec!["invalid bearer token"];
    for reason in reasons {
        if !told.contains(&reason.as_str()) {
            told.push(reason);
        }
    }
    if let [only] = told[..] { only.to_owned() } else { format!("[{}]", told.join(", ")) }
}

/// What an `Authorization: Bearer` header says: the token up to the next blank, and what is behind that.
fn credentials(headers: &HeaderMap) -> Option<(&str, Option<&str>)> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let mut parts = value.trim().splitn(3, ' ');
    let (scheme, token) = (parts.next()?, parts.next()?);
    scheme.eq_ignore_ascii_case("bearer").then_some((token, parts.next()))
}

/// The token of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers).map(|(token, _)| token).filter(|token| !token.is_empty())
}

/// What a client is to be told whose token is not looked at.
pub fn warning(headers: &HeaderMap) -> Option<&'static str> {
    let misplaced = credentials(headers).is_some_and(|(token, more)| token.is_empty() && more.is_some());
    misplaced
        .then_some("the provided Authorization header contains extra space before the bearer token, and is ignored")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_with_a_token_is_told_once() {
        for (reasons, told) in [
            (&[][..], "invalid bearer token"),
            (&["a"], "[invalid bearer token, a]"),
            (&["a", "b", "a"], "[invalid bearer token, a, b]"),
        ] {
            let reasons: Vec<String> = reasons.iter().map(|&reason| reason.to_owned()).collect();
            assert_eq!(refusal(&reasons), told);
        }
    }

    #[test]
    fn a_token_is_what_stands_behind_one_blank() {
        for (value, token, warned) in [
            ("Bearer a.b", Some("a.b"), false),
            ("bearer a.b more", Some("a.b"), false),
            ("Bearer  a.b", None, true),
            ("Bearer", None, false),
            ("Bearer ", None, false),
            ("Basic YTpi", None, false),
        ] {
            let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!((bearer(&headers), warning(&headers).is_some()), (token, warned), "{value}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
