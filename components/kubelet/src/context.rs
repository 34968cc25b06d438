//! What all of the kubelet's parts share.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use k8s_openapi::api::core::v1::Service;
use kinit_cri::Runtime;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::config::Configuration;
use crate::csi::Drivers;
use crate::error::{Error, Result};
use crate::events::Recorder;
use crate::eviction::Pressure;
use crate::pod::claims::{Claims, Room};
use crate::pod::status::Failure;
use crate::probes::ProbeTable;

/// Services by namespace and name.
pub type Services = Arc<HashMap<(String, String), Service>>;

/// What all of the kubelet's parts share.
pub struct Context {
    /// The configuration.
    pub config: Configuration,
    /// Folder of the kubelet's files.
    pub root: PathBuf,
    /// Name of the node.
    pub node_name: String,
    /// Name of the host.
    pub host_name: String,
    /// Address of the node.
    pub node_ip: IpAddr,
    /// Memory of the host in bytes.
    pub memory: u64,
    /// The container runtime.
    pub runtime: Runtime,
    /// The cluster; `None` until there is a connection.
    pub client: watch::Sender<Option<kube::Client>>,
    /// Services by namespace and name, for the environment of containers; `None` until they were listed.
    pub services: watch::Sender<Option<Services>>,
    /// Drivers of storage.
    pub drivers: Drivers,
    /// What probes say.
    pub probes: ProbeTable,
    /// Where events are said.
    pub events: Recorder,
    /// Pods that the kubelet itself fails, by uid: those that are evicted or refused.
    pub failures: Mutex<HashMap<String, Failure>>,
    /// What wakes the worker of a pod, by the pod's uid.
    pub wakes: Mutex<HashMap<String, Arc<Notify>>>,
    /// What the pods of this node hold of it.
    pub claims: Mutex<Claims>,
    /// What there is for them.
    pub room: Room,
    /// Names of static pods whose image in the API is gone and has to be made anew.
    pub mirrors_lost: Mutex<HashSet<String>>,
    /// Whether the host is being shut down.
    pub ends: AtomicBool,
    /// What the node is short of.
    pub pressure: RwLock<Pressure>,
    /// Uid of the Node object, once it is known: mirror pods belong to it.
    pub node_uid: RwLock<Option<String>>,
}

impl Context {
    /// The cluster, if there is a connection.
    pub fn client(&self) -> Result<kube::Client> {
        self.client.borrow().clone().ok_or(Error::NotConnected)
    }

    /// Has the worker of a pod look at it now; whether there is one.
    pub fn wake(&self, uid: &str) -> bool {
        let wakes = self.wakes.lock();
        wakes.get(uid).map(|wake| wake.notify_one()).is_some()
    }

    /// Has a pod fail whatever its containers do.
    pub fn fail(&self, uid: &str, failure: Failure) {
        self.failures.lock().insert(uid.to_owned(), failure);
        self.wake(uid);
    }

    /// A pod's folder.
    pub fn pod_folder(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }
}
