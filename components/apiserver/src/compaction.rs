//! Having etcd forget what objects were: every state is kept for one to two intervals, so that lists by pages and watches
//! can go on from it, and no longer.
//!
//! All API servers of a cluster do it together by one key, as upstream's do: its version counts the intervals, and who
//! counts the next one compacts; the others learn from its value how far that went.

use std::time::Duration;

use bytes::Bytes;
use kinit_api::status::Status;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::storage::{Etcd, failed};
use kinit_etcd_api::rpc::{self, compare, request_op, response_op};

/// Outside the registry, as upstream has it.
const KEY: &[u8] = b"compact_rev_key";

/// Compacts once in an interval until `shutdown`.
pub async fn run(etcd: Etcd, cache: Cache, interval: Duration, shutdown: CancellationToken) {
    if interval.is_zero() {
        return;
    }
    // What was counted last, and the revision of then.
    let (mut count, mut revision) = (0, 0);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        match step(&etcd, count, revision).await {
            Ok(Step { count: now, revision: at, forgotten }) => {
                (count, revision) = (now, at);
                cache.forget().send_if_modified(|known| {
                    let further = forgotten > *known;
                    *known = forgotten.max(*known);
                    further
                });
            }
            Err(error) => tracing::warn!(%error, "etcd was not compacted"),
        }
    }
}

/// What is known after one interval.
#[derive(Debug, PartialEq)]
struct Step {
    count: i64,
    revision: i64,
    /// Up to where etcd has forgotten what was, as far as this server knows.
    forgotten: i64,
}

/// Counts an interval, and compacts to the revision of the one before if nobody else has counted it.
async fn step(etcd: &Etcd, count: i64, revision: i64) -> Result<Step, Status> {
    let key = Bytes::from_static(KEY);
    let put = rpc::PutRequest { key: key.clone(), value: revision.to_string().into(), ..Default::default() };
    let transaction = rpc::TxnRequest {
        compare: vec![rpc::Compare {
            result: compare::CompareResult::Equal.into(),
            target: compare::CompareTarget::Version.into(),
            key: key.clone(),
            target_union: Some(compare::TargetUnion::Version(count)),
            ..Default::default()
        }],
        success: vec![rpc::RequestOp { request: Some(request_op::Request::RequestPut(put)) }],
        failure: vec![rpc::RequestOp {
            request: Some(request_op::Request::RequestRange(rpc::RangeRequest { key, ..Default::default() })),
        }],
    };
    let answer = etcd.kv().txn(transaction).await.map_err(failed)?.into_inner();
    let now = answer.header.as_ref().map_or(0, |header| header.revision);
    if !answer.succeeded {
        return Ok(seen(answer, now));
    }
    if revision > 0 {
        match etcd.kv().compact(rpc::CompactionRequest { revision, ..Default::default() }).await {
            // Somebody else, an operator perhaps, was further already.
            Err(error) if error.code() == tonic::Code::OutOfRange => {}
            other => drop(other.map_err(failed)?),
        }
    }
    Ok(Step { count: count + 1, revision: now, forgotten: revision })
}

/// What another server's count tells.
fn seen(answer: rpc::TxnResponse, now: i64) -> Step {
    let found = answer.responses.into_iter().find_map(|response| match response.response {
        Some(response_op::Response::ResponseRange(range)) => range.kvs.into_iter().next(),
        _ => None,
    });
    let told = found.as_ref().and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse().ok());
    Step { count: found.map_or(0, |kv| kv.version), revision: now, forgotten: told.unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_servers_count_is_taken_over() {
        let kv = kinit_etcd_api::mvcc::KeyValue { version: 4, value: "17".into(), ..Default::default() };
        let range = rpc::RangeResponse { kvs: vec![kv], ..Default::default() };
        let response = rpc::ResponseOp { response: Some(response_op::Response::ResponseRange(range)) };
        let answer = rpc::TxnResponse { responses: vec![response], ..Default::default() };
        assert_eq!(seen(answer, 30), Step { count: 4, revision: 30, forgotten: 17 });
        assert_eq!(seen(rpc::TxnResponse::default(), 30), Step { count: 0, revision: 30, forgotten: 0 });
    }
}
