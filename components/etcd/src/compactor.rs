//! Automatic compactions: how much history is kept without anybody asking.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::config::AutoCompaction;
use crate::error::Error;
use crate::proto::log::command::Op;
use crate::proto::rpc::CompactionRequest;
use crate::rpc::Context;

/// How often revisions are counted in that mode.
const REVISION_INTERVAL: Duration = Duration::from_secs(300);
/// With a long retention the oldest history goes once in this time.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// Which revision was the newest when.
struct Samples {
    period: Duration,
    taken: VecDeque<(Instant, i64)>,
    last: Option<Instant>,
}

impl Samples {
    fn new(period: Duration) -> Self {
        Self { period, taken: VecDeque::new(), last: None }
    }

    /// Notes the newest revision, and says up to which one to compact, if it is time.
    fn note(&mut self, now: Instant, revision: i64) -> Option<i64> {
        self.taken.push_back((now, revision));
        let old = |taken: &(Instant, i64)| now.duration_since(taken.0) >= self.period;
        // The newest sample that is old enough; those before it say nothing more.
        while self.taken.get(1).is_some_and(old) {
            self.taken.pop_front();
        }
        let (_, target) = *self.taken.front().filter(|taken| old(taken))?;
        let interval = self.period.min(LONGEST_INTERVAL);
        if self.last.is_some_and(|last| now.duration_since(last) < interval) {
            return None;
        }
        self.last = Some(now);
        Some(target)
    }
}

/// Compacts until `shutdown`.
pub async fn run(context: Arc<Context>, mode: AutoCompaction, shutdown: CancellationToken) {
    let (interval, mut samples) = match mode {
        AutoCompaction::Off => return,
        AutoCompaction::Revisions(_) => (REVISION_INTERVAL, None),
        AutoCompaction::Periodic(period) => {
            let interval = (period.min(LONGEST_INTERVAL) / 10).max(Duration::from_millis(100));
            (interval, Some(Samples::new(period)))
        }
    };
    let mut ticks = tokio::time::interval(interval);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let newest = context.machine.store.revision();
        let target = match (&mut samples, mode) {
            (Some(samples), _) => samples.note(Instant::now(), newest),
            (None, AutoCompaction::Revisions(kept)) => Some(newest - kept),
            (None, _) => None,
        };
        let Some(revision) = target.filter(|target| *target > context.machine.store.meta().compacted.max(0)) else {
            continue;
        };
        if !context.standing.leads() {
            continue;
        }
        match context.proposer.propose(Op::Compact(CompactionRequest { revision, physical: false })).await {
            Ok(_) | Err(Error::Compacted) => {}
            Err(error) => tracing::warn!(revision, %error, "automatic compaction failed; it is tried again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_of_one_period_is_kept() {
        let start = Instant::now();
        let mut samples = Samples::new(Duration::from_secs(100));
        let compacted: Vec<(u64, i64)> = (0..=35)
            .map(|step| step * 10)
            .filter_map(|at| {
                let revision = 1000 + at as i64;
                samples.note(start + Duration::from_secs(at), revision).map(|target| (at, target))
            })
            .collect();
        assert_eq!(compacted, [(100, 1000), (200, 1100), (300, 1200)]);
    }
}
