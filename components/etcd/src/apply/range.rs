//! A range request's options: filters, order, limit.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::mvcc::range::KeyRange;
use crate::mvcc::read::{Found, Query};
use crate::proto::mvcc::KeyValue;
use crate::proto::rpc::range_request::{SortOrder, SortTarget};
use crate::proto::rpc::{RangeRequest, RangeResponse, ResponseHeader};

/// What the store is asked for. One key more than the limit, to know whether there are more; everything when filters or
/// an order decide which keys count.
pub fn query(request: &RangeRequest) -> Query<'_> {
    let decided_later = request.sort_order() != SortOrder::None || filters(request);
    let limit = match usize::try_from(request.limit) {
        Ok(limit) if limit > 0 && !decided_later => limit + 1,
        _ => 0,
    };
    Query {
        range: KeyRange::new(&request.key, &request.range_end),
        revision: request.revision,
        limit,
        count_only: request.count_only,
    }
}

fn filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// Makes the answer of what the store found.
pub fn respond(request: &RangeRequest, found: Found) -> RangeResponse {
    let mut kvs = found.key_values;
    if filters(request) {
        let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
        kvs.retain(|kv| {
            within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
                && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
        });
    }
    sort(&mut kvs, request.sort_order(), request.sort_target());
    let mut more = false;
    if let Ok(limit) = usize::try_from(request.limit)
        && limit > 0
        && kvs.len() > limit
    {
        kvs.truncate(limit);
        more = true;
    }
    if request.keys_only {
        for kv in &mut kvs {
            kv.value = Bytes::new();
        }
    }
    let header = ResponseHeader { revision: found.revision, ..ResponseHeader::default() };
    RangeResponse { header: Some(header), kvs, more, count: found.count as i64 }
}

fn sort(kvs: &mut [KeyValue], order: SortOrder, target: SortTarget) {
    let order = match (order, target) {
        // Keys come sorted already.
        (SortOrder::None | SortOrder::Ascend, SortTarget::Key) => return,
        (SortOrder::None, _) => SortOrder::Ascend,
        (order, _) => order,
    };
    let compare = |left: &KeyValue, right: &KeyValue| -> Ordering {
        match target {
            SortTarget::Key => left.key.cmp(&right.key),
            SortTarget::Version => left.version.cmp(&right.version),
            SortTarget::Create => left.create_revision.cmp(&right.create_revision),
            SortTarget::Mod => left.mod_revision.cmp(&right.mod_revision),
            SortTarget::Value => left.value.cmp(&right.value),
        }
    };
    match order {
        SortOrder::Descend => kvs.sort_by(|left, right| compare(right, left)),
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(compare),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        let kv = |key: &'static str, value: &'static str, create_revision, mod_revision| KeyValue {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
            create_revision,
            mod_revision,
            version: mod_revision - create_revision + 1,
            lease: 0,
        };
        let key_values = vec![kv("a", "3", 2, 9), kv("b", "1", 4, 4), kv("c", "2", 3, 5)];
        Found { key_values, count: 3, revision: 10 }
    }

    fn keys(change: impl Fn(&mut RangeRequest)) -> (String, bool) {
        let mut request = RangeRequest::default();
        change(&mut request);
        let response = respond(&request, found());
        assert_eq!(response.count, 3);
        let keys = response.kvs.iter().flat_map(|kv| kv.key.iter().map(|byte| char::from(*byte))).collect();
        (keys, response.more)
    }

    #[test]
    fn orders_filters_and_limits() {
        let order = |target: SortTarget, order: SortOrder| {
            keys(|request| {
                request.set_sort_target(target);
                request.set_sort_order(order);
            })
            .0
        };
        assert_eq!(order(SortTarget::Key, SortOrder::None), "abc");
        assert_eq!(order(SortTarget::Key, SortOrder::Descend), "cba");
        assert_eq!(order(SortTarget::Mod, SortOrder::None), "bca");
        assert_eq!(order(SortTarget::Create, SortOrder::Descend), "bca");
        assert_eq!(order(SortTarget::Value, SortOrder::Ascend), "bca");
        assert_eq!(order(SortTarget::Version, SortOrder::Descend), "acb");
        assert_eq!(keys(|request| request.min_mod_revision = 5).0, "ac");
        assert_eq!(keys(|request| request.max_create_revision = 3).0, "ac");
        assert_eq!(keys(|request| request.limit = 2), ("ab".into(), true));
        assert_eq!(keys(|request| request.limit = 3), ("abc".into(), false));
    }
}
