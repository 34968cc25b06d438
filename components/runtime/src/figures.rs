//! Figures of all work queues of the process, by upstream's names.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Upper bounds of the histogram of how long work takes, in nanoseconds: from ten of them, each ten times the one before.
const BOUNDS: usize = 10;

static QUEUES: Mutex<Vec<(&'static str, Arc<Figures>)>> = Mutex::new(Vec::new());

/// What has gone through a queue.
#[derive(Debug, Default)]
pub struct Figures {
    /// Keys that wait.
    pub depth: AtomicU64,
    /// Keys that came again after a failure.
    pub retries: AtomicU64,
    adds: AtomicU64,
    nanoseconds: AtomicU64,
    /// How many took up to each bound and longer than the one before; the last took longer than all.
    took: [AtomicU64; BOUNDS + 1],
}

impl Figures {
    /// Notes that a key was added, and how many wait now.
    pub fn added(&self, depth: usize) {
        self.adds.fetch_add(1, Ordering::Relaxed);
        self.depth.store(depth as u64, Ordering::Relaxed);
    }

    /// Notes how long the work on a key took.
    pub fn worked(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        let at = (0..BOUNDS as u32).find(|at| nanoseconds <= 10u64.pow(at + 1)).map_or(BOUNDS, |at| at as usize);
        self.took[at].fetch_add(1, Ordering::Relaxed);
    }
}

/// Shows a queue under a name from now on; a later one takes the place of an earlier.
pub fn register(name: &'static str, figures: &Arc<Figures>) {
    let mut all = QUEUES.lock();
    all.retain(|(other, _)| *other != name);
    all.push((name, figures.clone()));
    all.sort_by_key(|(name, _)| *name);
}

/// All figures in Prometheus' text format.
pub fn text() -> String {
    render(&QUEUES.lock())
}

fn render(all: &[(&'static str, Arc<Figures>)]) -> String {
    let mut out = String::new();
    let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
    // Writing to a string does not fail.
    let mut family = |name: &str, kind: &str, help: &str, value: fn(&Figures) -> &AtomicU64| {
        let _ = writeln!(out, "# HELP workqueue_{name} {help}\n# TYPE workqueue_{name} {kind}");
        for (queue, figures) in all {
            let _ = writeln!(out, "workqueue_{name}{{name=\"{queue}\"}} {}", read(value(figures)));
        }
    };
    family("adds_total", "counter", "Total number of adds handled by workqueue", |one| &one.adds);
    family("depth", "gauge", "Current depth of workqueue", |one| &one.depth);
    family("retries_total", "counter", "Total number of retries handled by workqueue", |one| &one.retries);
    let name = "workqueue_work_duration_seconds";
    let help = "How long in seconds processing an item from workqueue takes.";
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
    for (queue, figures) in all {
        let mut count = 0;
        for (at, took) in figures.took.iter().enumerate() {
            count += read(took);
            let bound = if at < BOUNDS { format!("{}", 10f64.powi(at as i32 - 8)) } else { "+Inf".into() };
            let _ = writeln!(out, "{name}_bucket{{name=\"{queue}\",le=\"{bound}\"}} {count}");
        }
        let sum = Duration::from_nanos(read(&figures.nanoseconds)).as_secs_f64();
        let _ = writeln!(out, "{name}_sum{{name=\"{queue}\"}} {sum}\n{name}_count{{name=\"{queue}\"}} {count}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_by_how_long_it_took() {
        let figures = Arc::new(Figures::default());
        figures.added(3);
        figures.worked(Duration::from_millis(2));
        figures.worked(Duration::from_secs(1000));
        let text = render(&[("job", figures)]);
        for line in [
            "workqueue_adds_total{name=\"job\"} 1",
            "workqueue_depth{name=\"job\"} 3",
            "workqueue_work_duration_seconds_bucket{name=\"job\",le=\"0.001\"} 0",
            "workqueue_work_duration_seconds_bucket{name=\"job\",le=\"0.01\"} 1",
            "workqueue_work_duration_seconds_bucket{name=\"job\",le=\"+Inf\"} 2",
            "workqueue_work_duration_seconds_count{name=\"job\"} 2",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
    }
}
