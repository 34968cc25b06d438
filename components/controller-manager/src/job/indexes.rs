//! Sets of completion indexes, as a Job's status writes them: `1,3-5,7`. Pure.

use std::fmt;

/// Ordered intervals that neither touch nor overlap; a Job may have a hundred thousand indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads a list. What does not parse is left out, and so is what is not below `completions`.
    pub fn parse(text: &str, completions: i32) -> Self {
        let intervals = text.split(',').filter_map(|one| {
            let (first, last) = one.split_once('-').unwrap_or((one, one));
            let (first, last) = (first.parse().ok()?, last.parse::<i32>().ok()?.min(completions - 1));
            (first <= last).then_some((first, last))
        });
        Self::default().with_intervals(intervals)
    }

    /// These and others, in any order.
    pub fn with(&self, indexes: impl IntoIterator<Item = i32>) -> Self {
        self.with_intervals(indexes.into_iter().map(|index| (index, index)))
    }

    /// These and those of another set.
    pub fn union(&self, other: &Self) -> Self {
        self.with_intervals(other.0.iter().copied())
    }

    fn with_intervals(&self, more: impl IntoIterator<Item = (i32, i32)>) -> Self {
        let mut all = self.0.clone();
        all.extend(more);
        all.sort_unstable();
        let mut merged: Vec<(i32, i32)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// Whether an index is among them.
    pub fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many there are.
    pub fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many are in both sets.
    pub fn shared(&self, other: &Self) -> i32 {
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut shared = 0;
        while let (Some(one), Some(another)) = (mine.peek(), theirs.peek()) {
            shared += (one.1.min(another.1) - one.0.max(another.0) + 1).max(0);
            if one.1 < another.1 {
                mine.next();
            } else {
                theirs.next();
            }
        }
        shared
    }

    /// The first indexes below `end` that are not among them.
    pub fn missing(&self, end: i32, count: usize) -> Vec<i32> {
        let mut found = Vec::new();
        let mut candidate = 0;
        for (first, last) in self.0.iter().copied().chain([(end, end)]) {
            let room = count - found.len();
            found.extend((candidate..first.min(end)).take(room));
            candidate = candidate.max(last.saturating_add(1));
        }
        found
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                // Two in a row are written as two, and not as an interval.
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_merged_and_written() {
        for (text, more, wanted, total) in [
            ("", vec![], "", 0),
            ("", vec![3, 1, 2], "1-3", 3),
            ("0,1,3", vec![], "0,1,3", 3),
            ("0-3,x,7-99", vec![5], "0-3,5,7-9", 8),
            ("0-1", vec![1, 2], "0-2", 3),
            ("12", vec![], "", 0),
        ] {
            let set = Indexes::parse(text, 10).with(more);
            assert_eq!((set.to_string().as_str(), set.total()), (wanted, total), "{text}");
        }
    }

    #[test]
    fn sets_answer_questions() {
        let set = Indexes::parse("1-3,6", 10);
        assert_eq!((0..8).filter(|index| set.has(*index)).collect::<Vec<_>>(), [1, 2, 3, 6]);
        assert_eq!(set.missing(8, 3), [0, 4, 5]);
        assert_eq!(set.missing(8, 9), [0, 4, 5, 7]);
        assert_eq!(set.missing(2, 9), [0]);
        assert_eq!(Indexes::default().missing(2, 1), [0]);
        for (other, shared) in [("", 0), ("0-9", 4), ("3-6", 2), ("0,4-5,7", 0), ("6", 1)] {
            assert_eq!(set.shared(&Indexes::parse(other, 10)), shared, "{other}");
        }
        assert_eq!(set.union(&Indexes::parse("4,5,9", 10)).to_string(), "1-6,9");
    }
}
