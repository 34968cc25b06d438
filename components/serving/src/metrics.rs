//! `/metrics` in the Prometheus text format: a component's own families and the process's figures.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::health::Health;
use crate::{Body, text};

/// The text format's own media type.
const MEDIA: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");

/// The metric families of one server. Cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Registers families; called while a component is built.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock());
    }

    /// Answers `/metrics`; `None` for any other path.
    pub fn respond(&self, path: &str) -> Option<http::Response<Body>> {
        if path != "/metrics" {
            return None;
        }
        let mut out = String::new();
        if prometheus_client::encoding::text::encode(&mut out, &self.registry.lock()).is_err() {
            return Some(text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded\n"));
        }
        // The registry ends its text with the OpenMetrics end mark; the process's families come before it.
        let families = classic(out.trim_end_matches("# EOF\n"));
        Some(shown(format!("{families}{}", self.process())))
    }

    /// Answers `/metrics/slis`, which tells how the server's checks went; `None` for any other path.
    pub fn indicators(path: &str, health: &Health) -> Option<http::Response<Body>> {
        (path == "/metrics/slis").then(|| shown(health.indicators()))
    }

    /// The process's own families, for components that write the rest themselves.
    pub fn process(&self) -> String {
        let (resident, virtual_size, cpu) = process_usage();
        let (open, most) = process_files();
        format!(
            "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes {resident}\n\
             # TYPE process_virtual_memory_bytes gauge\nprocess_virtual_memory_bytes {virtual_size}\n\
             # TYPE process_open_fds gauge\nprocess_open_fds {open}\n\
             # TYPE process_max_fds gauge\nprocess_max_fds {most}\n\
             # TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {cpu:.2}\n\
             # TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {}\n",
            process_start()
        )
    }
}

/// OpenMetrics' text as the text format 0.0.4 has it: there a counter's family bears the name that its samples have, `_total`
/// included, or the samples are of no type.
fn classic(text: &str) -> String {
    let counters: HashSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut out = String::with_capacity(text.len() + counters.len() * 16);
    for line in text.lines() {
        let described = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        match described.and_then(|rest| rest.split_once(' ')).filter(|(name, _)| counters.contains(name)) {
            Some((name, rest)) => {
                out.push_str(&line[.."# HELP ".len()]);
                out.push_str(name);
                out.push_str("_total ");
                out.push_str(rest);
            }
            // A counter whose name has no end that says so is of no type that OpenMetrics has.
            None => match line.strip_suffix(" unknown").filter(|_| line.starts_with("# TYPE ")) {
                Some(described) => {
                    out.push_str(described);
                    out.push_str(" counter");
                }
                None => out.push_str(line),
            },
        }
        out.push('\n');
    }
    out
}

/// An answer of figures, which tells when the process began so that counters that began anew are known for it.
fn shown(figures: String) -> http::Response<Body> {
    let mut answer = text(StatusCode::OK, figures);
    answer.headers_mut().insert(header::CONTENT_TYPE, MEDIA);
    answer.headers_mut().insert("process-start-time-unix", HeaderValue::from(process_start()));
    answer
}

/// How many files this process has open, and how many it may have; zero where /proc cannot be read.
fn process_files() -> (usize, u64) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count());
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let most =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    (open, most.unwrap_or_default())
}

/// Resident and virtual bytes and CPU seconds of this process, zero where /proc cannot be read.
fn process_usage() -> (u64, u64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kilobytes.map_or(0, |kilobytes| kilobytes * 1024)
    };
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command's name may hold blanks, so fields are counted from its closing parenthesis: utime and stime are the
    // 12th and 13th after it, in ticks of 10 ms.
    let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = after.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    (bytes("VmRSS:"), bytes("VmSize:"), ticks as f64 / 100.0)
}

/// When this process began, in seconds since 1970; zero where /proc cannot be read.
pub(crate) fn process_start() -> i64 {
    static STARTED: LazyLock<i64> = LazyLock::new(|| {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // Counted as above: the 20th is ticks of 10 ms since the machine came up.
        let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let since_boot = after.split(' ').nth(19).and_then(|field| field.parse::<i64>().ok()).map(|ticks| ticks / 100);
        let machine = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot =
            machine.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|value| value.parse::<i64>().ok());
        boot.zip(since_boot).map_or(0, |(boot, since)| boot + since)
    });
    *STARTED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_uses_memory() {
        let (resident, virtual_size, _) = process_usage();
        assert!(resident > 0 && virtual_size >= resident);
        let (open, most) = process_files();
        assert!(open > 0 && most >= open as u64);
        let now = jiff::Timestamp::now().as_second();
        assert!((now - 86_400..=now + 1).contains(&process_start()), "{}", process_start());
        assert!(Metrics::default().respond("/healthz").is_none());
        assert!(Metrics::default().respond("/metrics").is_some_and(|response| response.status() == 200));
    }

    #[test]
    fn a_counter_may_have_a_name_without_an_end() {
        assert_eq!(classic("# HELP a b\n# TYPE a unknown\na 1\n"), "# HELP a b\n# TYPE a counter\na 1\n");
    }

    #[test]
    fn a_counter_is_described_by_the_name_of_its_samples() {
        use prometheus_client::metrics::counter::Counter;
        use prometheus_client::metrics::gauge::Gauge;
        let metrics = Metrics::default();
        metrics.register(|families| {
            families.register("asked", "Questions", Counter::<u64>::default());
            families.register("asked_now", "Questions open", Gauge::<i64>::default());
        });
        let text = {
            let mut out = String::new();
            prometheus_client::encoding::text::encode(&mut out, &metrics.registry.lock()).unwrap();
            classic(out.trim_end_matches("# EOF\n"))
        };
        let expected = "# HELP asked_total Questions.\n# TYPE asked_total counter\nasked_total 0\n\
                        # HELP asked_now Questions open.\n# TYPE asked_now gauge\nasked_now 0\n";
        assert_eq!(text, expected);
    }
}
