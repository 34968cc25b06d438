//! Giving each node a range of pod addresses.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kinit_runtime::{Change, Queue, key_of, work};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::context::Context;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let range = context.options.cluster_cidr.as_deref().and_then(parse);
    let Some((base, prefix)) = range.filter(|_| context.options.allocate_node_cidrs) else { return };
    let mask = context.options.node_cidr_mask_size;
    let actor = context.actor("node-controller").await;
    let nodes = context.caches.nodes.clone();
    nodes.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    // Ranges that were given, by node: the cache may not have them yet.
    let given = Arc::new(parking_lot::Mutex::new(HashMap::<String, String>::new()));
    let forget = given.clone();
    nodes.handle(move |change, node| {
        if change == Change::Deleted {
            forget.lock().remove(&key_of(node.as_ref()));
        } else if node.spec.as_ref().is_none_or(|spec| spec.pod_cidr.is_none()) {
            keys.add(key_of(node.as_ref()));
        }
    });
    // One worker: two nodes must never get the same range.
    work("nodeipam", queue, 1, context.shutdown.clone(), move |key: String| {
        let (nodes, actor, given) = (nodes.clone(), actor.clone(), given.clone());
        async move {
            let Some(node) = nodes.get(&key) else { return Ok(None) };
            if node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some()) {
                return Ok(None);
            }
            let used: HashSet<String> =
                nodes.list().iter().filter_map(|node| node.spec.as_ref()?.pod_cidr.clone()).collect();
            let chosen = {
                let mut given = given.lock();
                if given.contains_key(&key) {
                    // The node has its range; the cache does not know yet.
                    return Ok(None);
                }
                let taken = |range: &str| used.contains(range) || given.values().any(|own| own == range);
                let chosen = first_free(base, prefix, mask, taken);
                if let Some(range) = &chosen {
                    given.insert(key.clone(), range.clone());
                }
                chosen
            };
            let range = chosen.ok_or_else(|| anyhow::anyhow!("no range is left for node {key}"))?;
            let api: Api<Node> = Api::all(actor.client());
            let patch = json!({"spec": {"podCIDR": range, "podCIDRs": [range]}});
            let result = api.patch(&key, &PatchParams::default(), &Patch::Strategic(patch)).await;
            if result.is_err() {
                given.lock().remove(&key);
            }
            result?;
            tracing::info!(node = key, range, "gave a range of pod addresses");
            anyhow::Ok(None)
        }
    })
    .await;
}

fn parse(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (base, prefix) = text.split_once('/')?;
    match base.parse().ok()? {
        IpAddr::V4(base) => Some((base, prefix.parse().ok().filter(|prefix| *prefix <= 32)?)),
        // Dual stack is not there yet.
        IpAddr::V6(_) => None,
    }
}

/// The first range of `mask` bits within `base/prefix` that is not taken.
fn first_free(base: Ipv4Addr, prefix: u8, mask: u8, taken: impl Fn(&str) -> bool) -> Option<String> {
    let count = 1u64.checked_shl(u32::from(mask.checked_sub(prefix)?))?;
    let step = 1u64 << (32 - mask);
    let base = u64::from(base.to_bits());
    (0..count)
        .map(|index| format!("{}/{mask}", Ipv4Addr::from_bits((base + index * step) as u32)))
        .find(|range| !taken(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_range_is_found() {
        let (base, prefix) = parse("10.244.0.0/16").unwrap();
        assert_eq!(first_free(base, prefix, 24, |_| false).unwrap(), "10.244.0.0/24");
        assert_eq!(first_free(base, prefix, 24, |range| range == "10.244.0.0/24").unwrap(), "10.244.1.0/24");
        assert_eq!(first_free(base, 24, 24, |_| true), None);
        assert_eq!(first_free(base, 24, 16, |_| false), None);
    }
}
