//! Leaving the cluster, as far as it answers: the member of etcd and the Node object go. A cluster that does not answer
//! keeps no host from being reset.

use std::path::Path;
use std::time::Duration;

use kinit_pki::{Certificate, Kubeconfig};
use serde_json::Value;

use crate::api::{self, Api, KubeApi};
use crate::etcd::{Credentials, Etcd};
use crate::host::Host;
use crate::join::etcd::{endpoints, leave};
use crate::phase::control_plane::MANIFESTS_DIR;
use crate::phase::kubeconfig;
use crate::report::{Reporter, describe};

/// A cluster that says nothing for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes this host out; what fails is told and nothing more.
pub async fn run(host: &dyn Host, folder: &Path, given: Option<&Path>, reporter: &dyn Reporter) {
    match tokio::time::timeout(PATIENCE, attempt(host, folder, given)).await {
        Ok(Ok(done)) => done.iter().for_each(|line| reporter.info(&format!("[reset] {line}"))),
        Ok(Err(error)) => reporter.warn(&format!("the cluster was not told: {}", describe(&error))),
        Err(_) => reporter.warn("the cluster was not told: it does not answer"),
    }
}

/// What a member's manifest says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    name: String,
    peer_url: String,
    client_url: String,
}

fn own(manifest: &str) -> Option<Own> {
    let object: Value = serde_yaml::from_str(manifest).ok()?;
    let command = object.pointer("/spec/containers/0/command")?.as_array()?;
    let flag = |name: &str| {
        let mut all = command.iter().filter_map(Value::as_str);
        all.find_map(|argument| argument.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    Some(Own {
        name: flag("--name")?,
        peer_url: flag("--initial-advertise-peer-urls")?,
        client_url: flag("--advertise-client-urls")?,
    })
}

async fn attempt(host: &dyn Host, folder: &Path, given: Option<&Path>) -> anyhow::Result<Vec<String>> {
    let mut done = Vec::new();
    let Some(manifest) = host.read(&Path::new(MANIFESTS_DIR).join("etcd.yaml"))? else {
        return worker(host, given).await;
    };
    let Some(own) = own(&String::from_utf8_lossy(&manifest)) else { return Ok(done) };
    let admin = given.map_or_else(|| kubeconfig::path("admin.conf"), Path::to_owned);
    if host.read(&admin)?.is_none() {
        return Ok(done);
    }
    let api = KubeApi::from_file(admin);
    let others = endpoints(&api, &own.client_url).await?;
    // The only control plane takes its cluster with it: there is nobody to tell.
    if others.is_empty() {
        return Ok(done);
    }
    let node = delete_node(&api, &own.name).await?;
    if leave(&Etcd::new(others, Some(Credentials::of_folder(folder)?)), &own.peer_url).await? {
        done.push(format!("the etcd member {} is removed", own.name));
    }
    if node {
        done.push(format!("the node {} is removed", own.name));
    }
    Ok(done)
}

/// A worker has the kubelet's own credentials only, which are enough for its own Node. A control plane whose etcd is
/// elsewhere has more, but no others need to be told than here.
async fn worker(host: &dyn Host, given: Option<&Path>) -> anyhow::Result<Vec<String>> {
    let path = kubeconfig::path("kubelet.conf");
    if host.read(&path)?.is_none() {
        return Ok(Vec::new());
    }
    let config = Kubeconfig::load(&path)?;
    let pem = config.current()?.1.map(|user| user.certificate_pem()).transpose()?.flatten();
    let Some((pem, _)) = pem else { return Ok(Vec::new()) };
    let who = Certificate::from_pem(&pem, "the kubelet's certificate")?.common_name;
    let Some(name) = who.strip_prefix("system:node:") else { return Ok(Vec::new()) };
    let api = match given {
        Some(path) => KubeApi::from_file(path.to_owned()),
        None => KubeApi::from_kubeconfig(&config)?,
    };
    let gone = delete_node(&api, name).await?;
    Ok(if gone { vec![format!("the node {name} is removed")] } else { Vec::new() })
}

async fn delete_node(api: &dyn Api, name: &str) -> Result<bool, api::Error> {
    api::delete(api, &format!("/api/v1/nodes/{name}")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_says_which_member_it_is() {
        let text = "spec:\n  containers:\n  - command:\n    - etcd\n    - --name=cp1\n    - \
                    --initial-advertise-peer-urls=https://10.0.0.1:2380\n    - \
                    --advertise-client-urls=https://10.0.0.1:2379\n";
        let wanted = Own {
            name: "cp1".into(),
            peer_url: "https://10.0.0.1:2380".into(),
            client_url: "https://10.0.0.1:2379".into(),
        };
        assert_eq!(own(text), Some(wanted));
        assert_eq!(own("spec: {}"), None);
    }
}
