//! A token bucket: so many things a second, and some more at once where nothing has happened for a while. Pure.

use std::time::{Duration, Instant};

/// What a bucket gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// A second; above 0.
    pub per_second: f64,
    /// At once; at least 1.
    pub burst: u32,
}

/// Tokens that are left, as of a time.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { tokens: f64::from(rate.burst), at: now }
    }

    /// Takes a token; the error says when there will be one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate.per_second;
        *self = Self { tokens: (self.tokens + gained).min(f64::from(rate.burst)), at: now };
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait = Duration::try_from_secs_f64((1.0 - self.tokens) / rate.per_second);
        // A little more, so that what is lost in rounding is there too.
        Err(wait.unwrap_or(Duration::MAX).saturating_add(Duration::from_micros(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_a_burst_and_then_what_comes_in() {
        let rate = Rate { per_second: 2.0, burst: 3 };
        let mut now = Instant::now();
        let mut bucket = Bucket::new(rate, now);
        assert!((0..3).all(|_| bucket.take(rate, now).is_ok()));
        let wait = bucket.take(rate, now).unwrap_err();
        assert!((Duration::from_millis(500)..Duration::from_millis(501)).contains(&wait), "{wait:?}");
        now += wait;
        assert_eq!(bucket.take(rate, now), Ok(()));
        assert!(bucket.take(rate, now).is_err());
        now += Duration::from_secs(3600);
        assert!((0..3).all(|_| bucket.take(rate, now).is_ok()), "no more than the burst is saved up");
        assert!(bucket.take(rate, now).is_err());
    }
}
