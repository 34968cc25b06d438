//! What clients saw, and whether one register per key could have shown it.

use std::collections::{BTreeMap, HashSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Put(u64),
    /// What was read, once it is known.
    Get(Option<u64>),
}

/// One operation of a client. Without an end it may have happened at any time after its start, or never.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub key: u8,
    pub kind: Kind,
    pub start: u64,
    pub end: Option<u64>,
}

/// Panics when the operations on some key have no order in which each lies between its start and its end.
pub fn check(operations: &[Operation]) {
    let mut keys: BTreeMap<u8, Vec<Operation>> = BTreeMap::new();
    let read: HashSet<u64> =
        operations.iter().filter_map(|op| if let Kind::Get(value) = op.kind { value } else { None }).collect();
    for operation in operations {
        // A read that nobody has the answer of says nothing, nor does a write without an end that nobody has read.
        if operation.end.is_some() || matches!(operation.kind, Kind::Put(value) if read.contains(&value)) {
            keys.entry(operation.key).or_default().push(*operation);
        }
    }
    for (key, operations) in keys {
        assert!(operations.len() <= 64, "a run has too many operations on one key");
        let mut search = Search { operations: &operations, seen: HashSet::new() };
        assert!(search.goes_on(0, 0), "key {key} is not linearizable: {operations:#?}");
    }
}

struct Search<'a> {
    operations: &'a [Operation],
    seen: HashSet<(u64, u64)>,
}

impl Search<'_> {
    /// Whether what is not `done` can follow when the register holds `value`.
    fn goes_on(&mut self, done: u64, value: u64) -> bool {
        let open = |place: usize| done & (1 << place) == 0;
        let ends = self.operations.iter().enumerate().filter(|(place, _)| open(*place)).filter_map(|(_, op)| op.end);
        let Some(first_end) = ends.min() else { return true };
        if !self.seen.insert((done, value)) {
            return false;
        }
        let next: Vec<(usize, Kind)> = (self.operations.iter().enumerate())
            .filter(|(place, operation)| open(*place) && operation.start <= first_end)
            .map(|(place, operation)| (place, operation.kind))
            .collect();
        // A read of what is there now changes nothing, so that it may as well come first.
        if let Some((place, _)) = next.iter().find(|(_, kind)| *kind == Kind::Get(Some(value))) {
            return self.goes_on(done | (1 << place), value);
        }
        next.into_iter().any(|(place, kind)| match kind {
            Kind::Put(next) => self.goes_on(done | (1 << place), next),
            Kind::Get(_) => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(kind: Kind, start: u64, end: Option<u64>) -> Operation {
        Operation { key: 0, kind, start, end }
    }

    #[test]
    fn what_one_register_can_show() {
        let put = |value, start, end| operation(Kind::Put(value), start, Some(end));
        let get = |value, start, end| operation(Kind::Get(Some(value)), start, Some(end));
        check(&[put(1, 0, 1), get(1, 2, 3)]);
        check(&[put(1, 0, 9), get(0, 2, 3), get(1, 4, 5)]);
        check(&[operation(Kind::Put(7), 0, None), get(0, 1, 2), get(7, 3, 4)]);
    }

    #[test]
    #[should_panic(expected = "not linearizable")]
    fn a_read_that_goes_back_is_found() {
        let put = operation(Kind::Put(1), 0, Some(9));
        check(&[put, operation(Kind::Get(Some(1)), 2, Some(3)), operation(Kind::Get(Some(0)), 4, Some(5))]);
    }

    #[test]
    #[should_panic(expected = "not linearizable")]
    fn a_lost_write_is_found() {
        check(&[operation(Kind::Put(1), 0, Some(1)), operation(Kind::Get(Some(0)), 2, Some(3))]);
    }
}
