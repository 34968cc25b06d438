//! Which ReplicaSets of a Deployment are to have another size. Pure.

use k8s_openapi::api::apps::v1::{DeploymentSpec, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::MAX;

/// How many pods a set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// That it is to have.
    pub wanted: i32,
    /// That it has.
    pub present: i32,
    /// That can be used.
    pub available: i32,
    /// That are on their way out.
    pub terminating: i32,
    /// That all sets together were allowed when this one was scaled last.
    pub max: i32,
}

impl Size {
    /// That of a set.
    pub fn of(set: &ReplicaSet) -> Self {
        let status = set.status.clone().unwrap_or_default();
        Self {
            wanted: set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            present: status.replicas,
            available: status.available_replicas.unwrap_or(0),
            terminating: status.terminating_replicas.unwrap_or(0),
            max: set.metadata.annotations.as_ref().and_then(|all| all.get(MAX)?.parse().ok()).unwrap_or(0),
        }
    }
}

/// What is wanted of all sets together.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// Pods.
    pub wanted: i32,
    /// How many more there may be while templates change.
    pub surge: i32,
    /// How many fewer can be used meanwhile.
    pub unavailable: i32,
    /// Whether all old pods go before there is a new one.
    pub recreate: bool,
}

/// The size with which a set of a new template begins beside the others.
pub fn first(sizes: &[Size], goal: Goal) -> i32 {
    let none = Size { wanted: 0, present: 0, available: 0, terminating: 0, max: 0 };
    let all = [sizes, &[none]].concat();
    roll(&all, sizes.len(), goal).into_iter().find(|(index, _)| *index == sizes.len()).map_or(0, |(_, size)| size)
}

/// The next sizes of sets that are to change: never more than `wanted + surge` pods, never fewer available than
/// `wanted - unavailable`. The sets are in the order of their age.
pub fn roll(sizes: &[Size], newest: usize, goal: Goal) -> Vec<(usize, i32)> {
    let Goal { wanted, surge, unavailable, recreate } = goal;
    let old = || (0..sizes.len()).filter(|index| *index != newest);
    let mut changes = Vec::new();
    let new = sizes[newest];
    if recreate {
        changes.extend(old().filter(|index| sizes[*index].wanted > 0).map(|index| (index, 0)));
        let gone = |size: Size| size.present == 0 && size.terminating == 0 && size.wanted == 0;
        if old().all(|index| gone(sizes[index])) && new.wanted != wanted {
            changes.push((newest, wanted));
        }
        return changes;
    }
    let total: i32 = sizes.iter().map(|size| size.wanted).sum();
    let room = (wanted + surge - total).max(0);
    let mut new_wanted = new.wanted;
    if new.wanted > wanted {
        new_wanted = wanted;
    } else if new.wanted < wanted {
        new_wanted = (new.wanted + room).min(wanted);
    }
    if new_wanted != new.wanted {
        // The old ones follow when this shows.
        return vec![(newest, new_wanted)];
    }
    // Old pods that cannot be used go first, as they are missed by nobody.
    let least = wanted - unavailable;
    let available: i32 = sizes.iter().map(|size| size.available).sum();
    let starting = (new.wanted - new.available).max(0);
    let mut spare = (total - least - starting).max(0);
    let mut left: Vec<(usize, i32)> =
        old().map(|index| (index, sizes[index].wanted)).filter(|(_, count)| *count > 0).collect();
    for (index, count) in &mut left {
        let broken = (sizes[*index].wanted - sizes[*index].available).clamp(0, spare);
        *count -= broken;
        spare -= broken;
    }
    let mut spare = (available - least).max(0).min(spare);
    for (_, count) in &mut left {
        let less = spare.min(*count);
        *count -= less;
        spare -= less;
    }
    changes.extend(left.into_iter().filter(|(index, count)| sizes[*index].wanted != *count));
    changes
}

/// The sizes of all sets that change, after another number of pods is wanted: in the middle of a change of templates, each
/// set gets its share. `newest` may not be there yet.
pub fn rescale(sizes: &[Size], newest: Option<usize>, goal: Goal, present: i32) -> Vec<(usize, i32)> {
    let active: Vec<usize> = (0..sizes.len()).filter(|index| sizes[*index].wanted > 0).collect();
    let only = match active.as_slice() {
        [] => newest.or(sizes.len().checked_sub(1)),
        [one] => Some(*one),
        _ => None,
    };
    if let Some(only) = only {
        return if sizes[only].wanted == goal.wanted { Vec::new() } else { vec![(only, goal.wanted)] };
    }
    if let Some(newest) = newest {
        let new = sizes[newest];
        if new.wanted == goal.wanted && new.available == goal.wanted {
            return active.into_iter().filter(|index| *index != newest).map(|index| (index, 0)).collect();
        }
    }
    if goal.recreate {
        return Vec::new();
    }
    share(sizes, active, goal, present)
}

fn share(sizes: &[Size], mut active: Vec<usize>, goal: Goal, present: i32) -> Vec<(usize, i32)> {
    let total: i32 = active.iter().map(|index| sizes[*index].wanted).sum();
    let allowed = if goal.wanted > 0 { goal.wanted + goal.surge } else { 0 };
    let more = allowed - total;
    // The largest come first; of two of the same size the newer one if pods are added, and the older one if they go.
    active.sort_by_key(|index| {
        let age = *index as i64;
        (std::cmp::Reverse(sizes[*index].wanted), if more > 0 { -age } else { age })
    });
    let mut added = 0;
    let mut shares: Vec<(usize, i32)> = Vec::new();
    for index in active {
        let part = fraction(sizes[index], goal, present);
        let rest = more - added;
        let part = if more > 0 { part.min(rest) } else { part.max(rest) };
        let part = if more == 0 || rest == 0 { 0 } else { part };
        added += part;
        shares.push((index, sizes[index].wanted + part));
    }
    if let Some((_, first)) = shares.first_mut() {
        // What rounding left.
        *first = (*first + more - added).max(0);
    }
    shares.retain(|(index, size)| sizes[*index].wanted != *size);
    shares
}

/// By how much a set grows so that its share of all stays what it was.
fn fraction(size: Size, goal: Goal, present: i32) -> i32 {
    if goal.wanted == 0 {
        return -size.wanted;
    }
    let before = if size.max > 0 { size.max } else { present };
    if before == 0 {
        return 0;
    }
    let scaled = f64::from(size.wanted) * f64::from(goal.wanted + goal.surge) / f64::from(before);
    scaled.round() as i32 - size.wanted
}

/// What a Deployment wants.
pub fn goal(spec: &DeploymentSpec) -> Goal {
    let wanted = spec.replicas.unwrap_or(1);
    let recreate = spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate");
    if recreate {
        return Goal { wanted, surge: 0, unavailable: 0, recreate };
    }
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.clone()).unwrap_or_default();
    let quarter = IntOrString::String("25%".into());
    let surge = part(rolling.max_surge.as_ref().unwrap_or(&quarter), wanted, true);
    let unavailable = part(rolling.max_unavailable.as_ref().unwrap_or(&quarter), wanted, false);
    // With neither nothing could ever move.
    let (surge, unavailable) = if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) };
    Goal { wanted, surge, unavailable: unavailable.min(wanted), recreate }
}

/// A number, or a percentage of the whole.
pub fn part(value: &IntOrString, whole: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(count) => *count,
        IntOrString::String(text) => {
            let percent: i32 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredfold = percent * whole;
            if up { (hundredfold + 99) / 100 } else { hundredfold / 100 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(wanted: i32, available: i32, max: i32) -> Size {
        Size { wanted, present: wanted, available, terminating: 0, max }
    }

    #[test]
    fn pods_move_within_the_limits() {
        let goal = Goal { wanted: 4, surge: 1, unavailable: 1, recreate: false };
        for (old, new, wanted) in [
            ((4, 4), (0, 0), vec![(1, 1)]),
            ((4, 4), (1, 0), vec![(0, 3)]),
            ((3, 3), (1, 0), vec![(1, 2)]),
            ((3, 3), (2, 2), vec![(0, 1)]),
            ((4, 1), (1, 1), vec![(0, 2)]),
            ((0, 0), (4, 4), vec![]),
            ((0, 0), (6, 6), vec![(1, 4)]),
        ] {
            let sizes = [size(old.0, old.1, 5), size(new.0, new.1, 5)];
            assert_eq!(roll(&sizes, 1, goal), wanted, "{old:?} {new:?}");
        }
        let recreate = Goal { recreate: true, ..goal };
        assert_eq!(roll(&[size(4, 4, 4), size(0, 0, 4)], 1, recreate), [(0, 0)]);
        let ending = Size { wanted: 0, present: 0, available: 0, terminating: 1, max: 4 };
        assert!(roll(&[ending, size(0, 0, 4)], 1, recreate).is_empty());
        assert_eq!(roll(&[Size { terminating: 0, ..ending }, size(0, 0, 4)], 1, recreate), [(1, 4)]);
    }

    #[test]
    fn a_new_set_begins_with_what_there_is_room_for() {
        let goal = Goal { wanted: 4, surge: 1, unavailable: 1, recreate: false };
        for (old, wanted) in [(vec![], 4), (vec![size(4, 4, 5)], 1), (vec![size(2, 2, 5), size(3, 3, 5)], 0)] {
            assert_eq!(first(&old, goal), wanted, "{old:?}");
        }
        let recreate = Goal { recreate: true, ..goal };
        assert_eq!([first(&[], recreate), first(&[size(4, 4, 4)], recreate)], [4, 0]);
    }

    /// Plays a roll-out to its end, keeping both limits all the way.
    #[test]
    fn a_roll_out_keeps_its_limits_and_ends() {
        for (wanted, surge, unavailable) in [(6, 2, 1), (10, 0, 1), (10, 3, 0), (1, 1, 0), (3, 0, 3)] {
            let goal = Goal { wanted, surge, unavailable, recreate: false };
            let mut sizes = [size(wanted, wanted, 0), size(0, 0, 0)];
            for step in 0.. {
                for (index, count) in roll(&sizes, 1, goal) {
                    sizes[index].wanted = count;
                }
                // Pods that go are gone at once, one that comes is available a step later.
                for one in &mut sizes {
                    one.available = one.available.min(one.wanted);
                    one.present = one.wanted;
                }
                let total: i32 = sizes.iter().map(|one| one.wanted).sum();
                let available: i32 = sizes.iter().map(|one| one.available).sum();
                assert!(total <= wanted + surge, "{goal:?}: {sizes:?}");
                assert!(available >= wanted - unavailable, "{goal:?}: {sizes:?}");
                if sizes[1].available == wanted && sizes[0].wanted == 0 {
                    break;
                }
                assert!(step < 100, "it never ends: {sizes:?}");
                sizes[1].available = sizes[1].wanted;
            }
        }
    }

    #[test]
    fn each_set_gets_its_share() {
        let goal = |wanted: i32| Goal { wanted, surge: 3, unavailable: 2, recreate: false };
        for (sizes, wanted, changes) in [
            // Thirteen pods of ten wanted, and then thirty are: 8 * 33 / 13 and 5 * 33 / 13.
            ([size(8, 8, 13), size(5, 0, 13)], 30, vec![(0, 20), (1, 13)]),
            ([size(8, 8, 13), size(5, 0, 13)], 0, vec![(0, 0), (1, 0)]),
            ([size(20, 20, 33), size(13, 0, 33)], 10, vec![(0, 8), (1, 5)]),
            ([size(10, 10, 13), size(0, 0, 13)], 12, vec![(0, 12)]),
            ([size(0, 0, 13), size(0, 0, 13)], 12, vec![(1, 12)]),
            ([size(3, 3, 13), size(10, 10, 13)], 10, vec![(0, 0)]),
        ] {
            assert_eq!(rescale(&sizes, Some(1), goal(wanted), 13), changes, "{sizes:?} {wanted}");
        }
    }

    #[test]
    fn percentages_are_rounded_in_favour_of_moving() {
        assert_eq!(part(&IntOrString::String("25%".into()), 6, true), 2);
        assert_eq!(part(&IntOrString::String("25%".into()), 6, false), 1);
        assert_eq!(part(&IntOrString::Int(3), 6, false), 3);
    }
}
