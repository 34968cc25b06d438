//! Which API servers live, as clients see it: each keeps a Lease in kube-system, as upstream's APIServerIdentity does, takes
//! an older one away when it comes and its own when it goes, and once an hour those that nobody has renewed.
//!
//! The Lease has upstream's name, labels and times, so servers of either make stand beside each other. It does not say an
//! address for peers, because this server takes no requests that a peer passes on.

use std::time::Duration;

use jiff::Timestamp;
use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::bootstrap::request;
use crate::handlers::Api;
use crate::strategy::DeleteOptions;

const GROUP: &str = "coordination.k8s.io";
const NAMESPACE: &str = "kube-system";
/// What tells these Leases from others, and its value.
const LABEL: (&str, &str) = ("apiserver.kubernetes.io/identity", "kube-apiserver");
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// How many seconds a Lease counts that nobody renews.
const SECONDS: i64 = 3600;
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// After how many renewals the Leases of others are looked through: an hour.
const SWEEP_EVERY: u64 = 360;
/// How long a server that ends waits for etcd.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Keeps this server's Lease until `shutdown`, and removes those that ended.
pub async fn run(api: Api, shutdown: CancellationToken) {
    let host = match tokio::fs::read_to_string(HOST_NAME).await {
        Ok(host) => host.trim().to_owned(),
        Err(error) => return tracing::warn!(%error, "{HOST_NAME} cannot be read, so this server has no identity"),
    };
    let name = name(&host);
    let holder = format!("{name}_{}", uuid::Uuid::new_v4());
    let work = async {
        api.cache.wait_until_synced().await;
        // One that is left over may say of a server that is not there any more that it is.
        if let Err(error) = remove(&api, &name).await {
            tracing::debug!(%error, lease = name, "no older identity was removed");
        }
        for round in 0u64.. {
            if let Err(error) = renew(&api, &name, &holder, &host).await {
                tracing::debug!(%error, lease = name, "the identity could not be renewed");
            }
            if round.is_multiple_of(SWEEP_EVERY) {
                sweep(&api).await;
            }
            tokio::time::sleep(RENEW_EVERY).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = work => {}
    }
    // Whoever cannot be told finds out when the Lease ends.
    let _ = tokio::time::timeout(LEAVE_WITHIN, remove(&api, &name)).await;
}

/// The name of a host's API server: upstream's, of both names with their lengths before them.
fn name(host: &str) -> String {
    let mut hash = Sha256::new();
    for part in [host, LABEL.1] {
        hash.update(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        hash.update(part);
    }
    format!("apiserver-{}", base32(&hash.finalize()[..16]))
}

/// RFC 4648 in small letters, without padding.
fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let (mut text, mut held, mut bits) = (String::new(), 0u32, 0u32);
    for byte in bytes {
        (held, bits) = (held << 8 | u32::from(*byte), bits + 8);
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(LETTERS[(held >> bits & 31) as usize]));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(LETTERS[(held << (5 - bits) & 31) as usize]));
    }
    text
}

/// A server's Lease as it is written at `now`.
fn lease(name: &str, holder: &str, host: &str, now: Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {LABEL.0: LABEL.1, "kubernetes.io/hostname": host}},
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": SECONDS,
            "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
        },
    })
}

/// Whether nobody renewed a Lease in time. One that does not say its times was made by nobody who keeps them.
fn ended(lease: &Object, now: Timestamp) -> bool {
    let seconds = lease.get(&["spec", "leaseDurationSeconds"]).and_then(Value::as_i64);
    let renewed = lease.str(&["spec", "renewTime"]).parse::<Timestamp>().ok();
    renewed.zip(seconds).is_none_or(|(renewed, seconds)| renewed.as_second().saturating_add(seconds) < now.as_second())
}

async fn renew(api: &Api, name: &str, holder: &str, host: &str) -> Result<(), Status> {
    let wanted = lease(name, holder, host, Timestamp::now());
    let mut write = request(&wanted)?;
    let stored = api.cache.find(GROUP, "leases", NAMESPACE, name).and_then(|entry| entry.object());
    let Some(mut stored) = stored else {
        let object = Object::from_value(wanted).ok_or_else(Status::no_such_path)?;
        return match api.store_new(&write, object).await {
            Err(status) if status.reason == "AlreadyExists" => Ok(()),
            other => other.map(|_| ()),
        };
    };
    name.clone_into(&mut write.name);
    for (label, value) in [(LABEL.0, LABEL.1), ("kubernetes.io/hostname", host)] {
        stored.set(&["metadata", "labels", label], value);
    }
    for field in ["holderIdentity", "leaseDurationSeconds", "renewTime"] {
        stored.set(&["spec", field], wanted["spec"][field].clone());
    }
    api.store_changed(&write, stored).await
}

async fn remove(api: &Api, name: &str) -> Result<(), Status> {
    let mut write = request(&lease(name, "", "", Timestamp::UNIX_EPOCH))?;
    name.clone_into(&mut write.name);
    api.delete_one(&write, name, &DeleteOptions::default()).await.map(|_| ())
}

/// Removes the Leases of servers that renewed them no more.
async fn sweep(api: &Api) {
    let now = Timestamp::now();
    for entry in api.cache.all(GROUP, "leases").values().filter(|entry| entry.namespace() == NAMESPACE) {
        let Some(lease) = entry.object() else { continue };
        if lease.str(&["metadata", "labels", LABEL.0]) != LABEL.1 || !ended(&lease, now) {
            continue;
        }
        match remove(api, lease.name()).await {
            Ok(()) => tracing::info!(lease = lease.name(), "removed the identity of a server that is gone"),
            // Another server does the same.
            Err(status) if status.code == 404 => {}
            Err(error) => tracing::warn!(%error, lease = lease.name(), "an identity could not be removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_upstreams_name() {
        // As upstream's v1.36 calls itself on a host of this name.
        assert_eq!(name("vm"), "apiserver-wlv32tlttr4jl3gtroqexyxapa");
        assert_eq!((base32(b""), base32(b"f"), base32(b"foobar")), (String::new(), "my".into(), "mzxw6ytboi".into()));
    }

    #[test]
    fn a_lease_ends_an_hour_after_it_was_renewed() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let made = Object::from_value(lease("n", "h", "vm", at("2026-01-02T03:04:05.000006Z"))).unwrap();
        assert_eq!(made.str(&["spec", "renewTime"]), "2026-01-02T03:04:05.000006Z");
        assert!(!ended(&made, at("2026-01-02T04:04:05Z")) && ended(&made, at("2026-01-02T04:04:06Z")));
        for field in ["renewTime", "leaseDurationSeconds"] {
            let mut other = made.clone();
            other.remove(&["spec", field]);
            assert!(ended(&other, at("2026-01-02T03:04:05Z")), "{field}");
        }
    }
}
