//! What the scheduler counts, under upstream's names.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use kinit_serving::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The pod got its node.
    Scheduled,
    /// No node would do.
    Unschedulable,
    /// It was not written down.
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    result: &'static str,
    profile: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Waiting {
    queue: &'static str,
}

/// The queues, in the order of the core's depths.
const QUEUES: [&str; 4] = ["active", "backoff", "unschedulable", "gated"];

/// All that is counted. Cheap to clone.
#[derive(Clone)]
pub struct Figures {
    attempts: Family<Attempt, Counter>,
    durations: Family<Attempt, Histogram, fn() -> Histogram>,
    decisions: Histogram,
    pending: Family<Waiting, Gauge<i64, AtomicI64>>,
}

fn from_a_millisecond() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            attempts: Family::default(),
            durations: Family::new_with_constructor(from_a_millisecond),
            decisions: from_a_millisecond(),
            pending: Family::default(),
        }
    }
}

impl Figures {
    /// Figures that `metrics` shows.
    pub fn shown(metrics: &Metrics) -> Self {
        let figures = Self::default();
        metrics.register(|registry| figures.register(registry));
        figures
    }

    fn register(&self, registry: &mut Registry) {
        let mut families = registry.sub_registry_with_prefix("scheduler");
        let families = &mut families;
        families.register("schedule_attempts", "Attempts to schedule pods, by their results", self.attempts.clone());
        let text = "Time of an attempt, binding included";
        families.register("scheduling_attempt_duration_seconds", text, self.durations.clone());
        let text = "Time of deciding on a pod's node";
        families.register("scheduling_algorithm_duration_seconds", text, self.decisions.clone());
        families.register("pending_pods", "Pods that wait, by the queue that they are in", self.pending.clone());
    }

    /// A pod was decided on.
    pub fn decided(&self, took: Duration) {
        self.decisions.observe(took.as_secs_f64());
    }

    /// An attempt of a profile's has come to its end.
    pub fn attempted(&self, profile: &str, outcome: Outcome, took: Duration) {
        let result = match outcome {
            Outcome::Scheduled => "scheduled",
            Outcome::Unschedulable => "unschedulable",
            Outcome::Error => "error",
        };
        let attempt = Attempt { result, profile: profile.to_owned() };
        self.attempts.get_or_create(&attempt).inc();
        self.durations.get_or_create(&attempt).observe(took.as_secs_f64());
    }

    /// How many pods are in each queue.
    pub fn queued(&self, depths: [usize; 4]) {
        for (queue, depth) in QUEUES.into_iter().zip(depths) {
            self.pending.get_or_create(&Waiting { queue }).set(i64::try_from(depth).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_described_once() {
        let mut registry = Registry::default();
        let figures = Figures::default();
        figures.register(&mut registry);
        figures.queued([1, 0, 3, 0]);
        figures.decided(Duration::from_millis(3));
        figures.attempted("default-scheduler", Outcome::Scheduled, Duration::from_millis(20));
        figures.attempted("default-scheduler", Outcome::Unschedulable, Duration::from_millis(1));
        figures.attempted("other", Outcome::Error, Duration::from_millis(1));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let described: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let families = [
            "scheduler_schedule_attempts counter",
            "scheduler_scheduling_attempt_duration_seconds histogram",
            "scheduler_scheduling_algorithm_duration_seconds histogram",
            "scheduler_pending_pods gauge",
        ];
        assert_eq!(described, families);
        for line in [
            r#"scheduler_schedule_attempts_total{result="scheduled",profile="default-scheduler"} 1"#,
            r#"scheduler_schedule_attempts_total{result="error",profile="other"} 1"#,
            r#"scheduler_scheduling_attempt_duration_seconds_count{result="unschedulable",profile="default-scheduler"} 1"#,
            r#"scheduler_scheduling_algorithm_duration_seconds_bucket{le="0.004"} 1"#,
            r#"scheduler_pending_pods{queue="unschedulable"} 3"#,
        ] {
            assert!(text.lines().any(|own| own == line), "{line} in {text}");
        }
    }
}
