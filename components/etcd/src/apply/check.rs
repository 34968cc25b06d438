//! What is wrong with a request before anything is looked up.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::proto::rpc::request_op::Request;
use crate::proto::rpc::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, range_request};

/// Checks a range request.
pub fn range(request: &RangeRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    let known = range_request::SortOrder::try_from(request.sort_order).is_ok()
        && range_request::SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(Error::InvalidSortOption) }
}

/// Checks a put.
pub fn put(request: &PutRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

/// Checks a deletion.
pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), Error> {
    if request.key.is_empty() { Err(Error::EmptyKey) } else { Ok(()) }
}

/// Checks a transaction with everything in it. Each list may have `most` operations; nested ones share what is left.
pub fn txn(request: &TxnRequest, most: usize) -> Result<(), Error> {
    operations(request, most)?;
    overlaps(&request.success)?;
    overlaps(&request.failure)?;
    Ok(())
}

fn operations(request: &TxnRequest, most: usize) -> Result<(), Error> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = most.checked_sub(longest).ok_or(Error::TooManyOps)?;
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Error::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Request::RequestTxn(request)) => operations(request, left)?,
            None => return Err(Error::KeyNotFound),
        }
    }
    Ok(())
}

/// The keys that a list of operations may write, and the ranges that it may delete.
#[derive(Default)]
struct Touched<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Touched<'a> {
    fn deletes(&self, key: &[u8]) -> bool {
        // The end is taken literally, as etcd does here, so that a range without an end overlaps with nothing.
        self.deletes.iter().any(|(start, end)| if end.is_empty() { key == *start } else { *start <= key && key < *end })
    }

    fn put(&mut self, key: &'a [u8]) -> Result<(), Error> {
        if self.deletes(key) || !self.puts.insert(key) {
            return Err(Error::DuplicateKey);
        }
        Ok(())
    }
}

/// Refuses lists in which a key is written twice or both written and deleted. The two branches of a nested transaction
/// may touch the same key, because only one of them runs.
fn overlaps(ops: &[RequestOp]) -> Result<Touched<'_>, Error> {
    let mut touched = Touched::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            touched.deletes.push((&delete.key, &delete.range_end));
        }
    }
    for op in ops {
        let Some(Request::RequestTxn(nested)) = &op.request else { continue };
        let (success, failure) = (overlaps(&nested.success)?, overlaps(&nested.failure)?);
        for key in &success.puts {
            touched.put(key)?;
        }
        for key in &failure.puts {
            if success.puts.contains(key) {
                continue;
            }
            touched.put(key)?;
        }
        touched.deletes.extend(success.deletes);
        touched.deletes.extend(failure.deletes);
    }
    for op in ops {
        if let Some(Request::RequestPut(put)) = &op.request {
            touched.put(&put.key)?;
        }
    }
    Ok(touched)
}

/// Whether a transaction, nested ones included, only reads.
pub fn is_read_only(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

/// Whether a transaction that only reads is content with what this member has.
pub fn is_serializable(request: &TxnRequest) -> bool {
    let ops = request.success.iter().chain(&request.failure);
    ops.into_iter().all(|op| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn put_op(key: &'static str) -> RequestOp {
        op(Request::RequestPut(PutRequest { key: Bytes::from_static(key.as_bytes()), ..Default::default() }))
    }

    fn delete_op(key: &'static str, end: &'static str) -> RequestOp {
        op(Request::RequestDeleteRange(DeleteRangeRequest {
            key: Bytes::from_static(key.as_bytes()),
            range_end: Bytes::from_static(end.as_bytes()),
            prev_kv: false,
        }))
    }

    fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        op(Request::RequestTxn(TxnRequest { compare: Vec::new(), success, failure }))
    }

    fn op(request: Request) -> RequestOp {
        RequestOp { request: Some(request) }
    }

    #[test]
    fn keys_touched_twice() {
        let duplicate = Err(Error::DuplicateKey);
        let table = [
            (vec![put_op("a"), put_op("b")], Ok(())),
            (vec![put_op("a"), put_op("a")], duplicate.clone()),
            (vec![put_op("b"), delete_op("a", "c")], duplicate.clone()),
            (vec![put_op("c"), delete_op("a", "c")], Ok(())),
            (vec![delete_op("a", ""), delete_op("a", "c")], Ok(())),
            (vec![put_op("a"), delete_op("a", "\0")], Ok(())),
            (vec![put_op("b"), delete_op("a", "\0")], Ok(())),
            (vec![nested(vec![put_op("a")], vec![put_op("a")])], Ok(())),
            (vec![put_op("a"), nested(vec![put_op("a")], vec![])], duplicate.clone()),
            (vec![nested(vec![put_op("a")], vec![]), nested(vec![], vec![put_op("a")])], duplicate.clone()),
            (vec![nested(vec![delete_op("a", "z")], vec![]), put_op("k")], duplicate),
        ];
        for (ops, expected) in table {
            let request = TxnRequest { success: ops, ..Default::default() };
            assert_eq!(txn(&request, 128), expected, "{request:?}");
        }
    }

    #[test]
    fn operations_are_bounded_over_all_levels() {
        let ops = |count| (0..count).map(|_| delete_op("k", "")).collect::<Vec<_>>();
        let flat = |count| TxnRequest { failure: ops(count), ..Default::default() };
        assert_eq!(txn(&flat(4), 4), Ok(()));
        assert_eq!(txn(&flat(5), 4), Err(Error::TooManyOps));
        let deep = |count| TxnRequest { success: vec![nested(ops(count), vec![])], ..Default::default() };
        assert_eq!(txn(&deep(3), 4), Ok(()));
        assert_eq!(txn(&deep(4), 4), Err(Error::TooManyOps));
    }

    #[test]
    fn malformed_requests() {
        let put_with = |change: fn(&mut PutRequest)| {
            let mut request = PutRequest { key: Bytes::from_static(b"k"), ..Default::default() };
            change(&mut request);
            put(&request)
        };
        assert_eq!(put_with(|request| request.key.clear()), Err(Error::EmptyKey));
        assert_eq!(
            put_with(|request| (request.ignore_value, request.value) = (true, Bytes::from_static(b"v"))),
            Err(Error::ValueProvided)
        );
        assert_eq!(put_with(|request| (request.ignore_lease, request.lease) = (true, 4)), Err(Error::LeaseProvided));
        let sorted = RangeRequest { key: Bytes::from_static(b"k"), sort_order: 9, ..Default::default() };
        assert_eq!(range(&sorted), Err(Error::InvalidSortOption));
        let empty = TxnRequest { success: vec![RequestOp { request: None }], ..Default::default() };
        assert_eq!(txn(&empty, 128), Err(Error::KeyNotFound));
    }
}
