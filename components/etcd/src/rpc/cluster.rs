//! The Cluster service.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};
use url::Url;

use super::{Context, mismatched};
use crate::apply::Reply;
use crate::error::Error;
use crate::proto::log::command::Op;
use crate::proto::log::{self};
use crate::proto::peer::MemberId;
use crate::proto::rpc::cluster_server::Cluster;
use crate::proto::rpc::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse,
};

/// A member is relied on once it has been connected to for so long. What is missing of it is waited for, where etcd, which
/// wants 5 seconds, refuses: so it must be well below the 5 seconds after which etcdctl gives up by itself.
const HEALTHY: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub struct Service(pub Arc<Context>);

impl Service {
    /// Proposes a change, of which it is known that it would be carried out now.
    async fn change(&self, op: Op) -> Result<Vec<Member>, Error> {
        // What another member has acknowledged a moment ago counts.
        self.0.catch_up().await?;
        self.0.check_voter()?;
        self.0.machine.roster.read().check(&op)?;
        match self.0.proposer.propose(op).await? {
            Reply::Members(members) => Ok(members),
            _ => Err(mismatched()),
        }
    }

    /// Refuses a new member while not all voters are there, or while it would leave too few that ever were.
    async fn check_addition(&self, votes: bool) -> Result<(), Error> {
        if !self.0.strict_reconfig {
            return Ok(());
        }
        let started = self.started(None);
        let voters = self.voters();
        if votes && !ready_for(started, voters.len() + 1) {
            return Err(Error::NotEnoughStarted);
        }
        self.connected(&voters, voters.len()).await.map_err(|()| Error::Unhealthy)
    }

    /// Refuses a removal that would leave too few voters.
    async fn check_removal(&self, id: u64) -> Result<(), Error> {
        let voters = self.voters();
        let peers = &self.0.cluster.peers;
        // Who is not there is not missed.
        if !self.0.strict_reconfig || !voters.contains(&id) {
            return Ok(());
        }
        let left = voters.len() - 1;
        if self.started(Some(id)) < left / 2 + 1 {
            return Err(Error::NotEnoughStarted);
        }
        if !peers.is_connected(id) {
            return Ok(());
        }
        // The one that goes is connected, too, and does not count.
        self.connected(&voters, left / 2 + 2).await.map_err(|()| Error::Unhealthy)
    }

    fn voters(&self) -> BTreeSet<u64> {
        self.0.machine.roster.read().voting().voters
    }

    /// Voters that have told their names, which they do when they start.
    fn started(&self, without: Option<u64>) -> usize {
        let members = self.0.machine.roster.read().list();
        members
            .iter()
            .filter(|member| !member.is_learner && !member.name.is_empty() && Some(member.id) != without)
            .count()
    }

    /// Waits until so many of these have been connected to for long enough to rely on. Who is not connected at all is
    /// not waited for.
    async fn connected(&self, members: &BTreeSet<u64>, needed: usize) -> Result<(), ()> {
        let peers = &self.0.cluster.peers;
        loop {
            let times: Vec<Duration> = members.iter().filter_map(|id| peers.connected_for(*id)).collect();
            if times.len() < needed {
                return Err(());
            }
            if times.iter().filter(|time| **time >= HEALTHY).count() >= needed {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Whether so many members that have started are a quorum with one that has not. A second member is let in by the first.
fn ready_for(started: usize, voters: usize) -> bool {
    (started == 1 && voters == 2) || started > voters / 2
}

fn check_urls(urls: &[String]) -> Result<(), Error> {
    let good = |url: &String| Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if !urls.is_empty() && urls.iter().all(good) { Ok(()) } else { Err(Error::MemberBadUrls) }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn member_add(&self, request: Request<MemberAddRequest>) -> Result<Response<MemberAddResponse>, Status> {
        self.0.managed_by(&request)?;
        let MemberAddRequest { peer_ur_ls, is_learner } = request.into_inner();
        check_urls(&peer_ur_ls)?;
        self.check_addition(!is_learner).await?;
        // The same URLs may come back after a removal, under another id.
        let id = rand::random::<u64>().max(1);
        let member = Member { id, peer_ur_ls, is_learner, ..Member::default() };
        let members = self.change(Op::MemberAdd(log::MemberAdd { member: Some(member.clone()) })).await?;
        Ok(Response::new(MemberAddResponse { header: self.0.header(), member: Some(member), members }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.0.managed_by(&request)?;
        let request = request.into_inner();
        self.check_removal(request.id).await?;
        let members = self.change(Op::MemberRemove(request)).await?;
        Ok(Response::new(MemberRemoveResponse { header: self.0.header(), members }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        self.0.managed_by(&request)?;
        let request = request.into_inner();
        check_urls(&request.peer_ur_ls)?;
        let members = self.change(Op::MemberUpdate(request)).await?;
        Ok(Response::new(MemberUpdateResponse { header: self.0.header(), members }))
    }

    async fn member_list(&self, request: Request<MemberListRequest>) -> Result<Response<MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.catch_up().await?;
        }
        let members = self.0.machine.roster.read().list();
        Ok(Response::new(MemberListResponse { header: self.0.header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.0.managed_by(&request)?;
        let id = request.into_inner().id;
        let mut response = match self.0.cluster.promote(id).await {
            Err(Error::NotLeader) => {
                let (mut client, to) = self.0.leader().await?;
                client.promote(to.address(MemberId { id })).await?.into_inner()
            }
            outcome => outcome?,
        };
        response.header = self.0.header();
        Ok(Response::new(response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_voter_must_leave_a_quorum_that_has_started() {
        let table =
            [(1, 2, true), (2, 3, true), (1, 3, false), (3, 4, true), (2, 4, false), (3, 5, true), (2, 5, false)];
        for (started, voters, ready) in table {
            assert_eq!(ready_for(started, voters), ready, "{started} of {voters}");
        }
    }
}
