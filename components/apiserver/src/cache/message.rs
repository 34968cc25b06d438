//! An object's protobuf message, made by whoever needs it first and shared by all lists and watches after that.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// What all messages together may take; those that do not fit are made anew for each who needs them.
static KEPT: Budget = Budget::new(128 << 20);

/// How many bytes are kept of how many that may be.
#[derive(Debug)]
struct Budget {
    kept: AtomicUsize,
    most: usize,
}

impl Budget {
    const fn new(most: usize) -> Self {
        Self { kept: AtomicUsize::new(0), most }
    }

    fn take(&'static self, bytes: Bytes) -> Result<Kept, Bytes> {
        let with = |kept: usize| Some(kept + bytes.len()).filter(|kept| *kept <= self.most);
        match self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with) {
            Ok(_) => Ok(Kept { bytes, budget: self }),
            Err(_) => Err(bytes),
        }
    }
}

/// A message that is counted for as long as it is kept.
#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    budget: &'static Budget,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.kept.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// The place of a message. It is small while nobody has asked for one.
#[derive(Debug, Default)]
pub(super) struct Message(OnceLock<Box<Kept>>);

impl Message {
    /// The message; made by `make` if none is kept.
    pub(super) fn get(&self, make: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        self.within(&KEPT, make)
    }

    fn within(&self, budget: &'static Budget, make: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        if let Some(kept) = self.0.get() {
            return Some(kept.bytes.clone());
        }
        // Two may make it at once; either is right.
        match budget.take(make()?) {
            Ok(kept) => Some(self.0.get_or_init(|| Box::new(kept)).bytes.clone()),
            Err(bytes) => Some(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_made_once_while_there_is_room() {
        static SMALL: Budget = Budget::new(5);
        let made = |text: &'static str| move || Some(Bytes::from_static(text.as_bytes()));
        let (first, second) = (Message::default(), Message::default());
        assert_eq!(first.within(&SMALL, || None), None);
        assert_eq!(first.within(&SMALL, made("abc")).unwrap(), "abc");
        assert_eq!(first.within(&SMALL, made("other")).unwrap(), "abc");
        assert_eq!(second.within(&SMALL, made("def")).unwrap(), "def");
        assert_eq!(second.within(&SMALL, made("ghi")).unwrap(), "ghi", "there was no room to keep it");
        drop(first);
        assert_eq!(second.within(&SMALL, made("jkl")).unwrap(), "jkl");
        assert_eq!(second.within(&SMALL, made("mno")).unwrap(), "jkl");
        drop(second);
        assert_eq!(SMALL.kept.load(Ordering::Relaxed), 0);
    }
}
