//! What was decided, by whom, and how long that took, by upstream's names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::Decision;
use crate::authn::figures::SECONDS;
use crate::tally::{Count, Tally, Teller};

/// What requests came to.
const RESULTS: [&str; 3] = ["allowed", "denied", "no-opinion"];

/// What one authorizer decided, and nobody else.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub allowed: Count,
    pub denied: Count,
}

impl Decided {
    /// It said something, or left it to the others.
    pub fn note(&self, decision: &Decision) {
        if decision.allowed {
            self.allowed.one();
        } else if decision.refused {
            self.denied.one();
        }
    }
}

/// The families. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Figures(Arc<All>);

#[derive(Debug)]
struct All {
    /// By type and name of the authorizer, as the configuration has them.
    decided: RwLock<BTreeMap<(String, String), Arc<Decided>>>,
    attempts: [Tally; RESULTS.len()],
}

impl Default for Figures {
    fn default() -> Self {
        let attempts = [(); RESULTS.len()].map(|()| Tally::of_times(&SECONDS));
        Self(Arc::new(All { decided: RwLock::default(), attempts }))
    }
}

impl Figures {
    /// Where an authorizer's decisions are counted.
    pub fn of(&self, kind: &str, name: &str) -> Arc<Decided> {
        self.0.decided.write().entry((kind.to_owned(), name.to_owned())).or_default().clone()
    }

    /// It was decided about a request.
    pub fn attempted(&self, decision: &Decision, took: Duration) {
        let result = match decision {
            Decision { allowed: true, .. } => 0,
            Decision { refused: true, .. } => 1,
            _ => 2,
        };
        self.0.attempts[result].took(took);
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut teller = Teller(encoder);
        let decided = self.0.decided.read();
        let decisions = decided.iter().flat_map(|((kind, name), decided)| {
            let told = [("allowed", decided.allowed.told()), ("denied", decided.denied.told())];
            told.map(|(decision, count)| {
                ([("type", kind.as_str()), ("name", name.as_str()), ("decision", decision)], count)
            })
        });
        let help = "What authorizers decided, each for all that follow it";
        teller.counts("apiserver_authorization_decisions", help, decisions.filter(|(_, count)| *count > 0))?;
        let attempts = || {
            let all = RESULTS.iter().zip(&self.0.attempts).filter(|(_, tally)| tally.count() > 0);
            all.map(|(result, tally)| ([("result", *result)], tally))
        };
        let help = "Requests by whether their users may make them";
        teller.counts("authorization_attempts", help, attempts().map(|(labels, tally)| (labels, tally.count())))?;
        teller.tallies("authorization_duration_seconds", "How long it took to find that out", attempts())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::tests::lines;

    #[test]
    fn decisions_are_told() {
        let figures = Figures::default();
        let decision = |allowed, refused| Decision { allowed, refused, ..Decision::default() };
        for decision in [decision(true, false), decision(false, true), decision(false, false)] {
            figures.of("Webhook", "default").note(&decision);
            figures.attempted(&decision, Duration::from_micros(1));
        }
        let lines = lines(figures);
        for line in [
            "apiserver_authorization_decisions_total{type=\"Webhook\",name=\"default\",decision=\"allowed\"} 1",
            "apiserver_authorization_decisions_total{type=\"Webhook\",name=\"default\",decision=\"denied\"} 1",
            "authorization_attempts_total{result=\"no-opinion\"} 1",
            "authorization_duration_seconds_count{result=\"denied\"} 1",
            "authorization_duration_seconds_bucket{le=\"16.384\",result=\"allowed\"} 1",
        ] {
            assert!(lines.iter().any(|own| own == line), "{line}\n{}", lines.join("\n"));
        }
    }
}
