//! A change as it goes over the wire, encoded by the first watcher that sends it and shared by the others.

use std::sync::OnceLock;

use bytes::Bytes;

/// The frames of one change, by what it is to a watcher and by encoding.
#[derive(Debug, Default)]
pub struct Frames([OnceLock<Bytes>; 6]);

impl Frames {
    /// The frame for watchers to whom the change is of this kind; made by `make` if nobody has made it.
    pub fn get<E>(&self, kind: &str, protobuf: bool, make: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        let of_kind = match kind {
            "ADDED" => 0,
            "MODIFIED" => 1,
            _ => 2,
        };
        let place = &self.0[of_kind * 2 + usize::from(protobuf)];
        if let Some(frame) = place.get() {
            return Ok(frame.clone());
        }
        // Two may make it at once; either is right.
        let made = make()?;
        Ok(place.get_or_init(|| made).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_made_once() {
        let frames = Frames::default();
        let made = |text: &'static str| move || Ok::<_, ()>(Bytes::from_static(text.as_bytes()));
        assert_eq!(frames.get("ADDED", false, made("a")).unwrap(), "a");
        assert_eq!(frames.get("ADDED", false, made("b")).unwrap(), "a");
        assert_eq!(frames.get("ADDED", true, made("c")).unwrap(), "c");
        assert_eq!(frames.get("DELETED", false, made("d")).unwrap(), "d");
        assert!(frames.get("MODIFIED", false, || Err::<Bytes, _>(())).is_err());
    }
}
