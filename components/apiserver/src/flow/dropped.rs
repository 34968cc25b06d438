//! How long those are told to stay away who were refused a seat: pure. Like TCP, it doubles while many are refused, and goes
//! back by one second after another; the numbers are upstream's.

/// The longest time, in seconds.
const LONGEST: i64 = 32;

/// Who was refused by a level of late. Times are seconds.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// A second, and how many were refused in it; the oldest first.
    history: Vec<(i64, i64)>,
    second: i64,
    count: i64,
    retry_after: i64,
    doubled: i64,
}

impl Default for Dropped {
    fn default() -> Self {
        Self { history: Vec::new(), second: 0, count: 0, retry_after: 1, doubled: 0 }
    }
}

impl Dropped {
    /// After how many seconds to come again.
    pub fn retry_after(&self) -> i64 {
        self.retry_after
    }

    /// One more is refused.
    pub fn note(&mut self, second: i64) {
        if second == self.second {
            self.count += 1;
            return;
        }
        self.history.push((self.second, self.count));
        let kept = (2 * self.retry_after).min(LONGEST);
        self.history.retain(|(then, _)| self.second - then <= kept);
        (self.second, self.count) = (second, 1);
        let recent = self.history.iter().filter(|(then, _)| *then < second && second - then <= self.retry_after);
        let refused: i64 = recent.map(|(_, count)| count).sum();
        if second - self.doubled >= self.retry_after && refused >= 3 * self.retry_after {
            self.retry_after = (2 * self.retry_after).min(LONGEST);
            self.doubled = second;
        } else if refused < self.retry_after && self.retry_after > 1 {
            self.retry_after -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_under_load_and_goes_back_slowly() {
        let mut dropped = Dropped::default();
        let mut refuse = |second: i64, count: usize| {
            (0..count).for_each(|_| dropped.note(second));
            dropped.retry_after()
        };
        assert_eq!(refuse(100, 3), 1, "nothing is known of the second that runs");
        assert_eq!(refuse(101, 10), 2);
        assert_eq!(refuse(102, 10), 2, "it has been doubled just before");
        assert_eq!(refuse(103, 10), 4);
        assert_eq!((104..116).map(|second| refuse(second, 20)).last(), Some(16));
        assert_eq!((116..170).map(|second| refuse(second, 200)).last(), Some(32));
        assert_eq!(refuse(300, 1), 31);
        assert_eq!(refuse(400, 1), 30);
    }
}
