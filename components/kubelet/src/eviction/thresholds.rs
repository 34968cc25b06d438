//! What the node may run short of, below which amounts, and since when it does. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Configuration;
use crate::pod::facts;

/// Hard thresholds if the configuration has none, with the most that a part of the whole may be: a tenth of a large disk,
/// which a node may well share with others, is no shortage.
const DEFAULTS: &[(&str, &str, u64)] = &[
    ("memory.available", "100Mi", u64::MAX),
    ("nodefs.available", "10%", 1 << 30),
    ("nodefs.inodesFree", "5%", 100_000),
    ("imagefs.available", "15%", 1 << 30),
    ("imagefs.inodesFree", "5%", 100_000),
];

/// What can run short, by the configuration's names, those first that pods are ended for first.
pub const SIGNALS: &[&str] = &[
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "pid.available",
];

/// What there is of something, and how much of that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supply {
    /// What is free.
    pub free: u64,
    /// The whole.
    pub all: u64,
}

/// What there is, by signal.
pub type Supplies = BTreeMap<&'static str, Supply>;

/// An amount below which the node runs short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threshold {
    /// Of what.
    pub signal: &'static str,
    /// The amount, or a part of the whole.
    amount: String,
    /// The most that the amount may be.
    most: u64,
    /// How long it may last; none for a hard threshold.
    pub grace: Option<Duration>,
    /// How much more there has to be until it is over.
    reclaim: String,
}

/// A threshold that is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// The threshold.
    pub threshold: Threshold,
    /// Its amount.
    pub least: u64,
    /// What there is.
    pub free: u64,
}

/// An amount in the configuration: a quantity, or a part of the whole.
fn amount(text: &str, all: u64) -> Option<u64> {
    match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok().map(|percent| (all as f64 * percent / 100.0) as u64),
        None => facts::milli(text).and_then(|milli| u64::try_from(milli / 1000).ok()),
    }
}

/// The thresholds of a configuration; errors name the field.
pub fn of(config: &Configuration) -> Result<Vec<Threshold>, String> {
    let nothing = BTreeMap::new();
    let reclaim = config.eviction_minimum_reclaim.as_ref().unwrap_or(&nothing);
    let check = |field: &str, all: &BTreeMap<String, String>| {
        let wrong = all.iter().find(|(signal, text)| !is_signal(signal) || amount(text, 100).is_none());
        wrong.map_or(Ok(()), |(signal, text)| Err(format!("{field}: {signal}: {text:?} is no threshold")))
    };
    check("evictionMinimumReclaim", reclaim)?;
    let mut all = Vec::new();
    let threshold = |signal: &'static str, amount: &str, most, grace| Threshold {
        signal,
        amount: amount.to_owned(),
        most,
        grace,
        reclaim: reclaim.get(signal).cloned().unwrap_or_else(|| "0".into()),
    };
    let hard = config.eviction_hard.as_ref();
    hard.map_or(Ok(()), |hard| check("evictionHard", hard))?;
    for signal in SIGNALS {
        let usual = DEFAULTS.iter().find(|(name, ..)| name == signal).filter(|_| hard.is_none() || config.merges());
        match (hard.and_then(|hard| hard.get(*signal)), usual) {
            (Some(amount), _) => all.push(threshold(signal, amount, u64::MAX, None)),
            (None, Some((_, amount, most))) => all.push(threshold(signal, amount, *most, None)),
            (None, None) => {}
        }
    }
    let soft = config.eviction_soft.as_ref().unwrap_or(&nothing);
    check("evictionSoft", soft)?;
    for signal in SIGNALS {
        let Some(amount) = soft.get(*signal) else { continue };
        let graces = config.eviction_soft_grace_period.as_ref();
        let grace = graces.and_then(|graces| graces.get(*signal));
        let grace = grace.ok_or_else(|| format!("evictionSoftGracePeriod: {signal} is missing"))?.0;
        all.push(threshold(signal, amount, u64::MAX, Some(grace)));
    }
    Ok(all)
}

/// The signals that are known, and those of upstream's that are watched by others of them here.
fn is_signal(name: &str) -> bool {
    SIGNALS.contains(&name) || name.starts_with("containerfs.") || name == "allocatableMemory.available"
}

impl Threshold {
    /// Whether there is too little; one that was not kept before asks for more to be over.
    fn look(&self, supplies: &Supplies, was_short: bool) -> Option<Short> {
        let supply = supplies.get(self.signal).filter(|supply| supply.all > 0)?;
        let least = amount(&self.amount, supply.all)?.min(self.most);
        let more = if was_short { amount(&self.reclaim, supply.all)? } else { 0 };
        (supply.free < least.saturating_add(more)).then(|| Short { threshold: self.clone(), least, free: supply.free })
    }
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub struct Watch {
    /// Since when each threshold is not kept, by its place.
    since: BTreeMap<usize, Instant>,
    /// When each signal was last short.
    seen: BTreeMap<&'static str, Instant>,
}

impl Watch {
    /// Looks again: what pods are to be ended for, the most pressing first.
    pub fn look(&mut self, thresholds: &[Threshold], supplies: &Supplies, now: Instant) -> Vec<Short> {
        let mut all = Vec::new();
        for (place, threshold) in thresholds.iter().enumerate() {
            let Some(short) = threshold.look(supplies, self.since.contains_key(&place)) else {
                self.since.remove(&place);
                continue;
            };
            let since = *self.since.entry(place).or_insert(now);
            self.seen.insert(threshold.signal, now);
            if threshold.grace.is_none_or(|grace| now.duration_since(since) >= grace) {
                all.push(short);
            }
        }
        let rank = |short: &Short| SIGNALS.iter().position(|signal| *signal == short.threshold.signal);
        // Hard before soft.
        all.sort_by_key(|short| (rank(short), short.threshold.grace.is_some()));
        all
    }

    /// The signals that were short within the last `transition`.
    pub fn pressing(&mut self, transition: Duration, now: Instant) -> Vec<&'static str> {
        self.seen.retain(|_, at| now.duration_since(*at) < transition || *at == now);
        self.seen.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Configuration {
        Configuration::parse(&format!("kind: KubeletConfiguration\n{text}")).unwrap()
    }

    fn short(config: &Configuration, supplies: &Supplies) -> Vec<&'static str> {
        let found = Watch::default().look(&of(config).unwrap(), supplies, Instant::now());
        found.iter().map(|short| short.threshold.signal).collect()
    }

    #[test]
    fn thresholds_are_amounts_or_parts() {
        let supplies = Supplies::from([
            ("memory.available", Supply { free: 99 << 20, all: 1 << 30 }),
            ("nodefs.available", Supply { free: 11, all: 100 }),
            ("nodefs.inodesFree", Supply { free: 0, all: 0 }),
        ]);
        let own = "evictionHard: {memory.available: 100Mi, nodefs.available: 10%, nodefs.inodesFree: 5%}\n";
        assert_eq!(short(&config(own), &supplies), ["memory.available"]);
        let large = |free| Supplies::from([("nodefs.available", Supply { free, all: 1 << 40 })]);
        let tenth = "evictionHard: {nodefs.available: 10%}\n";
        let memory = "evictionHard: {memory.available: 1Gi}\n";
        for (text, free, wanted) in [
            ("", 20 << 30, 0),
            ("", 1 << 29, 1),
            (tenth, 20 << 30, 1),
            (memory, 1 << 29, 0),
            (&format!("{memory}mergeDefaultEvictionSettings: true\n"), 1 << 29, 1),
        ] {
            assert_eq!(short(&config(text), &large(free)).len(), wanted, "{text} {free}");
        }
    }

    #[test]
    fn a_soft_threshold_may_be_missed_for_a_while() {
        let text = "evictionHard: {memory.available: '100'}\nevictionSoft: {memory.available: '200'}\n\
                    evictionSoftGracePeriod: {memory.available: 1m30s}\nevictionMinimumReclaim: {memory.available: '50'}\n";
        let (thresholds, begin) = (of(&config(text)).unwrap(), Instant::now());
        let mut watch = Watch::default();
        // What there is at which second, how many thresholds pods are ended for, and whether memory is short.
        for (second, free, wanted, pressing) in [
            (0, 300, 0, false),
            (10, 150, 0, true),
            (90, 190, 0, true),
            (100, 190, 1, true),
            (110, 90, 2, true),
            (120, 140, 2, true),
            (130, 160, 1, true),
            (140, 240, 1, true),
            (150, 260, 0, true),
            (160, 190, 0, true),
            (500, 300, 0, false),
        ] {
            let now = begin + Duration::from_secs(second);
            let supplies = Supplies::from([("memory.available", Supply { free, all: 1000 })]);
            assert_eq!(watch.look(&thresholds, &supplies, now).len(), wanted, "at {second}");
            assert_eq!(!watch.pressing(Duration::from_secs(300), now).is_empty(), pressing, "at {second}");
        }
    }

    #[test]
    fn what_is_no_threshold_is_refused() {
        for text in [
            "evictionHard: {memory: 100Mi}\n",
            "evictionHard: {memory.available: lots}\n",
            "evictionSoft: {memory.available: 100Mi}\n",
            "evictionMinimumReclaim: {disk: 100Mi}\n",
        ] {
            assert!(of(&config(text)).is_err(), "{text}");
        }
    }
}
