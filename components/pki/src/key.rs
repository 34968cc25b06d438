//! Private keys.

use std::fmt;

use rcgen::{KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::{der, files};

/// A private key that certificates, requests and tokens can be signed with.
pub struct PrivateKey {
    pair: KeyPair,
}

impl PrivateKey {
    /// Makes a new ECDSA P-256 key.
    pub fn generate() -> Result<Self> {
        let pair =
            KeyPair::generate().map_err(|error| Error::Key { what: "new key".into(), reason: error.to_string() })?;
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
