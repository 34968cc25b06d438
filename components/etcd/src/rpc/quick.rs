//! The calls that come by the thousand or carry much, without the layers that all other calls go through.
//!
//! What is done is what [`super::kv`] and [`super::watch`] do, on the same state by the same checks; only how a request
//! comes in and how its answer goes out is different.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Code, Status};

use super::{Context, kv, snapshot, watch};
use crate::apply::check;
use crate::auth::Asker;
use crate::direct::call::{Call, begin, finish, framed};
use crate::proto::rpc::RangeRequest;

/// The calls that are answered here, in the order of [`METHODS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Range,
    Txn,
    Put,
    DeleteRange,
    Watch,
    Snapshot,
}

pub const METHODS: [(&str, Method); 6] = [
    ("/etcdserverpb.KV/Range", Method::Range),
    ("/etcdserverpb.KV/Txn", Method::Txn),
    ("/etcdserverpb.KV/Put", Method::Put),
    ("/etcdserverpb.KV/DeleteRange", Method::DeleteRange),
    ("/etcdserverpb.Watch/Watch", Method::Watch),
    ("/etcdserverpb.Maintenance/Snapshot", Method::Snapshot),
];

/// The call that a path means, if it is one of them.
pub fn method(path: &str) -> Option<Method> {
    METHODS.iter().find(|(found, _)| *found == path).map(|(_, method)| *method)
}

/// Answers a call.
pub async fn answer(context: Arc<Context>, method: Method, mut call: Call) {
    match method {
        Method::Watch | Method::Snapshot => return stream(context, method, call).await,
        _ => {}
    }
    let outcome = outcome(&context, method, &mut call).await;
    let code = outcome.as_ref().map_or_else(Status::code, |_| Code::Ok);
    context.figures.calls.quick(method as usize, code);
    call.answer(outcome);
}

/// Streams are counted when they end.
async fn stream(context: Arc<Context>, method: Method, call: Call) {
    let figures = context.figures.clone();
    let code = if method == Method::Watch {
        watch::direct(context, call).await
    } else {
        snapshot::direct(context, call).await
    };
    figures.calls.quick(method as usize, code);
}

async fn outcome(context: &Arc<Context>, method: Method, call: &mut Call) -> Result<Bytes, Status> {
    let asker = context.asker(&call.headers, Some(&call.peer))?;
    let most = context.most_message_bytes();
    Ok(match method {
        Method::Range => range(context, asker, call.message(most).await?).await?,
        Method::Put => framed(&kv::put(context, asker, call.message(most).await?).await?),
        Method::DeleteRange => framed(&kv::delete_range(context, asker, call.message(most).await?).await?),
        Method::Txn => framed(&kv::txn(context, asker, call.message(most).await?).await?),
        Method::Watch | Method::Snapshot => return Err(Status::internal("a stream is no single call")),
    })
}

async fn range(context: &Arc<Context>, asker: Asker, request: RangeRequest) -> Result<Bytes, Status> {
    check::range(&request)?;
    if !request.serializable {
        context.catch_up().await?;
    }
    context.machine.auth.read().may_read(&asker, &request.key, &request.range_end)?;
    context.figures.ranges.inc();
    let header = context.blank_header();
    if request.range_end.is_empty() {
        return Ok(finish(context.machine.range_encoded(&request, header, begin(0))?));
    }
    // What may take long must not hold up the connection's other calls.
    let machine = context.machine.clone();
    let reading = tokio::spawn(async move { machine.range_encoded(&request, header, begin(0)) });
    Ok(finish(reading.await.map_err(|error| Status::internal(error.to_string()))??))
}
