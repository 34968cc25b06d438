//! What makes a node fit, or better than others.
//!
//! A plugin is built for one decision from the pod and the snapshot, so what it must know of all nodes it counts once.
//! [`PLUGINS`] is the one table of them.

use std::borrow::Cow;

use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::profile::Args;
use crate::snapshot::Snapshot;

mod balanced;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources;
mod node_unschedulable;
mod pod_topology_spread;
mod taint_toleration;
pub mod volume_binding;

/// Whether a node fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Fits,
    /// It does not, for these reasons; it might if pods were gone from it.
    Not(Vec<Cow<'static, str>>),
    /// It does not, and evicting pods would not help.
    Never(&'static str),
    /// It does not for these reasons, and evicting pods would not help.
    NeverFor(Vec<Cow<'static, str>>),
}

/// One aspect of one decision.
pub trait Plugin {
    /// Whether the node fits.
    fn filter(&self, _node: &NodeInfo) -> Verdict {
        Verdict::Fits
    }

    /// How good the node is, in the plugin's own measure.
    fn score(&self, _node: &NodeInfo) -> i64 {
        0
    }

    /// Brings the scores of all nodes that fit to 0..=100, 100 being best.
    fn normalize(&self, _scores: &mut [i64]) {}
}

/// Builds a plugin for a decision; None when it has nothing to say on this pod.
type Build = for<'a> fn(&'a PodInfo, &'a Snapshot, &'a Args) -> Option<Box<dyn Plugin + 'a>>;

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// Upstream's name of the plugin.
    pub name: &'static str,
    /// Whether it may refuse nodes.
    pub filters: bool,
    /// What its score counts for if the configuration says nothing of it; nothing if it does not score.
    pub weight: i64,
    /// How it is built.
    pub build: Build,
}

/// All plugins, cheap filters first: the first that says no ends the look at a node.
pub const PLUGINS: &[Row] = &[
    Row { name: "NodeUnschedulable", filters: true, weight: 0, build: node_unschedulable::build },
    Row { name: "NodeName", filters: true, weight: 0, build: node_name::build },
    Row { name: "TaintToleration", filters: true, weight: 3, build: taint_toleration::build },
    Row { name: "NodeAffinity", filters: true, weight: 2, build: node_affinity::build },
    Row { name: "NodePorts", filters: true, weight: 0, build: node_ports::build },
    Row { name: "NodeResourcesFit", filters: true, weight: 1, build: node_resources::build },
    Row { name: "VolumeBinding", filters: true, weight: 0, build: volume_binding::build },
    Row { name: "PodTopologySpread", filters: true, weight: 2, build: pod_topology_spread::build },
    Row { name: "InterPodAffinity", filters: true, weight: 2, build: inter_pod_affinity::build },
    Row { name: "NodeResourcesBalancedAllocation", filters: false, weight: 1, build: balanced::build },
    Row { name: "ImageLocality", filters: false, weight: 1, build: image_locality::build },
];

/// Scales scores so that the highest becomes 100; with `reverse` the lowest is best.
fn scale(scores: &mut [i64], reverse: bool) {
    let most = scores.iter().copied().max().unwrap_or_default();
    for score in scores {
        let part = if most == 0 { 0 } else { *score * 100 / most };
        *score = if reverse { 100 - part } else { part };
    }
}
