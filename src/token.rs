//! Bootstrap tokens: their form, their Secret, and the signature that they make over the cluster's facts.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rand::Rng;
use ring::hmac;
use serde_json::{Map, Value, json};

use crate::config::settings::TokenSettings;
use crate::config::{self};

/// A bootstrap token: six public and sixteen secret characters, `abcdef.0123456789abcdef`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
}

impl Token {
    /// Makes a random token.
    pub fn generate() -> Self {
        let text = |length: usize| -> String {
            const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
            let mut random = rand::rng();
            (0..length).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
        };
        Self { id: text(6), secret: text(16) }
    }

    /// The public part.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The whole token; only for where it is to be shown or used.
    pub fn reveal(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// The Secret that makes the cluster know the token.
    pub fn secret_object(settings: &TokenSettings, now: Timestamp) -> Value {
        let token = &settings.token;
        let mut data = Map::new();
        data.insert("token-id".into(), json!(token.id));
        data.insert("token-secret".into(), json!(token.secret));
        if !settings.description.is_empty() {
            data.insert("description".into(), json!(settings.description));
        }
        let after = |ttl: std::time::Duration| {
            Timestamp::from_second(now.as_second() + ttl.as_secs() as i64).unwrap_or(Timestamp::MAX)
        };
        if let Some(end) = settings.expires.or(settings.ttl.map(after)) {
            data.insert("expiration".into(), json!(end.to_string()));
        }
        for usage in &settings.usages {
            data.insert(format!("usage-bootstrap-{usage}"), json!("true"));
        }
        if !settings.groups.is_empty() {
            data.insert("auth-extra-groups".into(), json!(settings.groups.join(",")));
        }
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": format!("bootstrap-token-{}", token.id), "namespace": "kube-system"},
            "type": "bootstrap.kubernetes.io/token",
            "stringData": data,
        })
    }

    /// Whether `signature`, a JWS without its payload (`header..mac`), is this token's over `payload`.
    pub fn verifies(&self, payload: &str, signature: &str) -> bool {
        let mut parts = signature.split('.');
        let (Some(header), Some(""), Some(mac), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        let fields = URL_SAFE_NO_PAD.decode(header).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let named = fields.is_some_and(|fields| fields["alg"] == "HS256" && fields["kid"] == self.id.as_str());
        let Ok(mac) = URL_SAFE_NO_PAD.decode(mac) else { return false };
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
        named && hmac::verify(&key, signed.as_bytes(), &mac).is_ok()
    }
}

impl FromStr for Token {
    type Err = config::Error;

    fn from_str(text: &str) -> Result<Self, config::Error> {
        let plain = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
        };
        match text.split_once('.') {
            Some((id, secret)) if plain(id, 6) && plain(secret, 16) => {
                Ok(Self { id: id.into(), secret: secret.into() })
            }
            _ => Err(config::Error::value(
                "token",
                text,
                "is no bootstrap token",
                "it has six, a dot and sixteen of a-z and 0-9; `kinit token generate` makes one",
            )),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}.***)", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_form() {
        let made = Token::generate();
        assert_eq!(made.reveal().parse::<Token>().unwrap(), made);
        assert!(!format!("{made:?}").contains(&made.secret));
        for bad in [
            "",
            "abcdef",
            "abcdef.0123",
            "ABCDEF.0123456789abcdef",
            "abcdef.0123456789abcdeg0",
            "abcdef.0123456789abcde_",
        ] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_right_signature_verifies() {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let sign = |token: &Token, header: &str, payload: &str| {
            let header = URL_SAFE_NO_PAD.encode(header);
            let key = hmac::Key::new(hmac::HMAC_SHA256, token.secret.as_bytes());
            let mac = hmac::sign(&key, format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload)).as_bytes());
            format!("{header}..{}", URL_SAFE_NO_PAD.encode(mac))
        };
        let header = r#"{"alg":"HS256","kid":"abcdef"}"#;
        let good = sign(&token, header, "facts");
        assert!(token.verifies("facts", &good));
        assert!(!token.verifies("other facts", &good));
        let stranger: Token = "abcdef.0000000000000000".parse().unwrap();
        assert!(!token.verifies("facts", &sign(&stranger, header, "facts")));
        assert!(!token.verifies("facts", &sign(&token, r#"{"alg":"none","kid":"abcdef"}"#, "facts")));
        for bad in ["", "..", "a.b.c", "a..b..c"] {
            assert!(!token.verifies("facts", bad), "{bad}");
        }
    }
}
