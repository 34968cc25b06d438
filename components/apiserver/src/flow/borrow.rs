//! How levels lend each other the seats that they do not need: pure, and with no time in it but what is given.
//!
//! Every ten seconds each level's demand of that time, and a slowly forgotten memory of its demand before, say how many seats
//! it would like. All seats are then shared out so that each level gets the same fraction of what it would like, within what
//! its object lets it lend and borrow. Numbers and rules are upstream's.

use std::time::Instant;

/// How much of the remembered demand stays at each adjustment: half of it is forgotten in five minutes.
const REMEMBERED: f64 = 0.977;
/// Nobody's wish counts as less than this.
const LEAST_TARGET: f64 = 0.001;

/// What a level's object gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Its share of all seats.
    pub nominal: usize,
    /// What it does not lend.
    pub least: usize,
    /// What it may have with all that it borrows.
    pub most: usize,
}

impl Bounds {
    /// A level's bounds of `total` seats, by its shares of all shares and the percentages that it may lend and borrow; it may
    /// borrow all where none is said.
    pub fn new(total: usize, (shares, all): (usize, usize), lends: usize, borrows: Option<usize>) -> Self {
        let percent = |number: usize, percent: usize| (number * percent + 50) / 100;
        let nominal = (total * shares).div_ceil(all.max(1));
        let borrowed = borrows.map_or(total, |borrows| percent(nominal, borrows));
        Self { nominal, least: nominal - percent(nominal, lends).min(nominal), most: nominal + borrowed }
    }

    /// What it has before anything is known of demand.
    pub fn first(&self) -> usize {
        self.nominal - (self.nominal - self.least) / 2
    }
}

/// How many seats were wanted in the course of time.
#[derive(Clone, Debug)]
pub struct Demand {
    began: Instant,
    at: Instant,
    value: usize,
    most: usize,
    sum: f64,
    squares: f64,
}

/// What [`Demand`] was in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observed {
    pub average: f64,
    pub deviation: f64,
    pub most: usize,
}

impl Demand {
    pub fn new(now: Instant) -> Self {
        Self { began: now, at: now, value: 0, most: 0, sum: 0.0, squares: 0.0 }
    }

    /// So many are wanted from `now` on.
    pub fn set(&mut self, now: Instant, value: usize) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        let number = self.value as f64;
        self.sum += number * seconds;
        self.squares += number * number * seconds;
        self.at = now;
        self.value = value;
        self.most = self.most.max(value);
    }

    /// What there was since the last time that this was asked; no figures but the highest where no time has passed.
    pub fn take(&mut self, now: Instant) -> (Observed, bool) {
        self.set(now, self.value);
        let seconds = now.saturating_duration_since(self.began).as_secs_f64();
        let passed = seconds > 0.0;
        let average = if passed { self.sum / seconds } else { 0.0 };
        let variance = if passed { (self.squares / seconds - average * average).max(0.0) } else { 0.0 };
        let observed = Observed { average, deviation: variance.sqrt(), most: self.most };
        *self = Self { value: self.value, most: self.value, ..Self::new(now) };
        (observed, passed)
    }
}

/// What a level is remembered to have wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    pub last: Observed,
    pub smoothed: f64,
}

impl Memory {
    /// Takes up what was observed. More than is remembered counts at once, less only bit by bit.
    pub fn take(&mut self, (observed, passed): (Observed, bool)) {
        if !passed {
            self.last.most = observed.most;
            return;
        }
        let envelope = observed.average + observed.deviation;
        self.smoothed = envelope.max(REMEMBERED * self.smoothed + (1.0 - REMEMBERED) * envelope);
        self.last = observed;
    }
}

/// A level where seats are shared out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Part {
    /// Whether its requests get seats without asking.
    pub exempt: bool,
    pub bounds: Bounds,
    /// The most that was wanted of late.
    pub most: usize,
    pub smoothed: f64,
    /// What it has now.
    pub current: usize,
}

impl Part {
    /// What it is to have at least: what it needed of late, as far as that is its own.
    fn least(&self) -> usize {
        let needed = if self.exempt { self.most } else { self.most.min(self.bounds.nominal) };
        self.bounds.least.max(needed)
    }

    fn target(&self) -> f64 {
        self.smoothed.max(self.least() as f64)
    }
}

/// How seats were shared out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shared {
    /// In the order of the levels.
    pub limits: Vec<usize>,
    pub targets: Vec<f64>,
    /// What part of its wish each level got that came upon no bound.
    pub fair: f64,
}

/// Shares out `total` seats, which are the sum of what all levels have by their shares.
pub fn share(total: usize, parts: &[Part]) -> Shared {
    let limited = || parts.iter().filter(|part| !part.exempt);
    let exempt: usize = parts.iter().filter(|part| part.exempt).map(Part::least).sum();
    let (configured, needed) =
        limited().fold((0, 0), |(configured, needed), part| (configured + part.bounds.least, needed + part.least()));
    let left = total.saturating_sub(exempt);
    let targets: Vec<f64> =
        parts.iter().map(|part| if part.exempt { part.least() as f64 } else { part.target() }).collect();
    let each = |of: &dyn Fn(usize, &Part) -> usize| {
        parts.iter().enumerate().map(|(at, part)| if part.exempt { part.least() } else { of(at, part) }).collect()
    };
    if left <= configured {
        return Shared { limits: each(&|_, part| part.bounds.least), targets, fair: 0.0 };
    }
    if left <= needed {
        let fraction = (left - configured) as f64 / (needed - configured) as f64;
        let limit = |_, part: &Part| part.bounds.least + round((part.least() - part.bounds.least) as f64 * fraction);
        return Shared { limits: each(&limit), targets, fair: 0.0 };
    }
    let wishes: Vec<(f64, f64, f64)> =
        limited().map(|part| (part.target(), part.least() as f64, part.bounds.most as f64)).collect();
    let fair = fraction(total as f64, &wishes);
    let limit = |at: usize, part: &Part| match fair {
        Some(fair) => round(clamped(fair, (targets[at], part.least() as f64, part.bounds.most as f64))),
        None => part.current,
    };
    let limits = each(&limit);
    Shared { limits, fair: fair.unwrap_or_default(), targets }
}

fn round(number: f64) -> usize {
    number.round().max(0.0) as usize
}

/// What a wish (how much, at least, at most) gets at a fraction.
fn clamped(fraction: f64, (target, least, most): (f64, f64, f64)) -> f64 {
    (fraction * target.max(LEAST_TARGET)).max(least).min(most)
}

/// The fraction of their wishes at which all together get `total`; `None` where their bounds do not let them.
///
/// What all get grows with the fraction, and in a straight line between two fractions at which a wish comes upon one of its
/// bounds. So it is enough to find those between which the sum lies.
fn fraction(total: f64, wishes: &[(f64, f64, f64)]) -> Option<f64> {
    const NEARLY: f64 = 1e-7;
    let given = |fraction: f64| wishes.iter().map(|wish| clamped(fraction, *wish)).sum::<f64>();
    let mut bounds: Vec<f64> = wishes
        .iter()
        .flat_map(|&(target, least, most)| [least / target.max(LEAST_TARGET), most / target.max(LEAST_TARGET)])
        .collect();
    bounds.sort_by(f64::total_cmp);
    let (first, last) = (*bounds.first()?, *bounds.last()?);
    if given(first) - total > NEARLY || total - given(last) > NEARLY {
        return None;
    }
    let above = bounds.iter().position(|bound| given(*bound) >= total - NEARLY)?;
    let upper = bounds[above];
    let lower = if above == 0 { return Some(upper) } else { bounds[above - 1] };
    let (low, high) = (given(lower), given(upper));
    Some(if high - low < NEARLY { upper } else { lower + (upper - lower) * (total - low) / (high - low) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn part(nominal: usize, least: usize, most: usize, (wanted, smoothed): (usize, f64)) -> Part {
        let bounds = Bounds { nominal, least, most };
        Part { bounds, most: wanted, smoothed, current: nominal, ..Part::default() }
    }

    /// The bounds of upstream's default levels with 600 seats, as its metrics tell them.
    #[test]
    fn the_default_levels_have_upstreams_bounds() {
        for (shares, lends, nominal, least, most) in [
            (30, 33, 74, 50, 674),
            (40, 25, 98, 73, 698),
            (10, 0, 25, 25, 625),
            (40, 50, 98, 49, 698),
            (100, 90, 245, 24, 845),
            (20, 50, 49, 24, 649),
            (5, 0, 13, 13, 613),
            (0, 0, 0, 0, 600),
        ] {
            let bounds = Bounds::new(600, (shares, 245), lends, None);
            assert_eq!(bounds, Bounds { nominal, least, most }, "{shares}");
        }
        assert_eq!(Bounds::new(600, (30, 245), 0, Some(50)).most, 74 + 37);
        assert_eq!(Bounds::new(600, (30, 245), 33, None).first(), 62);
    }

    #[test]
    fn demand_is_what_was_wanted_and_how_long() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut demand = Demand::new(start);
        demand.set(at(0), 4);
        demand.set(at(5), 0);
        let (observed, passed) = demand.take(at(10));
        assert_eq!((observed, passed), (Observed { average: 2.0, deviation: 2.0, most: 4 }, true));
        demand.set(at(12), 1);
        assert_eq!(demand.take(at(12)).0.most, 1);
        assert_eq!(demand.take(at(12)), (Observed { average: 0.0, deviation: 0.0, most: 1 }, false));
        assert_eq!(demand.take(at(13)).0, Observed { average: 1.0, deviation: 0.0, most: 1 });
    }

    #[test]
    fn more_counts_at_once_and_less_bit_by_bit() {
        let mut memory = Memory::default();
        let of = |average: f64| (Observed { average, deviation: 0.0, most: 0 }, true);
        memory.take(of(100.0));
        assert_eq!(memory.smoothed, 100.0);
        for _ in 0..30 {
            memory.take(of(0.0));
        }
        assert!((memory.smoothed - 50.0).abs() < 1.0, "half of it is forgotten in five minutes: {}", memory.smoothed);
        memory.take((Observed { most: 7, ..Observed::default() }, false));
        assert_eq!(memory.last.most, 7);
    }

    #[test]
    fn seats_go_where_they_are_wanted_within_what_may_be_lent() {
        // (total, levels, limits, the fraction)
        let cases: [(usize, Vec<Part>, Vec<usize>, f64); 6] = [
            // Nobody wants anything: all get alike, as far as what they may not lend goes.
            (100, vec![part(50, 25, 150, (0, 0.0)), part(50, 25, 150, (0, 0.0))], vec![50, 50], 2.0),
            // One wants all: it gets what the other lends.
            (100, vec![part(50, 25, 150, (90, 90.0)), part(50, 25, 150, (0, 0.0))], vec![75, 25], 0.833),
            // What is wanted of late is kept, as far as it is one's own.
            (100, vec![part(50, 25, 150, (90, 90.0)), part(50, 25, 150, (40, 1.0))], vec![60, 40], 0.667),
            // Nobody borrows more than they may.
            (100, vec![part(50, 0, 60, (90, 90.0)), part(50, 0, 150, (0, 1.0))], vec![60, 40], 40.0),
            // Both want more than there is.
            (100, vec![part(50, 0, 150, (200, 200.0)), part(50, 0, 150, (200, 200.0))], vec![50, 50], 0.25),
            // Nothing may be lent at all.
            (10, vec![part(5, 5, 15, (9, 9.0)), part(5, 5, 15, (0, 0.0))], vec![5, 5], 0.0),
        ];
        for (at, (total, parts, limits, fair)) in cases.into_iter().enumerate() {
            let shared = share(total, &parts);
            assert_eq!(shared.limits, limits, "{at}: {shared:?}");
            let free = parts
                .iter()
                .zip(&shared.limits)
                .any(|(part, limit)| *limit > part.least() && *limit < part.bounds.most && part.target() >= 1.0);
            assert!(!free || (shared.fair - fair).abs() < 0.01, "{at}: {}", shared.fair);
        }
    }

    #[test]
    fn those_who_need_not_ask_are_served_first() {
        let exempt = Part { exempt: true, most: 30, ..Part::default() };
        let shared = share(40, &[exempt, part(20, 10, 60, (20, 20.0)), part(20, 5, 60, (20, 20.0))]);
        assert_eq!(shared.limits, [30, 10, 5], "only what may not be lent is left");
        let exempt = Part { exempt: true, most: 10, ..Part::default() };
        let shared = share(40, &[exempt, part(20, 10, 60, (20, 20.0)), part(20, 10, 60, (20, 20.0))]);
        assert_eq!(shared.limits, [10, 15, 15], "each gets the same part of what it needed beyond that");
    }

    #[test]
    fn all_seats_are_given_out() {
        let mut state = 1u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for round_ in 0..2000 {
            let parts: Vec<Part> = (0..1 + next(8))
                .map(|_| {
                    let nominal = 1 + next(100) as usize;
                    let (least, wanted) = (next(nominal as u64 + 1) as usize, next(300) as usize);
                    part(nominal, least, nominal + next(200) as usize, (wanted, next(wanted as u64 + 1) as f64))
                })
                .collect();
            let total: usize = parts.iter().map(|part| part.bounds.nominal).sum();
            let shared = share(total, &parts);
            let given: usize = shared.limits.iter().sum();
            assert!(given.abs_diff(total) <= parts.len(), "{round_}: {given} of {total}");
            for (part, limit) in parts.iter().zip(&shared.limits) {
                assert!((part.bounds.least..=part.bounds.most).contains(limit), "{round_}: {part:?} {limit}");
            }
        }
    }
}
