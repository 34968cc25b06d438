//! A pod that names its node goes there. Such a pod is normally bound already; the rule matters when preemption or
//! another scheduler asks.

use super::{Plugin, Verdict};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::profile::Args;
use crate::snapshot::Snapshot;

struct NodeName<'a>(&'a str);

pub(super) fn build<'a>(pod: &'a PodInfo, _: &'a Snapshot, _: &'a Args) -> Option<Box<dyn Plugin + 'a>> {
    (!pod.node.is_empty()).then(|| Box::new(NodeName(&pod.node)) as Box<dyn Plugin + 'a>)
}

impl Plugin for NodeName<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        if node.name() == self.0 {
            Verdict::Fits
        } else {
            Verdict::Never("node(s) didn't match the requested node name")
        }
    }
}
