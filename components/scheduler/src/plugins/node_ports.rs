//! Two pods cannot have one port of a node.

use super::{Plugin, Verdict};
use crate::node::NodeInfo;
use kinit_demand::HostPort;

use crate::pod::PodInfo;
use crate::profile::Args;
use crate::snapshot::Snapshot;

struct NodePorts<'a>(&'a [HostPort]);

pub(super) fn build<'a>(pod: &'a PodInfo, _: &'a Snapshot, _: &'a Args) -> Option<Box<dyn Plugin + 'a>> {
    (!pod.ports.is_empty()).then(|| Box::new(NodePorts(&pod.ports)) as Box<dyn Plugin + 'a>)
}

impl Plugin for NodePorts<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        let mut taken = node.pods.iter().flat_map(|pod| &pod.ports);
        if taken.any(|taken| self.0.iter().any(|wanted| wanted.conflicts(taken))) {
            return Verdict::Not(vec!["node(s) didn't have free ports for the requested pod ports".into()]);
        }
        Verdict::Fits
    }
}
