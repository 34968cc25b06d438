//! One decision.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::node::NodeInfo;
use crate::plugins::{Plugin, Verdict};
use crate::pod::PodInfo;
use crate::profile::{Profile, Use};
use crate::snapshot::Snapshot;

/// Why no node fits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FitError {
    /// How many nodes there are.
    pub nodes: usize,
    /// Reasons, with how many nodes gave each.
    pub reasons: BTreeMap<Cow<'static, str>, usize>,
    /// Nodes that might fit if pods were gone, by index in the snapshot.
    pub resolvable: Vec<usize>,
    /// Which plugins refused a node: only what they care about can change the outcome.
    pub plugins: Vec<&'static str>,
}

impl FitError {
    /// The sentence for the pod's condition and event, as users know it.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".into();
        }
        let mut reasons: Vec<String> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        format!("0/{} nodes are available: {}.", self.nodes, reasons.join(", "))
    }
}

/// The plugins of one decision.
struct Plugins<'a>(Vec<(&'a Use, Box<dyn Plugin + 'a>)>);

impl<'a> Plugins<'a> {
    fn build(profile: &'a Profile, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Self {
        let build = |one: &'a Use| Some((one, (one.row.build)(pod, snapshot, &profile.args)?));
        Self(profile.uses.iter().filter_map(build).collect())
    }

    fn filter(&self, node: &NodeInfo) -> Result<(), (&'static str, Verdict)> {
        for (one, plugin) in self.0.iter().filter(|(one, _)| one.filters) {
            match plugin.filter(node) {
                Verdict::Fits => {}
                verdict => return Err((one.row.name, verdict)),
            }
        }
        Ok(())
    }

    fn scores(&self, nodes: &[&NodeInfo]) -> Vec<i64> {
        let mut totals = vec![0; nodes.len()];
        for (one, plugin) in self.0.iter().filter(|(one, _)| one.weight > 0) {
            let mut scores: Vec<i64> = nodes.iter().map(|node| plugin.score(node)).collect();
            plugin.normalize(&mut scores);
            for (total, score) in totals.iter_mut().zip(scores) {
                *total += score * one.weight;
            }
        }
        totals
    }
}

/// Chooses a node for a pod by the plugins of a profile. Where room is kept for pods that are no less important, as `reserved` shows it, the pod has
/// to fit with and without them, because they may come or not. Among equally good nodes `tie` decides, which callers vary
/// so that no node is favoured.
pub fn schedule(
    profile: &Profile,
    pod: &PodInfo,
    snapshot: &Snapshot,
    reserved: Option<&Snapshot>,
    tie: usize,
) -> Result<String, FitError> {
    let plugins = Plugins::build(profile, pod, snapshot);
    let strict = reserved.map(|reserved| (Plugins::build(profile, pod, reserved), reserved));
    let filter = |index: usize, node: &NodeInfo| {
        if let Some((plugins, reserved)) = &strict {
            plugins.filter(&reserved.nodes[index])?;
        }
        plugins.filter(node)
    };
    // Room that preemption made is used first, if it is still enough.
    let mut nominated = snapshot.nodes.iter().enumerate().filter(|_| !pod.nominated.is_empty());
    let nominated = nominated.find(|(_, node)| node.name() == pod.nominated);
    if let Some((_, node)) = nominated.filter(|(index, node)| filter(*index, node).is_ok()) {
        return Ok(node.name().to_owned());
    }
    let mut error = FitError { nodes: snapshot.nodes.len(), ..FitError::default() };
    let mut fitting: Vec<&NodeInfo> = Vec::new();
    for (index, node) in snapshot.nodes.iter().enumerate() {
        match filter(index, node) {
            Ok(()) => fitting.push(node),
            Err((name, verdict)) => error.note(index, name, verdict),
        }
    }
    match fitting.as_slice() {
        [] => Err(error),
        [only] => Ok(only.name().to_owned()),
        _ => {
            let scores = plugins.scores(&fitting);
            let most = scores.iter().copied().max().unwrap_or_default();
            let best: Vec<&NodeInfo> =
                fitting.iter().zip(&scores).filter(|(_, score)| **score == most).map(|(node, _)| *node).collect();
            Ok(best[tie % best.len()].name().to_owned())
        }
    }
}

/// Whether one node fits, for the dry run of preemption.
pub fn fits(profile: &Profile, pod: &PodInfo, snapshot: &Snapshot, node: &str) -> bool {
    let plugins = Plugins::build(profile, pod, snapshot);
    snapshot.nodes.iter().any(|one| one.name() == node && plugins.filter(one).is_ok())
}

impl FitError {
    fn note(&mut self, index: usize, plugin: &'static str, verdict: Verdict) {
        let reasons = match verdict {
            Verdict::Fits => return,
            Verdict::Not(reasons) => {
                self.resolvable.push(index);
                reasons
            }
            Verdict::Never(reason) => vec![reason.into()],
            Verdict::NeverFor(reasons) => reasons,
        };
        for reason in reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
        if !self.plugins.contains(&plugin) {
            self.plugins.push(plugin);
        }
    }
}
