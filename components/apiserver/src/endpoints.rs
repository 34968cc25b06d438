//! The servers that live: each writes a key of its own into etcd that ends soon unless it is written again, and each makes
//! the endpoints of the Service default/kubernetes be the addresses of all keys that there are. Keys and times are
//! upstream's, so that servers of either make stand beside each other.

use std::net::IpAddr;
use std::time::Duration;

use kinit_api::status::Status;
use serde_json::{Value, json};

use crate::storage::Etcd;

/// How long a server that writes no more counts as living.
const LIFE: Duration = Duration::from_secs(15);
/// Where the keys are, below the prefix of all.
const FOLDER: &str = "masterleases";

/// Says that the server at `own` lives; gives all that do.
pub async fn living(etcd: &Etcd, own: IpAddr) -> Result<Vec<IpAddr>, Status> {
    let object = json!({
        "kind": "Endpoints", "apiVersion": "v1",
        "metadata": {"name": own.to_string()},
        "subsets": [{"addresses": [{"ip": own.to_string()}]}],
    });
    etcd.put_living(&etcd.other_key(&format!("{FOLDER}/{own}")), object.to_string().into(), LIFE).await?;
    let folder = etcd.other_key(&format!("{FOLDER}/"));
    let mut all = addresses(&folder, &etcd.keys(&folder).await?);
    // What was just written may not be seen by a member that is behind.
    all.push(own);
    all.retain(|address| address.is_ipv4() == own.is_ipv4());
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Says that the server at `own` lives no more.
pub async fn leave(etcd: &Etcd, own: IpAddr) -> Result<(), Status> {
    etcd.remove(&etcd.other_key(&format!("{FOLDER}/{own}"))).await
}

fn addresses(folder: &str, keys: &[String]) -> Vec<IpAddr> {
    keys.iter().filter_map(|key| key.strip_prefix(folder)?.parse().ok()).collect()
}

/// The Endpoints and the EndpointSlice of these servers, each with the field that says them.
pub fn objects(all: &[IpAddr], port: u16) -> [(Value, &'static str); 2] {
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let ips: Vec<Value> = all.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
    let each = |ip: &IpAddr| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}});
    let slices: Vec<Value> = all.iter().map(each).collect();
    let family = if all.first().is_none_or(IpAddr::is_ipv4) { "IPv4" } else { "IPv6" };
    [
        (
            json!({
                "apiVersion": "v1", "kind": "Endpoints",
                "metadata": {"name": "kubernetes", "namespace": "default",
                    "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
                "subsets": [{"addresses": ips, "ports": ports}],
            }),
            "subsets",
        ),
        (
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": "kubernetes", "namespace": "default",
                    "labels": {"kubernetes.io/service-name": "kubernetes"}},
                "addressType": family, "endpoints": slices, "ports": ports,
            }),
            "endpoints",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_what_is_none_is_left_out() {
        let keys =
            ["/r/masterleases/10.0.0.2", "/r/masterleases/fd00::1", "/r/masterleases/x", "/other"].map(str::to_owned);
        let all = addresses("/r/masterleases/", &keys);
        assert_eq!(all, ["10.0.0.2".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
    }

    #[test]
    fn all_servers_are_in_both_objects() {
        let all: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap()).into();
        let [(endpoints, _), (slice, _)] = objects(&all, 6443);
        assert_eq!(endpoints["subsets"][0]["addresses"][1]["ip"], "10.0.0.2");
        assert_eq!(slice["endpoints"][1]["addresses"][0], "10.0.0.2");
        assert_eq!((&slice["addressType"], &slice["ports"][0]["port"]), (&json!("IPv4"), &json!(6443)));
    }
}
