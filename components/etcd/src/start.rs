//! A member's data directory at start: what is in it, who this member is, and what a first start puts there.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::config::Config;
use crate::membership::{Identity, Roster, member_id};
use crate::mvcc::backend::{BackendError, Change, Meta};
use crate::mvcc::store::{Restored, Store};
use crate::node::open;
use crate::server::ServerError;
use crate::wal::{Recovered, Wal};

/// A data directory that this process has to itself.
pub struct Directory {
    pub restored: Restored,
    pub wal: Wal,
    pub found: Recovered,
    pub identity: Option<Identity>,
    pub lock: Flock<File>,
}

/// Where everything but the log is.
pub fn member_dir(config: &Config) -> PathBuf {
    config.data_dir.join("member")
}

/// Opens the data directory, or makes it.
pub fn open(config: &Config) -> Result<Directory, ServerError> {
    let member = member_dir(config);
    if member.join("snap").exists() {
        return Err(ServerError::Foreign { path: config.data_dir.clone() });
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ServerError::DataDir { path, source }
    };
    std::fs::create_dir_all(&member).map_err(failed(&member))?;
    // Whoever can read the store can read every secret in it.
    let private = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
    std::fs::set_permissions(&config.data_dir, private).map_err(failed(&config.data_dir))?;
    let lock_path = member.join("lock");
    let lock_file = File::create(&lock_path).map_err(failed(&lock_path))?;
    let lock = Flock::lock(lock_file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| ServerError::InUse { path: config.data_dir.clone() })?;

    // The log says whether a snapshot is to take the store's place, so it comes first.
    let logged = if Wal::exists(&config.wal_dir) { Some(Wal::open(&config.wal_dir, 1)?) } else { None };
    let restarted = logged.as_ref().and_then(|(_, found)| found.restarted);
    open::finish_snapshot(&member, restarted).map_err(failed(&member))?;

    let mut restored = Store::open(&member.join("store"))?;
    let mut identity = identity(&restored)?;
    let fresh = identity.is_none();
    // A member that was alone when nobody kept a list has an id and no list.
    let unlisted = restored.members.is_empty() && restored.store.applied() > 0;
    if (fresh && !config.joins) || (!fresh && unlisted) {
        drop(restored);
        let Config { initial_cluster, name, cluster_token, .. } = config;
        restored = begin_as(&member.join("store"), initial_cluster, name, cluster_token, identity)?;
        identity = self::identity(&restored)?;
    }
    let (wal, found) = match logged {
        Some(logged) => logged,
        // Behind the first entry, the list of members, nothing was ever logged.
        None => open::log(&config.wal_dir, restored.store.applied(), fresh || restored.store.applied() <= 1)?,
    };
    Ok(Directory { restored, wal, found, identity, lock })
}

fn identity(restored: &Restored) -> Result<Option<Identity>, ServerError> {
    let stored = restored.store.identity()?;
    Ok(stored.map(|(member, cluster)| Identity { member, cluster }))
}

/// Writes down who is in a cluster that begins, and which of them this is, both or neither. It does so at the first entry,
/// so that whoever joins later gets the list with a snapshot.
pub fn begin(
    store: &Path,
    cluster: &BTreeMap<String, Vec<String>>,
    name: &str,
    token: &str,
) -> Result<Restored, BackendError> {
    begin_as(store, cluster, name, token, None)
}

fn begin_as(
    path: &Path,
    cluster: &BTreeMap<String, Vec<String>>,
    name: &str,
    token: &str,
    known: Option<Identity>,
) -> Result<Restored, BackendError> {
    let own = member_id(cluster.get(name).map_or(&[][..], Vec::as_slice), token);
    let (mut roster, cluster) = Roster::begin(cluster, token);
    let identity = known.unwrap_or(Identity { member: own, cluster });
    if identity.member != own {
        roster = roster.renamed(own, identity.member);
    }
    let store = Store::open(path)?.store;
    let meta = store.meta();
    let meta = Meta { applied: meta.applied.max(1), term: meta.term.max(1), ..meta };
    let mut changes = roster.changes();
    changes.push(Change::Identity { member: identity.member, cluster: identity.cluster });
    store.importer(meta).finish(changes)?;
    drop(store);
    Store::open(path)
}
