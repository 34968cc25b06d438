//! The group flowcontrol.apiserver.k8s.io.

use serde_json::{Map, Value};

use super::rules::{Rule, apply as table, int, int_or_zero};

const PRIORITY_LEVEL: &[Rule] = &[
    int("spec.limited", "nominalConcurrencyShares", 30),
    int("spec.limited", "lendablePercent", 0),
    int_or_zero("spec.limited.limitResponse.queuing", "handSize", 8),
    int_or_zero("spec.limited.limitResponse.queuing", "queues", 64),
    int_or_zero("spec.limited.limitResponse.queuing", "queueLengthLimit", 50),
    int("spec.exempt", "nominalConcurrencyShares", 0),
    int("spec.exempt", "lendablePercent", 0),
];

pub(super) fn apply(kind: &str, map: &mut Map<String, Value>) {
    match kind {
        "FlowSchema" => table(map, &[int_or_zero("spec", "matchingPrecedence", 1000)]),
        "PriorityLevelConfiguration" => table(map, PRIORITY_LEVEL),
        _ => {}
    }
}
