//! Whether permissions, taken together, cover a range of keys.

use std::borrow::Cow;

use crate::proto::auth::Permission;
use crate::proto::auth::permission::Type;

/// From a key to before another; without an end, to the last key there is.
struct Span<'a> {
    start: &'a [u8],
    end: Option<Cow<'a, [u8]>>,
}

impl<'a> Span<'a> {
    fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        let end = match range_end {
            [] => Some(Cow::Owned([key, &[0]].concat())),
            [0] => None,
            end => Some(Cow::Borrowed(end)),
        };
        Self { start: key, end }
    }
}

/// Whether a permission's range can hold anything.
pub fn is_valid(key: &[u8], range_end: &[u8]) -> bool {
    match range_end {
        [] => !key.is_empty(),
        [0] => true,
        end => key < end,
    }
}

/// Whether a permission is of use for what is asked.
fn serves(held: Type, asked: Type) -> bool {
    held == asked || held == Type::Readwrite
}

/// Whether the permissions cover a whole range.
pub fn cover<'a>(permissions: impl Iterator<Item = &'a Permission>, key: &[u8], range_end: &[u8], asked: Type) -> bool {
    let wanted = Span::new(key, range_end);
    let mut held: Vec<Span<'_>> = permissions
        .filter(|permission| serves(permission.perm_type(), asked))
        .map(|permission| Span::new(&permission.key, &permission.range_end))
        .collect();
    held.sort_by_key(|span| span.start);
    // Everything before this is covered.
    let mut reached: Cow<'_, [u8]> = Cow::Borrowed(wanted.start);
    for span in held {
        if span.start > reached.as_ref() {
            return false;
        }
        match span.end {
            None => return true,
            Some(end) if end > reached => reached = end,
            Some(_) => {}
        }
        if wanted.end.as_ref().is_some_and(|end| *end <= reached) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn permission(key: &'static str, range_end: &'static str, kind: Type) -> Permission {
        Permission {
            perm_type: kind as i32,
            key: Bytes::from_static(key.as_bytes()),
            range_end: Bytes::from_static(range_end.as_bytes()),
        }
    }

    #[test]
    fn permissions_cover_together() {
        let held = [
            permission("a", "c", Type::Read),
            permission("c", "e", Type::Readwrite),
            permission("k", "", Type::Write),
            permission("x", "\0", Type::Read),
        ];
        let table = [
            ("a", "", Type::Read, true),
            ("a", "", Type::Write, false),
            ("a", "e", Type::Read, true),
            ("b", "d", Type::Read, true),
            ("a", "e", Type::Write, false),
            ("c", "d", Type::Write, true),
            ("d", "f", Type::Read, false),
            ("k", "", Type::Write, true),
            ("k", "l", Type::Write, false),
            ("k0", "", Type::Write, false),
            ("y", "\0", Type::Read, true),
            ("w", "\0", Type::Read, false),
            ("z", "", Type::Read, true),
        ];
        for (key, end, asked, expected) in table {
            let covered = cover(held.iter(), key.as_bytes(), end.as_bytes(), asked);
            assert_eq!(covered, expected, "{key:?} {end:?} {asked:?}");
        }
    }
}
