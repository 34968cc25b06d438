//! Passwords: hashed before they are logged, as bcrypt hashes like etcd's, so that users survive a snapshot's way from
//! one make to the other.

/// Rounds as a power of two, etcd's default.
const COST: u32 = 10;

/// The hash of a password with a fresh salt. `None` when the system gives no random bytes.
pub fn hash(password: &str) -> Option<String> {
    bcrypt::hash(password, COST).ok()
}

/// Whether the hash is that of the password. Takes as long as making one.
pub fn matches(password: &str, stored: &str) -> bool {
    bcrypt::verify(password, stored).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_matches_its_hash() {
        let stored = bcrypt::hash("secret", 4).expect("hashed");
        assert_ne!(bcrypt::hash("secret", 4).ok(), Some(stored.clone()));
        assert!(matches("secret", &stored));
        assert!(!matches("Secret", &stored) && !matches("", &stored));
        assert!(!matches("", "") && !matches("x", "$1$2$3"));
    }
}
