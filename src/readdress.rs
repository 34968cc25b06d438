//! A control plane whose host got another address: what is written of it is changed where it stands, and its certificates
//! are issued anew. The API cannot be asked for anything meanwhile, so nothing is: files say what they said before, with
//! another address.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use kinit_pki::{CERTIFICATES, PkiStore};
use serde_json::{Value, json};

use crate::agent;
use crate::api::{self, Api, KubeApi, Verb};
use crate::etcd::{Credentials, Etcd, Members};
use crate::host::{Change, Host};
use crate::phase::control_plane::{MANIFESTS_DIR, STATIC_PODS, etcd_client_url, etcd_peer_url};
use crate::phase::kubeconfig::{self, USERS};
use crate::phase::{kubelet, wait};
use crate::report::Reporter;
use crate::restore;

/// Where kubeadm and kinit note the address of a node's API server.
const ADDRESS: &str = "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint";
/// Where files are kept before they are changed.
const BACKUPS: &str = "/etc/kubernetes/tmp";
const PATIENCE: Duration = Duration::from_secs(240);
/// The ConfigMaps that say where the cluster is, and under which key.
const MAPS: &[(&str, &str, &str)] = &[
    ("kube-public", "cluster-info", "kubeconfig"),
    ("kube-system", "kube-proxy", "kubeconfig.conf"),
    ("kube-system", "kinit-network", "kubeconfig.conf"),
];

/// The address and port that the API server of this host was made for; `None` where there is none.
pub fn noted(host: &dyn Host) -> anyhow::Result<Option<(IpAddr, u16)>> {
    let Some(text) = host.read(&Path::new(MANIFESTS_DIR).join("kube-apiserver.yaml"))? else { return Ok(None) };
    let manifest: Value = serde_yaml::from_slice(&text)?;
    let endpoint = manifest.pointer("/metadata/annotations").and_then(|all| all[ADDRESS].as_str()).unwrap_or_default();
    Ok(endpoint.parse().ok().map(|endpoint: std::net::SocketAddr| (endpoint.ip(), endpoint.port())))
}

/// The address that this host was made a control plane with, if it has it no more.
pub fn lost(host: &dyn Host, present: &[IpAddr]) -> anyhow::Result<Option<IpAddr>> {
    Ok(noted(host)?.map(|(address, _)| address).filter(|address| !present.contains(address)))
}

/// What is to be said of a lost address.
pub fn hint(address: IpAddr) -> String {
    format!(
        "this host has its address {address} no more\nhint: `kinit readdress` takes over the one that it has now; see \
         `kinit explain NodeAddress`\ncode: NodeAddress"
    )
}

/// `text` with `old` replaced wherever it stands as an address of its own, and not as a part of another.
pub fn replace(text: &str, old: &str, new: &str) -> String {
    let six = old.contains(':');
    let inner = |c: char| c.is_ascii_alphanumeric() || (six && c == ':');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(old) {
        let (before, after) = (&rest[..at], &rest[at + old.len()..]);
        let mut following = after.chars();
        let next = following.next();
        let ends = match next {
            // A full stop ends a sentence unless a digit follows it.
            Some('.') => !following.next().is_some_and(|c| c.is_ascii_digit()),
            other => !other.is_some_and(inner),
        };
        let begins = !before.chars().next_back().is_some_and(|c| inner(c) || c == '.');
        out.push_str(before);
        out.push_str(if begins && ends { new } else { old });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The files of a control plane that say its address.
fn files() -> Vec<(PathBuf, u32)> {
    let manifests = STATIC_PODS.iter().map(|name| Path::new(MANIFESTS_DIR).join(format!("{name}.yaml")));
    let own = [PathBuf::from(agent::CONFIG)];
    let all =
        manifests.chain(USERS.iter().map(|user| kubeconfig::path(user.file))).chain(own).map(|path| (path, 0o600));
    all.chain([(Path::new(kubelet::KUBELET_DIR).join("kubeadm-flags.env"), 0o644)]).collect()
}

/// Makes this control plane be at `new` in place of `old`.
pub async fn run(
    host: &dyn Host,
    folder: &Path,
    (old, port): (IpAddr, u16),
    new: IpAddr,
    reporter: &dyn Reporter,
) -> anyhow::Result<()> {
    if host.is_real() {
        // A kubelet that starts with other manifests knows nothing of what runs by the ones before.
        restore::set_aside(STATIC_PODS)?;
        stopped(port).await?;
        kubelet::stop(host).await?;
        restore::put_back(STATIC_PODS)?;
        tell_others(folder, old, new, reporter).await;
    }
    let changed = rewrite(host, old, new)?;
    reporter.info(&format!("[readdress] {changed} files say {new} now"));
    for name in reissue(host, folder, old, new)? {
        reporter.info(&format!("[readdress] {name} is issued anew"));
    }
    crate::phase::agent::restart(host).await?;
    kubelet::start(host).await?;
    if !host.is_real() {
        return Ok(());
    }
    let url = format!("https://{}", crate::config::net::host_port(&new.to_string(), port));
    let api = KubeApi::from_file_at(kubeconfig::path("admin.conf"), &url);
    wait::api_ready(&api, PATIENCE).await?;
    reporter.info(&format!("[readdress] the API server is ready at {url}"));
    // What answered may still have been the server of before, which ends now.
    wait::until(PATIENCE, || async { settle(&api, folder, old, new).await.map_err(|error| format!("{error:#}")) })
        .await
        .map_err(|last| {
            anyhow::anyhow!("the cluster could not be told: {last}\nhint: run this again\ncode: ApiNotReady")
        })
}

/// Waits until etcd and the API server are gone.
async fn stopped(port: u16) -> anyhow::Result<()> {
    let addresses = ["127.0.0.1:2379".to_owned(), format!("127.0.0.1:{port}")];
    wait::until(PATIENCE, || async {
        for address in &addresses {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Err(format!("something still serves at {address}"));
            }
        }
        Ok(())
    })
    .await
    .map_err(|last| {
        anyhow::anyhow!(
            "the control plane does not stop: {last}\nhint: is the kubelet running? Run this again\ncode: HostCommand"
        )
    })
}

/// Has the cluster know the new address.
async fn settle(api: &dyn Api, folder: &Path, old: IpAddr, new: IpAddr) -> anyhow::Result<()> {
    maps(api, old, new).await?;
    update_member(&Etcd::new(vec![etcd_client_url(new)], Some(Credentials::of_folder(folder)?)), old, new).await
}

/// Changes the files, keeping what they said before; gives how many.
fn rewrite(host: &dyn Host, old: IpAddr, new: IpAddr) -> anyhow::Result<usize> {
    let backup =
        Path::new(BACKUPS).join(format!("kinit-backup-address-{}", Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S")));
    let mut changed = 0;
    for (path, mode) in files() {
        let Some(before) = host.read(&path)? else { continue };
        let before = String::from_utf8_lossy(&before).into_owned();
        let after = replace(&before, &old.to_string(), &new.to_string());
        if after == before {
            continue;
        }
        let name = path.file_name().unwrap_or_default();
        host.write(&backup.join(name), before.as_bytes(), 0o600)?;
        if host.write(&path, after.as_bytes(), mode)? == Change::Changed {
            changed += 1;
        }
    }
    Ok(changed)
}

/// Issues each leaf anew that names the old address; gives their names.
fn reissue(host: &dyn Host, folder: &Path, old: IpAddr, new: IpAddr) -> anyhow::Result<Vec<&'static str>> {
    let store = PkiStore::new(host.stage(folder)?);
    let mut names = Vec::new();
    for spec in CERTIFICATES.iter().filter(|spec| !spec.is_authority()) {
        if !store.certificate(spec)?.is_some_and(|certificate| certificate.ips.contains(&old)) {
            continue;
        }
        store.renew_as(spec, Timestamp::now(), |profile| {
            profile.ips.retain(|ip| *ip != new);
            profile.ips.iter_mut().filter(|ip| **ip == old).for_each(|ip| *ip = new);
        })?;
        names.push(spec.name);
    }
    Ok(names)
}

/// Tells the other members of etcd, if there are any, before this one comes back under another address.
async fn tell_others(folder: &Path, old: IpAddr, new: IpAddr, reporter: &dyn Reporter) {
    let others = match agent::Config::load(Path::new(agent::CONFIG)) {
        Ok(Some(agent::Config { balancer: Some(balanced), .. })) => balanced.servers,
        _ => return,
    };
    let hosts =
        others.iter().filter_map(|server| server.rsplit_once(':')).map(|(host, _)| host.trim_matches(['[', ']']));
    let others: Vec<String> =
        hosts.filter_map(|host| host.parse().ok()).filter(|ip| *ip != old).map(etcd_client_url).collect();
    if others.is_empty() {
        return;
    }
    let told = async { update_member(&Etcd::new(others, Some(Credentials::of_folder(folder)?)), old, new).await };
    if let Err(error) = told.await {
        reporter.warn(&format!("the other members of etcd were not told: {error:#}"));
    }
}

/// Has etcd know this member by its new URL.
async fn update_member(etcd: &dyn Members, old: IpAddr, new: IpAddr) -> anyhow::Result<()> {
    let old = etcd_peer_url(old);
    let own = etcd.list().await?.into_iter().find(|member| member.peer_urls.contains(&old));
    if let Some(member) = own {
        etcd.update(member.id, &etcd_peer_url(new)).await?;
    }
    Ok(())
}

/// Changes what the cluster tells others of where it is.
async fn maps(api: &dyn Api, old: IpAddr, new: IpAddr) -> anyhow::Result<()> {
    for (namespace, name, key) in MAPS {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        let Some(object) = api::get(api, &path).await? else { continue };
        let Some(before) = object.pointer("/data").and_then(|data| data[*key].as_str()) else { continue };
        let after = replace(before, &old.to_string(), &new.to_string());
        if after != before {
            api::patch(api, &path, Verb::MergePatch, &json!({"data": {*key: after}})).await?;
        }
    }
    Ok(())
}

/// Has this node look for the API at another server, which it cannot find out by itself when all that it knew are gone.
pub async fn point_to(host: &dyn Host, server: &str) -> anyhow::Result<()> {
    let path = Path::new(agent::CONFIG);
    let Some(text) = host.read(path)? else {
        anyhow::bail!(
            "this node has no way of its own to the API servers\nhint: it goes to the cluster's controlPlaneEndpoint, which {} names\ncode: NodeAddress",
            kubeconfig::path("kubelet.conf").display()
        )
    };
    let mut config: agent::Config = serde_json::from_slice(&text)?;
    let Some(balanced) = &mut config.balancer else {
        anyhow::bail!(
            "this node goes to the cluster's controlPlaneEndpoint, not to servers of its own choice\ncode: NodeAddress"
        )
    };
    balanced.servers = vec![server.to_owned()];
    host.write(path, config.to_text()?.as_bytes(), 0o600)?;
    if crate::host::has_systemd(host) {
        crate::host::run(host, crate::host::Command::new("systemctl", &["restart", crate::phase::agent::UNIT])).await?;
    } else {
        crate::supervise::start(host).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::{Member, MemoryMembers};
    use crate::host::MemoryHost;

    #[test]
    fn only_whole_addresses_are_replaced() {
        for (text, wanted) in [
            ("- --advertise-address=10.0.0.1", "- --advertise-address=10.9.9.9"),
            ("https://10.0.0.1:2379,https://10.0.0.11:2379", "https://10.9.9.9:2379,https://10.0.0.11:2379"),
            ("110.0.0.1 1.10.0.0.1 10.0.0.1.5", "110.0.0.1 1.10.0.0.1 10.0.0.1.5"),
            ("\"10.0.0.1\" at 10.0.0.1.", "\"10.9.9.9\" at 10.9.9.9."),
            ("", ""),
        ] {
            assert_eq!(replace(text, "10.0.0.1", "10.9.9.9"), wanted);
        }
        assert_eq!(
            replace("[fd00::1]:6443 fd00::12 fd00::1:2", "fd00::1", "fd00::9"),
            "[fd00::9]:6443 fd00::12 fd00::1:2"
        );
    }

    #[test]
    fn an_address_is_lost_when_the_host_has_it_no_more() {
        let host = MemoryHost::empty().unwrap();
        let (old, new): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert_eq!(lost(&host, &[new]).unwrap(), None);
        let manifest = format!("metadata:\n  annotations:\n    {ADDRESS}: 10.0.0.1:6443\n");
        host.write(&Path::new(MANIFESTS_DIR).join("kube-apiserver.yaml"), manifest.as_bytes(), 0o600).unwrap();
        assert_eq!(lost(&host, &[new]).unwrap(), Some(old));
        assert_eq!(lost(&host, &[new, old]).unwrap(), None);
        assert_eq!(rewrite(&host, old, new).unwrap(), 1);
        assert_eq!(noted(&host).unwrap(), Some((new, 6443)));
    }

    #[tokio::test]
    async fn etcd_learns_the_members_new_url() {
        let (old, new): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let member = |id, url: String| Member { id, name: "x".into(), peer_urls: vec![url], ..Member::default() };
        let members =
            MemoryMembers::new(vec![member(1, etcd_peer_url(old)), member(2, "https://10.0.0.5:2380".into())]);
        update_member(&members, old, new).await.unwrap();
        let urls: Vec<String> = members.list().await.unwrap().into_iter().flat_map(|one| one.peer_urls).collect();
        assert_eq!(urls, [etcd_peer_url(new), "https://10.0.0.5:2380".into()]);
    }
}
