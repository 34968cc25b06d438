//! The ciphers that values are kept under, in the forms that upstream's API server reads and writes. Pure.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{AesGcm, Nonce};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use crypto_secretbox::XSalsa20Poly1305;
use rand::RngCore;

/// What begins a value under AES-GCM: its nonce.
const GCM_NONCE: usize = 12;
/// What begins a value under AES-CBC, and the size of what it consists of.
const BLOCK: usize = 16;
const SECRETBOX_NONCE: usize = 24;
/// What begins a value under a seed: what its own key is derived with.
const INFO: usize = 32;
/// The size of keys that are derived, and of seeds.
pub const SEED: usize = 32;

const SHORT: &str = "the stored data was shorter than the required size";
const UNAUTHENTIC: &str = "cipher: message authentication failed";

/// A cipher with its key.
pub enum Cipher {
    Cbc(Vec<u8>),
    Gcm(Vec<u8>),
    Secretbox(Box<XSalsa20Poly1305>),
    /// AES-GCM under a key that is derived for each value, so that one seed lasts forever.
    Seed(Vec<u8>),
}

/// Random bytes of a size that is known.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

impl Cipher {
    /// XSalsa20 and Poly1305; the error tells that the key has not 32 bytes.
    pub fn secretbox(key: &[u8]) -> Result<Self, String> {
        use crypto_secretbox::KeyInit;
        let cipher = XSalsa20Poly1305::new_from_slice(key).map_err(|error| error.to_string())?;
        Ok(Self::Secretbox(Box::new(cipher)))
    }

    /// The value as it is stored under `path`, its key in etcd, which AES-GCM binds it to.
    pub fn seal(&self, value: &[u8], path: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Cbc(key) => {
                let start = random::<BLOCK>();
                Ok([&start[..], &cbc_seal(key, &start, value)?].concat())
            }
            Self::Gcm(key) => gcm_seal(key, value, path),
            Self::Secretbox(cipher) => {
                use crypto_secretbox::aead::Aead;
                let nonce = random::<SECRETBOX_NONCE>();
                let sealed = cipher.encrypt(&nonce.into(), value).map_err(|error| error.to_string())?;
                Ok([&nonce[..], &sealed].concat())
            }
            Self::Seed(seed) => {
                let info = random::<INFO>();
                let sealed = gcm_seal(&derived(seed, &info)?, value, path)?;
                Ok([&info[..], &sealed].concat())
            }
        }
    }

    /// The value out of what is stored under `path`.
    pub fn open(&self, stored: &[u8], path: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Cbc(key) => {
                let (start, blocks) = stored.split_at_checked(BLOCK).ok_or(SHORT)?;
                cbc_open(key, start, blocks)
            }
            Self::Gcm(key) => gcm_open(key, stored, path),
            Self::Secretbox(cipher) => {
                use crypto_secretbox::aead::Aead;
                let (nonce, sealed) = stored.split_at_checked(SECRETBOX_NONCE).ok_or(SHORT)?;
                let nonce: [u8; SECRETBOX_NONCE] = nonce.try_into().map_err(|_| SHORT)?;
                cipher.decrypt(&nonce.into(), sealed).map_err(|_| UNAUTHENTIC.into())
            }
            Self::Seed(seed) => {
                let (info, sealed) = stored.split_at_checked(INFO).ok_or(SHORT)?;
                gcm_open(&derived(seed, info)?, sealed, path)
            }
        }
    }
}

fn gcm_seal(key: &[u8], value: &[u8], path: &[u8]) -> Result<Vec<u8>, String> {
    let nonce = random::<GCM_NONCE>();
    let payload = Payload { msg: value, aad: path };
    let sealed = with_gcm(key, |cipher| cipher.seal(&nonce, payload))?;
    Ok([&nonce[..], &sealed].concat())
}

fn gcm_open(key: &[u8], stored: &[u8], path: &[u8]) -> Result<Vec<u8>, String> {
    let (nonce, sealed) = stored.split_at_checked(GCM_NONCE).ok_or(SHORT)?;
    let nonce: [u8; GCM_NONCE] = nonce.try_into().map_err(|_| SHORT)?;
    with_gcm(key, |cipher| cipher.open(&nonce, Payload { msg: sealed, aad: path }))
}

/// AES-GCM of one size of keys.
trait Gcm {
    fn seal(&self, nonce: &[u8; GCM_NONCE], payload: Payload<'_, '_>) -> Result<Vec<u8>, String>;
    fn open(&self, nonce: &[u8; GCM_NONCE], payload: Payload<'_, '_>) -> Result<Vec<u8>, String>;
}

impl<T: Aead<NonceSize = U12>> Gcm for T {
    fn seal(&self, nonce: &[u8; GCM_NONCE], payload: Payload<'_, '_>) -> Result<Vec<u8>, String> {
        self.encrypt(&Nonce::from(*nonce), payload).map_err(|error| error.to_string())
    }

    fn open(&self, nonce: &[u8; GCM_NONCE], payload: Payload<'_, '_>) -> Result<Vec<u8>, String> {
        self.decrypt(&Nonce::from(*nonce), payload).map_err(|_| UNAUTHENTIC.into())
    }
}

fn with_gcm<T>(key: &[u8], run: impl FnOnce(&dyn Gcm) -> Result<T, String>) -> Result<T, String> {
    let size = |error: aes_gcm::aead::common::InvalidLength| error.to_string();
    match key.len() {
        16 => run(&AesGcm::<Aes128, U12>::new_from_slice(key).map_err(size)?),
        24 => run(&AesGcm::<Aes192, U12>::new_from_slice(key).map_err(size)?),
        _ => run(&AesGcm::<Aes256, U12>::new_from_slice(key).map_err(size)?),
    }
}

fn cbc_seal(key: &[u8], start: &[u8], value: &[u8]) -> Result<Vec<u8>, String> {
    let size = |error: cbc::cipher::InvalidLength| error.to_string();
    Ok(match key.len() {
        16 => cbc::Encryptor::<Aes128>::new_from_slices(key, start).map_err(size)?.encrypt_padded_vec::<Pkcs7>(value),
        24 => cbc::Encryptor::<Aes192>::new_from_slices(key, start).map_err(size)?.encrypt_padded_vec::<Pkcs7>(value),
        _ => cbc::Encryptor::<Aes256>::new_from_slices(key, start).map_err(size)?.encrypt_padded_vec::<Pkcs7>(value),
    })
}

fn cbc_open(key: &[u8], start: &[u8], blocks: &[u8]) -> Result<Vec<u8>, String> {
    let size = |error: cbc::cipher::InvalidLength| error.to_string();
    let opened = match key.len() {
        16 => cbc::Decryptor::<Aes128>::new_from_slices(key, start).map_err(size)?.decrypt_padded_vec::<Pkcs7>(blocks),
        24 => cbc::Decryptor::<Aes192>::new_from_slices(key, start).map_err(size)?.decrypt_padded_vec::<Pkcs7>(blocks),
        _ => cbc::Decryptor::<Aes256>::new_from_slices(key, start).map_err(size)?.decrypt_padded_vec::<Pkcs7>(blocks),
    };
    opened.map_err(|_| "invalid padding on input".into())
}

/// The key of one value: the expanding half of HKDF with SHA-256.
fn derived(seed: &[u8], info: &[u8]) -> Result<[u8; SEED], String> {
    struct Size;
    impl ring::hkdf::KeyType for Size {
        fn len(&self) -> usize {
            SEED
        }
    }
    let mut key = [0; SEED];
    let parts = [info];
    let expanded = ring::hkdf::Prk::new_less_safe(ring::hkdf::HKDF_SHA256, seed);
    let expanded = expanded.expand(&parts, Size).and_then(|material| material.fill(&mut key));
    expanded.map_err(|_| "no key can be derived".to_owned())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_again_and_nothing_else_does() {
        let mut ciphers: Vec<(Cipher, bool)> = vec![(Cipher::secretbox(&[7; 32]).unwrap(), false)];
        for size in [16, 24, 32] {
            ciphers.push((Cipher::Cbc(vec![1; size]), false));
            ciphers.push((Cipher::Gcm(vec![2; size]), true));
        }
        ciphers.push((Cipher::Seed(vec![3; SEED]), true));
        for (cipher, bound) in &ciphers {
            for value in [&b""[..], b"a", &[9; 4096]] {
                let sealed = cipher.seal(value, b"/registry/a").unwrap();
                assert_eq!(cipher.open(&sealed, b"/registry/a").unwrap(), value);
                assert_ne!(cipher.seal(value, b"/registry/a").unwrap(), sealed, "a nonce of its own");
                assert_eq!(cipher.open(&sealed, b"/registry/b").is_err(), *bound, "moved to another key");
                assert!(cipher.open(&sealed[..7], b"/registry/a").is_err());
            }
            let mut wrong = cipher.seal(b"value", b"k").unwrap();
            *wrong.last_mut().unwrap() ^= 1;
            assert_ne!(cipher.open(&wrong, b"k").as_deref(), Ok(&b"value"[..]));
        }
        assert!(Cipher::secretbox(&[7; 16]).is_err());
    }

    /// NIST SP 800-38A's and 38D's vectors, and NaCl's: what others wrote can be read.
    #[test]
    fn known_answers_open() {
        let key = "2b7e151628aed2a6abf7158809cf4f3c";
        let stored = "000102030405060708090a0b0c0d0e0f7649abac8119b246cee98e9b12e9197d8964e0b149c10b7b682e6e39aaeb731c";
        let value = Cipher::Cbc(hex(key)).open(&hex(stored), b"").unwrap();
        assert_eq!(hex::encode(value), "6bc1bee22e409f96e93d7e117393172a");
        let stored = "0000000000000000000000000388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf";
        assert_eq!(Cipher::Gcm(vec![0; 16]).open(&hex(stored), b"").unwrap(), [0; 16]);
        let key = "1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389";
        let nonce = "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37";
        let boxed = "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a\
                     c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae\
                     90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74\
                     e355a5";
        let value = Cipher::secretbox(&hex(key)).unwrap().open(&[hex(nonce), hex(boxed)].concat(), b"").unwrap();
        assert_eq!(hex::encode(&value[..8]), "be075fc53c81f2d5");
    }
}
