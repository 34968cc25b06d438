//! Figures: times, and what the server's process has used.

use std::time::{Duration, Instant};

/// The server's process, where it can be looked at.
#[derive(Clone, Copy)]
pub struct Server {
    pid: Option<u32>,
}

/// A row while it is measured.
pub struct Row {
    server: Server,
    cpu: f64,
    begun: Instant,
}

impl Server {
    pub fn new(pid: Option<u32>) -> Self {
        Self { pid }
    }

    /// CPU seconds, of the process and of the kernel for it.
    fn cpu(self) -> f64 {
        let stat = self.pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        let ticks = stat.and_then(|stat| {
            // The command's name may have spaces; what follows it does not.
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
        });
        ticks.unwrap_or(0.0) / 100.0
    }

    /// Resident memory in MB.
    pub fn memory(self) -> u64 {
        let status = self.pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
        let line = status.and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        line.unwrap_or(0) / 1024
    }

    pub fn begin(self) -> Row {
        Row { server: self, cpu: self.cpu(), begun: Instant::now() }
    }
}

impl Row {
    /// Prints what was measured of `times.len()` operations.
    pub fn end(self, name: &str, mut times: Vec<Duration>) {
        let took = self.begun.elapsed().as_secs_f64();
        let cpu = self.server.cpu() - self.cpu;
        let count = times.len().max(1) as f64;
        times.sort_unstable();
        println!(
            "{name:<44} {:>9.0}/s  p50 {:>8.2} ms  p99 {:>8.2} ms  {:>8.3} ms CPU each  {:>5} MB",
            times.len() as f64 / took,
            at(&times, 50),
            at(&times, 99),
            cpu * 1000.0 / count,
            self.server.memory(),
        );
    }
}

/// A percentile in milliseconds of sorted times.
fn at(times: &[Duration], percent: usize) -> f64 {
    let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(place).map_or(0.0, Duration::as_secs_f64) * 1000.0
}
