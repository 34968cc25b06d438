//! The wire among members: consensus, snapshots for those far behind, and what only the leader knows.
//!
//! - [`wire`]: consensus' messages as they travel. [`link`]: one stream to each other member.
//! - [`service`]: what comes in. [`transfer`]: whole states. [`join`]: how a new member learns who is there.
//!
//! Every request says in its metadata of which cluster it is, from whom and to whom; what does not fit is refused.

pub mod join;
pub mod link;
pub mod service;
pub mod transfer;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::apply::Machine;
use crate::membership::Identity;
use crate::metrics::Figures;
use crate::node::inbox::{Control, Inbox};
use crate::proto::rpc::Member;
use crate::raft::{Body, Message};
use link::Link;

/// Files for TLS among members.
#[derive(Clone, Debug, Default)]
pub struct PeerTls {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub ca: Option<PathBuf>,
}

/// The other members as this one reaches them. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    tls: PeerTls,
    inbox: Arc<Inbox>,
    runtime: tokio::runtime::Handle,
    links: Mutex<BTreeMap<u64, Link>>,
    figures: Arc<Figures>,
    /// What a snapshot for another member is made of.
    source: OnceLock<Arc<Machine>>,
}

impl Peers {
    /// Must be called within a runtime.
    pub fn new(identity: Identity, tls: PeerTls, inbox: Arc<Inbox>, figures: Arc<Figures>) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let (links, source) = (Mutex::default(), OnceLock::new());
        Self { shared: Arc::new(Shared { identity, tls, inbox, runtime, links, figures, source }) }
    }

    /// Says what snapshots are made of.
    pub fn set_source(&self, machine: Arc<Machine>) {
        // It is set once, before anything is sent.
        let _ = self.shared.source.set(machine);
    }

    /// These are the members now; links to others end.
    pub fn update(&self, members: &[Member]) {
        let shared = &self.shared;
        let others = members.iter().filter(|member| member.id != shared.identity.member);
        let wanted: BTreeMap<u64, &Vec<String>> = others.map(|member| (member.id, &member.peer_ur_ls)).collect();
        let mut links = shared.links.lock();
        links.retain(|id, link| wanted.get(id).is_some_and(|urls| link.urls() == urls.as_slice()));
        for (id, urls) in wanted {
            links.entry(id).or_insert_with(|| {
                let to = link::To { identity: shared.identity, id, urls: urls.clone(), tls: shared.tls.clone() };
                Link::start(&shared.runtime, to, shared.inbox.clone(), shared.figures.clone())
            });
        }
    }

    /// Sends a message, or gives it back: consensus repeats what matters, and the rest may be kept for later.
    pub fn send(&self, message: Message) -> Option<Message> {
        let to = message.to;
        if matches!(message.body, Body::Snapshot(_)) {
            self.send_snapshot(to, message.term);
            return None;
        }
        let outcome = match self.shared.links.lock().get(&to) {
            Some(link) => link.send(message),
            None => Err(message),
        };
        let unsent = outcome.err()?;
        self.shared.figures.peer_failed(to);
        self.shared.inbox.control(Control::Unreachable(to));
        Some(unsent)
    }

    fn send_snapshot(&self, to: u64, term: u64) {
        let inbox = self.shared.inbox.clone();
        let target = self.shared.links.lock().get(&to).map(Link::target);
        let (Some(target), Some(machine)) = (target, self.shared.source.get().cloned()) else {
            return inbox.control(Control::SnapshotSent(to, None));
        };
        self.shared.runtime.spawn(async move {
            let index = match transfer::send(&target, machine, term).await {
                Ok(index) => {
                    tracing::info!(to = format!("{to:x}"), index, "sent a snapshot");
                    Some(index)
                }
                Err(error) => {
                    tracing::warn!(to = format!("{to:x}"), error, "cannot send a snapshot; it is tried again");
                    None
                }
            };
            inbox.control(Control::SnapshotSent(to, index));
        });
    }

    /// Whether a member is connected to just now.
    pub fn is_connected(&self, id: u64) -> bool {
        id == self.shared.identity.member || self.shared.links.lock().get(&id).is_some_and(Link::is_connected)
    }

    /// How long a member has been connected to; this one always was.
    pub fn connected_for(&self, id: u64) -> Option<Duration> {
        if id == self.shared.identity.member {
            return Some(Duration::MAX);
        }
        self.shared.links.lock().get(&id).and_then(Link::connected_for)
    }

    /// A member, to be asked something.
    pub fn target(&self, id: u64) -> Option<Arc<link::To>> {
        self.shared.links.lock().get(&id).map(Link::target)
    }

    /// Ends all links.
    pub fn stop(&self) {
        self.shared.links.lock().clear();
    }
}

const CLUSTER: &str = "x-cluster-id";
const FROM: &str = "x-from";
const TO: &str = "x-to";

/// Says who asks whom.
fn address<T>(mut request: Request<T>, identity: Identity, to: u64) -> Request<T> {
    for (name, id) in [(CLUSTER, identity.cluster), (FROM, identity.member), (TO, to)] {
        if let Ok(value) = format!("{id:x}").parse() {
            request.metadata_mut().insert(name, value);
        }
    }
    request
}

/// The text that tells a member that it is one no more.
pub const REMOVED: &str = "the member has been permanently removed from the cluster";

fn id_of(metadata: &MetadataMap, name: &str) -> Option<u64> {
    u64::from_str_radix(metadata.get(name)?.to_str().ok()?, 16).ok()
}

/// Refuses requests of other clusters, for other members, from those who were removed, and from strangers. Who has yet to
/// learn who is a member believes whoever knows its own id and cluster.
fn admit(metadata: &MetadataMap, identity: Identity, machine: &Machine) -> Result<u64, Status> {
    let wrong = |what: &str| Status::failed_precondition(format!("{what} mismatch"));
    let id = |name| id_of(metadata, name).ok_or_else(|| Status::invalid_argument(format!("no {name} is given")));
    let (cluster, from, to) = (id(CLUSTER)?, id(FROM)?, id(TO)?);
    if cluster != identity.cluster {
        return Err(wrong("cluster ID"));
    }
    if to != identity.member {
        return Err(wrong("member ID"));
    }
    let roster = machine.roster.read();
    if roster.removed().contains(&from) {
        return Err(Status::permission_denied(REMOVED));
    }
    if !roster.is_empty() && roster.get(from).is_none() {
        return Err(Status::not_found("the member is not known here"));
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::membership::Roster;
    use crate::mvcc::store::Store;
    use crate::proto::log::command::Op;
    use crate::proto::rpc::MemberRemoveRequest;

    #[test]
    fn only_members_of_the_cluster_are_let_in() {
        let named = ["a", "b", "c"].map(|name| (name.to_owned(), vec![format!("http://{name}:2380")]));
        let (mut roster, cluster) = Roster::begin(&BTreeMap::from(named), "token");
        let ids: Vec<u64> = roster.list().iter().map(|member| member.id).collect();
        roster.apply(&Op::MemberRemove(MemberRemoveRequest { id: ids[2] })).expect("about members").expect("removed");
        let restored = Store::in_memory().expect("a store");
        let machine = Machine::new(restored, std::time::Instant::now()).expect("empty");
        *machine.roster.write() = roster;
        let own = Identity { member: ids[0], cluster };
        let table = [
            (cluster, ids[1], ids[0], Ok(ids[1])),
            (cluster + 1, ids[1], ids[0], Err(Code::FailedPrecondition)),
            (cluster, ids[1], ids[1], Err(Code::FailedPrecondition)),
            (cluster, ids[2], ids[0], Err(Code::PermissionDenied)),
            (cluster, 7, ids[0], Err(Code::NotFound)),
        ];
        for (cluster, from, to, expected) in table {
            let request = address(Request::new(()), Identity { member: from, cluster }, to);
            let answer = admit(request.metadata(), own, &machine).map_err(|status| status.code());
            assert_eq!(answer, expected, "{from:x} of {cluster:x} to {to:x}");
        }
        let nobody = admit(Request::new(()).metadata(), own, &machine).map_err(|status| status.code());
        assert_eq!(nobody, Err(Code::InvalidArgument));
    }
}
