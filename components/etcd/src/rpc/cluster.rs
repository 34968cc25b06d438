//! The Cluster service.

use std::sync::Arc;

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

    /// Voters that are there, of those that would vote.
    fn check_quorum(&self, without: Option<u64>, more: usize) -> Result<(), Error> {
        if !self.0.strict_reconfig {
            return Ok(());
        }
        let mut members = self.0.machine.roster.read().voting();
        if let Some(id) = without {
            members.voters.remove(&id);
        }
        let connected = members.voters.iter().filter(|id| self.0.cluster.peers.is_connected(**id)).count();
        let quorum = (members.voters.len() + more) / 2 + 1;
        if connected >= quorum {
            Ok(())
        } else if without.is_some() {
            Err(Error::NotEnoughStarted)
        } else {
            Err(Error::Unhealthy)
        }
    }
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
        if !is_learner {
            // Until it is started it counts and does not answer.
            self.check_quorum(None, 1)?;
        }
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
        let votes = self.0.machine.roster.read().voting().voters.contains(&request.id);
        if votes {
            self.check_quorum(Some(request.id), 0)?;
        }
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
