//! The most requests that were executed at a time of late, of those that read and of those that change something.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    ReadOnly,
    Mutating,
}

/// Requests of one kind.
#[derive(Debug, Default)]
struct Count {
    now: i64,
    /// The most of this second, of which `second` is the number, and of the one before it.
    most: i64,
    before: i64,
    second: u64,
}

impl Count {
    fn turn(&mut self, second: u64) {
        if second > self.second {
            self.before = if second == self.second + 1 { self.most } else { self.now };
            (self.most, self.second) = (self.now, second);
        }
    }

    fn enter(&mut self, second: u64) {
        self.turn(second);
        self.now += 1;
        self.most = self.most.max(self.now);
    }

    fn leave(&mut self, second: u64) {
        self.turn(second);
        self.now -= 1;
    }

    fn of_late(&mut self, second: u64) -> i64 {
        self.turn(second);
        self.most.max(self.before)
    }
}

/// Requests of both kinds.
#[derive(Debug)]
pub(super) struct Peak {
    began: Instant,
    counts: [Mutex<Count>; 2],
}

impl Default for Peak {
    fn default() -> Self {
        Self { began: Instant::now(), counts: Default::default() }
    }
}

impl Peak {
    /// A request is executed as long as what this returns lives.
    pub fn enter(own: &Arc<Self>, kind: Kind) -> Executing {
        own.counts[kind as usize].lock().enter(own.second());
        Executing { peak: own.clone(), kind }
    }

    fn second(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    pub fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "The most requests executed at a time in the last second";
        let mut family =
            encoder.encode_descriptor("apiserver_current_inflight_requests", help, None, MetricType::Gauge)?;
        for (kind, name) in [(Kind::Mutating, "mutating"), (Kind::ReadOnly, "readOnly")] {
            let most = self.counts[kind as usize].lock().of_late(self.second());
            ConstGauge::new(most).encode(family.encode_family(&[("request_kind", name)])?)?;
        }
        Ok(())
    }
}

/// A request that is executed.
pub(super) struct Executing {
    peak: Arc<Peak>,
    kind: Kind,
}

impl Drop for Executing {
    fn drop(&mut self) {
        let second = self.peak.second();
        self.peak.counts[self.kind as usize].lock().leave(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_of_late_is_told() {
        let mut count = Count::default();
        count.enter(5);
        count.enter(5);
        count.leave(5);
        assert_eq!([count.of_late(5), count.of_late(6), count.of_late(7)], [2, 2, 1], "one goes on");
        count.leave(7);
        assert_eq!([count.of_late(7), count.of_late(8), count.of_late(30)], [1, 1, 0]);
    }
}
