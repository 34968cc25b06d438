//! What is counted where much happens: atomics alone, so that nobody who counts waits for another, and the families that they are
//! told as when somebody reads them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// The labels of a family that has none.
pub(crate) const NO_LABELS: [(&str, &str); 0] = [];

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub fn one(&self) {
        self.add(1);
    }

    pub fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    pub fn told(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram of durations or of sizes.
#[derive(Debug)]
pub(crate) struct Tally {
    bounds: &'static [f64],
    /// How many there were up to each bound and above the one before; those above all are the last.
    counts: Box<[AtomicU64]>,
    /// In nanoseconds or bytes.
    sum: AtomicU64,
    /// How many of those are one of what the bounds are in.
    unit: f64,
}

impl Tally {
    /// Of durations; bounds are seconds.
    pub fn of_times(bounds: &'static [f64]) -> Self {
        Self::new(bounds, 1e9)
    }

    /// Of sizes; bounds are bytes.
    pub fn of_sizes(bounds: &'static [f64]) -> Self {
        Self::new(bounds, 1.0)
    }

    fn new(bounds: &'static [f64], unit: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0), unit }
    }

    pub fn took(&self, took: Duration) {
        self.note(took.as_secs_f64(), u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn measured(&self, bytes: usize) {
        self.note(bytes as f64, bytes as u64);
    }

    fn note(&self, value: f64, sum: u64) {
        self.counts[self.bounds.partition_point(|bound| *bound < value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(sum, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl EncodeMetric for Tally {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.sum.load(Ordering::Relaxed) as f64 / self.unit;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Writes families one after the other; one that has no samples is left out, as upstream does.
pub(crate) struct Teller<'a>(pub DescriptorEncoder<'a>);

impl Teller<'_> {
    /// A counter; `name` is without `_total`.
    pub fn counts<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, samples, |count, mut encoder| {
            encoder.encode_counter::<NoLabelSet, _, u64>(&count, None)
        })
    }

    /// A counter whose name does not end with `_total`: its type is made known where the text is.
    pub fn unended_counts<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Unknown, samples, |count, mut encoder| encoder.encode_gauge(&count))
    }

    pub fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, i64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples, |value, mut encoder| encoder.encode_gauge(&value))
    }

    pub fn tallies<'t, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, &'t Tally)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, samples, |tally, encoder| tally.encode(encoder))
    }

    fn family<L: EncodeLabelSet, T>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (L, T)>,
        write: impl Fn(T, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, sample) in samples {
            write(sample, family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use prometheus_client::collector::Collector;
    use prometheus_client::registry::Registry;

    use super::*;

    /// What a collector tells, line by line.
    pub(crate) fn lines(collector: impl Collector) -> Vec<String> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(collector));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[derive(Debug)]
    struct One(Tally);

    impl Collector for One {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let mut teller = Teller(encoder);
            teller.tallies("a", "Some", [([("b", "c")], &self.0)])?;
            teller.counts("none", "None", None::<([(&str, &str); 0], u64)>)
        }
    }

    #[test]
    fn a_tally_is_told_as_a_histogram() {
        let tally = Tally::of_times(&[0.5, 1.0]);
        for millis in [100, 500, 501, 3000] {
            tally.took(Duration::from_millis(millis));
        }
        assert_eq!(tally.count(), 4);
        let expected = [
            "# HELP a Some",
            "# TYPE a histogram",
            "a_sum{b=\"c\"} 4.101",
            "a_count{b=\"c\"} 4",
            "a_bucket{le=\"0.5\",b=\"c\"} 2",
            "a_bucket{le=\"1.0\",b=\"c\"} 3",
            "a_bucket{le=\"+Inf\",b=\"c\"} 4",
            "# EOF",
        ];
        assert_eq!(lines(One(tally)), expected);
    }
}
