//! What controllers count in the statuses of their kinds.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use crate::object::Object;

/// The numbers of a kind's status: those that are not negative, and pairs of which the first is at most the second.
struct Counts {
    kind: &'static str,
    numbers: &'static [&'static str],
    most: &'static [(&'static str, &'static str)],
}

const COUNTS: &[Counts] = &[
    Counts {
        kind: "DaemonSet",
        numbers: &[
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ],
        most: &[],
    },
    Counts {
        kind: "Deployment",
        numbers: &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ],
        most: &[
            ("updatedReplicas", "status.replicas"),
            ("readyReplicas", "status.replicas"),
            ("availableReplicas", "status.replicas"),
            ("availableReplicas", "readyReplicas"),
        ],
    },
    Counts {
        kind: "ReplicaSet",
        numbers: &[
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
            "terminatingReplicas",
        ],
        most: REPLICAS,
    },
    Counts {
        kind: "ReplicationController",
        numbers: &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"],
        most: REPLICAS,
    },
    Counts {
        kind: "StatefulSet",
        numbers: &[
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ],
        most: &[
            ("readyReplicas", "status.replicas"),
            ("currentReplicas", "status.replicas"),
            ("updatedReplicas", "status.replicas"),
            ("availableReplicas", "status.replicas"),
            ("availableReplicas", "status.readyReplicas"),
        ],
    },
    Counts { kind: "Job", numbers: &["active", "succeeded", "failed", "ready", "terminating"], most: &[] },
    Counts { kind: "HorizontalPodAutoscaler", numbers: &["currentReplicas", "desiredReplicas"], most: &[] },
    Counts {
        kind: "PodDisruptionBudget",
        numbers: &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"],
        most: &[],
    },
];

const REPLICAS: &[(&str, &str)] = &[
    ("fullyLabeledReplicas", "status.replicas"),
    ("readyReplicas", "status.replicas"),
    ("availableReplicas", "status.replicas"),
    ("availableReplicas", "readyReplicas"),
];

/// A write of the status of one of these kinds.
pub(super) fn status(kind: &str, old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    let Some(row) = COUNTS.iter().find(|row| row.kind == kind) else { return errors };
    let path = Path::new("status");
    let of = |object: &Object, field: &str| object.get(&["status", field]).and_then(Value::as_i64);
    for field in row.numbers {
        if let Some(number) = of(new, field).filter(|number| *number < 0) {
            errors.push(Error::invalid(&path.child(field), number, "must be greater than or equal to 0"));
        }
    }
    for (field, other) in row.most {
        let count = |field: &str| of(new, field).unwrap_or(0);
        if count(field) > count(other.trim_start_matches("status.")) {
            errors.push(Error::invalid(&path.child(field), count(field), format!("cannot be greater than {other}")));
        }
    }
    if kind == "Job" {
        errors.extend(super::job_status::status(old, new));
    }
    let collisions = |object: &Object| of(object, "collisionCount");
    if collisions(old).is_some_and(|before| collisions(new).is_none_or(|after| after < before)) {
        let text = "cannot be decremented";
        errors.push(Error::invalid(&path.child("collisionCount"), collisions(new).unwrap_or(0), text));
    }
    errors
}
