//! Tokens that others have issued: OpenID Connect's ID tokens, checked by the keys that the issuer tells of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use url::Url;

use super::User;
use super::config::IssuerConfig;
use crate::webhook::client::{Client, Target, Trust};

/// How long an issuer may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How soon keys are asked for again; an unknown key may be a new one, or nonsense.
const FETCH_INTERVAL: Duration = Duration::from_secs(5);
/// How far an issuer's clock may be ahead.
const EARLY: i64 = 300;

/// An issuer and its keys.
pub struct Issuer {
    config: IssuerConfig,
    client: Client,
    keys: ArcSwapOption<JwkSet>,
    fetched: tokio::sync::Mutex<Option<Instant>>,
}

impl Issuer {
    pub fn new(config: IssuerConfig) -> Self {
        Self { config, client: Client::default(), keys: ArcSwapOption::empty(), fetched: tokio::sync::Mutex::default() }
    }

    /// Whether claims, not verified, say that the token is this issuer's.
    pub fn issued(&self, claims: &Value) -> bool {
        claims["iss"] == self.config.url.as_str()
    }

    /// The token's user; the error says why it is not good.
    pub async fn user(&self, token: &str) -> Result<User, String> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
        let allowed = &self.config.algorithms;
        let name = format!("{:?}", header.alg);
        if !allowed.is_empty() && !allowed.contains(&name) || name.starts_with("HS") {
            return Err(format!("oidc: malformed jwt: unexpected signature algorithm {name}"));
        }
        let id = header.kid.as_deref();
        let mut claims = self.verified(token, header.alg, id);
        if claims.is_none() {
            self.fetch().await?;
            claims = self.verified(token, header.alg, id);
        }
        let claims = claims.ok_or("oidc: verify token: failed to verify id token signature")?;
        check(&self.config, &claims, jiff::Timestamp::now().as_second())?;
        self.config.mapper.user(&claims)
    }

    /// The claims, if one of the known keys has signed them.
    fn verified(&self, token: &str, algorithm: Algorithm, id: Option<&str>) -> Option<Value> {
        let keys = self.keys.load();
        let named = |key: &&Jwk| id.is_none() || key.common.key_id.is_none() || key.common.key_id.as_deref() == id;
        keys.as_ref()?.keys.iter().filter(named).find_map(|key| {
            if key.common.key_algorithm.is_some_and(|own| !is(own, algorithm)) {
                return None;
            }
            let mut rules = Validation::new(algorithm);
            // Times and audiences are looked at afterwards, by this server's rules.
            (rules.validate_aud, rules.validate_exp) = (false, false);
            rules.required_spec_claims.clear();
            let key = DecodingKey::from_jwk(key).ok()?;
            jsonwebtoken::decode::<Value>(token, &key, &rules).ok().map(|decoded| decoded.claims)
        })
    }

    /// Asks the issuer for its keys, unless that has just been done.
    pub async fn fetch(&self) -> Result<(), String> {
        let mut fetched = self.fetched.lock().await;
        if fetched.is_some_and(|at| at.elapsed() < FETCH_INTERVAL) {
            return Ok(());
        }
        *fetched = Some(Instant::now());
        let own = format!("{}/.well-known/openid-configuration", self.config.url.trim_end_matches('/'));
        let document = self.get(self.config.discovery.as_deref().unwrap_or(&own)).await?;
        if document["issuer"] != self.config.url.as_str() {
            return Err(format!(
                "oidc: issuer did not match, expected {:?} got {}",
                self.config.url, document["issuer"]
            ));
        }
        let keys = self.get(document["jwks_uri"].as_str().unwrap_or_default()).await?;
        let known = keys["keys"].as_array().into_iter().flatten();
        // An issuer may have keys of kinds that this server knows nothing of.
        let known = known.filter_map(|key| serde_json::from_value(key.clone()).ok());
        self.keys.store(Some(Arc::new(JwkSet { keys: known.collect() })));
        Ok(())
    }

    async fn get(&self, text: &str) -> Result<Value, String> {
        let failed = |why: String| format!("oidc: {text}: {why}");
        let url = Url::parse(text).map_err(|error| failed(error.to_string()))?;
        if url.scheme() != "https" {
            return Err(failed("URL scheme must be https".into()));
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let authority = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        let trust = Trust::Authorities(self.config.authorities.clone().into());
        let target = Target { address: Ok((host.clone(), port)), authority, server_name: host, trust };
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let (status, bytes) = self.client.get(&target, path, &[], TIMEOUT).await.map_err(failed)?;
        if !status.is_success() {
            return Err(failed(format!("the answer was {status}")));
        }
        serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
    }
}

fn is(own: KeyAlgorithm, algorithm: Algorithm) -> bool {
    format!("{own:?}") == format!("{algorithm:?}")
}

/// Whether the claims are for this server and for this time, in seconds since 1970.
fn check(config: &IssuerConfig, claims: &Value, now: i64) -> Result<(), String> {
    if claims["iss"] != config.url.as_str() {
        return Err("oidc: verify token: it is another issuer's".into());
    }
    let audiences: Vec<&str> = match &claims["aud"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audiences.iter().any(|audience| config.audiences.iter().any(|own| own == audience)) {
        return Err(format!("oidc: verify token: expected audience in {:?} got {audiences:?}", config.audiences));
    }
    let time = |name: &str| claims[name].as_f64();
    match time("exp") {
        Some(end) if end > now as f64 => {}
        Some(_) => return Err("oidc: verify token: token is expired".into()),
        None => return Err("oidc: verify token: it never ends".into()),
    }
    if time("nbf").is_some_and(|start| start > (now + EARLY) as f64) {
        return Err("oidc: verify token: current time is before its nbf (not before) time".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::claims::{Source, by_names};
    use serde_json::json;

    fn config() -> IssuerConfig {
        let name = Source::Claim { name: "sub".into(), prefix: String::new() };
        IssuerConfig {
            url: "https://issuer".into(),
            discovery: None,
            authorities: String::new(),
            audiences: vec!["a".into(), "b".into()],
            algorithms: vec!["ES256".into()],
            mapper: by_names(name, None, [].into()),
        }
    }

    #[test]
    fn claims_are_for_an_audience_and_a_time() {
        let good = json!({"iss": "https://issuer", "aud": ["x", "b"], "exp": 100, "nbf": 60});
        let with = |field: &str, value: Value| {
            let mut claims = good.clone();
            claims[field] = value;
            check(&config(), &claims, 70)
        };
        assert_eq!(check(&config(), &good, 70), Ok(()));
        assert_eq!(with("aud", "a".into()), Ok(()));
        let cases =
            [("aud", json!("x")), ("aud", json!(null)), ("exp", json!(70)), ("exp", json!(null)), ("iss", json!("y"))];
        for (field, value) in cases {
            assert!(with(field, value.clone()).is_err(), "{field} {value}");
        }
        assert_eq!(with("nbf", json!(370)), Ok(()));
        assert!(with("nbf", json!(371)).is_err());
    }

    #[tokio::test]
    async fn a_signature_counts_by_the_issuers_key() {
        let key = kinit_pki::PrivateKey::generate().unwrap();
        let mut header = jsonwebtoken::Header::new(Algorithm::ES256);
        header.kid = Some("k".into());
        let claims =
            json!({"iss": "https://issuer", "aud": "a", "sub": "ann", "exp": jiff::Timestamp::now().as_second() + 60});
        let signer = jsonwebtoken::EncodingKey::from_ec_pem(key.to_pem().as_bytes()).unwrap();
        let token = jsonwebtoken::encode(&header, &claims, &signer).unwrap();
        let issuer = Issuer::new(config());
        let point = &key.public_der()[27..];
        let part = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes);
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "x": part(&point[..32]), "y": part(&point[32..])});
        issuer.keys.store(Some(Arc::new(JwkSet { keys: vec![serde_json::from_value(jwk).unwrap()] })));
        // As if the issuer had just been asked, so that nobody is.
        *issuer.fetched.lock().await = Some(Instant::now());
        assert_eq!(issuer.user(&token).await.unwrap().name, "ann");
        let forged = format!("{}.{}", token.rsplit_once('.').unwrap().0, part(&[1; 64]));
        assert!(issuer.user(&forged).await.is_err());
        let symmetric = jsonwebtoken::encode(
            &jsonwebtoken::Header::default(),
            &claims,
            &jsonwebtoken::EncodingKey::from_secret(b"x"),
        );
        assert!(issuer.user(&symmetric.unwrap()).await.unwrap_err().contains("algorithm"));
    }
}
