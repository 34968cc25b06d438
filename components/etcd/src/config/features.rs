//! Features that can be switched, under etcd's names.

use super::ConfigError;
use crate::options;

/// Whether a feature is on without a word, and what becomes of one that is switched the other way.
struct Feature {
    name: &'static str,
    on: bool,
    /// Why it cannot be switched, where it cannot.
    fixed: Option<&'static str>,
}

const fn switchable(name: &'static str, on: bool) -> Feature {
    Feature { name, on, fixed: None }
}

const FEATURES: [Feature; 7] = [
    switchable("CompactHashCheck", false),
    switchable("InitialCorruptCheck", false),
    switchable("LeaseCheckpoint", false),
    switchable("LeaseCheckpointPersist", false),
    Feature {
        name: "SetMemberLocalAddr",
        on: false,
        fixed: Some("the kernel chooses the address that members ask from"),
    },
    Feature {
        name: "StopGRPCServiceOnDefrag",
        on: false,
        fixed: Some("requests are served while the store is defragmented"),
    },
    switchable("TxnModeWriteWithSharedBuffer", true),
];

/// What is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The leader compares what compactions left.
    pub compact_hash_check: bool,
    /// A member compares its data with the others' before it serves.
    pub initial_corrupt_check: bool,
    /// The leader says how much time long leases have left.
    pub lease_checkpoint: bool,
}

impl Features {
    pub fn new(options: &options::Features) -> Result<Self, ConfigError> {
        let wrong = |problem: String| Err(ConfigError::Feature(problem));
        let mut switched: Vec<(String, bool)> = Vec::new();
        for gate in options.feature_gates.iter().filter(|gate| !gate.is_empty()) {
            let parsed = gate.split_once('=').and_then(|(name, on)| Some((name, on.parse::<bool>().ok()?)));
            let Some((name, on)) = parsed else { return wrong(format!("{gate:?} is not NAME=true or NAME=false")) };
            switched.push((name.trim().to_owned(), on));
        }
        for (name, on) in options.experimental() {
            if switched.iter().any(|(other, _)| other == name) {
                return wrong(format!("{name} is given by a flag of its own as well; leave that out"));
            }
            switched.push((name.to_owned(), on));
        }
        for (name, on) in &switched {
            let Some(feature) = FEATURES.iter().find(|feature| feature.name == name) else {
                return wrong(format!("no feature is named {name:?}"));
            };
            if let Some(why) = feature.fixed.filter(|_| feature.on != *on) {
                return wrong(format!("{name} is always {} here: {why}", feature.on));
            }
        }
        let on = |name: &str| {
            let default = FEATURES.iter().any(|feature| feature.name == name && feature.on);
            switched.iter().rev().find(|(other, _)| other == name).map_or(default, |(_, on)| *on)
        };
        if on("LeaseCheckpointPersist") && !on("LeaseCheckpoint") {
            return wrong("LeaseCheckpointPersist needs LeaseCheckpoint".to_owned());
        }
        Ok(Self {
            compact_hash_check: on("CompactHashCheck"),
            initial_corrupt_check: on("InitialCorruptCheck"),
            lease_checkpoint: on("LeaseCheckpoint"),
        })
    }
}
