//! Becoming a member of the cluster's etcd: first one that learns, then one that votes.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::api::{self, Api};
use crate::etcd::{Credentials, Etcd, Member, Members};
use crate::phase::control_plane::{self, EtcdStart, etcd_client_url, etcd_peer_url};
use crate::phase::init::InitContext;
use crate::phase::wait::until;
use crate::phase::{Outcome, Result};

const PODS: &str = "/api/v1/namespaces/kube-system/pods?labelSelector=component%3Detcd";
/// Where kubeadm and kinit note how a member is reached.
const ADDRESS: &str = "kubeadm.kubernetes.io/etcd.advertise-client-urls";

/// Whether this host is a member already.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// The others do not know it.
    Unknown,
    /// It was added and still learns.
    Learns(u64),
    /// It votes.
    Votes,
}

fn standing(members: &[Member], peer_url: &str) -> Standing {
    match members.iter().find(|member| member.peer_urls.iter().any(|url| url == peer_url)) {
        None => Standing::Unknown,
        Some(member) if member.is_learner => Standing::Learns(member.id),
        Some(_) => Standing::Votes,
    }
}

/// All members by name and URL as this one's manifest says them; one that has not started yet has no name.
fn initial_cluster(members: &[Member], name: &str, peer_url: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for member in members {
        for url in &member.peer_urls {
            let own = url == peer_url;
            let name = match member.name.as_str() {
                _ if own => name.to_owned(),
                "" => format!("{:x}", member.id),
                other => other.to_owned(),
            };
            all.push((name, url.clone()));
        }
    }
    all
}

/// The URLs of the members that the cluster's pods name, without this host's own.
pub async fn endpoints(api: &dyn Api, own: &str) -> anyhow::Result<Vec<String>> {
    let pods = api::get(api, PODS).await?.unwrap_or_default();
    let named = |pod: &Value| Some(pod.pointer("/metadata/annotations")?.get(ADDRESS)?.as_str()?.to_owned());
    let all: Vec<String> = pods["items"].as_array().into_iter().flatten().filter_map(named).collect();
    Ok(all.into_iter().filter(|url| url != own).collect())
}

/// The cluster's etcd as a host that joins asks it.
pub async fn reach(context: &InitContext) -> anyhow::Result<Etcd> {
    let own = etcd_client_url(context.settings.advertise_address);
    let others = endpoints(context.api.as_ref(), &own).await?;
    if others.is_empty() {
        anyhow::bail!(
            "the cluster names no member of etcd\nhint: do the pods of etcd run? `kubectl -n kube-system get pods -l component=etcd`\ncode: EtcdMember"
        );
    }
    Ok(Etcd::new(others, Some(Credentials::of_folder(&context.settings.cluster.certificates_dir)?)))
}

/// Phase `check-etcd`: every member has to be well before another is added.
pub async fn check(context: &InitContext) -> Result {
    if context.settings.cluster.external_etcd.is_some() {
        return Ok(Outcome::Skipped("etcd runs elsewhere".into()));
    }
    let etcd = reach(context).await?;
    for endpoint in etcd.endpoints() {
        let status = etcd.status(endpoint).await?;
        if !status.errors.is_empty() {
            anyhow::bail!("etcd at {endpoint} is not well: {}\ncode: EtcdMember", status.errors.join("; "));
        }
    }
    Ok(Outcome::Unchanged)
}

/// Phase `etcd-join`.
pub async fn join(context: &InitContext) -> Result {
    if context.settings.cluster.external_etcd.is_some() {
        return Ok(Outcome::Skipped("etcd runs elsewhere".into()));
    }
    let etcd = reach(context).await?;
    let patience = context.settings.timeouts.etcd_call;
    become_member(context, &etcd, patience, || async {
        let own = etcd_client_url(context.settings.advertise_address);
        let status = etcd.status(&own).await.map_err(|error| error.to_string())?;
        if status.errors.is_empty() { Ok(()) } else { Err(status.errors.join("; ")) }
    })
    .await
}

/// Adds this host, writes its manifest, waits until `serves` and promotes it. What an interrupted run has done is kept.
async fn become_member<F, Fut>(context: &InitContext, members: &dyn Members, patience: Duration, serves: F) -> Result
where
    F: FnMut() -> Fut,
    Fut: Future<Output = std::result::Result<(), String>>,
{
    let settings = &context.settings;
    let peer = etcd_peer_url(settings.advertise_address);
    let mut all = members.list().await?;
    if standing(&all, &peer) == Standing::Unknown {
        if !context.host.list(Path::new(&settings.cluster.etcd.data_dir))?.is_empty() {
            anyhow::bail!(
                "{} holds data of another member\nhint: run `kinit reset` first\ncode: Leftover",
                settings.cluster.etcd.data_dir
            );
        }
        let end = tokio::time::Instant::now() + patience;
        all = loop {
            match members.add_learner(&peer).await {
                Ok(all) => break all,
                Err(error) if error.is_passing() && tokio::time::Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
    }
    let manifest = Path::new(control_plane::MANIFESTS_DIR).join("etcd.yaml");
    if context.host.read(&manifest)?.is_none() {
        let start = EtcdStart::Join(initial_cluster(&all, &settings.node.name, &peer));
        control_plane::write(context, "etcd", &start)?;
    }
    until(patience, serves).await.map_err(|last| {
        anyhow::anyhow!("etcd on this host does not serve: {last}\nhint: `crictl ps -a` and /var/log/pods tell why; run this again when it is mended\ncode: EtcdMember")
    })?;
    until(patience, || async {
        let all = members.list().await.map_err(|error| error.to_string())?;
        match standing(&all, &peer) {
            Standing::Votes => Ok(()),
            Standing::Unknown => Err("the others no longer know it".to_owned()),
            Standing::Learns(id) => members.promote(id).await.map_err(|error| error.to_string()),
        }
    })
    .await
    .map_err(|last| anyhow::anyhow!("etcd on this host was not promoted: {last}\ncode: EtcdMember"))?;
    Ok(Outcome::Changed)
}

/// Takes the member at `peer_url` out, unless it is the only one; says whether it was.
pub async fn leave(members: &dyn Members, peer_url: &str) -> anyhow::Result<bool> {
    let all = members.list().await?;
    let own = all.iter().find(|member| member.peer_urls.iter().any(|url| url == peer_url));
    match own {
        Some(own) if all.len() > 1 => {
            members.remove(own.id).await?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::MemoryMembers;

    fn member(id: u64, name: &str, url: &str) -> Member {
        Member { id, name: name.into(), peer_urls: vec![url.into()], ..Member::default() }
    }

    #[test]
    fn members_are_said_by_name() {
        let all =
            [member(1, "cp1", "https://a:2380"), member(0xab, "", "https://b:2380"), member(3, "", "https://c:2380")];
        let pairs = initial_cluster(&all, "cp3", "https://c:2380");
        let text: Vec<String> = pairs.iter().map(|(name, url)| format!("{name}={url}")).collect();
        assert_eq!(text, ["cp1=https://a:2380", "ab=https://b:2380", "cp3=https://c:2380"]);
    }

    #[tokio::test]
    async fn the_last_member_stays() {
        let members = MemoryMembers::new(vec![member(1, "cp1", "https://a:2380"), member(2, "cp2", "https://b:2380")]);
        assert!(leave(&members, "https://a:2380").await.unwrap());
        assert!(!leave(&members, "https://a:2380").await.unwrap());
        assert!(!leave(&members, "https://b:2380").await.unwrap());
        assert_eq!(members.list().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_host_learns_and_then_votes_and_a_second_run_changes_nothing() {
        let (context, host) = crate::join::control_plane::tests_support::context("10.0.0.2");
        let members = MemoryMembers::new(vec![member(1, "cp1", "https://10.0.0.1:2380")]);
        for _ in 0..2 {
            become_member(&context, &members, Duration::from_secs(1), || async { Ok(()) }).await.unwrap();
            let all = members.list().await.unwrap();
            assert_eq!(all.len(), 2);
            assert!(!all[1].is_learner);
        }
        let written = host.written();
        let (_, text) = written.iter().find(|(path, _)| path.ends_with("etcd.yaml")).unwrap();
        let text = String::from_utf8_lossy(text);
        assert!(text.contains("--initial-cluster=cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380"), "{text}");
        assert!(text.contains("--initial-cluster-state=existing"));
    }
}
