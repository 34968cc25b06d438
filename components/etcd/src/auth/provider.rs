//! What users are given once their password is proved, as `--auth-token` says.

use std::sync::Arc;
use std::time::Duration;

use super::jwt::{Jwt, JwtError};

/// Kinds of tokens.
#[derive(Clone, Debug)]
pub enum AuthToken {
    /// Random, kept by all members, void after this time without use.
    Simple { idle: Duration },
    /// Signed, kept by nobody.
    Jwt(Arc<Jwt>),
}

/// What is wrong with `--auth-token`.
#[derive(Debug, thiserror::Error)]
pub enum AuthTokenError {
    #[error("a token is simple or jwt, not {0:?}")]
    Kind(String),
    #[error("{0:?} is not NAME=VALUE, or is given twice")]
    Option(String),
    #[error(transparent)]
    Jwt(#[from] JwtError),
}

impl AuthToken {
    /// Understands `simple` and `jwt,NAME=VALUE,…`; keys are read.
    pub fn parse(text: &str, idle: Duration) -> Result<Self, AuthTokenError> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut options: Vec<(&str, &str)> = Vec::new();
        for part in parts {
            let wrong = || AuthTokenError::Option(part.to_owned());
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            if options.iter().any(|(known, _)| *known == name) {
                return Err(wrong());
            }
            options.push((name, value));
        }
        match kind {
            "simple" => Ok(Self::Simple { idle }),
            "jwt" => Ok(Self::Jwt(Arc::new(Jwt::new(&options)?))),
            other => Err(AuthTokenError::Kind(other.to_owned())),
        }
    }
}
