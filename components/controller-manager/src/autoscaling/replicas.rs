//! How many replicas a metric asks for. Pure.

use std::collections::BTreeMap;

/// By how much a ratio may differ from one before anything is done, unless the scaler says otherwise.
pub const TOLERANCE: f64 = 0.1;

/// How a pod counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// By its sample.
    Ready,
    /// Not yet: it starts.
    Unready,
    /// Not at all: it ends or has failed.
    Ignored,
}

/// What is known of the pods of a target, by name.
#[derive(Debug, Default)]
pub struct Samples {
    /// How each pod counts.
    pub pods: BTreeMap<String, Standing>,
    /// What pods use, in thousandths.
    pub usage: BTreeMap<String, i64>,
    /// What they ask for, in thousandths; empty when usage is compared with a plain amount.
    pub requests: BTreeMap<String, i64>,
}

/// What a metric comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// The replicas that it asks for.
    pub replicas: i32,
    /// Use in percent of what was asked for, if it is compared with that.
    pub utilization: Option<i32>,
    /// The average use of a pod, in thousandths.
    pub average: i64,
}

/// How far a ratio may be from one, below and above.
#[derive(Debug, Clone, Copy)]
pub struct Tolerances {
    /// Below.
    pub down: f64,
    /// Above.
    pub up: f64,
}

impl Default for Tolerances {
    fn default() -> Self {
        Self { down: TOLERANCE, up: TOLERANCE }
    }
}

impl Tolerances {
    /// Whether nothing is to be done.
    pub fn hold(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What is aimed at.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Use in percent of what pods ask for.
    Utilization(i32),
    /// Use of each pod, in thousandths.
    Average(i64),
}

fn ratio(samples: &Samples, usage: &BTreeMap<String, i64>, target: Target) -> Option<(f64, Option<i32>)> {
    let used: i64 = usage.values().sum();
    match target {
        Target::Utilization(percent) => {
            let asked: i64 = usage.keys().filter_map(|name| samples.requests.get(name)).sum();
            if asked == 0 {
                return None;
            }
            let utilization = (used as f64 * 100.0 / asked as f64) as i32;
            Some((f64::from(utilization) / f64::from(percent.max(1)), Some(utilization)))
        }
        Target::Average(amount) => {
            let average = used as f64 / usage.len().max(1) as f64;
            Some((average / amount.max(1) as f64, None))
        }
    }
}

/// The replicas that samples of single pods ask for. Pods without a sample are counted so that they damp the change: as
/// if they were at the target when there are to be fewer, as idle when there are to be more.
pub fn by_pods(current: i32, samples: &Samples, target: Target, tolerances: Tolerances) -> Result<Answer, String> {
    if samples.pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".into());
    }
    let of = |wanted: Standing| samples.pods.iter().filter(move |(_, one)| **one == wanted).map(|(name, _)| name);
    let mut usage: BTreeMap<String, i64> =
        of(Standing::Ready).filter_map(|name| samples.usage.get(name).map(|used| (name.clone(), *used))).collect();
    let missing: Vec<&String> = of(Standing::Ready).filter(|name| !samples.usage.contains_key(*name)).collect();
    if usage.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".into());
    }
    let no_requests = || "no metrics returned matched known pods".to_owned();
    let (first, utilization) = ratio(samples, &usage, target).ok_or_else(no_requests)?;
    let average = usage.values().sum::<i64>() / usage.len() as i64;
    let answer = |replicas| Ok(Answer { replicas, utilization, average });
    let starting = of(Standing::Unready).next().is_some() && first > 1.0;
    if !starting && missing.is_empty() {
        let wanted = (first * usage.len() as f64).ceil() as i32;
        return answer(if tolerances.hold(first) { current } else { wanted });
    }
    for name in missing {
        let at_target = match target {
            Target::Utilization(percent) => {
                samples.requests.get(name).copied().unwrap_or(0) * i64::from(percent.max(100)) / 100
            }
            Target::Average(amount) => amount,
        };
        if first < 1.0 {
            usage.insert(name.clone(), at_target);
        } else if first > 1.0 {
            usage.insert(name.clone(), 0);
        }
    }
    if starting {
        usage.extend(of(Standing::Unready).map(|name| (name.clone(), 0)));
    }
    let (second, _) = ratio(samples, &usage, target).ok_or_else(no_requests)?;
    let turned = first < 1.0 && second > 1.0 || first > 1.0 && second < 1.0;
    let wanted = (second * usage.len() as f64).ceil() as i32;
    let backwards = second < 1.0 && wanted > current || second > 1.0 && wanted < current;
    answer(if tolerances.hold(second) || turned || backwards { current } else { wanted })
}

/// The replicas that one value of the whole target asks for, which `ready` pods share.
pub fn by_value(current: i32, used: i64, aim: i64, ready: i32, tolerances: Tolerances) -> i32 {
    let ratio = used as f64 / aim.max(1) as f64;
    match () {
        () if tolerances.hold(ratio) => current,
        () if current == 0 => ratio.ceil() as i32,
        () => (ratio * f64::from(ready)).ceil() as i32,
    }
}

/// The replicas of which each takes a share of `aim` of one value.
pub fn by_share(current: i32, used: i64, aim: i64, tolerances: Tolerances) -> i32 {
    let ratio = used as f64 / (aim.max(1) as f64 * f64::from(current.max(1)));
    if current > 0 && tolerances.hold(ratio) { current } else { (used as f64 / aim.max(1) as f64).ceil() as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a 500` uses 500 of the 1000 that it asks for; `a -` has no sample, `a ~500` starts, `a x` is ignored.
    fn samples(text: &str) -> Samples {
        let mut samples = Samples::default();
        for pod in text.split(", ") {
            let (name, rest) = pod.split_once(' ').unwrap();
            let standing = match rest.chars().next() {
                Some('x') => Standing::Ignored,
                Some('~') => Standing::Unready,
                _ => Standing::Ready,
            };
            samples.pods.insert(name.into(), standing);
            samples.requests.insert(name.into(), 1000);
            if let Ok(used) = rest.trim_start_matches('~').parse() {
                samples.usage.insert(name.into(), used);
            }
        }
        samples
    }

    #[test]
    fn samples_ask_for_replicas() {
        for (text, percent, wanted) in [
            ("a 300, b 500, c 700", 30, 5),
            ("a 300, b 500, c 700", 50, 3),
            ("a 100, b 100, c 100", 50, 1),
            ("a 500, b 500, c 520", 48, 3),
            ("a 400, b 400, c -", 50, 3),
            ("a 100, b 100, c -", 50, 3),
            ("a 900, b 900, c -", 50, 4),
            ("a 900, b 900, c ~10", 50, 4),
            ("a 900, b 900, c x", 50, 4),
        ] {
            let found = by_pods(3, &samples(text), Target::Utilization(percent), Tolerances::default());
            assert_eq!(found.map(|found| found.replicas), Ok(wanted), "{text} {percent}");
        }
        let found = by_pods(3, &samples("a 20, b 40"), Target::Average(10), Tolerances::default()).unwrap();
        assert_eq!(found, Answer { replicas: 6, utilization: None, average: 30 });
        assert!(by_pods(1, &samples("a -"), Target::Utilization(50), Tolerances::default()).is_err());
        assert!(by_pods(1, &Samples::default(), Target::Utilization(50), Tolerances::default()).is_err());
    }

    #[test]
    fn values_of_the_whole_are_shared() {
        let tolerances = Tolerances::default();
        assert_eq!(by_value(3, 20_000, 10_000, 3, tolerances), 6);
        assert_eq!(by_value(3, 10_500, 10_000, 3, tolerances), 3);
        assert_eq!(by_share(4, 10_000, 2_000, tolerances), 5);
        assert_eq!(by_share(4, 8_100, 2_000, tolerances), 4);
    }
}
