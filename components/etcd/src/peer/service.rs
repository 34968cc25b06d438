//! What other members send to this one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{Peers, admit, transfer, wire};
use crate::apply::{Machine, Reply};
use crate::error::Error;
use crate::membership::Identity;
use crate::node::Proposer;
use crate::node::inbox::Inbox;
use crate::node::standing::Standing;
use crate::proto::log::command::Op;
use crate::proto::peer::peer_server::Peer;
use crate::proto::peer::{
    Batch, Empty, HashAnswer, HashQuestion, LeaseId, LeaseTime, MemberId, RosterAnswer, SnapshotPiece,
};
use crate::proto::rpc::{MemberPromoteRequest, MemberPromoteResponse};

/// Entries of the leader's log of which a learner must have nine in ten before it gets a vote.
const IN_SYNC: f64 = 0.9;

/// See the module.
#[derive(Clone)]
pub struct Service {
    pub identity: Identity,
    pub machine: Arc<Machine>,
    pub inbox: Arc<Inbox>,
    pub standing: Arc<Standing>,
    pub proposer: Proposer,
    pub peers: Peers,
    pub member_dir: PathBuf,
    /// Streams end then, which would otherwise go on forever.
    pub shutdown: CancellationToken,
}

impl Service {
    fn as_leader<T>(&self, request: Request<T>) -> Result<T, Status> {
        admit(request.metadata(), self.identity, &self.machine)?;
        if self.standing.leads() { Ok(request.into_inner()) } else { Err(Error::NotLeader.into()) }
    }

    /// Renews a lease; 0 when it is not there.
    pub fn renew(&self, id: i64) -> i64 {
        self.machine.lessor.lock().renew(id, Instant::now()).unwrap_or_default()
    }

    /// Makes a learner a voter, if it is nearly as far as the leader.
    pub async fn promote(&self, id: u64) -> Result<MemberPromoteResponse, Error> {
        let op = Op::MemberPromote(MemberPromoteRequest { id });
        self.proposer.catch_up().await?;
        self.machine.roster.read().check(&op)?;
        let (matched, last) = self.proposer.matched(id).await.ok_or(Error::NotLeader)?;
        if (matched as f64) < last as f64 * IN_SYNC {
            return Err(Error::LearnerNotReady);
        }
        match self.proposer.propose(op).await? {
            Reply::Members(members) => Ok(MemberPromoteResponse { header: None, members }),
            _ => Err(Error::Storage("a promotion was answered as something else".to_owned())),
        }
    }
}

#[tonic::async_trait]
impl Peer for Service {
    async fn messages(&self, request: Request<Streaming<Batch>>) -> Result<Response<Empty>, Status> {
        let from = admit(request.metadata(), self.identity, &self.machine)?;
        let mut batches = request.into_inner();
        loop {
            let batch = tokio::select! {
                () = self.shutdown.cancelled() => return Err(Error::Stopped.into()),
                batch = batches.next() => batch,
            };
            let Some(batch) = batch else { return Ok(Response::new(Empty {})) };
            // Somebody may have been removed while the stream was open.
            if self.machine.roster.read().removed().contains(&from) {
                return Err(Status::permission_denied(super::REMOVED));
            }
            let messages = batch?.messages.into_iter().filter_map(wire::decode);
            let own = messages.filter(|message| message.from == from && message.to == self.identity.member);
            self.inbox.deliver(own)?;
        }
    }

    async fn snapshot(&self, request: Request<Streaming<SnapshotPiece>>) -> Result<Response<Empty>, Status> {
        let from = admit(request.metadata(), self.identity, &self.machine)?;
        let message = transfer::receive(request.into_inner(), &self.member_dir, from, self.identity).await?;
        self.inbox.deliver([message])?;
        Ok(Response::new(Empty {}))
    }

    async fn renew(&self, request: Request<LeaseId>) -> Result<Response<LeaseTime>, Status> {
        let LeaseId { id } = self.as_leader(request)?;
        Ok(Response::new(LeaseTime { ttl: Service::renew(self, id), granted: 0 }))
    }

    async fn time_left(&self, request: Request<LeaseId>) -> Result<Response<LeaseTime>, Status> {
        let LeaseId { id } = self.as_leader(request)?;
        let info = self.machine.lessor.lock().info(id, Instant::now());
        let (ttl, granted) = info.map_or((-1, 0), |info| (info.remaining, info.granted));
        Ok(Response::new(LeaseTime { ttl, granted }))
    }

    async fn promote(&self, request: Request<MemberId>) -> Result<Response<MemberPromoteResponse>, Status> {
        let MemberId { id } = self.as_leader(request)?;
        Ok(Response::new(Service::promote(self, id).await?))
    }

    async fn hash(&self, request: Request<HashQuestion>) -> Result<Response<HashAnswer>, Status> {
        admit(request.metadata(), self.identity, &self.machine)?;
        let found = crate::corruption::hash(self.machine.store.clone(), request.into_inner().revision).await?;
        Ok(Response::new(HashAnswer { hash: found.hash, compacted: found.compacted }))
    }

    async fn ping(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    async fn roster(&self, _: Request<Empty>) -> Result<Response<RosterAnswer>, Status> {
        // Whoever asks is no member yet and knows no ids. What it is told must be what the cluster knows now.
        self.proposer.catch_up().await?;
        let members = self.machine.roster.read().list();
        if members.is_empty() {
            return Err(Status::unavailable("this member has not joined yet"));
        }
        Ok(Response::new(RosterAnswer { cluster_id: self.identity.cluster, members }))
    }
}
