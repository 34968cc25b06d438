//! Who votes, who only listens, and what a quorum of them is.

use std::collections::{BTreeMap, BTreeSet};

/// The members as of some entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub voters: BTreeSet<u64>,
    /// They get every entry and have no vote.
    pub learners: BTreeSet<u64>,
}

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    Won,
    Lost,
    Open,
}

impl Members {
    pub fn contains(&self, id: u64) -> bool {
        self.voters.contains(&id) || self.learners.contains(&id)
    }

    pub fn all(&self) -> impl Iterator<Item = u64> + '_ {
        self.voters.iter().chain(&self.learners).copied()
    }

    pub fn quorum(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Whether those for whom `yes` holds are a quorum.
    pub fn agree(&self, yes: impl Fn(u64) -> bool) -> bool {
        !self.voters.is_empty() && self.voters.iter().filter(|id| yes(**id)).count() >= self.quorum()
    }

    pub fn tally(&self, votes: &BTreeMap<u64, bool>) -> Tally {
        if self.agree(|id| votes.get(&id) == Some(&true)) {
            return Tally::Won;
        }
        let against = self.voters.iter().filter(|id| votes.get(id) == Some(&false)).count();
        if against + self.quorum() > self.voters.len() { Tally::Lost } else { Tally::Open }
    }

    /// The highest number that a quorum has reached, given how far each is.
    pub fn quorum_has(&self, reached: impl Fn(u64) -> u64) -> u64 {
        let mut numbers: Vec<u64> = self.voters.iter().map(|id| reached(*id)).collect();
        numbers.sort_unstable_by(|left, right| right.cmp(left));
        numbers.get(self.quorum() - 1).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(ids: &[u64]) -> Members {
        Members { voters: ids.iter().copied().collect(), learners: BTreeSet::from([99]) }
    }

    #[test]
    fn a_quorum_is_more_than_half_of_the_voters() {
        for (count, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            let members = voters(&(1..=count).collect::<Vec<_>>());
            assert_eq!(members.quorum(), quorum);
            assert!(members.agree(|id| id <= quorum as u64));
            assert!(!members.agree(|id| id < quorum as u64 || id == 99));
        }
        assert!(!Members::default().agree(|_| true));
    }

    #[test]
    fn votes_are_counted() {
        let table: [(&[(u64, bool)], Tally); 5] = [
            (&[(1, true)], Tally::Open),
            (&[(1, true), (99, true)], Tally::Open),
            (&[(1, true), (2, false)], Tally::Open),
            (&[(1, true), (3, true)], Tally::Won),
            (&[(1, true), (2, false), (3, false)], Tally::Lost),
        ];
        for (votes, expected) in table {
            assert_eq!(voters(&[1, 2, 3]).tally(&votes.iter().copied().collect()), expected, "{votes:?}");
        }
    }

    #[test]
    fn what_a_quorum_has_is_committed() {
        let table: [(&[u64], u64); 5] = [(&[7], 7), (&[7, 3], 3), (&[9, 5, 2], 5), (&[9, 8, 5, 2], 5), (&[0, 0, 4], 0)];
        for (matched, expected) in table {
            let members = voters(&(0..matched.len() as u64).collect::<Vec<_>>());
            assert_eq!(members.quorum_has(|id| matched[id as usize]), expected, "{matched:?}");
        }
    }
}
