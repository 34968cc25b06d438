//! What locks and elections share: keys under a name, each with a lease, of which the oldest has its turn.
//!
//! The layout is etcd's own (`NAME/LEASE`, the lease in hexadecimal), so that clients which do the same by themselves
//! stand in the same line.

use std::sync::Arc;

use bytes::Bytes;

use super::{Context, mismatched};
use crate::apply::Reply;
use crate::auth::Asker;
use crate::error::Error;
use crate::proto::log::command::Op;
use crate::proto::mvcc::KeyValue;
use crate::proto::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::rpc::request_op::Request;
use crate::proto::rpc::response_op::Response;
use crate::proto::rpc::{
    Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
    TxnResponse, range_request,
};
use crate::watch::changes::Changes;
use crate::watch::hub::Interest;

/// Seconds of the lease that is granted to who brings none, as etcd's clients take.
const SESSION_TTL: i64 = 60;

/// A place in a line.
#[derive(Clone, Debug)]
pub struct Turn {
    pub key: Bytes,
    pub lease: i64,
    /// The revision that created the key, which is what the order is by.
    pub created: i64,
    /// Whether it is new rather than one that the lease had already.
    pub fresh: bool,
}

/// The range of a line's keys.
fn line(name: &[u8]) -> (Bytes, Bytes) {
    ([name, b"/"].concat().into(), [name, b"0"].concat().into())
}

/// Refuses who may not read a line.
pub fn may_look(context: &Context, asker: &Asker, name: &[u8]) -> Result<(), Error> {
    let (key, range_end) = line(name);
    context.machine.auth.read().may_read(asker, &key, &range_end)
}

/// Steps out of a line when it is dropped before the turn came: nobody waits for it any more.
struct Leaving {
    context: Arc<Context>,
    key: Option<Bytes>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let proposer = self.context.proposer.clone();
        tokio::spawn(async move {
            let delete = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
            if let Err(error) = proposer.propose(Op::DeleteRange(delete)).await {
                tracing::warn!(%error, "a place in a line stays until its lease runs out");
            }
        });
    }
}

/// Takes a place in a line.
pub async fn enter(
    context: &Arc<Context>,
    asker: &Asker,
    name: &[u8],
    lease: i64,
    value: Bytes,
) -> Result<Turn, Error> {
    may_look(context, asker, name)?;
    let lease = match lease {
        0 => {
            let id = (rand::random::<i64>() & i64::MAX).max(1);
            let Reply::LeaseGrant(granted) =
                context.propose(asker.clone(), Op::LeaseGrant(LeaseGrantRequest { id, ttl: SESSION_TTL })).await?
            else {
                return Err(mismatched());
            };
            granted.id
        }
        lease => lease,
    };
    let key = Bytes::from([name, b"/", format!("{lease:x}").as_bytes()].concat());
    let put = PutRequest { key: key.clone(), value, lease, ..PutRequest::default() };
    let get = RangeRequest { key: key.clone(), ..RangeRequest::default() };
    let (put, get) = (Request::RequestPut(put), Request::RequestRange(get));
    let response = if_created_at(context, asker, &key, 0, put, Some(get)).await?;
    let revision = response.header.map_or(0, |header| header.revision);
    let created = match response.responses.first().and_then(|op| op.response.as_ref()) {
        Some(Response::ResponseRange(range)) => range.kvs.first().map_or(revision, |kv| kv.create_revision),
        _ => revision,
    };
    Ok(Turn { key, lease, created, fresh: response.succeeded })
}

/// Waits until everybody who came before has gone. Whoever stops waiting leaves the line.
pub async fn wait(context: &Arc<Context>, name: &[u8], turn: &Turn) -> Result<(), Error> {
    let (key, range_end) = line(name);
    let interest = Interest { key: (*key).into(), range_end: (*range_end).into(), puts: false, deletes: true };
    let mut changes = Changes::of(&context.machine, interest);
    let mut leaving = Leaving { context: context.clone(), key: Some(turn.key.clone()) };
    loop {
        let before = RangeRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            max_create_revision: turn.created - 1,
            limit: 1,
            ..RangeRequest::default()
        };
        if context.machine.range(&before)?.kvs.is_empty() {
            leaving.key = None;
            return Ok(());
        }
        tokio::select! {
            () = context.shutdown.cancelled() => return Err(Error::Stopped),
            () = changes.next() => {}
        }
    }
}

/// The key that has its turn, the oldest of a line.
pub fn first(context: &Context, name: &[u8]) -> Result<RangeResponse, Error> {
    let (key, range_end) = line(name);
    context.machine.range(&RangeRequest {
        key,
        range_end,
        limit: 1,
        sort_order: range_request::SortOrder::Ascend as i32,
        sort_target: range_request::SortTarget::Create as i32,
        ..RangeRequest::default()
    })
}

/// Word of every change in a line.
pub fn changes(context: &Context, name: &[u8]) -> Changes {
    let (key, range_end) = line(name);
    let interest = Interest { key: (*key).into(), range_end: (*range_end).into(), puts: true, deletes: true };
    Changes::of(&context.machine, interest)
}

/// The key's value, if it is there.
pub fn look(context: &Context, key: &Bytes) -> Result<Option<KeyValue>, Error> {
    let response = context.machine.range(&RangeRequest { key: key.clone(), ..RangeRequest::default() })?;
    Ok(response.kvs.into_iter().next())
}

/// Does one thing if the key was created at a revision (0: is not there), else another.
pub async fn if_created_at(
    context: &Context,
    asker: &Asker,
    key: &Bytes,
    created: i64,
    then: Request,
    otherwise: Option<Request>,
) -> Result<TxnResponse, Error> {
    let compare = Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Create as i32,
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(created)),
        range_end: Bytes::new(),
    };
    let ops = |request: Request| RequestOp { request: Some(request) };
    let txn = TxnRequest {
        compare: vec![compare],
        success: vec![ops(then)],
        failure: otherwise.map(ops).into_iter().collect(),
    };
    let Reply::Txn(mut response) = context.propose(asker.clone(), Op::Txn(txn)).await? else {
        return Err(mismatched());
    };
    response.header = context.complete(response.header);
    Ok(response)
}
