//! What flow control tells of itself, under upstream's names.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::borrow::{Bounds, Memory};

/// Upstream's bounds of waiting and of execution, in seconds.
const SECONDS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfLevel {
    pub priority_level: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfSchema {
    pub priority_level: String,
    pub flow_schema: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Waited {
    execute: &'static str,
    priority_level: String,
    flow_schema: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    priority_level: String,
    flow_schema: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Executed {
    priority_level: String,
    flow_schema: String,
    r#type: &'static str,
}

type Number = Gauge<f64, AtomicU64>;
type Times<L> = Family<L, Histogram, fn() -> Histogram>;

/// The families.
pub struct Figures {
    nominal: Family<OfLevel, Gauge>,
    least: Family<OfLevel, Gauge>,
    most: Family<OfLevel, Gauge>,
    current: Family<OfLevel, Gauge>,
    watermark: Family<OfLevel, Number>,
    average: Family<OfLevel, Number>,
    deviation: Family<OfLevel, Number>,
    smoothed: Family<OfLevel, Number>,
    target: Family<OfLevel, Number>,
    fair: Number,
    dispatched: Family<OfSchema, Counter>,
    refused: Family<Refused, Counter>,
    waiting: Family<OfSchema, Gauge>,
    executing: Family<OfSchema, Gauge>,
    seats: Family<OfSchema, Gauge>,
    waited: Times<Waited>,
    executed: Times<Executed>,
}

impl Default for Figures {
    fn default() -> Self {
        let times: fn() -> Histogram = || Histogram::new(SECONDS);
        Self {
            nominal: Family::default(),
            least: Family::default(),
            most: Family::default(),
            current: Family::default(),
            watermark: Family::default(),
            average: Family::default(),
            deviation: Family::default(),
            smoothed: Family::default(),
            target: Family::default(),
            fair: Number::default(),
            dispatched: Family::default(),
            refused: Family::default(),
            waiting: Family::default(),
            executing: Family::default(),
            seats: Family::default(),
            waited: Family::new_with_constructor(times),
            executed: Family::new_with_constructor(times),
        }
    }
}

impl Figures {
    pub fn register(&self, families: &mut Registry) {
        let families = families.sub_registry_with_prefix("apiserver_flowcontrol");
        families.register("nominal_limit_seats", "Seats of a level by its shares", self.nominal.clone());
        families.register("lower_limit_seats", "Seats that a level does not lend", self.least.clone());
        families.register("upper_limit_seats", "Seats of a level that borrows all it may", self.most.clone());
        families.register("current_limit_seats", "Seats that a level has now", self.current.clone());
        families.register("demand_seats_high_watermark", "The most seats wanted of late", self.watermark.clone());
        families.register("demand_seats_average", "Seats wanted of late, on average", self.average.clone());
        families.register("demand_seats_stdev", "How much that went up and down", self.deviation.clone());
        families.register("demand_seats_smoothed", "Seats wanted, slowly forgotten", self.smoothed.clone());
        families.register("target_seats", "Seats that a level would like", self.target.clone());
        families.register("seat_fair_frac", "What part of its wish each level gets", self.fair.clone());
        families.register("dispatched_requests", "Requests that got a seat", self.dispatched.clone());
        families.register("rejected_requests", "Requests that got none", self.refused.clone());
        families.register("current_inqueue_requests", "Requests that wait for a seat", self.waiting.clone());
        families.register("current_executing_requests", "Requests that have a seat", self.executing.clone());
        families.register("current_executing_seats", "Seats that requests have", self.seats.clone());
        families.register("request_wait_duration_seconds", "How long requests waited", self.waited.clone());
        families.register("request_execution_seconds", "How long requests had a seat", self.executed.clone());
    }

    pub(super) fn bounds(&self, level: &str, bounds: Bounds) {
        let set = |family: &Family<OfLevel, Gauge>, seats: usize| {
            family.get_or_create(&of(level)).set(i64::try_from(seats).unwrap_or(i64::MAX));
        };
        set(&self.nominal, bounds.nominal);
        set(&self.least, bounds.least);
        set(&self.most, bounds.most);
    }

    pub(super) fn adjusted(&self, level: &str, memory: &Memory, target: f64, limit: usize) {
        self.current.get_or_create(&of(level)).set(i64::try_from(limit).unwrap_or(i64::MAX));
        for (family, value) in [
            (&self.watermark, memory.last.most as f64),
            (&self.average, memory.last.average),
            (&self.deviation, memory.last.deviation),
            (&self.smoothed, memory.smoothed),
            (&self.target, target),
        ] {
            family.get_or_create(&of(level)).set(value);
        }
    }

    pub(super) fn fair(&self, fraction: f64) {
        self.fair.set(fraction);
    }

    /// A level that is no more.
    pub(super) fn forget(&self, level: &str) {
        for family in [&self.nominal, &self.least, &self.most, &self.current] {
            family.remove(&of(level));
        }
        for family in [&self.watermark, &self.average, &self.deviation, &self.smoothed, &self.target] {
            family.remove(&of(level));
        }
    }

    pub(super) fn waits(&self, key: &OfSchema, more: bool) {
        let gauge = self.waiting.get_or_create(key);
        if more {
            gauge.inc()
        } else {
            gauge.dec()
        };
    }

    pub(super) fn refused(&self, key: &OfSchema, reason: &'static str) {
        let OfSchema { priority_level, flow_schema } = key.clone();
        self.refused.get_or_create(&Refused { priority_level, flow_schema, reason }).inc();
    }

    /// A request waited so many seconds, and got a seat or not.
    pub(super) fn waited(&self, key: &OfSchema, seconds: f64, got: bool) {
        let OfSchema { priority_level, flow_schema } = key.clone();
        let execute = if got { "true" } else { "false" };
        self.waited.get_or_create(&Waited { execute, priority_level, flow_schema }).observe(seconds);
    }

    pub(super) fn begins(&self, key: &OfSchema) {
        self.dispatched.get_or_create(key).inc();
        self.executing.get_or_create(key).inc();
        self.seats.get_or_create(key).inc();
    }

    /// A request has given its seat back; a watch does when it begins.
    pub(super) fn ends(&self, key: &OfSchema, watch: bool, seconds: f64) {
        self.executing.get_or_create(key).dec();
        self.seats.get_or_create(key).dec();
        let OfSchema { priority_level, flow_schema } = key.clone();
        let r#type = if watch { "watch" } else { "regular" };
        self.executed.get_or_create(&Executed { priority_level, flow_schema, r#type }).observe(seconds);
    }
}

fn of(level: &str) -> OfLevel {
    OfLevel { priority_level: level.to_owned() }
}
