//! Passwords: hashed before they are logged, compared in constant time.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};

const SCHEME: &str = "pbkdf2-sha256";
const ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).expect("not zero");
const SALT: usize = 16;
const HASH: usize = 32;

/// The hash of a password with a fresh salt: scheme, iterations, salt and hash, parted by `$`. `None` when the system
/// gives no random bytes.
pub fn hash(password: &str) -> Option<String> {
    let mut salt = [0; SALT];
    SystemRandom::new().fill(&mut salt).ok()?;
    let mut hash = [0; HASH];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &salt, password.as_bytes(), &mut hash);
    Some(format!("{SCHEME}${ITERATIONS}${}${}", BASE64.encode(salt), BASE64.encode(hash)))
}

/// Whether the hash is that of the password. Takes as long as making one.
pub fn matches(password: &str, stored: &str) -> bool {
    let mut parts = stored.split('$');
    let (Some(SCHEME), Some(iterations), Some(salt), Some(hash), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (Ok(iterations), Ok(salt), Ok(hash)) = (iterations.parse(), BASE64.decode(salt), BASE64.decode(hash)) else {
        return false;
    };
    pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_matches_its_hash() {
        let stored = hash("secret").expect("hashed");
        assert_ne!(hash("secret"), Some(stored.clone()));
        assert!(matches("secret", &stored));
        assert!(!matches("Secret", &stored) && !matches("", &stored));
        assert!(!matches("", "") && !matches("x", "bcrypt$1$2$3"));
    }
}
