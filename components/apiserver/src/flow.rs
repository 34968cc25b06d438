//! Flow control: no client takes the server from the others. FlowSchemas sort requests into priority levels ([`classify`]),
//! and each level has a share of the server's seats, of which it lends what it does not need ([`borrow`]); what finds no seat
//! waits for one, or is told to come again.
//!
//! Requests wait in a level's queues, of which a flow (a user's or a namespace's requests) is dealt a hand ([`queues`]).
//! Requests that run long, such as watches, hold a seat at their start only.

mod borrow;
pub mod classify;
pub mod defaults;
mod dropped;
mod figures;
pub mod inflight;
mod level;
mod queues;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use kinit_api::object::Object;
use kinit_api::status::Status;
use parking_lot::Mutex;
use prometheus_client::registry::Registry as Families;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::handlers::{Api, now};
use classify::{Digest, Rules};
use figures::Figures;
use level::{Level, Seat};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const LEVELS: &str = "prioritylevelconfigurations";
const SCHEMAS: &str = "flowschemas";
/// How often the schemas' conditions are looked at.
const EVERY: Duration = Duration::from_secs(2);
/// How often seats are lent and borrowed anew.
const ADJUSTED_EVERY: Duration = Duration::from_secs(10);

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
    figures: Arc<Figures>,
}

/// A request's seat, and where it was sorted.
pub struct Admitted {
    /// The UIDs of its schema and its level.
    sorted: Option<(String, String)>,
    _seat: Held,
}

/// A seat that is given back when this is dropped.
enum Held {
    OfLevel { _seat: Option<Seat> },
    Counted { _seat: OwnedSemaphorePermit },
}

impl Admitted {
    /// Tells the client where its request was sorted.
    pub fn write(&self, headers: &mut HeaderMap) {
        let Some((schema, level)) = &self.sorted else { return };
        for (name, uid) in [("x-kubernetes-pf-flowschema-uid", schema), ("x-kubernetes-pf-prioritylevel-uid", level)] {
            if let Ok(value) = HeaderValue::from_str(uid) {
                headers.insert(name, value);
            }
        }
    }
}

impl Flow {
    pub fn new(cache: Cache, total: usize) -> Self {
        Self { cache, total, state: Arc::default(), figures: Arc::default() }
    }

    pub fn register(&self, families: &mut Families) {
        self.figures.register(families);
    }

    /// Sorts a request, and waits for its seat; `admitted` is told where it was sorted even where it gets none. Nothing where no
    /// schema is about it, as before the first are written.
    pub async fn admit(&self, digest: &Digest<'_>, admitted: &mut Option<Admitted>) -> Result<(), Status> {
        let state = self.state();
        let Some(found) = state.rules.find(digest) else { return Ok(()) };
        let Some(level) = state.levels.get(&found.level) else { return Ok(()) };
        let sorted = admitted.insert(Admitted {
            sorted: Some((found.uid, level.uid().to_owned())),
            _seat: Held::OfLevel { _seat: None },
        });
        let mut seat = level.seat((&found.name, &found.distinguisher)).await?;
        seat.watch = digest.verb == "watch";
        sorted._seat = Held::OfLevel { _seat: Some(seat) };
        Ok(())
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
            let levels = level::levels(&objects(&levels), self.total, &state.levels, &self.figures);
            level::adjust(&levels, &self.figures, Instant::now(), false);
            *state = Arc::new(State { version, rules: Rules::new(&objects(&schemas)), levels });
        }
        state.clone()
    }

    /// Keeps the schemas' conditions, and lets levels lend and borrow seats, until `shutdown`.
    pub async fn follow(self, api: Api, shutdown: CancellationToken) {
        self.cache.wait_until_synced().await;
        let mut adjusted = Instant::now();
        loop {
            let now = Instant::now();
            if now.duration_since(adjusted) >= ADJUSTED_EVERY {
                adjusted = now;
                level::adjust(&self.state().levels, &self.figures, now, true);
            }
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
        let update = crate::bootstrap::status_request(&changed)?;
        api.store_changed(&update, changed).await
    }
}
