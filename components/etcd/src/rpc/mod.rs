//! The services: each checks a request, hands it on, and fills the answer's header in.

pub mod access;
mod auth;
mod cluster;
mod election;
mod health;
pub mod http;
mod identity;
mod kv;
mod lease;
mod lock;
mod maintenance;
pub mod quick;
mod snapshot;
mod turns;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Channel;

use crate::apply::{Machine, Reply};
use crate::auth::Asker;
use crate::auth::provider::AuthToken;
use crate::error::Error;
use crate::membership::Identity;
use crate::metrics::Figures;
use crate::mvcc::store::ReadView;
use crate::node::Proposer;
use crate::node::standing::Standing;
use crate::peer;
use crate::peer::link::To;
use crate::proto::election::election_server::ElectionServer;
use crate::proto::health::health_server::HealthServer;
use crate::proto::lock::lock_server::LockServer;
use crate::proto::log::command::Op;
use crate::proto::peer::peer_client::PeerClient;
use crate::proto::rpc::auth_server::AuthServer;
use crate::proto::rpc::cluster_server::ClusterServer;
use crate::proto::rpc::kv_server::KvServer;
use crate::proto::rpc::lease_server::LeaseServer;
use crate::proto::rpc::maintenance_server::MaintenanceServer;
use crate::proto::rpc::watch_server::WatchServer;
use crate::proto::rpc::{AlarmType, ResponseHeader};

/// What every service works with. Cheap to share.
pub struct Context {
    pub machine: Arc<Machine>,
    pub proposer: Proposer,
    pub standing: Arc<Standing>,
    pub figures: Arc<Figures>,
    pub identity: Identity,
    /// What members ask of one another.
    pub cluster: peer::service::Service,
    /// Whether changes of members that endanger the quorum are refused.
    pub strict_reconfig: bool,
    pub max_txn_ops: usize,
    pub max_request_bytes: usize,
    pub quota: Option<u64>,
    /// Whether a client certificate's common name says who asks.
    pub client_cert_auth: bool,
    pub progress_interval: Duration,
    /// Streams that need a leader end when there is none for so long.
    pub leader_patience: Duration,
    /// What users are given once they have proved themselves, and how hard it is to guess their passwords.
    pub auth_token: AuthToken,
    pub bcrypt_cost: u32,
    /// Seconds of the shortest lease: a new leader must have the time to hear of its renewal.
    pub least_ttl: i64,
    /// Whether the leader says how much time long leases have left.
    pub lease_checkpoints: bool,
    pub shutdown: CancellationToken,
}

/// gRPC's own framing may add this much to the largest request.
const MESSAGE_OVERHEAD: usize = 512 << 10;

impl Context {
    /// Bytes that a message of a client may have.
    fn most_message_bytes(&self) -> usize {
        self.max_request_bytes + MESSAGE_OVERHEAD
    }

    /// A header without the revision.
    fn blank_header(&self) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.identity.cluster,
            member_id: self.identity.member,
            revision: 0,
            raft_term: self.standing.term(),
        }
    }

    /// A header with the newest revision.
    fn header(&self) -> Option<ResponseHeader> {
        self.complete(None)
    }

    /// Completes what the state machine began: it knows the revision alone.
    fn complete(&self, header: Option<ResponseHeader>) -> Option<ResponseHeader> {
        let revision = match header {
            Some(header) if header.revision != 0 => header.revision,
            _ => self.machine.store.read().revision(),
        };
        Some(ResponseHeader { revision, ..self.blank_header() })
    }

    async fn propose(&self, asker: Asker, op: Op) -> Result<Reply, Error> {
        self.check_voter()?;
        if crate::apply::alarm::grows(&op) {
            self.check_quota()?;
        }
        self.proposer.propose_for(Some(asker), op).await
    }

    /// Whether this member has no vote.
    pub fn is_learner(&self) -> bool {
        let roster = self.machine.roster.read();
        roster.get(self.identity.member).is_some_and(|member| member.is_learner)
    }

    /// A learner serves what it has and nothing more, as in etcd.
    fn check_voter(&self) -> Result<(), Error> {
        if self.is_learner() { Err(Error::NotForLearners) } else { Ok(()) }
    }

    /// Waits until this member has applied everything that was acknowledged anywhere before.
    pub async fn catch_up(&self) -> Result<(), Error> {
        if self.standing.is_alone() {
            return Ok(());
        }
        self.check_voter()?;
        self.proposer.catch_up().await
    }

    /// The leader, to be asked what only it knows.
    async fn leader(&self) -> Result<(PeerClient<Channel>, Arc<To>), Error> {
        let leader = self.standing.leader();
        let to = self.cluster.peers.target(leader).ok_or(Error::NoLeader)?;
        let client = to.connect().await.map_err(|_| Error::NoLeader)?;
        Ok((client, to))
    }

    /// Raises the alarm when the store is full. It stays raised until somebody clears it, so that what is freed is not
    /// filled again at once.
    fn check_quota(&self) -> Result<(), Error> {
        let Some(quota) = self.quota else { return Ok(()) };
        if self.machine.store.size_for_quota() < quota {
            return Ok(());
        }
        if !self.machine.alarms.lock().raised(AlarmType::Nospace) {
            let (proposer, member_id) = (self.proposer.clone(), self.identity.member);
            tokio::spawn(async move {
                let raise = crate::proto::rpc::AlarmRequest {
                    action: crate::proto::rpc::alarm_request::AlarmAction::Activate as i32,
                    member_id,
                    alarm: AlarmType::Nospace as i32,
                };
                if let Err(error) = proposer.propose(Op::Alarm(raise)).await {
                    tracing::warn!(%error, "cannot raise the alarm of a full store");
                }
            });
        }
        Err(Error::NoSpace)
    }
}

/// An answer that does not fit its request can only be a mistake of ours.
fn mismatched() -> Error {
    Error::Storage("an entry was answered as another kind of request".to_owned())
}

/// All services as one.
pub fn routes(context: &Arc<Context>) -> Routes {
    let most = context.most_message_bytes();
    macro_rules! server {
        ($server:ident, $service:expr) => {
            $server::new($service).max_decoding_message_size(most).max_encoding_message_size(i32::MAX as usize)
        };
    }
    Routes::new(server!(KvServer, kv::Service(context.clone())))
        .add_service(server!(WatchServer, watch::Service(context.clone())))
        .add_service(server!(LeaseServer, lease::Service(context.clone())))
        .add_service(server!(ClusterServer, cluster::Service(context.clone())))
        .add_service(server!(MaintenanceServer, maintenance::Service(context.clone())))
        .add_service(server!(AuthServer, auth::Service(context.clone())))
        .add_service(server!(LockServer, lock::Service(context.clone())))
        .add_service(server!(ElectionServer, election::Service(context.clone())))
        .add_service(HealthServer::new(health::Service(context.clone())))
}
