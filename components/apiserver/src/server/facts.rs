//! What a server tells of itself that is no count of requests: its features, the servers that it is put together of, and
//! connections that came to nothing.

use std::fmt;
use std::sync::Arc;

use kinit_flags::gates::{GATES, Gate, Stage};
use kinit_serving::listener::Failures;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::aggregate::Aggregator;
use crate::tally::{NO_LABELS, Teller};

/// The families.
pub(super) struct Facts {
    pub aggregator: Aggregator,
    pub failures: Arc<Failures>,
}

impl fmt::Debug for Facts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Facts").finish_non_exhaustive()
    }
}

/// A stage as upstream has it in figures; what is stable has none.
fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Alpha => "ALPHA",
        Stage::Beta => "BETA",
        Stage::Stable => "",
        Stage::Deprecated => "DEPRECATED",
    }
}

/// The features, those that stand for all of a stage included.
fn features() -> impl Iterator<Item = ([(&'static str, &'static str); 2], i64)> {
    let all = [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)];
    let all = all.map(|(name, stage)| Gate { name, stage, on: false, locked: false });
    let gates = GATES.iter().copied().chain(all);
    gates.map(|gate| ([("name", gate.name), ("stage", stage(gate.stage))], i64::from(gate.on)))
}

impl Collector for Facts {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut teller = Teller(encoder);
        teller.gauges("kubernetes_feature_enabled", "Features that are there, and those that are not", features())?;
        let availability = self.aggregator.availability();
        let unavailable = availability.iter().map(|(name, available)| ([("name", name)], i64::from(!available)));
        let help = "Groups and versions whose server does not answer";
        teller.gauges("aggregator_unavailable_apiservice", help, unavailable)?;
        let lost = self.aggregator.lost();
        let lost = lost.iter().map(|((name, reason), count)| ([("name", name.as_str()), ("reason", *reason)], *count));
        teller.counts("aggregator_unavailable_apiservice", "How often that came about", lost)?;
        let help = "Connections whose TLS handshake failed";
        teller.counts("apiserver_tls_handshake_errors", help, [(NO_LABELS, self.failures.handshakes())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_told_with_their_stages() {
        let of =
            |name: &str| features().find(|([(_, own), _], _)| *own == name).map(|([_, (_, stage)], on)| (stage, on));
        assert_eq!(of("AllAlpha"), Some(("ALPHA", 0)));
        assert_eq!(of("AllBeta"), Some(("BETA", 0)));
        assert_eq!(of("APIResponseCompression"), Some(("BETA", 1)));
        assert_eq!(of("APIServerTracing"), Some(("", 1)));
        assert_eq!(of("AggregatedDiscoveryRemoveBetaType"), Some(("DEPRECATED", 1)));
    }
}
