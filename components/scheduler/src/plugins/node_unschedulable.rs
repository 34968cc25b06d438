//! Cordoned nodes take only pods that bear the taint which stands for it.

use k8s_openapi::api::core::v1::Taint;

use super::taint_toleration::tolerates;
use super::{Plugin, Verdict};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::profile::Args;
use crate::snapshot::Snapshot;

struct NodeUnschedulable {
    tolerated: bool,
}

pub(super) fn build<'a>(pod: &'a PodInfo, _: &'a Snapshot, _: &'a Args) -> Option<Box<dyn Plugin + 'a>> {
    let taint =
        Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
    Some(Box::new(NodeUnschedulable { tolerated: pod.tolerations.iter().any(|one| tolerates(one, &taint)) }))
}

impl Plugin for NodeUnschedulable {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        if node.facts.unschedulable && !self.tolerated {
            return Verdict::Never("node(s) were unschedulable");
        }
        Verdict::Fits
    }
}
