//! Giving each node a range of pod addresses.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeSpec};
use kinit_runtime::{Change, Queue, key_of, work};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::context::Context;
use crate::options::Options;

/// More bits between a cluster's IPv6 range and a node's are refused.
const LARGEST: u8 = 16;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    if !context.options.allocate_node_cidrs {
        return;
    }
    let pools = match pools(&context.options) {
        Ok(pools) if pools.is_empty() => return,
        Ok(pools) => Arc::new(pools),
        Err(error) => {
            tracing::error!(%error, "no node gets a range of pod addresses");
            return;
        }
    };
    let actor = context.actor("node-controller").await;
    let nodes = context.caches.nodes.clone();
    nodes.synced().await;
    let queue = Queue::new();
    let keys = queue.clone();
    // Ranges that were given, by node: the cache may not have them yet.
    let given = Arc::new(parking_lot::Mutex::new(HashMap::<String, Vec<String>>::new()));
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
        let (nodes, actor, given, pools) = (nodes.clone(), actor.clone(), given.clone(), pools.clone());
        async move {
            let Some(node) = nodes.get(&key) else { return Ok(None) };
            if node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some()) {
                return Ok(None);
            }
            let used: HashSet<String> =
                nodes.list().iter().filter_map(|node| node.spec.clone()).flat_map(ranges_of).collect();
            let chosen = {
                let mut given = given.lock();
                if given.contains_key(&key) {
                    // The node has its range; the cache does not know yet.
                    return Ok(None);
                }
                let taken = |range: &str| used.contains(range) || given.values().flatten().any(|own| own == range);
                let chosen: Option<Vec<String>> = pools.iter().map(|pool| first_free(pool, taken)).collect();
                if let Some(ranges) = &chosen {
                    given.insert(key.clone(), ranges.clone());
                }
                chosen
            };
            let ranges = chosen.ok_or_else(|| anyhow::anyhow!("no range is left for node {key}"))?;
            let api: Api<Node> = Api::all(actor.client());
            let patch = json!({"spec": {"podCIDR": ranges[0], "podCIDRs": ranges}});
            let result = api.patch(&key, &PatchParams::default(), &Patch::Strategic(patch)).await;
            if result.is_err() {
                given.lock().remove(&key);
            }
            result?;
            tracing::info!(node = key, ranges = ranges.join(","), "gave ranges of pod addresses");
            anyhow::Ok(None)
        }
    })
    .await;
}

fn ranges_of(spec: NodeSpec) -> Vec<String> {
    spec.pod_cidrs.or(spec.pod_cidr.map(|one| vec![one])).unwrap_or_default()
}

/// One range of the cluster, and how many bits of a node's range within it are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pool {
    base: IpAddr,
    prefix: u8,
    mask: u8,
}

/// The pools that the flags ask for: one for each family.
fn pools(options: &Options) -> anyhow::Result<Vec<Pool>> {
    let ranges = options.cluster_cidr.as_deref().unwrap_or_default().split(',').filter(|text| !text.is_empty());
    let parsed = ranges.map(|text| parse(text).ok_or_else(|| anyhow::anyhow!("--cluster-cidr: {text:?} is no range")));
    let ranges: Vec<(IpAddr, u8)> = parsed.collect::<anyhow::Result<_>>()?;
    let dual = ranges.len() > 1;
    if ranges.len() > 2 || (dual && ranges[0].0.is_ipv4() == ranges[1].0.is_ipv4()) {
        anyhow::bail!("--cluster-cidr takes one range of each family");
    }
    let one = options.node_cidr_mask_size;
    if dual && one.is_some() {
        anyhow::bail!("--node-cidr-mask-size is for one family; give --node-cidr-mask-size-ipv4 and -ipv6");
    }
    let pool = |(base, prefix): (IpAddr, u8)| {
        let (own, default, bits) = match base {
            IpAddr::V4(_) => (options.node_cidr_mask_size_ipv4, 24, 32),
            IpAddr::V6(_) => (options.node_cidr_mask_size_ipv6, 64, 128),
        };
        let mask = own.or(one).unwrap_or(default);
        if mask < prefix || mask > bits || (base.is_ipv6() && mask - prefix > LARGEST) {
            anyhow::bail!("a node's range of /{mask} does not fit into --cluster-cidr {base}/{prefix}");
        }
        Ok(Pool { base, prefix, mask })
    };
    ranges.into_iter().map(pool).collect()
}

fn parse(text: &str) -> Option<(IpAddr, u8)> {
    let (base, prefix) = text.trim().split_once('/')?;
    let base: IpAddr = base.parse().ok()?;
    let bits = if base.is_ipv4() { 32 } else { 128 };
    Some((base, prefix.parse().ok().filter(|prefix| *prefix <= bits)?))
}

/// The first range of a pool that is not taken.
fn first_free(pool: &Pool, taken: impl Fn(&str) -> bool) -> Option<String> {
    let (bits, base) = match pool.base {
        IpAddr::V4(base) => (32, u128::from(base.to_bits())),
        IpAddr::V6(base) => (128, base.to_bits()),
    };
    let step = 1u128.checked_shl(u32::from(bits - pool.mask))?;
    (0..1u128 << (pool.mask - pool.prefix))
        .map(|index| {
            let address = base.wrapping_add(index.wrapping_mul(step));
            let address = match pool.base {
                IpAddr::V4(_) => IpAddr::from(Ipv4Addr::from_bits(address as u32)),
                IpAddr::V6(_) => IpAddr::from(Ipv6Addr::from_bits(address)),
            };
            format!("{address}/{}", pool.mask)
        })
        .find(|range| !taken(range))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn of(flags: &[&str]) -> anyhow::Result<Vec<Pool>> {
        let all = ["kube-controller-manager", "--kubeconfig=x"].into_iter().chain(flags.iter().copied());
        pools(&Options::try_parse_from(all)?)
    }

    #[test]
    fn the_first_free_range_is_found() {
        let pool = |text: &str, mask| {
            let (base, prefix) = parse(text).unwrap();
            Pool { base, prefix, mask }
        };
        let four = pool("10.244.0.0/16", 24);
        assert_eq!(first_free(&four, |_| false).unwrap(), "10.244.0.0/24");
        assert_eq!(first_free(&four, |range| range == "10.244.0.0/24").unwrap(), "10.244.1.0/24");
        assert_eq!(first_free(&pool("10.244.0.0/24", 24), |_| true), None);
        let six = pool("fd00:10:244::/56", 64);
        assert_eq!(first_free(&six, |range| range == "fd00:10:244::/64").unwrap(), "fd00:10:244:1::/64");
    }

    #[test]
    fn each_family_has_its_mask() {
        let masks = |flags: &[&str]| of(flags).unwrap().iter().map(|pool| pool.mask).collect::<Vec<_>>();
        assert!(masks(&[]).is_empty());
        assert_eq!(masks(&["--cluster-cidr=10.0.0.0/16"]), [24]);
        assert_eq!(masks(&["--cluster-cidr=10.0.0.0/16", "--node-cidr-mask-size=26"]), [26]);
        assert_eq!(masks(&["--cluster-cidr=10.0.0.0/16,fd00::/56"]), [24, 64]);
        let dual = "--cluster-cidr=fd00::/60,10.0.0.0/16";
        assert_eq!(masks(&[dual, "--node-cidr-mask-size-ipv4=25", "--node-cidr-mask-size-ipv6=72"]), [72, 25]);
        for bad in [
            &[dual, "--node-cidr-mask-size=25"][..],
            &["--cluster-cidr=10.0.0.0/16,10.1.0.0/16"],
            &["--cluster-cidr=10.0.0.0/25"],
            &["--cluster-cidr=10.0.0.0"],
            &["--cluster-cidr=fd00::/32"],
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
