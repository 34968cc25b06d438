//! Key ranges as requests write them.

use std::ops::Bound;

/// What an ordered map is asked for.
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The keys that a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRange<'a> {
    /// One key.
    One(&'a [u8]),
    /// Keys from the first to before the second; empty when the second is not above the first.
    Between(&'a [u8], &'a [u8]),
    /// Keys from this one on.
    From(&'a [u8]),
}

impl<'a> KeyRange<'a> {
    /// On the wire an empty end means one key, and an end of one zero byte means all keys from the first on.
    pub fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        match range_end {
            [] => Self::One(key),
            [0] => Self::From(key),
            end => Self::Between(key, end),
        }
    }

    /// Every key.
    pub fn all() -> Self {
        Self::From(&[])
    }

    /// Whether the range holds this key.
    pub fn contains(&self, key: &[u8]) -> bool {
        match *self {
            Self::One(one) => key == one,
            Self::Between(start, end) => start <= key && key < end,
            Self::From(start) => start <= key,
        }
    }

    /// For an ordered map; `None` when the range can hold nothing.
    pub fn bounds(&self) -> Option<Bounds<'a>> {
        match *self {
            Self::One(key) => Some((Bound::Included(key), Bound::Included(key))),
            Self::Between(start, end) if start >= end => None,
            Self::Between(start, end) => Some((Bound::Included(start), Bound::Excluded(end))),
            Self::From(start) => Some((Bound::Included(start), Bound::Unbounded)),
        }
    }

    /// Whether two ranges share a key.
    pub fn overlaps(&self, other: &KeyRange<'_>) -> bool {
        self.begins_before_end_of(other) && other.begins_before_end_of(self)
    }

    fn start(&self) -> &'a [u8] {
        match *self {
            Self::One(start) | Self::Between(start, _) | Self::From(start) => start,
        }
    }

    fn begins_before_end_of(&self, other: &KeyRange<'_>) -> bool {
        match *other {
            KeyRange::One(key) => self.start() <= key,
            KeyRange::Between(start, end) => start < end && self.start() < end,
            KeyRange::From(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_the_wire_means() {
        let table = [
            ("a", "", "a", true),
            ("a", "", "aa", false),
            ("a", "c", "bzz", true),
            ("a", "c", "c", false),
            ("b", "\0", "zzz", true),
            ("b", "\0", "a", false),
            ("c", "a", "b", false),
        ];
        for (key, end, probe, holds) in table {
            let range = KeyRange::new(key.as_bytes(), end.as_bytes());
            assert_eq!(range.contains(probe.as_bytes()), holds, "{key:?} {end:?} {probe:?}");
        }
    }

    #[test]
    fn overlap_is_symmetric() {
        let one = |key| KeyRange::One(key);
        let table = [
            (one(b"a"), one(b"a"), true),
            (one(b"a"), one(b"b"), false),
            (one(b"b"), KeyRange::Between(b"a", b"c"), true),
            (one(b"c"), KeyRange::Between(b"a", b"c"), false),
            (KeyRange::From(b"c"), KeyRange::Between(b"a", b"c"), false),
            (KeyRange::From(b"b"), KeyRange::Between(b"a", b"c"), true),
            (KeyRange::Between(b"c", b"a"), KeyRange::From(b""), false),
        ];
        for (left, right, expected) in table {
            assert_eq!(left.overlaps(&right), expected, "{left:?} {right:?}");
            assert_eq!(right.overlaps(&left), expected, "{right:?} {left:?}");
        }
    }
}
