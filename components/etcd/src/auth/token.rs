//! Simple tokens: what a client shows after it has given its password once. They live in the members' memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};

/// A token that is not used for this long is forgotten, unless it is said otherwise.
const IDLE: Duration = Duration::from_secs(300);

struct Held {
    user: String,
    until: Instant,
}

/// Makes a token. `None` when the system gives no random bytes.
pub fn make() -> Option<String> {
    let mut bytes = [0; 18];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The tokens given out.
pub struct Tokens {
    held: HashMap<String, Held>,
    idle: Duration,
    /// When those that ran out were last forgotten.
    swept: Option<Instant>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self::new(IDLE)
    }
}

impl Tokens {
    /// None yet; each is forgotten when it is not used for so long.
    pub fn new(idle: Duration) -> Self {
        Self { held: HashMap::new(), idle, swept: None }
    }

    /// Takes up a token that was given to a user.
    pub fn hold(&mut self, token: String, user: &str, now: Instant) {
        self.sweep(now);
        self.held.insert(token, Held { user: user.to_owned(), until: now + self.idle });
    }

    /// Whose token it is; using it keeps it.
    pub fn user(&mut self, token: &str, now: Instant) -> Option<String> {
        let held = self.held.get_mut(token).filter(|held| held.until > now)?;
        held.until = now + self.idle;
        Some(held.user.clone())
    }

    /// Forgets a user's tokens, or everybody's.
    pub fn forget(&mut self, user: Option<&str>) {
        self.held.retain(|_, held| user.is_some_and(|user| held.user != user));
    }

    /// Forgets what ran out, now and then.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|last| now.duration_since(last) > self.idle) {
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
        let token = make().expect("random bytes");
        tokens.hold(token.clone(), "anna", start);
        assert_eq!(tokens.user(&token, at(299)).as_deref(), Some("anna"));
        assert_eq!(tokens.user(&token, at(598)).as_deref(), Some("anna"));
        assert_eq!(tokens.user(&token, at(898)), None);
        assert_eq!(tokens.user("none", at(1)), None);
        let [one, other] = ["a", "b"].map(|user| {
            let token = make().expect("random bytes");
            tokens.hold(token.clone(), user, at(900));
            token
        });
        tokens.forget(Some("a"));
        assert_eq!(tokens.user(&one, at(901)), None);
        assert!(tokens.user(&other, at(901)).is_some());
        tokens.forget(None);
        assert_eq!(tokens.user(&other, at(901)), None);
    }
}
