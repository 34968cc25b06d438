//! The KV service.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{Context, mismatched};
use crate::apply::{Reply, check};
use crate::auth::Asker;
use crate::error::Error;
use crate::proto::log::command::Op;
use crate::proto::rpc::kv_server::Kv;
use crate::proto::rpc::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};

pub struct Service(pub Arc<Context>);

#[tonic::async_trait]
impl Kv for Service {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        let request = request.into_inner();
        check::range(&request)?;
        if !request.serializable {
            self.0.catch_up().await?;
        }
        self.0.machine.auth.read().may_read(&asker, &request.key, &request.range_end)?;
        self.0.figures.ranges.inc();
        let mut response = self.0.machine.range(&request)?;
        response.header = self.0.complete(response.header);
        Ok(Response::new(response))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        Ok(Response::new(put(&self.0, asker, request.into_inner()).await?))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        Ok(Response::new(delete_range(&self.0, asker, request.into_inner()).await?))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        Ok(Response::new(txn(&self.0, asker, request.into_inner()).await?))
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        let asker = self.0.asker_of(&request)?;
        let request = request.into_inner();
        let Reply::Compact(mut response) = self.0.propose(asker, Op::Compact(request)).await? else {
            return Err(mismatched().into());
        };
        if request.physical {
            let mut done = self.0.machine.store.compaction_done();
            let carried_out = done.wait_for(|done| *done >= request.revision);
            carried_out.await.map_err(|_| Status::from(Error::Stopped))?;
        }
        response.header = self.0.complete(response.header);
        Ok(Response::new(response))
    }
}

/// Writes a key.
pub async fn put(context: &Context, asker: Asker, request: PutRequest) -> Result<PutResponse, Error> {
    check::put(&request)?;
    let Reply::Put(mut response) = context.propose(asker, Op::Put(request)).await? else { return Err(mismatched()) };
    response.header = context.complete(response.header);
    Ok(response)
}

/// Deletes a range.
pub async fn delete_range(
    context: &Context,
    asker: Asker,
    request: DeleteRangeRequest,
) -> Result<DeleteRangeResponse, Error> {
    check::delete_range(&request)?;
    let reply = context.propose(asker, Op::DeleteRange(request)).await?;
    let Reply::DeleteRange(mut response) = reply else { return Err(mismatched()) };
    response.header = context.complete(response.header);
    Ok(response)
}

/// Runs a transaction, without a log entry if it only reads.
pub async fn txn(context: &Context, asker: Asker, request: TxnRequest) -> Result<TxnResponse, Error> {
    check::txn(&request, context.max_txn_ops)?;
    let mut response = if check::is_read_only(&request) {
        if !check::is_serializable(&request) {
            context.catch_up().await?;
        }
        let machine = &context.machine;
        machine.auth.read().may_run(&asker, &request, &machine.lessor.lock())?;
        machine.read_txn(&request)?
    } else {
        let Reply::Txn(response) = context.propose(asker, Op::Txn(request)).await? else { return Err(mismatched()) };
        response
    };
    response.header = context.complete(response.header);
    Ok(response)
}
