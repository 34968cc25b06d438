//! Bootstrap tokens to make.

use std::time::Duration;

use jiff::Timestamp;

use super::Error;
use super::settings::duration;
use super::v1beta4::BootstrapToken;
use crate::token::Token;

const DEFAULT_TTL: Duration = Duration::from_secs(24 * 3600);

/// A bootstrap token to make.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenSettings {
    /// The token.
    pub token: Token,
    /// Its life; `None` never ends.
    pub ttl: Option<Duration>,
    /// Its end, where that was given instead of a life.
    pub expires: Option<Timestamp>,
    /// What it is for.
    pub description: String,
    /// `signing`, `authentication`.
    pub usages: Vec<String>,
    /// Groups that who shows it is in.
    pub groups: Vec<String>,
}

impl TokenSettings {
    /// Fills in the defaults of a token and checks it; an empty one is generated.
    pub fn resolve(token: &BootstrapToken) -> Result<Self, Error> {
        let list = |given: &[String], default: &[&str]| -> Vec<String> {
            if given.is_empty() { default.iter().map(|one| (*one).to_owned()).collect() } else { given.to_vec() }
        };
        let expires = match &token.expires {
            None => None,
            Some(text) => Some(text.parse::<Timestamp>().map_err(|_| {
                Error::value("bootstrapTokens.expires", text, "is no time", "for example 2027-01-31T12:00:00Z")
            })?),
        };
        if expires.is_some() && !token.ttl.is_empty() {
            let hint = "give one of them";
            return Err(Error::value("bootstrapTokens", "ttl and expires", "are both given", hint));
        }
        for usage in &token.usages {
            if !["signing", "authentication"].contains(&usage.as_str()) {
                let hint = "there are signing and authentication";
                return Err(Error::value("bootstrapTokens.usages", usage, "is no usage of a token", hint));
            }
        }
        for group in &token.groups {
            if !group.starts_with("system:bootstrappers:") {
                let hint = "its name begins with system:bootstrappers:";
                return Err(Error::value("bootstrapTokens.groups", group, "is no group of a token", hint));
            }
        }
        let ttl = match token.ttl.as_str() {
            "" if expires.is_some() => None,
            "" => Some(DEFAULT_TTL),
            text => Some(duration("token ttl", text)?).filter(|ttl| !ttl.is_zero()),
        };
        Ok(Self {
            token: if token.token.is_empty() { Token::generate() } else { token.token.parse()? },
            ttl,
            expires,
            description: token.description.clone(),
            usages: list(&token.usages, &["signing", "authentication"]),
            groups: list(&token.groups, &["system:bootstrappers:kubeadm:default-node-token"]),
        })
    }
}
