//! A bounded buffer of events that are taken out several at a time.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::event::Event;
use super::options::Delivery;
use crate::bucket::{Bucket, Rate};

/// Where events are put in, and [`Batches`] until somebody takes them.
pub struct Batch(mpsc::Sender<Event>, Mutex<Option<Batches>>);

/// Where they come out.
pub struct Batches {
    waiting: mpsc::Receiver<Event>,
    at_once: usize,
    wait: Duration,
    rate: Option<(Rate, Bucket)>,
}

/// A buffer that gives as many events at once as the delivery says, or what has come until the first has waited long enough.
pub fn new(delivery: Delivery) -> Batch {
    let Delivery { buffer, batch, wait, .. } = delivery;
    let (sender, waiting) = mpsc::channel(buffer);
    let rate = delivery.rate.map(|rate| (rate, Bucket::new(rate, std::time::Instant::now())));
    Batch(sender, Mutex::new(Some(Batches { waiting, at_once: batch, wait, rate })))
}

impl Batch {
    /// Puts an event in; the error says that there is no room, and the event is lost.
    pub fn add(&self, event: &Event) -> Result<(), String> {
        self.0.try_send(event.clone()).map_err(|_| "audit backend shut down or its buffer is full".into())
    }

    /// Where the events come out; the first who asks gets it.
    pub fn take(&self) -> Option<Batches> {
        self.1.lock().take()
    }
}

impl Batches {
    /// The next events, when it is their time; `None` once `ended` and nothing is left.
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
        if let Some((rate, bucket)) = &mut self.rate {
            while let Err(wait) = bucket.take(*rate, std::time::Instant::now()) {
                if ended.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                    break;
                }
            }
        }
        Some(events)
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Mode;
    use super::*;

    #[tokio::test]
    async fn events_come_out_in_batches_and_none_is_kept_at_the_end() {
        let event = |id: &str| Event::new(id.into(), String::new(), jiff::Timestamp::UNIX_EPOCH);
        let rate = Some(Rate { per_second: 1e-3, burst: 1 });
        let wait = Duration::from_secs(3600);
        let delivery = Delivery { mode: Mode::Batch, buffer: 3, batch: 2, wait, rate, most: None };
        let batch = new(delivery);
        let mut batches = batch.take().unwrap();
        assert!(batch.take().is_none());
        for id in ["a", "b", "c"] {
            batch.add(&event(id)).unwrap();
        }
        assert!(batch.add(&event("d")).is_err(), "no room");
        let ended = CancellationToken::new();
        let ids = |events: Option<Vec<Event>>| {
            events.map(|events| events.iter().map(|event| event.id.clone()).collect::<String>())
        };
        assert_eq!(ids(batches.next(&ended).await).as_deref(), Some("ab"));
        // The next is due in a quarter of an hour, or when all ends.
        batch.add(&event("d")).unwrap();
        let (next, ()) = tokio::join!(batches.next(&ended), async {
            tokio::task::yield_now().await;
            assert_eq!(batch.0.capacity(), 3, "they are taken out, and kept");
            ended.cancel();
        });
        assert_eq!(ids(next).as_deref(), Some("cd"));
        assert_eq!(ids(batches.next(&ended).await), None);
    }
}
