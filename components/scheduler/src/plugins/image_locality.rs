//! Nodes that have the pod's images already start it sooner.

use std::collections::BTreeMap;

use super::Plugin;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::profile::Args;
use crate::snapshot::Snapshot;

/// Images smaller than this are pulled too quickly to matter.
const LEAST: i64 = 23 << 20;
/// Per container; more does not make a node better.
const MOST: i64 = 1000 << 20;

struct ImageLocality<'a> {
    pod: &'a PodInfo,
    /// In how many of the nodes an image is, in percent: one that only few nodes have must not draw all pods there.
    shares: BTreeMap<&'a str, i64>,
}

pub(super) fn build<'a>(pod: &'a PodInfo, snapshot: &'a Snapshot, _: &'a Args) -> Option<Box<dyn Plugin + 'a>> {
    let all = snapshot.nodes.len().max(1);
    let shares: BTreeMap<&str, i64> = pod
        .images
        .iter()
        .map(|image| {
            let having = snapshot.nodes.iter().filter(|node| size(node, image).is_some()).count();
            (image.as_str(), (having * 100 / all) as i64)
        })
        .filter(|(_, share)| *share > 0)
        .collect();
    (!shares.is_empty()).then(|| Box::new(ImageLocality { pod, shares }) as Box<dyn Plugin + 'a>)
}

/// The size of an image that a node has. A name without tag means `latest`.
fn size(node: &NodeInfo, image: &str) -> Option<i64> {
    let images = &node.facts.images;
    let tagged = image.rsplit('/').next().is_some_and(|last| last.contains(':'));
    images.get(image).or_else(|| if tagged { None } else { images.get(&format!("{image}:latest")) }).copied()
}

impl Plugin for ImageLocality<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let there = self.shares.iter().filter_map(|(image, share)| Some(size(node, image)? / 100 * share));
        let most = MOST * self.pod.images.len().max(1) as i64;
        (there.sum::<i64>().clamp(LEAST, most) - LEAST) * 100 / (most - LEAST)
    }
}
