//! The phases of `kinit init`: what they share, and their order.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Phase, Tree, addons, agent, bootstrap_token, certs, containerd, control_plane, host_settings, images, kubeconfig,
    kubelet, mark_control_plane, upload_certs, upload_config, wait,
};
use crate::api::Api;
use crate::config::InitSettings;
use crate::host::Host;
use crate::images::{Binaries, ImageStore};
use crate::report::Reporter;

/// What the phases of `init` share.
pub struct InitContext {
    /// What is wanted.
    pub settings: InitSettings,
    /// The host.
    pub host: Arc<dyn Host>,
    /// Where images go.
    pub images: Arc<dyn ImageStore>,
    /// Where the components' binaries are.
    pub binaries: Binaries,
    /// The cluster's API, once it is there.
    pub api: Arc<dyn Api>,
    /// The same as `super-admin.conf` has it, for what comes before there are administrators.
    pub super_api: Arc<dyn Api>,
    /// Who is told.
    pub reporter: Arc<dyn Reporter>,
    /// Where kubeconfigs are written.
    pub kubeconfig_dir: PathBuf,
    /// When the command began.
    pub now: Timestamp,
}

/// The order. Images go into the runtime while keys are made and files written; what needs only the API runs at once.
pub const TREE: Tree<InitContext> = &[
    &[
        &[host_settings::PHASE],
        &[containerd::PHASE, images::PHASE],
        &[certs::PHASE, kubeconfig::PHASE, control_plane::ETCD, control_plane::PHASE, kubelet::FILES],
    ],
    &[&[agent::PHASE, kubelet::START, wait::CONTROL_PLANE, upload_config::ADMINS]],
    &[
        &[upload_config::PHASE, upload_certs::PHASE],
        &[mark_control_plane::PHASE],
        &[bootstrap_token::PHASE],
        &[addons::PHASE],
    ],
    &[&[kubelet::FINALIZE, wait::NODE]],
];

/// Every phase, flat, for help texts: path and what it does.
pub fn listing<C>(tree: Tree<C>) -> Vec<(String, &'static str)> {
    fn add<C>(phase: &Phase<C>, prefix: &str, out: &mut Vec<(String, &'static str)>) {
        let path = if prefix.is_empty() { phase.name.to_owned() } else { format!("{prefix}/{}", phase.name) };
        out.push((path.clone(), phase.about));
        for child in phase.children {
            add(child, &path, out);
        }
    }
    let mut out = vec![("preflight".to_owned(), "checks the host before anything is written")];
    for phase in tree.iter().flat_map(|stage| stage.iter()).flat_map(|lane| lane.iter()) {
        add(phase, "", &mut out);
    }
    out
}
