//! `kinit status`: the cluster at a glance, as this host's admin.conf sees it.

use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;
use kinit_pki::{CERTIFICATES, PkiStore};
use serde::Serialize;
use serde_json::Value;

use super::output::{Format, emit, table};
use super::token::KubeconfigArg;
use crate::api::{Api, KubeApi, Verb, get};
use crate::host::RealHost;
use crate::phase::wait::is_ready;
use crate::readdress;

/// Flags of `kinit status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kinit status -o json")]
pub struct StatusArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// The kubeconfig to use
    #[command(flatten)]
    pub config: KubeconfigArg,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Node {
    name: String,
    ready: bool,
    roles: Vec<String>,
    version: String,
    address: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Component {
    name: String,
    node: String,
    ready: bool,
    restarts: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    name: &'static str,
    expiration_date: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    server: String,
    version: String,
    healthy: bool,
    nodes: Vec<Node>,
    components: Vec<Component>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_expiration: Option<Certificate>,
}

/// Runs the command: fails if anything is not ready.
pub async fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    // Whoever asks an address that is gone waits for nothing.
    if let Some(address) = readdress::lost(&RealHost::new()?, &kinit_preflight::own_addresses())? {
        anyhow::bail!(readdress::hint(address));
    }
    let config = args.config.load()?;
    let api = KubeApi::from_kubeconfig(&config)?;
    let server = config.current()?.0.server.clone();
    let version = api.call(Verb::Get, "/version", None).await?;
    let nodes = get(&api, "/api/v1/nodes").await?.unwrap_or_default();
    let pods = "/api/v1/namespaces/kube-system/pods?labelSelector=tier%3Dcontrol-plane";
    let pods = get(&api, pods).await?.unwrap_or_default();
    let nodes: Vec<Node> = items(&nodes).map(node).collect();
    let components: Vec<Component> = items(&pods).map(component).collect();
    let status = Status {
        server,
        version: text(&version, "/gitVersion"),
        healthy: nodes.iter().all(|node| node.ready) && components.iter().all(|component| component.ready),
        nodes,
        components,
        next_expiration: next_expiration(&PkiStore::new("/etc/kubernetes/pki"))?,
    };
    emit(args.output, &status, || shown(&status))?;
    Ok(if status.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn node(object: &Value) -> Node {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let roles = labels.into_iter().flatten().filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"));
    let addresses = object.pointer("/status/addresses").and_then(Value::as_array).into_iter().flatten();
    let internal = addresses.into_iter().find(|address| address["type"] == "InternalIP");
    Node {
        name: text(object, "/metadata/name"),
        ready: is_ready(object),
        roles: roles.map(str::to_owned).collect(),
        version: text(object, "/status/nodeInfo/kubeletVersion"),
        address: internal.map(|address| text(address, "/address")).unwrap_or_default(),
    }
}

fn component(pod: &Value) -> Component {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let restarts = pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
    Component {
        name: text(pod, "/metadata/labels/component"),
        node: text(pod, "/spec/nodeName"),
        ready: conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True"),
        restarts: restarts.filter_map(|status| status["restartCount"].as_u64()).sum(),
    }
}

/// The certificate of this host that ends first.
fn next_expiration(store: &PkiStore) -> anyhow::Result<Option<Certificate>> {
    if !Path::new(store.folder()).exists() {
        return Ok(None);
    }
    let mut next: Option<(Timestamp, &'static str)> = None;
    for spec in CERTIFICATES {
        if let Some(end) = store.certificate(spec)?.map(|certificate| certificate.not_after)
            && next.is_none_or(|(earliest, _)| end < earliest)
        {
            next = Some((end, spec.name));
        }
    }
    Ok(next.map(|(end, name)| Certificate { name, expiration_date: end.to_string() }))
}

fn shown(status: &Status) -> String {
    let ready = |is: bool| if is { "Ready" } else { "NotReady" }.to_owned();
    let nodes = status.nodes.iter().map(|node| {
        let roles = if node.roles.is_empty() { "<none>".into() } else { node.roles.join(",") };
        vec![node.name.clone(), ready(node.ready), roles, node.version.clone(), node.address.clone()]
    });
    let components = status
        .components
        .iter()
        .map(|one| vec![one.name.clone(), one.node.clone(), ready(one.ready), one.restarts.to_string()]);
    let mut out = format!(
        "Kubernetes {} at {}\n\n{}\n{}",
        status.version,
        status.server,
        table(&["NODE", "STATUS", "ROLES", "VERSION", "ADDRESS"], nodes),
        table(&["COMPONENT", "NODE", "STATUS", "RESTARTS"], components),
    );
    if let Some(next) = &status.next_expiration {
        out.push_str(&format!("\nThe next certificate to end is {}, on {}.\n", next.name, next.expiration_date));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_read() {
        let object = json!({
            "metadata": {"name": "cp1", "labels": {"node-role.kubernetes.io/control-plane": "", "x": "y"}},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "Hostname", "address": "cp1"}, {"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0"},
            },
        });
        let found = node(&object);
        assert_eq!((found.ready, found.roles.as_slice()), (true, &["control-plane".to_owned()][..]));
        assert_eq!((found.address.as_str(), found.version.as_str()), ("10.0.0.1", "v1.36.0"));
        let pod = json!({
            "metadata": {"labels": {"component": "etcd"}},
            "spec": {"nodeName": "cp1"},
            "status": {"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [{"restartCount": 3}]},
        });
        assert_eq!(component(&pod), Component { name: "etcd".into(), node: "cp1".into(), ready: false, restarts: 3 });
    }
}
