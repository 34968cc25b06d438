//! Generated ends of names.

/// Letters and digits that make no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const LENGTH: usize = 5;
/// Names are DNS labels where they end in a generated part.
const LONGEST: usize = 63;

/// Five characters that make a name another one.
pub fn suffix() -> String {
    (0..LENGTH).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])).collect()
}

/// A name that begins with `prefix`, cut so that the whole is not too long.
pub fn generate(prefix: &str) -> String {
    let cut = prefix.char_indices().nth(LONGEST - LENGTH).map_or(prefix, |(at, _)| &prefix[..at]);
    format!("{cut}{}", suffix())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_to_their_length() {
        assert_eq!(generate("web-").len(), 9);
        assert!(generate("web-").starts_with("web-"));
        assert_eq!(generate(&"x".repeat(80)).len(), LONGEST);
    }
}
