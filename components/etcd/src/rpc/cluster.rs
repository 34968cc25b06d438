//! The Cluster service: this member alone, until there is replication.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::Context;
use crate::error::Error;
use crate::proto::rpc::cluster_server::Cluster;
use crate::proto::rpc::{
    MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse,
};

pub struct Service(pub Arc<Context>);

impl Service {
    fn known(&self, id: u64) -> Result<(), Error> {
        if id == self.0.membership.member_id { Ok(()) } else { Err(Error::MemberNotFound) }
    }
}

fn no_replication(what: &str) -> Status {
    Error::Unsupported(format!("etcdserver: {what} is not possible: this server cannot replicate yet")).into()
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn member_add(&self, request: Request<MemberAddRequest>) -> Result<Response<MemberAddResponse>, Status> {
        self.0.managed_by(&request)?;
        Err(no_replication("adding a member"))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.0.managed_by(&request)?;
        self.known(request.into_inner().id)?;
        Err(no_replication("removing the only member"))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        self.0.managed_by(&request)?;
        self.known(request.into_inner().id)?;
        Err(no_replication("updating a member"))
    }

    async fn member_list(&self, _: Request<MemberListRequest>) -> Result<Response<MemberListResponse>, Status> {
        let members = vec![self.0.membership.member.clone()];
        Ok(Response::new(MemberListResponse { header: self.0.header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.0.managed_by(&request)?;
        self.known(request.into_inner().id)?;
        Err(Error::MemberNotLearner.into())
    }
}
