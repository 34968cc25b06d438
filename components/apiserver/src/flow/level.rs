//! A priority level: its seats, and those that wait for one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use kinit_api::object::Object;
use kinit_api::status::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::queues::{Queues, Ticket};

/// How long a request waits for a seat.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a level's object says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Form {
    uid: String,
    /// None for the exempt level, whose requests need no seat.
    seats: Option<usize>,
    /// Queues, the size of a hand, and the most that wait in one; none where requests do not wait.
    queues: Option<(usize, usize, usize)>,
}

/// A priority level.
pub struct Level {
    form: Form,
    state: Mutex<State>,
}

struct State {
    free: usize,
    queues: Option<Queues>,
    waiting: HashMap<Ticket, oneshot::Sender<Seat>>,
}

/// A seat, given to the next who waits when it is dropped.
pub struct Seat {
    /// None once the seat has been given back in another way.
    level: Option<Arc<Level>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(level) = self.level.take() {
            level.free();
        }
    }
}

impl Level {
    fn new(form: Form) -> Self {
        let queues = form.queues.map(|(queues, hand, limit)| Queues::new(queues, hand, limit));
        let state = State { free: form.seats.unwrap_or(0), queues, waiting: HashMap::new() };
        Self { form, state: Mutex::new(state) }
    }

    pub fn uid(&self) -> &str {
        &self.form.uid
    }

    /// A seat for a request of a flow; none where it needs none.
    pub async fn seat(self: &Arc<Self>, flow: (&str, &str)) -> Result<Option<Seat>, Status> {
        if self.form.seats.is_none() {
            return Ok(None);
        }
        let (ticket, seat) = {
            let mut state = self.state.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Some(Seat { level: Some(self.clone()) }));
            }
            let mut hasher = DefaultHasher::new();
            flow.hash(&mut hasher);
            let ticket = state.queues.as_mut().and_then(|queues| queues.push(hasher.finish())).ok_or_else(full)?;
            let (sender, seat) = oneshot::channel();
            state.waiting.insert(ticket, sender);
            (ticket, seat)
        };
        // Whoever goes away while it waits, for what reason ever, gives up its place.
        let _place = Place { level: self, ticket };
        match tokio::time::timeout(PATIENCE, seat).await {
            Ok(Ok(seat)) => Ok(Some(seat)),
            _ => Err(full()),
        }
    }

    /// Gives a seat that has become free to the next who is still there.
    fn free(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state.lock();
                let ticket = state.queues.as_mut().and_then(Queues::pop);
                match ticket.and_then(|ticket| state.waiting.remove(&ticket)) {
                    Some(next) => next,
                    None if state.queues.as_ref().is_some_and(|queues| queues.len() > 0) => continue,
                    None => {
                        state.free += 1;
                        return;
                    }
                }
            };
            match next.send(Seat { level: Some(self.clone()) }) {
                Ok(()) => return,
                // Whoever waited has just gone away: the seat is for the next, which this loop looks for.
                Err(mut seat) => drop(seat.level.take()),
            }
        }
    }
}

struct Place<'a> {
    level: &'a Arc<Level>,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.level.state.lock();
        if state.waiting.remove(&self.ticket).is_some()
            && let Some(queues) = state.queues.as_mut()
        {
            queues.remove(self.ticket);
        }
    }
}

pub(super) fn full() -> Status {
    let mut status = Status::too_many_requests("Too many requests, please try again later.");
    status.details = Some(json!({"retryAfterSeconds": 1}));
    status
}

/// Levels by name, each with its share of all seats. A level that stays as it is keeps who sits and waits.
pub fn share(levels: &[Object], total: usize, before: &HashMap<String, Arc<Level>>) -> HashMap<String, Arc<Level>> {
    let number = |level: &Object, path: &[&str], otherwise: u64| {
        let path = [&["spec", "limited"], path].concat();
        usize::try_from(level.get(&path).and_then(Value::as_u64).unwrap_or(otherwise)).unwrap_or(usize::MAX)
    };
    let limited = |level: &&Object| level.str(&["spec", "type"]) != "Exempt";
    let shares = |level: &Object| number(level, &["nominalConcurrencyShares"], 30);
    let sum: usize = levels.iter().filter(limited).map(shares).sum::<usize>().max(1);
    let one = |level: &Object| {
        let queued = level.str(&["spec", "limited", "limitResponse", "type"]) == "Queue";
        let of_queues = |field: &str, otherwise| number(level, &["limitResponse", "queuing", field], otherwise);
        let form = Form {
            uid: level.uid().to_owned(),
            seats: limited(&level).then(|| (total * shares(level)).div_ceil(sum).max(1)),
            queues: queued
                .then(|| (of_queues("queues", 64), of_queues("handSize", 8), of_queues("queueLengthLimit", 50))),
        };
        let kept = before.get(level.name()).filter(|kept| kept.form == form).cloned();
        (level.name().to_owned(), kept.unwrap_or_else(|| Arc::new(Level::new(form))))
    };
    levels.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(name: &str, shares: u64, response: &Value) -> Object {
        Object::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": {"type": "Limited",
            "limited": {"nominalConcurrencyShares": shares, "limitResponse": response}}}))
        .unwrap()
    }

    #[tokio::test]
    async fn seats_are_shared_and_those_without_one_wait_or_go() {
        let queue = json!({"type": "Queue", "queuing": {"handSize": 1, "queueLengthLimit": 1, "queues": 1}});
        let levels = [level("a", 3, &queue), level("b", 1, &json!({"type": "Reject"}))];
        let shared = share(&levels, 4, &HashMap::new());
        let (a, b) = (&shared["a"], &shared["b"]);
        let _taken = b.seat(("f", "")).await.unwrap();
        assert_eq!(b.seat(("f", "")).await.err().unwrap().code, 429);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(a.seat(("f", "")).await.unwrap());
        }
        let (waited, refused) = tokio::join!(a.seat(("f", "")), async {
            let refused = a.seat(("g", "")).await;
            held.pop();
            refused
        });
        assert!(waited.unwrap().is_some());
        assert_eq!(refused.err().unwrap().code, 429);
        assert!(a.state.lock().waiting.is_empty());
        // The one that had waited has gone as well; two of the first three still sit.
        assert_eq!(a.state.lock().free, 1);
        assert!(Arc::ptr_eq(&share(&levels, 4, &shared)["a"], a), "a level that stays is kept");
        assert!(!Arc::ptr_eq(&share(&levels, 8, &shared)["a"], a));
    }

    #[tokio::test]
    async fn one_that_goes_away_leaves_its_place() {
        let queue = json!({"type": "Queue", "queuing": {"handSize": 1, "queueLengthLimit": 9, "queues": 1}});
        let shared = share(&[level("a", 1, &queue)], 1, &HashMap::new());
        let a = shared["a"].clone();
        let held = a.seat(("f", "")).await.unwrap();
        {
            let waits = a.seat(("f", ""));
            tokio::pin!(waits);
            assert!(futures::poll!(waits.as_mut()).is_pending());
        }
        assert_eq!(a.state.lock().queues.as_ref().unwrap().len(), 0);
        drop(held);
        assert_eq!(a.state.lock().free, 1);
    }
}
