//! Flow control: no client takes the server from the others. FlowSchemas sort requests into priority levels ([`classify`]),
//! and each level has a share of the server's seats; what finds no seat waits for one, or is told to come again.
//!
//! A level's requests wait in the order of their arrival, and a flow (a user's or a namespace's requests) may have only so
//! many of them waiting. Requests that run long, such as watches, hold a seat at their start only.

pub mod classify;
pub mod defaults;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use kinit_api::object::Object;
use kinit_api::status::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::handlers::{Api, now};
use classify::{Digest, Rules};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const LEVELS: &str = "prioritylevelconfigurations";
const SCHEMAS: &str = "flowschemas";
/// How long a request waits for a seat, and how often the schemas' conditions are looked at.
const PATIENCE: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_secs(2);

/// A priority level's seats.
struct Level {
    uid: String,
    /// None for the exempt level, whose requests need no seat.
    seats: Option<Arc<Semaphore>>,
    /// Requests that one flow may have waiting; none where a level does not let them wait.
    patience: usize,
    waiting: Mutex<HashMap<String, usize>>,
}

/// Schemas and levels as they are at a moment.
#[derive(Default)]
struct State {
    version: (i64, i64, usize),
    rules: Rules,
    levels: HashMap<String, Arc<Level>>,
}

/// Gives seats. Cheap to clone.
#[derive(Clone)]
pub struct Flow {
    cache: Cache,
    /// The server's seats, shared out among the levels.
    total: usize,
    state: Arc<Mutex<Arc<State>>>,
}

/// Where a request was sorted, and its seat.
pub struct Admitted {
    schema: String,
    level: String,
    _seat: Option<OwnedSemaphorePermit>,
}

impl Admitted {
    /// Tells the client where its request was sorted.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, uid) in
            [("x-kubernetes-pf-flowschema-uid", &self.schema), ("x-kubernetes-pf-prioritylevel-uid", &self.level)]
        {
            if let Ok(value) = HeaderValue::from_str(uid) {
                headers.insert(name, value);
            }
        }
    }
}

impl Flow {
    pub fn new(cache: Cache, total: usize) -> Self {
        Self { cache, total, state: Arc::default() }
    }

    /// Sorts a request, and waits for its seat. Nothing where no schema is about it, as before the first are written.
    pub async fn admit(&self, digest: &Digest<'_>) -> Result<Option<Admitted>, Status> {
        let state = self.state();
        let Some(found) = state.rules.find(digest) else { return Ok(None) };
        let Some(level) = state.levels.get(&found.level) else { return Ok(None) };
        let seat = match &level.seats {
            None => None,
            Some(seats) => Some(level.seat(seats, &format!("{}/{}", found.uid, found.distinguisher)).await?),
        };
        Ok(Some(Admitted { schema: found.uid, level: level.uid.clone(), _seat: seat }))
    }

    /// The newest schemas and levels; their seats are shared out anew when any of them changes.
    fn state(&self) -> Arc<State> {
        let (levels, schemas) = (self.cache.all(GROUP, LEVELS), self.cache.all(GROUP, SCHEMAS));
        let newest = |map: &crate::cache::Map| map.values().map(|entry| entry.revision).max().unwrap_or_default();
        let version = (newest(&levels), newest(&schemas), levels.len() + schemas.len());
        let mut state = self.state.lock();
        if state.version != version {
            let objects =
                |map: &crate::cache::Map| -> Vec<Object> { map.values().filter_map(|entry| entry.object()).collect() };
            let levels = share(&objects(&levels), self.total, &state.levels);
            *state = Arc::new(State { version, rules: Rules::new(&objects(&schemas)), levels });
        }
        state.clone()
    }

    /// Keeps the schemas' conditions until `shutdown`.
    pub async fn follow(self, api: Api, shutdown: CancellationToken) {
        self.cache.wait_until_synced().await;
        loop {
            for schema in self.cache.all(GROUP, SCHEMAS).values().filter_map(|entry| entry.object()) {
                if let Err(error) = self.keep_condition(&api, &schema).await {
                    tracing::debug!(%error, schema = schema.name(), "its condition could not be written");
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn keep_condition(&self, api: &Api, schema: &Object) -> Result<(), Status> {
        let level = schema.str(&["spec", "priorityLevelConfiguration", "name"]);
        let there = self.cache.find(GROUP, LEVELS, "", level).is_some();
        let (status, reason, end) =
            if there { ("False", "Found", "it exists") } else { ("True", "NotFound", "there is no such object") };
        let link = if there { "and" } else { "but" };
        let message =
            format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {link} {end}");
        let list = schema.get(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
        let before = list.iter().find(|one| one["type"] == "Dangling");
        if before.is_some_and(|one| one["status"] == status && one["message"] == message.as_str()) {
            return Ok(());
        }
        let condition = json!({"type": "Dangling", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": now()});
        let mut changed = schema.clone();
        let others = list.iter().filter(|one| one["type"] != "Dangling").cloned();
        changed.set(&["status", "conditions"], others.chain([condition]).collect::<Vec<_>>());
        let mut update = crate::bootstrap::request(&changed.clone().into_value())?;
        schema.name().clone_into(&mut update.name);
        update.subresource = "status".to_owned();
        update.internal = true;
        api.store_changed(&update, changed).await
    }
}

impl Level {
    async fn seat(&self, seats: &Arc<Semaphore>, flow: &str) -> Result<OwnedSemaphorePermit, Status> {
        if let Ok(seat) = seats.clone().try_acquire_owned() {
            return Ok(seat);
        }
        let full = || {
            let mut status = Status::too_many_requests("too many requests, please try again later");
            status.details = Some(json!({"retryAfterSeconds": 1}));
            status
        };
        let place = Place::take(self, flow).ok_or_else(full)?;
        let seat = tokio::time::timeout(PATIENCE, seats.clone().acquire_owned()).await;
        drop(place);
        // The semaphore is never closed.
        seat.map_err(|_| full())?.map_err(|_| full())
    }
}

/// A place among those that wait, given back when it is dropped.
struct Place<'a> {
    level: &'a Level,
    flow: &'a str,
}

impl<'a> Place<'a> {
    fn take(level: &'a Level, flow: &'a str) -> Option<Self> {
        let mut waiting = level.waiting.lock();
        let count = waiting.get(flow).copied().unwrap_or_default();
        if count >= level.patience {
            return None;
        }
        waiting.insert(flow.to_owned(), count + 1);
        Some(Self { level, flow })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.level.waiting.lock();
        let count = waiting.get(self.flow).copied().unwrap_or_default();
        if count <= 1 {
            waiting.remove(self.flow);
        } else {
            waiting.insert(self.flow.to_owned(), count - 1);
        }
    }
}

/// Levels by name, each with its share of all seats. A level whose share stays keeps who sits and waits.
fn share(levels: &[Object], total: usize, before: &HashMap<String, Arc<Level>>) -> HashMap<String, Arc<Level>> {
    let number = |level: &Object, path: &[&str], otherwise: u64| {
        let path = [&["spec", "limited"], path].concat();
        usize::try_from(level.get(&path).and_then(Value::as_u64).unwrap_or(otherwise)).unwrap_or(usize::MAX)
    };
    let limited = |level: &&Object| level.str(&["spec", "type"]) != "Exempt";
    let shares = |level: &Object| number(level, &["nominalConcurrencyShares"], 30);
    let sum: usize = levels.iter().filter(limited).map(shares).sum::<usize>().max(1);
    let one = |level: &Object| {
        let seats = limited(&level).then(|| (total * shares(level)).div_ceil(sum).max(1));
        let queues = level.str(&["spec", "limited", "limitResponse", "type"]) == "Queue";
        let of_queues = |field: &str, otherwise| number(level, &["limitResponse", "queuing", field], otherwise);
        // A flow's hand of queues, each of which holds so many.
        let patience = if queues { of_queues("handSize", 8) * of_queues("queueLengthLimit", 50) } else { 0 };
        let kept = before.get(level.name()).filter(|kept| kept.patience == patience && kept.uid == level.uid());
        let kept = kept.filter(|kept| kept.seats.as_ref().map(|own| own.available_permits()) == seats);
        let fresh = || {
            let seats = seats.map(|count| Arc::new(Semaphore::new(count)));
            Arc::new(Level { uid: level.uid().to_owned(), seats, patience, waiting: Mutex::default() })
        };
        (level.name().to_owned(), kept.cloned().unwrap_or_else(fresh))
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
        let queue = json!({"type": "Queue", "queuing": {"handSize": 1, "queueLengthLimit": 1, "queues": 4}});
        let levels = [level("a", 3, &queue), level("b", 1, &json!({"type": "Reject"}))];
        let shared = share(&levels, 4, &HashMap::new());
        let seats = |name: &str| shared[name].seats.clone().unwrap();
        assert_eq!((seats("a").available_permits(), seats("b").available_permits()), (3, 1));
        let (a, b) = (&shared["a"], &shared["b"]);
        let _taken = b.seat(&seats("b"), "f").await.unwrap();
        assert_eq!(b.seat(&seats("b"), "f").await.unwrap_err().code, 429);
        let held = seats("a").acquire_many_owned(3).await.unwrap();
        let all = seats("a");
        let (waited, refused) = tokio::join!(a.seat(&all, "f"), async {
            let refused = a.seat(&all, "f").await;
            drop(held);
            refused
        });
        assert!(waited.is_ok());
        assert_eq!(refused.unwrap_err().code, 429);
        assert!(a.waiting.lock().is_empty());
    }
}
