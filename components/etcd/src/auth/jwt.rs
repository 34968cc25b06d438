//! Signed tokens (JWT): they carry the user and the revision of users and roles, and any member can check them.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::rand::SystemRandom;
use ring::signature::{self, KeyPair as _};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::Asker;

/// How long a token is good for without a word.
const TTL: Duration = Duration::from_secs(300);

/// What is wrong with the options of signed tokens.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    #[error(
        "jwt needs sign-method, one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
    )]
    Method,
    #[error("jwt: ttl={0:?} is no duration; write it as 5m")]
    Ttl(String),
    #[error("jwt: {0:?} is no option; there are sign-method, pub-key, priv-key and ttl")]
    Unknown(String),
    #[error("jwt: {path}: {reason}")]
    Key { path: PathBuf, reason: String },
    #[error("jwt needs priv-key, or pub-key for checking alone")]
    NoKey,
    #[error("jwt: pub-key and priv-key are not of the same pair")]
    Mismatch,
}

/// What a token says.
#[derive(serde::Serialize, serde::Deserialize)]
struct Claims {
    username: String,
    /// Other makers write a number with a fraction.
    revision: f64,
    exp: u64,
}

/// Signs tokens and checks them.
pub struct Jwt {
    algorithm: Algorithm,
    /// Without it tokens are only checked.
    sign: Option<EncodingKey>,
    check: DecodingKey,
    ttl: Duration,
}

impl std::fmt::Debug for Jwt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwt").field("algorithm", &self.algorithm).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl Jwt {
    /// From the options behind `jwt`.
    pub fn new(options: &[(&str, &str)]) -> Result<Self, JwtError> {
        let given = |name: &str| options.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let known = ["sign-method", "pub-key", "priv-key", "ttl"];
        if let Some((name, _)) = options.iter().find(|(name, _)| !known.contains(name)) {
            return Err(JwtError::Unknown((*name).to_owned()));
        }
        let algorithm: Algorithm = given("sign-method").and_then(|name| name.parse().ok()).ok_or(JwtError::Method)?;
        let ttl = match given("ttl").filter(|text| !text.is_empty()) {
            None => TTL,
            Some(text) => kinit_duration::parse(text).map_err(|_| JwtError::Ttl(text.to_owned()))?,
        };
        let path = |name: &str| given(name).filter(|path| !path.is_empty()).map(Path::new);
        let private = path("priv-key").map(|path| private_key(algorithm, path)).transpose()?;
        let public = match path("pub-key") {
            Some(path) if !symmetric(algorithm) => Some(public_key(algorithm, path)?),
            _ => None,
        };
        let both = private.is_some() && public.is_some();
        let (sign, own) = private.unzip();
        let check = public.or(own).ok_or(JwtError::NoKey)?;
        let jwt = Self { algorithm, sign, check, ttl };
        if both && jwt.sign("").and_then(|token| jwt.user(&token)).is_none() {
            return Err(JwtError::Mismatch);
        }
        Ok(jwt)
    }

    /// A token for a user. `None` where there is no private key.
    pub fn token(&self, asker: &Asker) -> Option<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let exp = (now + self.ttl).as_secs();
        let claims = Claims { username: asker.user.clone(), revision: asker.revision as f64, exp };
        jsonwebtoken::encode(&Header::new(self.algorithm), &claims, self.sign.as_ref()?).ok()
    }

    fn sign(&self, user: &str) -> Option<String> {
        self.token(&Asker { user: user.to_owned(), revision: 0 })
    }

    /// Whose token it is, and of which revision; `None` where it is not to be trusted.
    pub fn user(&self, token: &str) -> Option<Asker> {
        let mut validation = Validation::new(self.algorithm);
        validation.leeway = 0;
        // In its last second it has run out.
        validation.reject_tokens_expiring_in_less_than = 1;
        validation.validate_aud = false;
        validation.validate_nbf = true;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.check, &validation).ok()?.claims;
        Some(Asker { user: claims.username, revision: claims.revision as u64 })
    }
}

fn symmetric(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

fn failed(path: &Path, reason: impl ToString) -> JwtError {
    JwtError::Key { path: path.to_owned(), reason: reason.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, JwtError> {
    std::fs::read(path).map_err(|error| failed(path, error))
}

fn public_key(algorithm: Algorithm, path: &Path) -> Result<DecodingKey, JwtError> {
    let pem = read(path)?;
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(&pem),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(&pem),
        _ => DecodingKey::from_rsa_pem(&pem),
    };
    key.map_err(|error| failed(path, error))
}

/// A private key, and the public one that belongs to it.
fn private_key(algorithm: Algorithm, path: &Path) -> Result<(EncodingKey, DecodingKey), JwtError> {
    let bytes = read(path)?;
    if symmetric(algorithm) {
        if bytes.is_empty() {
            return Err(JwtError::NoKey);
        }
        return Ok((EncodingKey::from_secret(&bytes), DecodingKey::from_secret(&bytes)));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| failed(path, error))?;
    let wrong = |_: ring::error::KeyRejected| failed(path, format!("it is no key for {algorithm:?}"));
    let random = SystemRandom::new();
    match (algorithm, &key) {
        (Algorithm::ES256 | Algorithm::ES384, PrivateKeyDer::Pkcs8(_) | PrivateKeyDer::Sec1(_)) => {
            let (curve, oid): (_, &[u8]) = match algorithm {
                Algorithm::ES256 => (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, P256),
                _ => (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, P384),
            };
            let der = match &key {
                PrivateKeyDer::Sec1(der) => wrapped(der.secret_sec1_der(), oid),
                key => key.secret_der().to_vec(),
            };
            let pair = signature::EcdsaKeyPair::from_pkcs8(curve, &der, &random).map_err(wrong)?;
            Ok((EncodingKey::from_ec_der(&der), DecodingKey::from_ec_der(pair.public_key().as_ref())))
        }
        (Algorithm::EdDSA, PrivateKeyDer::Pkcs8(der)) => {
            let der = der.secret_pkcs8_der();
            let pair = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(wrong)?;
            Ok((EncodingKey::from_ed_der(der), DecodingKey::from_ed_der(pair.public_key().as_ref())))
        }
        (Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA, _) => {
            Err(failed(path, format!("it is no key for {algorithm:?}")))
        }
        (_, key) => {
            let pair = match key {
                PrivateKeyDer::Pkcs1(der) => signature::RsaKeyPair::from_der(der.secret_pkcs1_der()),
                key => signature::RsaKeyPair::from_pkcs8(key.secret_der()),
            };
            let pair = pair.map_err(wrong)?;
            let public: signature::RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
            let sign = EncodingKey::from_rsa_pem(&bytes).map_err(|error| failed(path, error))?;
            Ok((sign, DecodingKey::from_rsa_raw_components(&public.n, &public.e)))
        }
    }
}

/// What PKCS#8 says of the curves.
const P256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x06, 5, 0x2b, 0x81, 4, 0, 0x22];
const EC_PUBLIC_KEY: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

/// A key as `openssl ecparam` writes it (SEC1), in the form that every key can have (PKCS#8).
fn wrapped(sec1: &[u8], curve: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[EC_PUBLIC_KEY, curve].concat());
    der(0x30, &[&[2, 1, 0][..], &algorithm, &der(4, sec1)].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match u8::try_from(length) {
        Ok(short) if short < 0x80 => vec![tag, short],
        Ok(byte) => vec![tag, 0x81, byte],
        Err(_) => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head.as_slice(), content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(user: &str, revision: u64) -> Asker {
        Asker { user: user.to_owned(), revision }
    }

    fn jwt(options: &[(&str, &Path)], method: &str, ttl: &str) -> Result<Jwt, JwtError> {
        let mut given = vec![("sign-method", method), ("ttl", ttl)];
        given.extend(options.iter().map(|(name, path)| (*name, path.to_str().expect("text"))));
        Jwt::new(&given)
    }

    #[test]
    fn a_token_says_who_it_is_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).expect("writable");
            path
        };
        let secret = write("secret", "a secret of some length");
        let pair = |algorithm| rcgen::KeyPair::generate_for(algorithm).expect("a key");
        let (ec, other) = (pair(&rcgen::PKCS_ECDSA_P256_SHA256), pair(&rcgen::PKCS_ECDSA_P256_SHA256));
        let (ec384, ed) = (pair(&rcgen::PKCS_ECDSA_P384_SHA384), pair(&rcgen::PKCS_ED25519));
        let keys: Vec<[PathBuf; 2]> = [("ec", &ec), ("ec384", &ec384), ("ed", &ed), ("other", &other)]
            .into_iter()
            .map(|(name, key)| {
                [
                    write(&format!("{name}.key"), &key.serialize_pem()),
                    write(&format!("{name}.pub"), &key.public_key_pem()),
                ]
            })
            .collect();
        let rows = [
            ("HS256", [&secret, &secret]),
            ("ES256", keys[0].each_ref()),
            ("ES384", keys[1].each_ref()),
            ("EdDSA", keys[2].each_ref()),
        ];
        for (method, [private, public]) in rows {
            let signer = jwt(&[("priv-key", private)], method, "").expect(method);
            let token = signer.token(&asker("anna", 7)).expect("signed");
            assert_eq!(signer.user(&token), Some(asker("anna", 7)), "{method}");
            assert_eq!(signer.user(&format!("{token}x")), None, "{method}");
            let gone = jwt(&[("priv-key", private)], method, "0s").expect(method).token(&asker("anna", 7));
            assert_eq!(signer.user(&gone.expect("signed")), None, "{method}: it has run out");
            if method == "HS256" {
                continue;
            }
            let checker = jwt(&[("pub-key", public)], method, "1m").expect(method);
            assert_eq!(checker.user(&token), Some(asker("anna", 7)), "{method}");
            assert_eq!(checker.token(&asker("anna", 7)), None, "{method}: it cannot sign");
        }
        let mixed = jwt(&[("priv-key", &keys[0][0]), ("pub-key", &keys[3][1])], "ES256", "");
        assert!(matches!(mixed, Err(JwtError::Mismatch)));
        assert!(matches!(jwt(&[], "ES256", ""), Err(JwtError::NoKey)));
        assert!(matches!(jwt(&[("priv-key", &keys[2][0])], "ES256", ""), Err(JwtError::Key { .. })));
        assert!(matches!(jwt(&[("priv-key", &secret)], "RS256", ""), Err(JwtError::Key { .. })));
        assert!(matches!(jwt(&[], "none", ""), Err(JwtError::Method)));
        assert!(matches!(jwt(&[], "HS256", "soon"), Err(JwtError::Ttl(_))));
    }

    #[test]
    fn an_elliptic_key_is_taken_in_its_older_form() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key").serialize_der();
        // Behind the version and the algorithm stands the older form as an octet string.
        let start = key.windows(2).position(|pair| pair == [0x04, 0x6d]).expect("an octet string");
        let sec1 = &key[start + 2..start + 2 + 0x6d];
        let pair = signature::EcdsaKeyPair::from_pkcs8(
            &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            &wrapped(sec1, P256),
            &SystemRandom::new(),
        );
        assert!(pair.is_ok());
    }
}
