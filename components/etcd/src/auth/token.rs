//! Tokens: what a client shows after it has given its password once. They live in this member's memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};

/// A token that is not used for this long is forgotten, as in etcd.
const IDLE: Duration = Duration::from_secs(300);

struct Held {
    user: String,
    until: Instant,
}

/// The tokens given out.
#[derive(Default)]
pub struct Tokens {
    held: HashMap<String, Held>,
    /// When those that ran out were last forgotten.
    swept: Option<Instant>,
}

impl Tokens {
    /// Gives a token out. `None` when the system gives no random bytes.
    pub fn give(&mut self, user: &str, now: Instant) -> Option<String> {
        self.sweep(now);
        let mut bytes = [0; 18];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.held.insert(token.clone(), Held { user: user.to_owned(), until: now + IDLE });
        Some(token)
    }

    /// Whose token it is; using it keeps it.
    pub fn user(&mut self, token: &str, now: Instant) -> Option<String> {
        let held = self.held.get_mut(token).filter(|held| held.until > now)?;
        held.until = now + IDLE;
        Some(held.user.clone())
    }

    /// Forgets a user's tokens, or everybody's.
    pub fn forget(&mut self, user: Option<&str>) {
        self.held.retain(|_, held| user.is_some_and(|user| held.user != user));
    }

    /// Forgets what ran out, now and then.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|last| now.duration_since(last) > IDLE) {
            self.held.retain(|_, held| held.until > now);
            self.swept = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_while_it_is_used() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut tokens = Tokens::default();
        let token = tokens.give("anna", start).expect("random bytes");
        assert_eq!(tokens.user(&token, at(299)).as_deref(), Some("anna"));
        assert_eq!(tokens.user(&token, at(598)).as_deref(), Some("anna"));
        assert_eq!(tokens.user(&token, at(898)), None);
        assert_eq!(tokens.user("none", at(1)), None);
        let (one, other) = (tokens.give("a", at(900)), tokens.give("b", at(900)));
        tokens.forget(Some("a"));
        assert_eq!(tokens.user(&one.expect("given"), at(901)), None);
        let other = other.expect("given");
        assert!(tokens.user(&other, at(901)).is_some());
        tokens.forget(None);
        assert_eq!(tokens.user(&other, at(901)), None);
    }
}
