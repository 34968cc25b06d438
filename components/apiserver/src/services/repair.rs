//! Taking back what belongs to no Service.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::addresses::row;
use super::ports::change_bitmap;
use super::{addresses_of, ports_of};
use crate::handlers::Api;

const REPAIR_EVERY: Duration = Duration::from_secs(180);

/// Takes back, again and again, what belongs to no Service, and takes what a Service has and is not marked.
pub async fn repair(api: Api, shutdown: CancellationToken) {
    api.cache.wait_until_synced().await;
    let mut suspects: BTreeSet<String> = BTreeSet::new();
    loop {
        suspects = repair_addresses(&api, &suspects).await;
        repair_ports(&api).await;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(REPAIR_EVERY) => {}
        }
    }
}

/// Deletes addresses that were without a Service the last time and are so now; returns those that are so now.
async fn repair_addresses(api: &Api, suspects: &BTreeSet<String>) -> BTreeSet<String> {
    let mut orphans = BTreeSet::new();
    for (name, entry) in &api.cache.all("networking.k8s.io", "ipaddresses") {
        let Some(object) = entry.object() else { continue };
        let parent = |field| object.str(&["spec", "parentRef", field]).to_owned();
        let managed =
            object.labels().get("ipaddress.kubernetes.io/managed-by").is_some_and(|by| by == "ipallocator.k8s.io");
        let service = api.cache.find("", "services", &parent("namespace"), &parent("name"));
        let used = service
            .and_then(|entry| entry.object())
            .is_some_and(|service| name.parse().is_ok_and(|address: IpAddr| addresses_of(&service).contains(&address)));
        if !managed || used {
            continue;
        }
        orphans.insert(name.to_string());
        if suspects.contains(&**name) {
            tracing::info!(address = &**name, "released: it belongs to no Service");
            let _ = api.etcd.delete(&api.etcd.key(row(), "", name), entry.revision).await;
        }
    }
    orphans
}

async fn repair_ports(api: &Api) {
    let services = api.cache.all("", "services");
    let used: BTreeSet<u16> =
        services.values().filter_map(|entry| entry.object()).flat_map(|service| ports_of(&service)).collect();
    let range = api.options.service_node_port_range;
    if used.is_empty() {
        return;
    }
    let marked = change_bitmap(&api.etcd, range, |bitmap| {
        for port in used.iter().filter(|port| (range.first..=range.last).contains(port)) {
            bitmap.insert(u32::from(port - range.first));
        }
        Ok(())
    });
    if marked.await.is_err() {
        tracing::warn!("node ports could not be looked through; the next repair will");
    }
}
