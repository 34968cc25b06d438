//! The group apps.

use serde_json::{Map, Value, json};

use super::rules::{Rule, apply as table, int, object, text, visit};
use super::{core, pod};

const DEPLOYMENT: &[Rule] = &[
    int("spec", "replicas", 1),
    int("spec", "revisionHistoryLimit", 10),
    int("spec", "progressDeadlineSeconds", 600),
    text("spec.strategy", "type", "RollingUpdate"),
];

const DAEMON_SET: &[Rule] =
    &[int("spec", "revisionHistoryLimit", 10), text("spec.updateStrategy", "type", "RollingUpdate")];

const STATEFUL_SET: &[Rule] = &[
    int("spec", "replicas", 1),
    int("spec", "revisionHistoryLimit", 10),
    text("spec", "podManagementPolicy", "OrderedReady"),
    object("spec", "persistentVolumeClaimRetentionPolicy"),
    text("spec.persistentVolumeClaimRetentionPolicy", "whenDeleted", "Retain"),
    text("spec.persistentVolumeClaimRetentionPolicy", "whenScaled", "Retain"),
];

pub(super) fn apply(kind: &str, map: &mut Map<String, Value>) {
    match kind {
        "Deployment" => {
            table(map, DEPLOYMENT);
            rolling(map, "spec.strategy", &[("maxUnavailable", json!("25%")), ("maxSurge", json!("25%"))]);
        }
        "DaemonSet" => {
            table(map, DAEMON_SET);
            rolling(map, "spec.updateStrategy", &[("maxUnavailable", json!(1)), ("maxSurge", json!(0))]);
        }
        "StatefulSet" => {
            stateful_strategy(map);
            table(map, STATEFUL_SET);
            visit(map, "spec.volumeClaimTemplates[]", &mut claim_template);
        }
        "ReplicaSet" => table(map, &[int("spec", "replicas", 1)]),
        _ => return,
    }
    pod::template(map, "spec.template");
}

/// The parameters of a rolling update, where that is the strategy.
fn rolling(map: &mut Map<String, Value>, strategy: &str, parameters: &[(&str, Value)]) {
    visit(map, strategy, &mut |strategy| {
        if super::text(strategy, "type") == "RollingUpdate" {
            table(strategy, &[object("", "rollingUpdate")]);
            visit(strategy, "rollingUpdate", &mut |rolling| {
                for (field, value) in parameters {
                    rolling.entry(*field).or_insert_with(|| value.clone());
                }
            });
        }
    });
}

/// Parameters are made only where the type is left out too; where they are given, they are completed.
fn stateful_strategy(map: &mut Map<String, Value>) {
    visit(map, "spec.updateStrategy", &mut |strategy| {
        if super::text(strategy, "type").is_empty() {
            table(strategy, &[text("", "type", "RollingUpdate"), object("", "rollingUpdate")]);
        }
        if super::text(strategy, "type") == "RollingUpdate" {
            table(strategy, &[int("rollingUpdate", "partition", 0)]);
        }
    });
}

/// Templates of claims are written as whole objects.
fn claim_template(claim: &mut Map<String, Value>) {
    table(claim, &[text("", "kind", "PersistentVolumeClaim"), text("", "apiVersion", "v1")]);
    core::claim(claim);
}
