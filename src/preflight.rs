//! Preflight: what is asked of a host for init and for join, and showing what was found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kinit_preflight::{Finding, More, Request, Role, Severity, gather, has_errors};

use serde_json::Value;

use crate::agent::LOCAL_PORT;
use crate::api::clock_skew;
use crate::config::v1beta4::ExternalEtcd;
use crate::config::{InitSettings, NodeSettings, Settings};
use crate::host::{Error, Host, record};
use crate::images::{Binaries, COMPONENTS, HOST_BINARIES};
use crate::join::JoinSettings;
use crate::phase::containerd::cgroup_driver;
use crate::phase::control_plane::{MANIFESTS_DIR, STATIC_PODS};
use crate::phase::kubeconfig;
use crate::report::Reporter;

const KUBELET_PORT: u16 = 10250;
/// Ports of a control plane beside the API server's, which can be chosen.
const CONTROL_PLANE_PORTS: &[u16] = &[10259, 10257, KUBELET_PORT];
const ETCD_PORTS: &[u16] = &[2379, 2380];

/// The checks found errors.
#[derive(Debug, thiserror::Error)]
#[error("preflight found {0}; nothing was changed\nhint: mend it, or run again with --ignore-preflight-errors={1}")]
pub struct Failed(String, String);

/// What init asks of the host.
pub fn init_request(settings: &InitSettings, host: &dyn Host, binaries: &Binaries) -> Request {
    let manifests = STATIC_PODS.iter().map(|name| Path::new(MANIFESTS_DIR).join(format!("{name}.yaml")));
    let ranges = settings.cluster.pod_subnet.iter().chain(settings.cluster.service_subnet.iter());
    let own_etcd = settings.cluster.external_etcd.is_none();
    let etcd_ports: &[u16] = if own_etcd { ETCD_PORTS } else { &[] };
    let balancer: &[u16] = if settings.cluster.balanced { &[LOCAL_PORT] } else { &[] };
    Request {
        ports: [&[settings.bind_port], CONTROL_PLANE_PORTS, etcd_ports, balancer].concat(),
        absent_files: manifests.collect(),
        empty_folders: own_etcd.then(|| PathBuf::from(&settings.cluster.etcd.data_dir)).into_iter().collect(),
        present_files: settings.cluster.external_etcd.iter().flat_map(etcd_files).collect(),
        advertise_address: Some(settings.advertise_address),
        ranges: ranges.map(|range| (range.address(), range.prefix())).collect(),
        more: More {
            etcd_folder: settings
                .cluster
                .external_etcd
                .is_none()
                .then(|| PathBuf::from(&settings.cluster.etcd.data_dir)),
            external_etcd: settings.cluster.external_etcd.iter().flat_map(|etcd| etcd.endpoints.clone()).collect(),
            missing_binaries: missing(binaries, settings.cluster.external_etcd.is_some()),
            cgroup_driver: kubelet_field(settings, "cgroupDriver")
                .and_then(|wanted| Some((wanted.as_str()?.to_owned(), cgroup_driver(host).to_owned()))),
            swap_allowed: kubelet_field(settings, "failSwapOn") == Some(&Value::Bool(false)),
            ..More::default()
        },
        ..node_request(&settings.node)
    }
}

fn etcd_files(etcd: &ExternalEtcd) -> Vec<PathBuf> {
    let all = [&etcd.ca_file, &etcd.cert_file, &etcd.key_file];
    all.into_iter().filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}

fn kubelet_field<'a>(settings: &'a InitSettings, name: &str) -> Option<&'a Value> {
    settings.cluster.kubelet.as_ref()?.get(name)
}

/// Binaries of images that are not at hand.
fn missing(binaries: &Binaries, etcd_elsewhere: bool) -> Vec<String> {
    let needed = COMPONENTS.iter().map(|component| component.name).filter(|name| *name != "etcd" || !etcd_elsewhere);
    needed.chain(HOST_BINARIES.iter().copied()).filter(|name| binaries.find(name).is_err()).map(str::to_owned).collect()
}

/// What join asks of the host.
pub async fn join_request(settings: &JoinSettings, host: &dyn Host, binaries: &Binaries) -> Request {
    let request = worker_request(&settings.node, settings.source.endpoint()).await;
    let Some(own) = &settings.control_plane else { return request };
    let Some(init) = Settings::resolve(Default::default(), None, None)
        .ok()
        .and_then(|cluster| crate::join::control_plane::init_settings(settings, &cluster))
    else {
        return request;
    };
    // Of the cluster itself nothing is known yet: its ranges are not looked at, and etcd is taken to be where it usually is.
    let more = init_request(&init, host, binaries);
    Request {
        ports: [&[own.bind_port], CONTROL_PLANE_PORTS, ETCD_PORTS].concat(),
        absent_files: [request.absent_files, more.absent_files].concat(),
        empty_folders: [request.empty_folders, more.empty_folders].concat(),
        advertise_address: Some(own.advertise_address),
        more: More { clock_skew: request.more.clock_skew, api_server: request.more.api_server, ..more.more },
        ..request
    }
}

/// What joining as a worker asks of the host; `endpoint` is `host:port` of the API server.
pub async fn worker_request(node: &NodeSettings, endpoint: Option<&str>) -> Request {
    let skew = match endpoint {
        Some(endpoint) => clock_skew(&format!("https://{endpoint}")).await,
        None => None,
    };
    let host = endpoint.and_then(|endpoint| endpoint.rsplit_once(':')).map(|(host, _)| host.to_owned());
    Request {
        more: More { clock_skew: skew, api_server: host, ..More::default() },
        ports: vec![KUBELET_PORT],
        absent_files: vec![kubeconfig::path("kubelet.conf"), kubeconfig::path("bootstrap-kubelet.conf")],
        empty_folders: vec![PathBuf::from(MANIFESTS_DIR)],
        ..node_request(node)
    }
}

fn node_request(node: &NodeSettings) -> Request {
    Request { node_name: node.name.clone(), runtime_socket: node.cri_path().to_owned(), ..Request::default() }
}

/// Gathers and judges.
pub async fn judge(host: &dyn Host, request: Request, role: Role, ignore: &[String]) -> Result<Vec<Finding>, Error> {
    let resumed = host.is_resumed()?;
    let facts = gather(Request { resumed, ..request }).await;
    Ok(kinit_preflight::run(&facts, role, ignore))
}

/// Shows all findings and fails if there are errors.
pub fn settle(findings: &[Finding], reporter: &Arc<dyn Reporter>) -> Result<(), Failed> {
    for finding in findings {
        let kind = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        reporter.info(&format!(
            "[preflight] {kind} {}: {}\n            hint: {}",
            finding.name, finding.message, finding.hint
        ));
    }
    if !has_errors(findings) {
        return Ok(());
    }
    let names: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.name.as_str())
        .collect();
    let count = if names.len() == 1 { "1 error".to_owned() } else { format!("{} errors", names.len()) };
    // One name may stand for several findings.
    let mut seen = std::collections::BTreeSet::new();
    let different: Vec<&str> = names.into_iter().filter(|name| seen.insert(*name)).collect();
    Err(Failed(count, different.join(",")))
}

/// Marks in the record that a command begins to change the host.
pub fn begin(host: &dyn Host, command: &str) -> Result<(), Error> {
    host.note(record::Entry::Begun { command: command.to_owned() })
}

/// Marks in the record that it came to its end.
pub fn finish(host: &dyn Host, command: &str) -> Result<(), Error> {
    host.note(record::Entry::Finished { command: command.to_owned() })
}
