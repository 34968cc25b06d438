//! Private keys.

use std::fmt;

use std::str::FromStr;

use rcgen::{KeyPair, PublicKeyData};
use rsa::pkcs8::EncodePrivateKey;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::{der, files};

/// What new keys are, by the names that kubeadm's `encryptionAlgorithm` has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// `ECDSA-P256`.
    #[default]
    EcdsaP256,
    /// `ECDSA-P384`.
    EcdsaP384,
    /// `RSA-2048`.
    Rsa2048,
    /// `RSA-3072`.
    Rsa3072,
    /// `RSA-4096`.
    Rsa4096,
}

impl Algorithm {
    /// All of them, each with its name.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("ECDSA-P256", Self::EcdsaP256),
        ("ECDSA-P384", Self::EcdsaP384),
        ("RSA-2048", Self::Rsa2048),
        ("RSA-3072", Self::Rsa3072),
        ("RSA-4096", Self::Rsa4096),
    ];
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let known = || Self::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, algorithm)| *algorithm).ok_or_else(|| format!("there are {}", known()))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, algorithm)| algorithm == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// A private key that certificates, requests and tokens can be signed with.
pub struct PrivateKey {
    pair: KeyPair,
}

impl PrivateKey {
    /// Makes a new ECDSA P-256 key.
    pub fn generate() -> Result<Self> {
        Self::generate_for(Algorithm::EcdsaP256)
    }

    /// Makes a new key. The TLS library's provider makes ECDSA keys only; the primes of RSA keys are found elsewhere.
    pub fn generate_for(algorithm: Algorithm) -> Result<Self> {
        let fail = |reason: String| Error::Key { what: "new key".into(), reason };
        let rsa = |bits| {
            let mut random = rsa::rand_core::UnwrapErr(getrandom::SysRng);
            let key = rsa::RsaPrivateKey::new(&mut random, bits).map_err(|error| fail(error.to_string()))?;
            let der = key.to_pkcs8_der().map_err(|error| fail(error.to_string()))?;
            KeyPair::try_from(der.as_bytes()).map_err(|error| fail(error.to_string()))
        };
        let pair = match algorithm {
            Algorithm::EcdsaP256 => KeyPair::generate().map_err(|error| fail(error.to_string())),
            Algorithm::EcdsaP384 => {
                KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).map_err(|error| fail(error.to_string()))
            }
            Algorithm::Rsa2048 => rsa(2048),
            Algorithm::Rsa3072 => rsa(3072),
            Algorithm::Rsa4096 => rsa(4096),
        }?;
        Ok(Self { pair })
    }

    /// Reads the first private key in `text`: PKCS#8, PKCS#1 (`RSA PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`).
    /// `what` names the source in errors.
    pub fn from_pem(text: &str, what: &str) -> Result<Self> {
        let bad_pem = |reason: String| Error::Pem { what: what.into(), expected: "private key", reason };
        let blocks = pem::parse_many(text).map_err(|error| bad_pem(error.to_string()))?;
        let block = blocks
            .iter()
            .find(|block| block.tag().ends_with("PRIVATE KEY"))
            .ok_or_else(|| bad_pem("there is no PRIVATE KEY block".into()))?;
        let pkcs8 = match block.tag() {
            "PRIVATE KEY" => block.contents().to_vec(),
            "RSA PRIVATE KEY" => der::pkcs8_from_pkcs1(block.contents()),
            "EC PRIVATE KEY" => {
                der::pkcs8_from_sec1(block.contents()).ok_or_else(|| bad_pem("the EC key names no curve".into()))?
            }
            other => return Err(bad_pem(format!("a block of type {other:?} cannot be used"))),
        };
        let pair = KeyPair::try_from(pkcs8.as_slice())
            .map_err(|error| Error::Key { what: what.into(), reason: error.to_string() })?;
        Ok(Self { pair })
    }

    /// Reads a key from a file, with the limits of [`PrivateKey::from_pem`].
    pub fn load(path: &std::path::Path) -> Result<Self> {
        Self::from_pem(&files::read_text(path)?, &path.display().to_string())
    }

    /// The key as PEM: SEC 1 for ECDSA keys would be Go's habit, PKCS#8 is what every reader takes.
    pub fn to_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    /// The key as PKCS#8 DER.
    pub fn to_pkcs8(&self) -> &[u8] {
        self.pair.serialized_der()
    }

    /// The public half as PEM (`PUBLIC KEY`).
    pub fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    /// The public half as DER SubjectPublicKeyInfo.
    pub fn public_der(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// Hex SHA-256 of the public half; two keys are the same when this is.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(self.public_der()))
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("algorithm", self.pair.algorithm()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_pem() {
        let key = PrivateKey::generate().unwrap();
        let again = PrivateKey::from_pem(&key.to_pem(), "test").unwrap();
        assert_eq!(key.fingerprint(), again.fingerprint());
    }

    #[test]
    fn keys_of_each_family_are_made() {
        for algorithm in [Algorithm::EcdsaP384, Algorithm::Rsa2048] {
            let key = PrivateKey::generate_for(algorithm).unwrap();
            let again = PrivateKey::from_pem(&key.to_pem(), "test").unwrap();
            assert_eq!(key.fingerprint(), again.fingerprint());
        }
        for (name, algorithm) in Algorithm::ALL {
            assert_eq!((name.parse::<Algorithm>().unwrap(), algorithm.to_string().as_str()), (*algorithm, *name));
        }
        assert!("RSA-1024".parse::<Algorithm>().is_err());
    }

    #[test]
    fn keys_of_openssl_are_read() {
        for (name, text) in [
            ("sec1", include_str!("../testdata/ec-sec1.key")),
            ("pkcs1", include_str!("../testdata/rsa-pkcs1.key")),
            ("pkcs8", include_str!("../testdata/rsa-pkcs8.key")),
        ] {
            let key = PrivateKey::from_pem(text, name).unwrap();
            let again = PrivateKey::from_pem(&key.to_pem(), name).unwrap();
            assert_eq!(key.fingerprint(), again.fingerprint(), "{name}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_name() {
        for text in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            let error = PrivateKey::from_pem(text, "some/file").unwrap_err().to_string();
            assert!(error.contains("some/file"), "{error}");
        }
    }
}
