//! Transactions: compare, choose the branches, check them, run them.
//!
//! The branches of nested transactions are chosen before anything runs, all from the same state. A transaction that
//! writes cannot fail once it runs, so everything that can is checked before.

use std::cmp::Ordering;

use super::range;
use crate::error::Error;
use crate::lease::Lessor;
use crate::mvcc::range::KeyRange;
use crate::mvcc::read::Query;
use crate::mvcc::store::ReadView;
use crate::mvcc::txn::WriteTxn;
use crate::proto::mvcc::KeyValue;
use crate::proto::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::rpc::request_op::Request;
use crate::proto::rpc::response_op::Response;
use crate::proto::rpc::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp,
    ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};

/// Which branch runs, and the same for each nested transaction of it in order.
pub struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

impl Path {
    fn ops<'a>(&self, request: &'a TxnRequest) -> &'a [RequestOp] {
        if self.succeeded { &request.success } else { &request.failure }
    }
}

/// Compares, and chooses the branches.
pub fn choose(view: &impl ReadView, request: &TxnRequest) -> Path {
    let succeeded = request.compare.iter().all(|compare| holds(view, compare));
    let mut path = Path { succeeded, nested: Vec::new() };
    let nested = path.ops(request).iter().filter_map(|op| match &op.request {
        Some(Request::RequestTxn(nested)) => Some(choose(view, nested)),
        _ => None,
    });
    path.nested = nested.collect();
    path
}

fn holds(view: &impl ReadView, compare: &Compare) -> bool {
    let range = KeyRange::new(&compare.key, &compare.range_end);
    let Ok(found) = view.range(&Query::newest(range)) else { return false };
    if found.key_values.is_empty() {
        // A value that is not there equals nothing; every other property of a missing key is zero.
        return compare.target() != CompareTarget::Value && holds_for(compare, &KeyValue::default());
    }
    found.key_values.iter().all(|kv| holds_for(compare, kv))
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    use TargetUnion::{CreateRevision, Lease, ModRevision, Value, Version};
    let given = compare.target_union.as_ref();
    // A union that does not fit its target counts as zero, as in etcd.
    let number = |held: i64, given: Option<i64>| held.cmp(&given.unwrap_or_default());
    let ordering = match compare.target() {
        CompareTarget::Version => {
            number(kv.version, given.and_then(|given| if let Version(value) = given { Some(*value) } else { None }))
        }
        CompareTarget::Create => number(
            kv.create_revision,
            given.and_then(|given| if let CreateRevision(value) = given { Some(*value) } else { None }),
        ),
        CompareTarget::Mod => number(
            kv.mod_revision,
            given.and_then(|given| if let ModRevision(value) = given { Some(*value) } else { None }),
        ),
        CompareTarget::Lease => {
            number(kv.lease, given.and_then(|given| if let Lease(value) = given { Some(*value) } else { None }))
        }
        CompareTarget::Value => match given {
            Some(Value(value)) => kv.value.cmp(value),
            _ => kv.value.as_ref().cmp(&[]),
        },
    };
    match compare.result() {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::NotEqual => ordering != Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
    }
}

/// Checks whatever could fail in the chosen branches.
pub fn check(view: &impl ReadView, lessor: &Lessor, request: &TxnRequest, path: &Path) -> Result<(), Error> {
    let mut nested = path.nested.iter();
    for op in path.ops(request) {
        match &op.request {
            Some(Request::RequestRange(range)) => check_range(view, range)?,
            Some(Request::RequestPut(put)) => check_put(view, lessor, put)?,
            Some(Request::RequestTxn(inner)) => {
                let path = nested.next().expect("one path per nested transaction");
                check(view, lessor, inner, path)?;
            }
            Some(Request::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

fn check_range(view: &impl ReadView, request: &RangeRequest) -> Result<(), Error> {
    match request.revision {
        0 => Ok(()),
        revision if revision > view.revision() => Err(Error::FutureRevision),
        revision if revision < view.compacted() => Err(Error::Compacted),
        _ => Ok(()),
    }
}

fn check_put(view: &impl ReadView, lessor: &Lessor, request: &PutRequest) -> Result<(), Error> {
    if (request.ignore_value || request.ignore_lease) && previous(view, &request.key)?.is_none() {
        return Err(Error::KeyNotFound);
    }
    if request.lease != 0 && !lessor.exists(request.lease) {
        return Err(Error::LeaseNotFound);
    }
    Ok(())
}

fn previous(view: &impl ReadView, key: &[u8]) -> Result<Option<KeyValue>, Error> {
    Ok(view.range(&Query::newest(KeyRange::One(key)))?.key_values.into_iter().next())
}

/// Writes a key. Fails, with nothing written, only when the put refers to a previous value that is not there.
pub fn put(txn: &mut WriteTxn<'_>, request: &PutRequest) -> Result<PutResponse, Error> {
    let needs_previous = request.ignore_value || request.ignore_lease || request.prev_kv;
    let previous = if needs_previous { previous(txn, &request.key)? } else { None };
    let (mut value, mut lease) = (request.value.clone(), request.lease);
    if request.ignore_value {
        value = previous.as_ref().ok_or(Error::KeyNotFound)?.value.clone();
    }
    if request.ignore_lease {
        lease = previous.as_ref().ok_or(Error::KeyNotFound)?.lease;
    }
    txn.put(request.key.clone(), value, lease);
    Ok(PutResponse { header: header(txn), prev_kv: previous.filter(|_| request.prev_kv) })
}

/// Deletes a range.
pub fn delete_range(txn: &mut WriteTxn<'_>, request: &DeleteRangeRequest) -> Result<DeleteRangeResponse, Error> {
    let range = KeyRange::new(&request.key, &request.range_end);
    let prev_kvs = if request.prev_kv { txn.range(&Query::newest(range))?.key_values } else { Vec::new() };
    let deleted = txn.delete_range(range) as i64;
    Ok(DeleteRangeResponse { header: header(txn), deleted, prev_kvs })
}

/// Runs the chosen branches.
pub fn execute(txn: &mut WriteTxn<'_>, request: &TxnRequest, path: &Path) -> Result<TxnResponse, Error> {
    let mut response = run(request, path, &mut |op| match op {
        Request::RequestRange(request) => read(txn, request).map(Response::ResponseRange),
        Request::RequestPut(request) => put(txn, request).map(Response::ResponsePut),
        Request::RequestDeleteRange(request) => delete_range(txn, request).map(Response::ResponseDeleteRange),
        Request::RequestTxn(_) => Err(Error::Unsupported("a nested transaction runs by its own path".into())),
    })?;
    response.header = header(txn);
    Ok(response)
}

/// Runs the chosen branches of a transaction that only reads.
pub fn execute_reads(view: &impl ReadView, request: &TxnRequest, path: &Path) -> Result<TxnResponse, Error> {
    let mut response = run(request, path, &mut |op| match op {
        Request::RequestRange(request) => read(view, request).map(Response::ResponseRange),
        _ => Err(Error::Unsupported("a transaction that writes was taken for one that only reads".into())),
    })?;
    response.header = header(view);
    Ok(response)
}

fn run(
    request: &TxnRequest,
    path: &Path,
    each: &mut impl FnMut(&Request) -> Result<Response, Error>,
) -> Result<TxnResponse, Error> {
    let mut nested = path.nested.iter();
    let mut responses = Vec::new();
    for op in path.ops(request) {
        let response = match &op.request {
            Some(Request::RequestTxn(inner)) => {
                let path = nested.next().expect("one path per nested transaction");
                Some(Response::ResponseTxn(run(inner, path, each)?))
            }
            Some(op) => Some(each(op)?),
            None => None,
        };
        responses.push(ResponseOp { response });
    }
    // Only the outermost answer's header says anything.
    Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded: path.succeeded, responses })
}

fn read(view: &impl ReadView, request: &RangeRequest) -> Result<RangeResponse, Error> {
    let found = view.range(&range::query(request))?;
    Ok(range::respond(request, found))
}

fn header(view: &impl ReadView) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision: view.revision(), ..ResponseHeader::default() })
}
