//! Drivers announce themselves by a socket in the folder `plugins_registry`, in the way of upstream's registrar.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver, CSINodeSpec, VolumeNodeResources};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::messages::{NodeInfo, Nothing, PluginInfo, RegistrationStatus};
use super::wire::call;
use crate::context::Context;
use crate::error::{Error, Result};

/// How often the folder is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// The annotation of a Node with what each driver calls it.
const IDS: &str = "csi.volume.kubernetes.io/nodeid";

/// A socket, by what it is as a file: one that was made anew is another.
type Socket = (PathBuf, u64);

/// Follows the folder until shutdown.
pub async fn follow(context: Arc<Context>, shutdown: CancellationToken) {
    let folder = context.root.join("plugins_registry");
    if let Err(error) = std::fs::create_dir_all(&folder) {
        tracing::warn!(folder = %folder.display(), %error, "drivers of storage cannot announce themselves");
    }
    // What came of each socket: the driver, or nothing for what is no driver.
    let mut known: HashMap<Socket, Option<String>> = HashMap::new();
    loop {
        let found = sockets(&folder);
        let gone: Vec<Socket> = known.keys().filter(|one| !found.contains(one)).cloned().collect();
        for socket in gone {
            let Some(Some(driver)) = known.remove(&socket) else { continue };
            if known.values().flatten().any(|other| *other == driver) {
                continue;
            }
            tracing::info!(driver, "a driver of storage is gone");
            context.drivers.sockets.lock().remove(&driver);
            if let Err(error) = tell(&context, &driver, None).await {
                tracing::debug!(driver, %error, "the cluster was not told that a driver is gone");
            }
        }
        for socket in found {
            if known.contains_key(&socket) {
                continue;
            }
            match register(&context, &socket.0).await {
                Ok(driver) => {
                    known.insert(socket, driver);
                }
                Err(error) => tracing::debug!(socket = %socket.0.display(), %error, "a plugin is not known yet"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

fn sockets(folder: &Path) -> Vec<Socket> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let facts = entries.filter_map(|entry| Some((entry.path(), std::fs::metadata(entry.path()).ok()?)));
    facts.filter(|(_, facts)| facts.file_type().is_socket()).map(|(path, facts)| (path, facts.ino())).collect()
}

/// Gets to know a plugin; gives its name if it is a driver of storage.
async fn register(context: &Context, socket: &Path) -> Result<Option<String>> {
    let told = |what: &'static str| move |status: tonic::Status| Error::Told(format!("{what}: {}", status.message()));
    let info: PluginInfo =
        call(socket, "pluginregistration.Registration/GetInfo", Nothing {}).await.map_err(told("GetInfo"))?;
    let outcome = match refusal(&info) {
        Some(reason) => Err(reason),
        None => {
            let driver = if info.endpoint.is_empty() { socket.to_owned() } else { endpoint(&info.endpoint) };
            let node: NodeInfo =
                call(&driver, "csi.v1.Node/NodeGetInfo", Nothing {}).await.map_err(told("NodeGetInfo"))?;
            tell(context, &info.name, Some(&node)).await?;
            context.drivers.sockets.lock().insert(info.name.clone(), driver);
            tracing::info!(driver = info.name, node = node.node_id, "a driver of storage is there");
            Ok(info.name)
        }
    };
    let error = outcome.as_ref().err().cloned().unwrap_or_default();
    let status = RegistrationStatus { plugin_registered: outcome.is_ok(), error };
    let _: Nothing = call(socket, "pluginregistration.Registration/NotifyRegistrationStatus", status)
        .await
        .map_err(told("NotifyRegistrationStatus"))?;
    Ok(outcome.ok())
}

/// Why a plugin is not taken.
fn refusal(info: &PluginInfo) -> Option<String> {
    if info.kind != "CSIPlugin" {
        return Some(format!("this kubelet has no use for plugins of type {:?}", info.kind));
    }
    let speaks = |version: &String| version.trim_start_matches('v').split('.').next() == Some("1");
    let ours = info.supported_versions.iter().any(speaks);
    (!ours).then(|| format!("none of the versions {:?} is CSI 1", info.supported_versions))
}

fn endpoint(text: &str) -> PathBuf {
    PathBuf::from(text.strip_prefix("unix://").unwrap_or(text))
}

/// Tells the cluster what a driver calls this node, or that the driver is gone.
async fn tell(context: &Context, driver: &str, info: Option<&NodeInfo>) -> Result<()> {
    let client = context.client()?;
    let nodes: Api<Node> = Api::all(client.clone());
    let node = nodes.get(&context.node_name).await?;
    let mut ids: BTreeMap<String, String> =
        node.metadata.annotations.as_ref().and_then(|all| serde_json::from_str(all.get(IDS)?).ok()).unwrap_or_default();
    let segments = info.and_then(|info| info.accessible_topology.clone()).unwrap_or_default().segments;
    match info {
        Some(info) => ids.insert(driver.to_owned(), info.node_id.clone()),
        None => ids.remove(driver),
    };
    let change = json!({"metadata": {
        "annotations": {IDS: if ids.is_empty() { None } else { Some(json!(ids).to_string()) }},
        "labels": segments,
    }});
    nodes.patch(&context.node_name, &PatchParams::default(), &Patch::Merge(change)).await?;
    let all: Api<CSINode> = Api::all(client);
    match all.get_opt(&context.node_name).await? {
        Some(mut present) => {
            if with(&mut present.spec, driver, info) {
                all.replace(&context.node_name, &PostParams::default(), &present).await?;
            }
        }
        None => {
            let owner = OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: context.node_name.clone(),
                uid: node.metadata.uid.unwrap_or_default(),
                ..OwnerReference::default()
            };
            let metadata = ObjectMeta {
                name: Some(context.node_name.clone()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            };
            let mut spec = CSINodeSpec::default();
            with(&mut spec, driver, info);
            all.create(&PostParams::default(), &CSINode { metadata, spec }).await?;
        }
    }
    Ok(())
}

/// Puts a driver in, or takes it out; whether that changes anything. Pure.
fn with(spec: &mut CSINodeSpec, driver: &str, info: Option<&NodeInfo>) -> bool {
    let before = spec.drivers.clone();
    spec.drivers.retain(|one| one.name != driver);
    spec.drivers.extend(info.map(|info| {
        let segments = info.accessible_topology.clone().unwrap_or_default().segments;
        let mut keys: Vec<String> = segments.into_keys().collect();
        keys.sort();
        let count = i32::try_from(info.max_volumes_per_node).ok().filter(|count| *count > 0);
        CSINodeDriver {
            name: driver.to_owned(),
            node_id: info.node_id.clone(),
            topology_keys: (!keys.is_empty()).then_some(keys),
            allocatable: count.map(|count| VolumeNodeResources { count: Some(count) }),
        }
    }));
    spec.drivers.sort_by(|one, other| one.name.cmp(&other.name));
    spec.drivers != before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_of_this_version_are_taken() {
        let info = |kind: &str, versions: &[&str]| PluginInfo {
            kind: kind.into(),
            supported_versions: versions.iter().map(|one| (*one).to_owned()).collect(),
            ..PluginInfo::default()
        };
        for (info, taken) in [
            (info("CSIPlugin", &["1.0.0"]), true),
            (info("CSIPlugin", &["0.3.0", "v1.2.0"]), true),
            (info("CSIPlugin", &["0.3.0"]), false),
            (info("DevicePlugin", &["v1beta1"]), false),
        ] {
            assert_eq!(refusal(&info).is_none(), taken, "{info:?}");
        }
        assert_eq!(endpoint("unix:///a/csi.sock"), Path::new("/a/csi.sock"));
        assert_eq!(endpoint("/a/csi.sock"), Path::new("/a/csi.sock"));
    }

    #[test]
    fn a_node_lists_each_driver_once() {
        let info = |id: &str, most| NodeInfo {
            node_id: id.into(),
            max_volumes_per_node: most,
            accessible_topology: Some(super::super::messages::Topology {
                segments: [("zone".to_owned(), "a".to_owned())].into(),
            }),
        };
        let mut spec = CSINodeSpec::default();
        assert!(with(&mut spec, "b", Some(&info("n", 0))));
        assert!(!with(&mut spec, "b", Some(&info("n", 0))));
        assert!(with(&mut spec, "a", Some(&info("m", 7))));
        let told: Vec<_> = spec.drivers.iter().map(|one| (one.name.as_str(), one.node_id.as_str())).collect();
        assert_eq!(told, [("a", "m"), ("b", "n")]);
        assert_eq!(spec.drivers[0].allocatable.as_ref().and_then(|all| all.count), Some(7));
        assert_eq!(spec.drivers[1].topology_keys.as_deref(), Some(&["zone".to_owned()][..]));
        assert!(with(&mut spec, "a", None));
        assert!(!with(&mut spec, "a", None));
    }
}
