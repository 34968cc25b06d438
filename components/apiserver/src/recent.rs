//! Answers that count for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Answers by their questions, as long as they count.
pub struct Recent<Q, A> {
    kept: Mutex<HashMap<Q, (A, Instant)>>,
    most: usize,
}

impl<Q: Eq + Hash, A: Clone> Recent<Q, A> {
    /// Keeps so many answers at the most.
    pub fn new(most: usize) -> Self {
        Self { kept: Mutex::default(), most }
    }

    /// The answer, if there is one that still counts.
    pub fn get(&self, question: &Q) -> Option<A> {
        self.get_at(question, Instant::now())
    }

    fn get_at(&self, question: &Q, now: Instant) -> Option<A> {
        let kept = self.kept.lock();
        kept.get(question).filter(|(_, until)| *until > now).map(|(answer, _)| answer.clone())
    }

    /// Keeps an answer for a while. Where there are too many, those go that no longer count, or all.
    pub fn keep(&self, question: Q, answer: A, lasts: Duration) {
        let now = Instant::now();
        let Some(until) = now.checked_add(lasts).filter(|until| *until > now) else { return };
        let mut kept = self.kept.lock();
        if kept.len() >= self.most && !kept.contains_key(&question) {
            kept.retain(|_, (_, until)| *until > now);
            if kept.len() >= self.most {
                kept.clear();
            }
        }
        kept.insert(question, (answer, until));
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.kept.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 100;

    #[test]
    fn answers_count_for_a_while_and_are_no_more_than_so_many() {
        let (recent, hour) = (Recent::new(MOST), Duration::from_secs(3600));
        let began = Instant::now();
        recent.keep(MOST, 1, 2 * hour);
        recent.keep(MOST + 1, 2, Duration::ZERO);
        recent.keep(MOST + 2, 3, hour);
        assert_eq!([0, 1, 2].map(|at| recent.get(&(MOST + at))), [Some(1), None, Some(3)]);
        assert_eq!([0, 2].map(|at| recent.get_at(&(MOST + at), began + hour * 3 / 2)), [Some(1), None]);
        for at in 0..2 * MOST {
            recent.keep(at, at, hour);
            assert!(recent.kept.lock().len() <= MOST);
        }
        assert_eq!(recent.get(&(2 * MOST - 1)), Some(2 * MOST - 1));
        recent.clear();
        assert_eq!(recent.get(&(2 * MOST - 1)), None);
    }
}
