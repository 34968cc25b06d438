//! The kubelet's certificates: the one it shows to the API server, and the one it serves with. Both are signed by the
//! cluster on request, kept as `NAME-current.pem` links to dated files, and renewed before they end.

pub mod bootstrap;
pub mod request;
pub mod store;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kinit_pki::{Certificate, Profile, Usage};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::Result;
use request::Wanted;
use store::Store;

/// How long to wait after a renewal failed.
const RETRY: Duration = Duration::from_secs(30);
/// Clocks may be set: the time to renew is looked at this often.
const LOOK: Duration = Duration::from_secs(600);

/// What the kubelet shows to the API server.
pub fn client_request(node: &str) -> Wanted {
    Wanted {
        signer: "kubernetes.io/kube-apiserver-client-kubelet",
        name: "node-csr-",
        usages: &["digital signature", "client auth"],
        profile: Profile::client(format!("system:node:{node}"), &["system:nodes"]),
    }
}

/// What the kubelet serves with.
pub fn serving_request(context: &Context) -> Wanted {
    let mut profile = Profile::client(format!("system:node:{}", context.node_name), &["system:nodes"]);
    profile.dns_names = vec![context.host_name.clone()];
    profile.ips = vec![context.node_ip];
    profile.usages = vec![Usage::Server];
    Wanted {
        signer: "kubernetes.io/kubelet-serving",
        name: "csr-",
        usages: &["digital signature", "server auth"],
        profile,
    }
}

/// Whether a certificate is valid for every name and address of a profile.
pub fn covers(certificate: &Certificate, names: &[String], addresses: &[IpAddr]) -> bool {
    names.iter().all(|name| certificate.dns_names.contains(name))
        && addresses.iter().all(|address| certificate.ips.contains(address))
}

/// Whether a new certificate is due, and else when to look again: one for other names is due at once. Pure.
fn due(current: Option<&Certificate>, wanted: &Profile, now: Timestamp) -> Result<(), Duration> {
    let Some(current) = current.filter(|current| covers(current, &wanted.dns_names, &wanted.ips)) else {
        return Ok(());
    };
    let at = kinit_pki::authority::renewal_time(current);
    let left = at.as_second() - now.as_second();
    if left <= 0 { Ok(()) } else { Err(Duration::from_secs(left as u64).min(LOOK)) }
}

/// Keeps a certificate fresh until shutdown; `changed` is called after each new one.
pub async fn follow(
    context: Arc<Context>,
    store: Store,
    wanted: Wanted,
    changed: impl Fn() + Send,
    shutdown: CancellationToken,
) {
    let mut clients = context.client.subscribe();
    tokio::select! {
        connected = clients.wait_for(Option::is_some) => if connected.is_err() { return },
        () = shutdown.cancelled() => return,
    }
    drop(clients);
    loop {
        let pause = match due(store.signed().as_ref(), &wanted.profile, Timestamp::now()) {
            Err(later) => later,
            Ok(()) => match renew(&context, &store, &wanted).await {
                Ok(()) => {
                    tracing::info!(signer = wanted.signer, "has a new certificate");
                    changed();
                    continue;
                }
                Err(error) => {
                    tracing::warn!(signer = wanted.signer, %error, "no new certificate yet");
                    RETRY
                }
            },
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn renew(context: &Context, store: &Store, wanted: &Wanted) -> Result<()> {
    let (certificate, key) = request::certificate(context.client()?, wanted).await?;
    store.put(&certificate, &key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinit_pki::Authority;

    #[test]
    fn a_certificate_is_renewed_before_it_ends() {
        let begin = Timestamp::from_second(1_800_000_000).unwrap();
        let authority = Authority::create("ca", begin).unwrap();
        let profile = Profile::client("system:node:a", &["system:nodes"]);
        let day = Duration::from_secs(24 * 3600);
        let (certificate, _) = authority.issue(&profile, begin, day).unwrap();
        let at = |hours: i64| Timestamp::from_second(begin.as_second() + hours * 3600).unwrap();
        assert!(due(None, &profile, at(0)).is_ok());
        assert_eq!(due(Some(&certificate), &profile, at(1)), Err(LOOK));
        assert!(due(Some(&certificate), &profile, at(23)).is_ok());
        assert!(due(Some(&certificate), &profile, at(48)).is_ok());
        let moved = Profile { ips: vec!["10.0.0.7".parse().unwrap()], ..profile };
        assert!(due(Some(&certificate), &moved, at(1)).is_ok());
    }
}
