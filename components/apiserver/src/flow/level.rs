//! A priority level: its seats, and those that wait for one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinit_api::object::Object;
use kinit_api::status::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::borrow::{self, Bounds, Demand, Memory, Part};
use super::dropped::Dropped;
use super::figures::{Figures, OfSchema};
use super::queues::{Queues, Ticket};

/// How long a request waits for a seat.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a level's object says of it, but for how many seats it has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Form {
    uid: String,
    /// Whether its requests get a seat at once.
    exempt: bool,
    /// Queues, the size of a hand, and the most that wait in one; none where requests do not wait.
    queues: Option<(usize, usize, usize)>,
}

/// A priority level.
pub struct Level {
    name: String,
    form: Form,
    state: Mutex<State>,
    figures: Arc<Figures>,
}

struct State {
    bounds: Bounds,
    /// How many seats it has now, with what it lent and borrowed.
    limit: usize,
    used: usize,
    queues: Option<Queues>,
    waiting: HashMap<Ticket, oneshot::Sender<Seat>>,
    demand: Demand,
    memory: Memory,
    dropped: Dropped,
}

impl State {
    /// Whether there is room for one more. One at least always is answered.
    fn has_room(&self) -> bool {
        self.used < self.limit.max(1)
    }

    /// Notes how many seats are wanted: those that are taken, and those that are waited for.
    fn wanted(&mut self, now: Instant) {
        self.demand.set(now, self.used + self.waiting.len());
    }
}

/// A seat, given to the next who waits when it is dropped.
pub struct Seat {
    level: Arc<Level>,
    /// Whose it is since when; nobody's once it has been given back.
    held: Option<(OfSchema, Instant)>,
    /// Whether it is a watch that has it.
    pub watch: bool,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((key, since)) = self.held.take() {
            self.level.figures.ends(&key, self.watch, since.elapsed().as_secs_f64());
        }
        self.level.free();
    }
}

impl Seat {
    /// Whoever waited has it now.
    fn take(&mut self, key: &OfSchema) {
        self.level.figures.begins(key);
        self.held = Some((key.clone(), Instant::now()));
    }
}

impl Level {
    fn new(name: &str, form: Form, bounds: Bounds, figures: &Arc<Figures>) -> Self {
        let queues = form.queues.map(|(queues, hand, limit)| Queues::new(queues, hand, limit));
        let state = State {
            bounds,
            limit: bounds.first(),
            used: 0,
            queues,
            waiting: HashMap::new(),
            demand: Demand::new(Instant::now()),
            memory: Memory::default(),
            dropped: Dropped::default(),
        };
        Self { name: name.to_owned(), form, state: Mutex::new(state), figures: figures.clone() }
    }

    pub fn uid(&self) -> &str {
        &self.form.uid
    }

    /// A seat for a request of a flow, which is a schema's name and what tells its flows from each other; 429 where there is
    /// none in time.
    pub async fn seat(self: &Arc<Self>, flow: (&str, &str)) -> Result<Seat, Status> {
        let key = OfSchema { priority_level: self.name.clone(), flow_schema: flow.0.to_owned() };
        let arrived = Instant::now();
        let (ticket, seat) = {
            let mut state = self.state.lock();
            if self.form.exempt || state.has_room() {
                state.used += 1;
                state.wanted(arrived);
                drop(state);
                let mut seat = Seat { level: self.clone(), held: None, watch: false };
                seat.take(&key);
                self.figures.waited(&key, 0.0, true);
                return Ok(seat);
            }
            let mut hasher = DefaultHasher::new();
            flow.hash(&mut hasher);
            let reason = if state.queues.is_some() { "queue-full" } else { "concurrency-limit" };
            let Some(ticket) = state.queues.as_mut().and_then(|queues| queues.push(hasher.finish())) else {
                return Err(self.refuse(&mut state, &key, reason));
            };
            let (sender, seat) = oneshot::channel();
            state.waiting.insert(ticket, sender);
            state.wanted(arrived);
            (ticket, seat)
        };
        // Whoever goes away while it waits, for what reason ever, gives up its place.
        let place = Place { level: self, ticket, key: &key };
        self.figures.waits(&key, true);
        let given = tokio::time::timeout(PATIENCE, seat).await;
        drop(place);
        self.figures.waited(&key, arrived.elapsed().as_secs_f64(), matches!(given, Ok(Ok(_))));
        match given {
            Ok(Ok(mut seat)) => {
                seat.take(&key);
                Ok(seat)
            }
            _ => Err(self.refuse(&mut self.state.lock(), &key, "time-out")),
        }
    }

    fn refuse(&self, state: &mut State, key: &OfSchema, reason: &'static str) -> Status {
        state.dropped.note(jiff::Timestamp::now().as_second());
        self.figures.refused(key, reason);
        full(state.dropped.retry_after())
    }

    /// Gives back a seat.
    fn free(self: &Arc<Self>) {
        self.state.lock().used -= 1;
        self.dispatch();
    }

    /// Gives the seats that there is room for to those who are next.
    fn dispatch(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state.lock();
                if !state.has_room() {
                    state.wanted(Instant::now());
                    return;
                }
                let Some(ticket) = state.queues.as_mut().and_then(Queues::pop) else {
                    state.wanted(Instant::now());
                    return;
                };
                let Some(next) = state.waiting.remove(&ticket) else { continue };
                state.used += 1;
                next
            };
            // The seat of one who has just gone away is given back as it is dropped here, and is for the next.
            drop(next.send(Seat { level: self.clone(), held: None, watch: false }));
        }
    }

    /// What it tells where seats are shared out, with its demand since the last time.
    fn part(&self, now: Instant, observed: bool) -> Part {
        let mut state = self.state.lock();
        if observed {
            let demand = state.demand.take(now);
            state.memory.take(demand);
        }
        let State { bounds, memory, limit, .. } = *state;
        Part { exempt: self.form.exempt, bounds, most: memory.last.most, smoothed: memory.smoothed, current: limit }
    }
}

struct Place<'a> {
    level: &'a Arc<Level>,
    ticket: Ticket,
    key: &'a OfSchema,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.level.figures.waits(self.key, false);
        let mut state = self.level.state.lock();
        if state.waiting.remove(&self.ticket).is_some() {
            if let Some(queues) = state.queues.as_mut() {
                queues.remove(self.ticket);
            }
            state.wanted(Instant::now());
        }
    }
}

/// What is said to whoever gets no seat, and is to come again after so many seconds.
pub(super) fn full(retry_after: i64) -> Status {
    let mut status = Status::too_many_requests("Too many requests, please try again later.");
    status.details = Some(json!({ "retryAfterSeconds": retry_after }));
    status
}

/// Levels by name, each with its bounds of all seats. A level that stays as it is keeps who sits and waits.
pub fn levels(
    objects: &[Object],
    total: usize,
    before: &HashMap<String, Arc<Level>>,
    figures: &Arc<Figures>,
) -> HashMap<String, Arc<Level>> {
    let exempt = |level: &Object| level.str(&["spec", "type"]) == "Exempt";
    let number = |level: &Object, path: &[&str]| {
        let path = [&["spec", if exempt(level) { "exempt" } else { "limited" }], path].concat();
        level.get(&path).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok())
    };
    let shares =
        |level: &Object| number(level, &["nominalConcurrencyShares"]).unwrap_or(if exempt(level) { 0 } else { 30 });
    let sum: usize = objects.iter().map(shares).sum();
    let one = |level: &Object| {
        let queued = level.str(&["spec", "limited", "limitResponse", "type"]) == "Queue";
        let of_queues =
            |field: &str, otherwise| number(level, &["limitResponse", "queuing", field]).unwrap_or(otherwise);
        let form = Form {
            uid: level.uid().to_owned(),
            exempt: exempt(level),
            queues: queued
                .then(|| (of_queues("queues", 64), of_queues("handSize", 8), of_queues("queueLengthLimit", 50))),
        };
        let lends = number(level, &["lendablePercent"]).unwrap_or(0);
        let bounds = Bounds::new(total, (shares(level), sum), lends, number(level, &["borrowingLimitPercent"]));
        figures.bounds(level.name(), bounds);
        let kept = before.get(level.name()).filter(|kept| kept.form == form).cloned();
        if let Some(kept) = &kept {
            kept.state.lock().bounds = bounds;
        }
        (level.name().to_owned(), kept.unwrap_or_else(|| Arc::new(Level::new(level.name(), form, bounds, figures))))
    };
    let levels: HashMap<String, Arc<Level>> = objects.iter().map(one).collect();
    for gone in before.keys().filter(|name| !levels.contains_key(*name)) {
        figures.forget(gone);
    }
    levels
}

/// Lets levels lend and borrow seats by their demand, which is looked at anew where it is `observed`.
pub fn adjust(levels: &HashMap<String, Arc<Level>>, figures: &Figures, now: Instant, observed: bool) {
    let levels: Vec<&Arc<Level>> = levels.values().collect();
    let parts: Vec<Part> = levels.iter().map(|level| level.part(now, observed)).collect();
    let total = parts.iter().map(|part| part.bounds.nominal).sum();
    let shared = borrow::share(total, &parts);
    figures.fair(shared.fair);
    for ((level, limit), target) in levels.into_iter().zip(shared.limits).zip(shared.targets) {
        let memory = {
            let mut state = level.state.lock();
            state.limit = limit;
            state.memory
        };
        figures.adjusted(&level.name, &memory, target, limit);
        level.dispatch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(name: &str, shares: u64, lends: u64, response: &Value) -> Object {
        Object::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": {"type": "Limited",
            "limited": {"nominalConcurrencyShares": shares, "lendablePercent": lends, "limitResponse": response}}}))
        .unwrap()
    }

    fn all(objects: &[Object], total: usize, before: &HashMap<String, Arc<Level>>) -> HashMap<String, Arc<Level>> {
        let figures = Arc::default();
        let levels = levels(objects, total, before, &figures);
        adjust(&levels, &figures, Instant::now(), false);
        levels
    }

    fn limit(level: &Arc<Level>) -> usize {
        level.state.lock().limit
    }

    #[tokio::test]
    async fn seats_are_shared_and_those_without_one_wait_or_go() {
        let queue = json!({"type": "Queue", "queuing": {"handSize": 1, "queueLengthLimit": 1, "queues": 1}});
        let objects = [level("a", 3, 0, &queue), level("b", 1, 0, &json!({"type": "Reject"}))];
        let shared = all(&objects, 4, &HashMap::new());
        let (a, b) = (&shared["a"], &shared["b"]);
        assert_eq!((limit(a), limit(b)), (3, 1));
        let _taken = b.seat(("f", "")).await.unwrap();
        let refused = b.seat(("f", "")).await.err().unwrap();
        assert_eq!((refused.code, refused.details.unwrap()["retryAfterSeconds"].as_i64()), (429, Some(1)));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(a.seat(("f", "")).await.unwrap());
        }
        let (waited, refused) = tokio::join!(a.seat(("f", "")), async {
            let refused = a.seat(("g", "")).await;
            held.pop();
            refused
        });
        assert!(waited.is_ok());
        assert_eq!(refused.err().unwrap().code, 429);
        assert!(a.state.lock().waiting.is_empty());
        assert_eq!(a.state.lock().used, 3);
        drop(waited);
        assert_eq!(a.state.lock().used, 2);
        assert!(Arc::ptr_eq(&all(&objects, 8, &shared)["a"], a), "a level that stays is kept, whatever its seats");
        assert_eq!(a.state.lock().bounds.nominal, 6);
    }

    #[tokio::test]
    async fn who_waits_gets_the_seats_that_others_lend() {
        let queue = json!({"type": "Queue", "queuing": {"handSize": 1, "queueLengthLimit": 9, "queues": 1}});
        let objects = [level("a", 1, 50, &queue), level("b", 1, 50, &queue)];
        let shared = all(&objects, 8, &HashMap::new());
        let a = &shared["a"];
        let mut held = Vec::new();
        for _ in 0..limit(a) {
            held.push(a.seat(("f", "")).await.unwrap());
        }
        assert_eq!(held.len(), 4);
        let more = [a.seat(("f", "")), a.seat(("f", ""))];
        let waiting = futures::future::join_all(more);
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        tokio::time::sleep(Duration::from_millis(2)).await;
        adjust(&shared, &Figures::default(), Instant::now(), true);
        assert_eq!((limit(a), limit(&shared["b"])), (6, 2), "what is not to be lent stays");
        assert!(waiting.await.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn one_that_goes_away_leaves_its_place() {
        let queue = json!({"type": "Queue", "queuing": {"handSize": 1, "queueLengthLimit": 9, "queues": 1}});
        let shared = all(&[level("a", 1, 50, &queue)], 1, &HashMap::new());
        let a = shared["a"].clone();
        let held = a.seat(("f", "")).await.unwrap();
        {
            let waits = a.seat(("f", ""));
            tokio::pin!(waits);
            assert!(futures::poll!(waits.as_mut()).is_pending());
        }
        assert_eq!(a.state.lock().queues.as_ref().unwrap().len(), 0);
        drop(held);
        assert_eq!(a.state.lock().used, 0);
    }

    #[tokio::test]
    async fn the_exempt_are_counted_and_never_wait() {
        let exempt = json!({"metadata": {"name": "e", "uid": "e"}, "spec": {"type": "Exempt"}});
        let objects = [Object::from_value(exempt).unwrap(), level("a", 1, 50, &json!({"type": "Reject"}))];
        let shared = all(&objects, 10, &HashMap::new());
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(shared["e"].seat(("f", "")).await.unwrap());
        }
        adjust(&shared, &Figures::default(), Instant::now(), true);
        assert_eq!((limit(&shared["e"]), limit(&shared["a"])), (4, 10));
    }
}
