//! Events that are too large for a backend go without the objects of their requests; pure.

use std::borrow::Cow;

use super::event::Event;

/// What an event says that has been cut.
const CUT: &str = "audit.k8s.io/truncated";

/// How much a backend takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest event, in bytes of its JSON.
    pub event: i64,
    /// The largest batch. Events come one by one, so it bounds nothing by itself, but may not be smaller than an event.
    pub batch: i64,
}

impl Limits {
    /// Refuses what cannot be kept to, in upstream's words; `plugin` is the backend.
    pub fn check(&self, plugin: &str) -> Result<(), String> {
        let Self { event, batch } = self;
        if *event <= 0 {
            return Err(format!("invalid audit truncate {plugin} max event size {event}, must be a positive number"));
        }
        if batch < event {
            return Err(format!(
                "invalid audit truncate {plugin} max batch size {batch}, must be greater than max event size ({event})"
            ));
        }
        Ok(())
    }

    /// The event, or what is left of it. The error says that even that is too large.
    pub fn cut<'a>(&self, event: &'a Event) -> Result<Cow<'a, Event>, String> {
        let fits = |event: &Event| i64::try_from(event.to_json().len()).is_ok_and(|size| size <= self.event);
        if fits(event) {
            return Ok(Cow::Borrowed(event));
        }
        if matches!(event.level, "Request" | "RequestResponse") {
            let mut less = event.clone();
            (less.request_object, less.response_object) = (None, None);
            less.annotations.insert(CUT.to_owned(), "true".to_owned());
            if fits(&less) {
                return Ok(Cow::Owned(less));
            }
        }
        Err("event is too large even after truncating".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(level: &'static str) -> Event {
        let mut event = Event::new("id".into(), "/api".into(), jiff::Timestamp::UNIX_EPOCH);
        event.level = level;
        event.request_object = Some(json!({"data": "x".repeat(1000)}));
        event.response_object = event.request_object.clone();
        event
    }

    #[test]
    fn large_events_go_without_objects() {
        let limits = Limits { event: 1000, batch: 1000 };
        let cut = limits.cut(&event("Request")).unwrap().into_owned();
        assert_eq!((&cut.request_object, &cut.response_object), (&None, &None));
        assert_eq!(cut.annotations[CUT], "true");
        let whole = Limits { event: 10_000, batch: 10_000 };
        assert!(matches!(whole.cut(&event("Request")), Ok(Cow::Borrowed(_))));
        assert!(limits.cut(&event("Metadata")).is_err(), "an event of metadata has no objects to lose");
        assert!(Limits { event: 10, batch: 10 }.cut(&event("RequestResponse")).is_err());
    }

    #[test]
    fn limits_make_sense() {
        assert_eq!(Limits { event: 1, batch: 1 }.check("log"), Ok(()));
        let told = "invalid audit truncate log max event size 0, must be a positive number";
        assert_eq!(Limits { event: 0, batch: 1 }.check("log"), Err(told.to_owned()));
        let told = "invalid audit truncate webhook max batch size 1, must be greater than max event size (2)";
        assert_eq!(Limits { event: 2, batch: 1 }.check("webhook"), Err(told.to_owned()));
    }
}
