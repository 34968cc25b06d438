//! A bounded buffer of events that are taken out several at a time.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::event::Event;

/// Where events are put in.
pub struct Batch(mpsc::Sender<Event>);

/// Where they come out.
pub struct Batches {
    waiting: mpsc::Receiver<Event>,
    at_once: usize,
    wait: Duration,
}

/// A buffer of `size` events that gives up to `at_once` of them, or what has come until the first has waited for `wait`.
pub fn new(size: usize, at_once: usize, wait: Duration) -> (Batch, Batches) {
    let (sender, waiting) = mpsc::channel(size.max(1));
    (Batch(sender), Batches { waiting, at_once: at_once.max(1), wait })
}

impl Batch {
    /// Puts an event in; the error says that there is no room, and the event is lost.
    pub fn add(&self, event: &Event) -> Result<(), String> {
        self.0.try_send(event.clone()).map_err(|_| "audit backend shut down or its buffer is full".into())
    }
}

impl Batches {
    /// The next events; `None` once `ended` and nothing is left.
    pub async fn next(&mut self, ended: &CancellationToken) -> Option<Vec<Event>> {
        let first = tokio::select! {
            biased;
            event = self.waiting.recv() => event?,
            () = ended.cancelled() => self.waiting.try_recv().ok()?,
        };
        let mut events = vec![first];
        let until = Instant::now() + self.wait;
        while events.len() < self.at_once {
            let event = tokio::select! {
                biased;
                event = self.waiting.recv() => event,
                () = ended.cancelled() => None,
                () = tokio::time::sleep_until(until) => None,
            };
            match event {
                Some(event) => events.push(event),
                None => break,
            }
        }
        Some(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_come_out_in_batches_and_none_is_kept_at_the_end() {
        let event = |id: &str| Event::new(id.into(), String::new(), jiff::Timestamp::UNIX_EPOCH);
        let (batch, mut batches) = new(3, 2, Duration::from_secs(3600));
        for id in ["a", "b", "c"] {
            batch.add(&event(id)).unwrap();
        }
        assert!(batch.add(&event("d")).is_err(), "no room");
        let ended = CancellationToken::new();
        let ids = |events: Option<Vec<Event>>| {
            events.map(|events| events.iter().map(|event| event.id.clone()).collect::<String>())
        };
        assert_eq!(ids(batches.next(&ended).await).as_deref(), Some("ab"));
        ended.cancel();
        assert_eq!(ids(batches.next(&ended).await).as_deref(), Some("c"));
        assert_eq!(ids(batches.next(&ended).await), None);
    }
}
