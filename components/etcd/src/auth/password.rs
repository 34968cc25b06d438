//! Passwords: hashed before they are logged, as bcrypt hashes like etcd's, so that users survive a snapshot's way from
//! one make to the other.

/// Rounds as a power of two, where what is asked for is none that there is; etcd's default.
const COST: u32 = 10;

/// The rounds that are meant.
pub fn cost(asked: u32) -> u32 {
    if (4..=31).contains(&asked) {
        return asked;
    }
    tracing::warn!(asked, taken = COST, "--bcrypt-cost is from 4 to 31");
    COST
}

/// The hash of a password with a fresh salt. `None` when the system gives no random bytes.
pub fn hash(password: &str, cost: u32) -> Option<String> {
    bcrypt::hash(password, cost).ok()
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
